import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type AttentionScore,
  attention,
  concat,
  full,
  gather,
  grad,
  key,
  OptionError,
  realize,
  scan,
  type Tensor,
  tensor,
  uniform,
  useBackend,
  where,
} from "../../src/index.js";
import { floats, numbersOf } from "../support/floats.js";

/** Extents that tell no axis from another would hide what is exchanged. */
const [B, H, S] = [2, 3, 3];
const x = (seed: number): Tensor => floats([B, H, S, 4], { seed, dtype: "f32" });
const scored = (score: AttentionScore): Tensor => attention(x(1), x(2), x(3), { causal: true, score });
const range = (from: number): number[] => [from, from + 1, from + 2];

describe("a score that depends on other pairs than its own is refused", () => {
  const scores: Record<string, AttentionScore> = {
    "what is summed over keys": (s) => s.sub(s.sum(-1, true)),
    "keys from behind": (s) => s.flip([3]),
    "the next key": (s) => s.pad([[0, 0], [0, 0], [0, 0], [0, 1]]).slice([null, null, null, [1, S + 1]]), // biome-ignore format: pads of axes
    "heads for keys": (s) => s.permute([0, 3, 2, 1]),
    "one key for all": (s) => s.slice([null, null, null, [0, 1]]).add(s.mul(0)),
    "keys in another order": (s) => gather(s, tensor([2, 1, 0], { dtype: "i32" }), 3),
    "two halves exchanged": (s) => concat([s.slice([null, null, null, [1, S]]), s.slice([null, null, null, [0, 1]])], 3),
    "a coordinate of another pair": (s, { key }) => s.add(key.flip([3])),
    "a loop over scores": (s) => scan((carry: Tensor, by: Tensor) => [carry.mul(by), null] as const, s, tensor([1, 2]))[0],
    "a random number for each": (s) => where(uniform(key(1), s.shape).less(0.5), s, Number.NEGATIVE_INFINITY),
  };
  it.each(Object.entries(scores))("%s", (_, score) => {
    expect(() => scored(score)).toThrow(OptionError);
  });

  it("and one that gives no tensor", () => {
    expect(() => scored((() => 1) as never)).toThrow(/result of score must be a tensor, found 1/);
    expect(() => scored((async (s: Tensor) => s) as never)).toThrow(/result of score must be a tensor, found a Promise/);
  });
});

describe("a score may move what it reads by coordinates, as long as that belongs to the pair", () => {
  const places = tensor([range(1), range(5), range(3)]); // [S, 3]
  const scores: Record<string, AttentionScore> = {
    "a column of a row of a table": (s, { query }) =>
      s.add(
        places
          .take(query)
          .slice([null, null, null, null, [1, 2]])
          .squeeze(4),
      ),
    "a row of a table that lies along the keys": (s, { query }) => s.add(places.take(query).squeeze(3)),
    "a table by heads and keys": (s, { head, key }) => s.add(places.take(head).permute([0, 1, 2, 4, 3]).squeeze(4)).add(key.mul(0)),
    "turned there and back": (s) => s.permute([0, 1, 3, 2]).tanh().permute([0, 1, 3, 2]),
  };
  it.each(Object.entries(scores))("%s", async (_, score) => {
    useBackend(createReferenceBackend());
    const coordinates = (along: number): Tensor =>
      tensor([0, 1, 2], { dtype: "i32" }).reshape([0, 1, 2, 3].map((axis) => (axis === along ? S : 1)));
    const raw = x(1).matmul(x(2).transpose()).div(2);
    const at = {
      batch: tensor([0, 1], { dtype: "i32" }).reshape([B, 1, 1, 1]),
      head: coordinates(1),
      query: coordinates(2),
      key: coordinates(3),
    };
    const weights = where(at.key.lessEqual(at.query), score(raw, at), Number.NEGATIVE_INFINITY).softmax(-1);
    const [found, right] = await Promise.all([scored(score), weights.matmul(x(3))].map(numbersOf));
    found?.forEach((o, i) => {
      expect(o).toBeCloseTo(right?.[i] as number, 6);
    });
  });
});

it("scores as low as −10³⁰ hide keys, as −∞ does, and a query that sees none has zeros and no gradient", async () => {
  useBackend(createReferenceBackend());
  for (const low of [-1e30, -3e38, Number.NEGATIVE_INFINITY]) {
    const bias = full([S, S], low);
    const found = [
      attention(x(1), x(2), x(3), { bias }),
      ...grad((q: Tensor[]) => attention(q[0] as Tensor, x(2), x(3), { bias }).sum())([x(1)]),
    ];
    await realize(found);
    for (const part of found)
      expect(
        (await numbersOf(part)).every((value) => value === 0),
        `${low}`,
      ).toBe(true);
  }
});

it("a window is at most so wide that sums of positions are exact", async () => {
  useBackend(createReferenceBackend());
  expect(() => attention(x(1), x(2), x(3), { window: 2 ** 29 + 1 })).toThrow(OptionError);
  const all = await numbersOf(attention(x(1), x(2), x(3)));
  expect(await numbersOf(attention(x(1), x(2), x(3), { window: 2 ** 29 }))).toEqual(all);
  const offset = tensor(2 ** 31 - 1, { dtype: "i32" });
  expect((await numbersOf(attention(x(1), x(2), x(3), { window: 2 ** 29, offset }))).every((value) => value === 0)).toBe(true);
});
