import { beforeAll, describe, expect, it } from "vitest";
import { attention } from "../../src/autograd/attention.js";
import { checkGrads } from "../../src/autograd/check-grads.js";
import * as others from "../../src/autograd/composites.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import * as dawngrad from "../../src/index.js";
import { type Tensor, tensor, useBackend } from "../../src/index.js";
import { distinct, floats } from "../support/floats.js";

const composites = { ...others, attention };

type CompositeName = {
  [K in keyof typeof composites]: (typeof composites)[K] extends (...args: never[]) => unknown ? K : never;
}[keyof typeof composites];

interface Case {
  readonly f: (...args: Tensor[]) => Tensor;
  readonly args: readonly Tensor[];
}

const on = (f: (...args: Tensor[]) => Tensor, ...args: Tensor[]): Case => ({ f, args });
const integers = (values: number[], shape = [values.length]): Tensor => tensor(Int32Array.from(values), { shape });

const q = floats([2, 4, 3, 2], { seed: 1 });
const [k, v] = [floats([2, 2, 3, 2], { seed: 2 }), floats([2, 2, 3, 2], { seed: 3 })];
/** Two queries after three earlier keys. */
const late = [floats([1, 2, 2, 2], { seed: 4 }), floats([1, 1, 5, 2], { seed: 5 }), floats([1, 1, 5, 3], { seed: 6 })] as const;
const mask = tensor([[[[true, false, true]]], [[[true, true, false]]]]);
const matrix = floats([3, 4]);

const cases: { readonly [C in CompositeName]: readonly Case[] } = {
  sigmoid: [on((x) => composites.sigmoid(x as Tensor), tensor(Float64Array.of(-30, -4, -0.3, 0, 1e-9, 0.7, 5, 30)))],
  relu: [on((x) => composites.relu(x as Tensor), distinct([6]))],
  silu: [on(composites.silu, tensor(Float64Array.of(-30, -4, -0.3, 0, 1e-9, 0.7, 5, 30)))],
  gelu: [on(composites.gelu, floats([5], { low: -4, high: 4 }))],
  square: [on(composites.square, matrix)],
  rsqrt: [on(composites.rsqrt, floats([4], { low: 0.4, high: 2 }))],
  mean: [
    on((x) => composites.mean(x as Tensor), matrix),
    on((x) => composites.mean(x as Tensor, 0), matrix),
    on((x) => composites.mean(x as Tensor, [1], true), matrix),
  ],
  variance: [
    on((x) => composites.variance(x as Tensor, 1), matrix),
    on((x) => composites.variance(x as Tensor, 0, { correction: 1, keepDims: true }), matrix),
  ],
  std: [on((x) => composites.std(x as Tensor), matrix), on((x) => composites.std(x as Tensor, -1, { correction: 1 }), matrix)],
  logSumExp: [
    on((x) => composites.logSumExp(x as Tensor), matrix),
    on((x) => composites.logSumExp(x as Tensor, 1, true), matrix),
    on((x) => composites.logSumExp(x as Tensor, [0, 2]), floats([2, 2, 2], { low: -20, high: 20 })),
  ],
  softmax: [on((x) => composites.softmax(x as Tensor), matrix), on((x) => composites.softmax(x as Tensor, 0), matrix)],
  logSoftmax: [on((x) => composites.logSoftmax(x as Tensor), matrix), on((x) => composites.logSoftmax(x as Tensor, 0), matrix)],
  rmsNorm: [on((x, w) => composites.rmsNorm(x as Tensor, w as Tensor), floats([2, 2, 4]), floats([4], { seed: 2 }))],
  layerNorm: [
    on(
      (x, w, b) => composites.layerNorm(x as Tensor, w as Tensor, b as Tensor),
      floats([2, 4]),
      floats([4], { seed: 2 }),
      floats([4], { seed: 3 }),
    ),
  ],
  // By the tables too: positions may be learnt.
  rope: [
    on(
      (x, c, s) => composites.rope(x as Tensor, c as Tensor, s as Tensor),
      floats([2, 2, 3, 4]),
      floats([2, 3, 2], { seed: 2 }),
      floats([2, 3, 2], { seed: 3 }),
    ),
    on(
      (x, c, s) => composites.rope(x as Tensor, c as Tensor, s as Tensor),
      floats([2, 1, 2, 2]),
      floats([1, 2, 1], { seed: 2 }),
      floats([1, 2, 1], { seed: 3 }),
    ),
  ],
  attention: [
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor), q, k, v),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true }), q, k, v),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { mask, scale: 0.7 }), q, k, v),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true }), ...late),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true, offset: 1 }), ...late),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true, offset: integers([2], []) }), ...late),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true, offset: -1 }), ...late),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { mask: tensor([[false], [true], [true]]), causal: true }), q, k, v),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { window: 2 }), q, k, v),
    on((a, b, c) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true, window: 2 }), ...late),
    on(
      (a, b, c, d) => attention(a as Tensor, b as Tensor, c as Tensor, { causal: true, bias: d as Tensor }),
      ...[q, k, v, floats([4, 3, 3], { seed: 4 })],
    ),
    on(
      (a, b, c, d) =>
        attention(a as Tensor, b as Tensor, c as Tensor, {
          score: (s, { head, query, key }) =>
            s
              .mul(0.5)
              .tanh()
              .sub((d as Tensor).take(head).mul(query.sub(key))),
          scale: (d as Tensor).mean(),
        }),
      ...[q, k, v, floats([4], { seed: 5 })],
    ),
  ],
};

