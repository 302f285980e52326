import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createPositionEncoding, key, randn, type Tensor, tensor, useBackend, where } from "../../src/index.js";
import type { PositionEncodingConfig } from "../../src/nn/encodings/encoding-config.js";
import { freshContext, rotary } from "../../src/nn/rotary.js";
import { plainTables } from "./tiny.js";

const encodings: (PositionEncodingConfig | null)[] = [
  null,
  { type: "nope" },
  { type: "alibi" },
  { type: "kerple" },
  { type: "fire", width: 4 },
  { type: "dape", bias: { type: "kerple" }, rows: 2 } as PositionEncodingConfig,
  { type: "dape-v2", bias: { type: "alibi" }, kernel: 1 } as PositionEncodingConfig,
];

describe("a sliding window", () => {
  beforeAll(() => void useBackend(createReferenceBackend()));
  afterAll(() => void useBackend(undefined));

  const [H, T, D] = [2, 9, 4];
  const [q, k, v, other] = [1, 2, 3, 4].map((seed) => randn(key(seed), [1, H, T, D])) as [Tensor, Tensor, Tensor, Tensor];

  it.each(encodings)("hides keys that are further away than it reaches: %j", async (config) => {
    const encoding = config === null ? rotary : createPositionEncoding(config, { heads: H, key: key(5) });
    const read = async (seen: { changed: number; window?: number }): Promise<number[]> => {
      const old = tensor(
        Array.from({ length: T }, (_, at) => at < seen.changed),
        { shape: [1, 1, T, 1] },
      );
      const context = freshContext(where(old, other, k), where(old, other, v), plainTables(T, D));
      const all = await encoding.attend(q, seen.window === undefined ? context : { ...context, window: seen.window }).array();
      return ((all as number[][][][])[0] as number[][][]).flatMap((head) => head[T - 1] as number[]);
    };
    for (const window of [1, 4, T]) {
      const whole = await read({ changed: 0, window });
      expect(await read({ changed: T - window, window })).toEqual(whole);
      expect(await read({ changed: T - window + 1, window })).not.toEqual(whole);
    }
    expect(await read({ changed: 0, window: T })).toEqual(await read({ changed: 0 }));
  });
});
