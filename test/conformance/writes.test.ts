import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { UsageError } from "../../src/errors.js";
import { type DType, hostArray, isHalf } from "../../src/ir/dtype.js";
import { backends } from "../support/backends.js";
import { halfValue } from "../support/halves.js";

const dtypes: readonly DType[] = ["f32", "i32", "u32", "bool", "f16", "bf16"];

/** Lengths of the parts that a buffer is written in, and the order in which they come. */
const cuts = fc
  .record({ lengths: fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 6 }), tail: fc.integer({ min: 0, max: 3 }) })
  .chain(({ lengths, tail }) =>
    fc.record({
      lengths: fc.constant([...lengths.map((length) => 2 * length), tail]),
      order: fc.shuffledSubarray([...lengths.keys(), lengths.length], { minLength: lengths.length + 1 }),
      seed: fc.nat(1000),
    }),
  );

describe.each(backends())("writes on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 60_000);
  afterAll(async () => backend.close());

  const offered = (): readonly DType[] => dtypes.filter((dtype) => backend.info.dtypes.has(dtype));

  it("of parts, in any order, leave what one write of all leaves", async () => {
    await fc.assert(
      fc.asyncProperty(cuts, fc.nat(), async ({ lengths, order, seed }, pick) => {
        const dtype = offered()[pick % offered().length] as DType;
        const size = lengths.reduce((sum, length) => sum + length, 0);
        const values = hostArray(dtype, size).map((_, i) => (dtype === "bool" ? (i * 7 + seed) % 2 : (i * 37 + seed) % 200));
        const buffer = backend.alloc(dtype, size, "test");
        const begins = lengths.map((_, part) => lengths.slice(0, part).reduce((sum, length) => sum + length, 0));
        for (const part of order) {
          const begin = begins[part] as number;
          backend.write(buffer, dtype, values.slice(begin, begin + (lengths[part] as number)), begin);
        }
        expect(await backend.read(buffer, dtype, size)).toEqual(values);
        backend.free(buffer);
      }),
      { numRuns: 60 },
    );
  });

  it("leave the elements around a part as they were", async () => {
    for (const dtype of offered()) {
      const buffer = backend.alloc(dtype, 9, "test");
      backend.write(buffer, dtype, hostArray(dtype, 9).fill(1));
      backend.write(buffer, dtype, hostArray(dtype, 4), 2);
      expect([...(await backend.read(buffer, dtype, 9))]).toEqual([1, 1, 0, 0, 0, 0, 1, 1, 1]);
      backend.free(buffer);
    }
  });

  it("of bits of halves keep every bit, and are refused for other dtypes", async () => {
    const patterns = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
    for (const dtype of offered().filter(isHalf)) {
      const buffer = backend.alloc(dtype, patterns.length, "test");
      for (let begin = 0; begin < patterns.length; begin += 2 ** 14) {
        backend.write(buffer, dtype, patterns.subarray(begin, begin + 2 ** 14), begin);
      }
      const expected = Float32Array.from(patterns, (bits) => halfValue(bits, dtype));
      expect(await backend.read(buffer, dtype, patterns.length)).toEqual(expected);
      backend.free(buffer);
    }
    const buffer = backend.alloc("u32", 2, "test");
    expect(() => backend.write(buffer, "u32", Uint16Array.of(1, 2))).toThrow(UsageError);
    backend.free(buffer);
  });

  it("that do not fit are refused, and change nothing", async () => {
    for (const dtype of offered()) {
      const buffer = backend.alloc(dtype, 8, "test");
      backend.write(buffer, dtype, hostArray(dtype, 8).fill(1));
      for (const [length, begin] of [
        [9, 0],
        [2, 7],
        [1, 8],
        [2, -2],
        [2, 0.5],
        [2, Number.NaN],
      ] as const) {
        expect(() => backend.write(buffer, dtype, hostArray(dtype, length), begin), `${dtype} ${length} at ${begin}`).toThrow(UsageError);
      }
      if (isHalf(dtype)) {
        for (const [length, begin] of [
          [2, 1],
          [3, 2],
        ] as const) {
          expect(() => backend.write(buffer, dtype, hostArray(dtype, length), begin)).toThrow(UsageError);
        }
      }
      expect([...(await backend.read(buffer, dtype, 8))]).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
      backend.free(buffer);
    }
  });
});