/** Functions of operations.ts that are more than one primitive. */
const shaped: Readonly<Record<string, readonly Case[]>> = {
  "arithmetic with broadcasting": [
    on((a, b) => dawngrad.mul(a as Tensor, b as Tensor), floats([2, 3]), floats([3], { seed: 2 })),
    on((a, b) => dawngrad.add(a as Tensor, b as Tensor), floats([2, 1]), floats([1, 3], { seed: 2 })),
    on((a, b) => dawngrad.sub(a as Tensor, b as Tensor), floats([]), floats([2, 2], { seed: 2 })),
    on((a, b) => dawngrad.div(a as Tensor, b as Tensor), floats([2, 1, 2]), floats([3, 1], { low: 0.5, seed: 2 })),
    on((a, b) => dawngrad.pow(a as Tensor, b as Tensor), floats([2, 1], { low: 0.5 }), floats([3], { seed: 2 })),
    on((a, b) => dawngrad.maximum(a as Tensor, b as Tensor), distinct([4]), floats([3, 1], { seed: 2 })),
    on((a, b) => dawngrad.where(tensor([[true], [false]]), a as Tensor, b as Tensor), floats([2]), floats([], { seed: 2 })),
  ],
  "powers of a plain number": [-2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 2.5].map((n) =>
    on((x) => dawngrad.pow(x as Tensor, n), floats([3], { low: 0.5, high: 2 })),
  ),
  "a plain number to a power": [on((x) => dawngrad.pow(2, x as Tensor), floats([3]))],
  clip: [on((x) => dawngrad.clip(x as Tensor, -0.5, 0.5), floats([6]))],
  "triu and tril": [on((x) => dawngrad.triu(x as Tensor, 1), floats([3, 3])), on((x) => dawngrad.tril(x as Tensor), floats([2, 3, 2]))],
  "stack and split": [
    on((a, b) => dawngrad.stack([a as Tensor, b as Tensor], 1), floats([2, 2]), floats([2, 2], { seed: 2 })),
    on(
      (x) => {
        const [a, b] = dawngrad.split(x as Tensor, [1, 2], 1) as [Tensor, Tensor];
        return a.mul(b);
      },
      floats([2, 3]),
    ),
  ],
  "squeeze, unsqueeze and transpose": [on((x) => (x as Tensor).squeeze().unsqueeze(0).transpose(0, 1).exp(), floats([1, 3, 1, 2]))],
  "matmul of every rank": [
    on((a, b) => dawngrad.matmul(a as Tensor, b as Tensor), floats([3]), floats([3], { seed: 2 })),
    on((a, b) => dawngrad.matmul(a as Tensor, b as Tensor), floats([2, 3]), floats([3], { seed: 2 })),
    on((a, b) => dawngrad.matmul(a as Tensor, b as Tensor), floats([3]), floats([2, 3, 2], { seed: 2 })),
    on((a, b) => dawngrad.matmul(a as Tensor, b as Tensor), floats([2, 2, 3]), floats([3, 2], { seed: 2 })),
    on((a, b) => dawngrad.matmul(a as Tensor, b as Tensor), floats([2, 1, 2, 2]), floats([3, 2, 1], { seed: 2 })),
  ],
  "gather along another axis": [on((x) => dawngrad.gather(x as Tensor, integers([1, 1, 0, 2], [2, 2]), 1), floats([2, 3, 2]))],
  "prod-like chains of one input": [
    on(
      (x) =>
        (x as Tensor)
          .mul(x as Tensor)
          .mul((x as Tensor).sin())
          .div((x as Tensor).exp()),
      floats([4]),
    ),
  ],
};

beforeAll(() => {
  useBackend(createReferenceBackend());
});

const check = async (list: readonly Case[]): Promise<void> => {
  expect(list.length).toBeGreaterThan(0);
  for (const { f, args } of list) await checkGrads(f, [...args], { order: 2, places: 8 });
};

describe("derivatives of order 1 and 2 equal central differences for", () => {
  it.each(Object.keys(cases) as CompositeName[])("%s", (name) => check(cases[name]));
  it.each(Object.keys(shaped))("%s", (name) => check(shaped[name] ?? []));
});
