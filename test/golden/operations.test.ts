import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as composites from "../../src/autograd/composites.js";
import * as cumulative from "../../src/autograd/cumulative.js";
import * as elementary from "../../src/autograd/elementary.js";
import * as losses from "../../src/autograd/losses.js";
import * as elementwise from "../../src/autograd/operations/elementwise.js";
import * as sums from "../../src/autograd/operations/reductions.js";
import * as reductions from "../../src/autograd/reductions.js";
import * as sorting from "../../src/autograd/sorting.js";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import * as dg from "../../src/index.js";
import { compile, grad, hvp, linalg, type Tensor, tensor, useBackend } from "../../src/index.js";
import { thinned } from "../support/backends.js";
import { goldenF32, goldenF64 } from "../support/tolerances.js";

/** What test/golden/make_operations.py wrote, which says what the numbers are. */
interface Case {
  readonly name: string;
  readonly arguments: readonly Argument[];
  readonly shape: readonly number[];
  readonly values: readonly number[];
  readonly first: readonly (readonly number[])[];
  readonly second: readonly (readonly number[])[];
}
type Argument = { readonly shape: readonly number[] } & (
  | { readonly data: readonly number[] }
  | { readonly low: number; readonly high: number }
);
const { cases } = JSON.parse(readFileSync(new URL("operations/operations.json", import.meta.url), "utf8")) as { cases: Case[] };

type Operation = (...args: Tensor[]) => Tensor;
const of1 = (f: (x: Tensor) => Tensor): Operation => f as Operation;
const of2 = (f: (a: Tensor, b: Tensor) => Tensor): Operation => f as Operation;
const of3 = (f: (a: Tensor, b: Tensor, c: Tensor) => Tensor): Operation => f as Operation;
const i32 = (...values: number[]): Tensor => tensor(Int32Array.from(values));
const definite = (x: Tensor): Tensor => x.matmul(x.transpose()).add(dg.eye(x.shape.at(-1) as number).cast(x.dtype));
const product = ([a, b]: readonly Tensor[]): Tensor => dg.mul(a as Tensor, b as Tensor);

/** Names that are the same function as it is. */
const plain =
  `neg exp log sin cos tanh erf sqrt recip abs sign floor sigmoid relu silu gelu square rsqrt expm1 log1p exp2 log2 log10 tan asin acos
  atan sinh cosh asinh acosh atanh softplus logSigmoid mish ceil trunc round leakyRelu elu add sub mul maximum minimum atan2 hypot logAddExp div
  pow mod matmul ravel trace cosineSimilarity mseLoss outer inner vdot kron`.split(/\s+/);

const operations: Readonly<Record<string, Operation>> = {
  ...Object.fromEntries(plain.map((name) => [name, (dg as unknown as Readonly<Record<string, Operation>>)[name] as Operation])),
  "add of a scalar": of2(dg.add),
  "mul of none": of2(dg.mul),
  "pow of a number": of1((x) => dg.pow(x, 3)),
  where: of2((a, b) => dg.where(tensor([[true], [false]]), a, b)),
  clip: of1((x) => dg.clip(x, -1, 1)),
  "clip from below": of1((x) => dg.clip(x, -0.5)),
  "clip from above": of1((x) => dg.clip(x, undefined, 0.5)),
  "relu where it bends": of1(dg.relu),
  "abs where it bends": of1(dg.abs),
  "sign where it jumps": of1(dg.sign),
  "maximum of equals": of2(dg.maximum),
  sum: of1((x) => dg.sum(x, -1)),
  "sum of two axes": of1((x) => dg.sum(x, [0, 2], true)),
  "sum of none": of1((x) => dg.sum(x, 0)),
  mean: of1((x) => dg.mean(x, -2)),
  "mean of one": of1((x) => dg.mean(x, 0)),
  max: of1((x) => dg.max(x, [0, 1])),
  min: of1((x) => dg.min(x, -1, true)),
  "max of equals": of1((x) => dg.max(x, 1)),
  variance: of1((x) => dg.variance(x, -1, { correction: 1 })),
  std: of1((x) => dg.std(x)),
  logSumExp: of1((x) => dg.logSumExp(x, [0, -1])),
  prod: of1((x) => dg.prod(x, -2)),
  "prod with a zero": of1((x) => dg.prod(x)),
  "prod with two zeros": of1((x) => dg.prod(x)),
  "prod of none": of1((x) => dg.prod(x, 1)),
  norm: of1((x) => dg.norm(x, [0, 1])),
  "norm of order 1": of1((x) => dg.norm(x, -1, { ord: 1 })),
  "norm of order 3": of1((x) => dg.norm(x, -1, { ord: 3, keepDims: true })),
  "norm of order infinity": of1((x) => dg.norm(x, 1, { ord: Number.POSITIVE_INFINITY })),
  "largest of equal sizes": of1((x) => dg.norm(x, 0, { ord: Number.POSITIVE_INFINITY })),
  cumsum: of1((x) => dg.cumsum(x, -2)),
  "cumsum of many": of1((x) => dg.cumsum(x)),
  cumprod: of1((x) => dg.cumprod(x, 1)),
  "cumprod with zeros": of1((x) => dg.cumprod(x)),
  cummax: of1((x) => dg.cummax(x)),
  "cummax of equals": of1((x) => dg.cummax(x)),
  cummin: of1((x) => dg.cummin(x, 0)),
  cumlogsumexp: of1((x) => dg.cumlogsumexp(x, 1)),
  quantile: of1((x) => dg.quantile(x, [0.125, 0.5, 1], 1)),
  "quantile of two axes": of1((x) => dg.quantile(x, 0.3, [0, 2])),
  "median of an odd number": of1((x) => dg.median(x, 0)),
  sort: of1((x) => dg.sort(x, -2)),
  "sort downwards": of1((x) => dg.sort(x, 1, { descending: true })),
  "sort of equals": of1((x) => dg.sort(x)),
  topK: of1((x) => dg.topK(x, 2, 0).values),
  softmax: of1((x) => dg.softmax(x, -2)),
  logSoftmax: of1((x) => dg.logSoftmax(x, 0)),
  reshape: of1((x) => dg.reshape(x, [3, -1])),
  permute: of1((x) => dg.permute(x, [2, 0, 1])),
  transpose: of1((x) => dg.transpose(x, 0, -1)),
  expand: of1((x) => dg.expand(x, [2, 2, 3])),
  slice: of1((x) => dg.slice(x, [null, [1], [0, 1]])),
  "slice with steps": of1((x) => dg.slice(x, [[1, 6, 2]])),
  pad: of1((x) =>
    dg.pad(
      x,
      [
        [0, 2],
        [1, 0],
      ],
      0.5,
    ),
  ),
  ...Object.fromEntries(
    (["reflect", "edge", "wrap"] as const).map((mode, i) => [
      ["pad by reflection", "pad by repetition", "pad around"][i] as string,
      of1((x) =>
        dg.pad(
          x,
          [
            [0, 0],
            [2, 1],
          ],
          mode,
        ),
      ),
    ]),
  ),
  concat: of2((a, b) => dg.concat([a, b], -1)),
  stack: of2((a, b) => dg.stack([a, b], 1)),
  split: of1((x) => product(dg.split(x, [1, 2], 1))),
  flip: of1((x) => dg.flip(x, [0, 2])),
  squeeze: of1((x) => dg.squeeze(x)),
  unsqueeze: of1((x) => dg.unsqueeze(x, -1)),
  flatten: of1((x) => dg.flatten(x, 1)),
  moveaxis: of1((x) => dg.moveaxis(x, 0, -1)),
  swapaxes: of1((x) => dg.swapaxes(x, 0, 2)),
  roll: of1((x) => dg.roll(x, [1, -1], [0, 1])),
  "roll of all": of1((x) => dg.roll(x, 2)),
  tile: of1((x) => dg.tile(x, [2, 1, 2])),
  repeat: of1((x) => dg.repeat(x, 2, -1)),
  "repeat by counts": of1((x) => dg.repeat(x, [2, 0, 1], 1)),
  meshgrid: of2((a, b) => product(dg.meshgrid([a, b], { indexing: "ij" }))),
  diagonal: of1((x) => dg.diagonal(x, -1, 1, 2)),
  diagEmbed: of1((x) => dg.diagEmbed(x, 1)),
  diag: of1((x) => dg.diag(x, -1)),
  triu: of1((x) => dg.triu(x, 1)),
  tril: of1((x) => dg.tril(x)),
  gather: of1((x) => dg.gather(x, i32(1, 1, 0, 2).reshape([2, 2]), 1)),
  "gather of none": of1((x) => dg.gather(x, i32())),
  takeAlongAxis: of1((x) => dg.takeAlongAxis(x, i32(2, 0, 2, 1, 0, 0, 1, 2).reshape([2, 4]))),
  scatterAdd: of1((x) => dg.scatterAdd(x, i32(3, 0, 3), 4)),
  at: of1((x) => dg.at(x, -1, [1, null])),
  "at with steps and a new axis": of1((x) => dg.at(x, "...", null, [null, null, 2])),
  "at by two lists": of1((x) => dg.at(x, i32(1, 0, 1), i32(2, 0).reshape([2, 1]))),
  setAt: of2((x, y) => dg.setAt(x, [i32(0), i32(2)], y)),
  "setAt of a range": of2((x, y) => dg.setAt(x, ["...", [1, null]], y)),
  putAlongAxis: of2((x, y) => dg.putAlongAxis(x, i32(2, 0, 1, 2).reshape([2, 2]), y)),
  scatter: of2((x, y) => dg.scatter(x, i32(2, 0), y, 1)),
  maskedFill: of2((x, y) => dg.maskedFill(x, tensor([true, false, true]), y)),
  "matmul of vectors": of2((a, b) => dg.matmul(a, b)),
  "matmul over none": of2((a, b) => dg.matmul(a, b)),
  einsum: of2((a, b) => dg.einsum("ijk,kl->li", a, b)),
  "einsum of a diagonal": of1((x) => dg.einsum("...ii->...i", x)),
  "einsum of three": of3((a, b, c) => dg.einsum("i...,ij,j->...", a, b, c)),
  tensordot: of2((a, b) =>
    dg.tensordot(a, b, [
      [1, 0],
      [0, 1],
    ]),
  ),
  cholesky: of1((x) => linalg.cholesky(definite(x))),
  triangularSolve: of2((x, b) => linalg.triangularSolve(definite(x), b)),
  solve: of2((x, b) => linalg.solve(definite(x), b)),
  inverse: of1((x) => linalg.inverse(definite(x))),
  det: of1((x) => linalg.det(x)),
  slogdet: of1((x) => linalg.slogdet(definite(x))[1]),
  qr: of1((x) => {
    const [q, r] = linalg.qr(x);
    return q.sum(1, true).add(r.sum());
  }),
  eigh: of1((x) => {
    const [values, vectors] = linalg.eigh(definite(x));
    return vectors.mul(values.tanh()).matmul(vectors.transpose());
  }),
  svd: of1((x) => {
    const [u, s, vt] = linalg.svd(x);
    return u.mul(s.tanh()).matmul(vt);
  }),
  pinv: of1((x) => linalg.pinv(x)),
  expm: of1((x) => linalg.expm(x)),
  matrixPower: of1((x) => linalg.matrixPower(x, 3)),
  groupNorm: of3((x, w, b) => dg.groupNorm(x, 2, w, b, 1e-3)),
  batchNorm: of3((x, w, b) => dg.batchNorm(x, w, b, { eps: 1e-3 })),
  embedding: of1((w) => dg.embedding(i32(1, 0, 1, 2).reshape([2, 2]), w)),
  rmsNorm: of2((x, w) => dg.rmsNorm(x, w, 1e-5)),
  layerNorm: of3((x, w, b) => dg.layerNorm(x, w, b, 1e-5)),
  attention: of3((q, k, v) => dg.attention(q, k, v, { causal: true })),
  l1Loss: of2((x, y) => dg.l1Loss(x, y, { reduction: "none" })),
  huberLoss: of2((x, y) => dg.huberLoss(x, y, { delta: 0.5 })),
  smoothL1Loss: of2((x, y) => dg.smoothL1Loss(x, y, { beta: 0.7, reduction: "sum" })),
  "smoothL1Loss with beta 0": of2((x, y) => dg.smoothL1Loss(x, y, { beta: 0, reduction: "sum" })),
  binaryCrossEntropyWithLogits: of2((x, y) => dg.binaryCrossEntropyWithLogits(x, y, { posWeight: tensor([1, 2.5, 0.5]) })),
  klDiv: of2((x, y) => dg.klDiv(x, y, { reduction: "sum" })),
  "klDiv of logarithms": of2((x, y) => dg.klDiv(x, y, { logTarget: true })),
  nllLoss: of1((x) => dg.nllLoss(x, i32(2, -100))),
  crossEntropy: of1((x) => dg.crossEntropy(x, i32(2, 0))),
  ...Object.fromEntries(
    (["none", "sum", "mean"] as const).map((reduction) => [
      `crossEntropy smoothed and in part ignored, ${reduction}`,
      of1((x) => dg.crossEntropy(x, i32(2, -100, 1), { labelSmoothing: 0.3, reduction })),
    ]),
  ),
};

/** Functions of floats with derivatives, and those among them that are others under another name or have none to compare. */
const modules = { ...composites, ...cumulative, ...elementary, ...losses, ...reductions, ...sorting, ...elementwise, ...sums };
const without = new Set(
  "maskedScore isnan isfinite isinf xor truncDiv stopGradient any all countNonzero argmax argmin argsort rope".split(" "),
);

it("every function of these modules is among them", () => {
  const covered = new Set(Object.keys(operations).map((name) => name.split(" ")[0]));
  expect(Object.keys(modules).filter((name) => !covered.has(name) && !without.has(name))).toEqual([]);
});

/** Multiples of (high − low)/64, as the script has them. */
function spread(shape: readonly number[], low: number, high: number, shift: number): Float64Array {
  const size = shape.reduce((count, extent) => count * extent, 1);
  return Float64Array.from({ length: size }, (_, k) => (((29 * k + 17 * shift + 5) % 64) / 64) * (high - low) + low);
}

describe.each([
  { name: "reference, in f64", create: async () => createReferenceBackend(), dtype: "f64", allowed: goldenF64, stride: 1 },
  { name: "wasm, in f32", create: () => createWasmBackend({ threads: 1 }), dtype: "f32", allowed: goldenF32, stride: 3 },
] as const)("values, first and second derivatives are those of PyTorch on $name:", ({ create, dtype, allowed, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  const made = (shape: readonly number[], data: Float64Array): Tensor => tensor(data, { shape: [...shape], dtype });
  const inputsOf = ({ arguments: list }: Case): Tensor[] =>
    list.map((argument, i) =>
      made(argument.shape, "data" in argument ? Float64Array.from(argument.data) : spread(argument.shape, argument.low, argument.high, i)),
    );

  it("each operation", { timeout: 60_000 }, async () => {
    expect(cases.map(({ name }) => name).sort()).toEqual(Object.keys(operations).sort());
    const directions = cases.map((one) => one.arguments.map(({ shape }, i) => made(shape, spread(shape, -1, 1, 9 + i))));
    const weights = cases.map(({ shape }) => made(shape, spread(shape, -1, 1, 7)));
    /** Derivatives are most of what there is to compile. */
    const derived = new Set(thinned(cases, stride));
    const run = compile((all: Tensor[][], weights: Tensor[], directions: Tensor[][]) =>
      all.map((inputs, i) => {
        const f = operations[(cases[i] as Case).name] as Operation;
        const loss = (args: Tensor[]): Tensor => {
          const y = f(...args);
          return dg.sum(dg.mul(weights[i] as Tensor, dg.add(y, dg.mul(dg.square(y), 0.5))));
        };
        const y = f(...inputs);
        if (!derived.has(cases[i] as Case)) return { y, first: [], second: [] };
        return { y, first: grad(loss)(inputs), second: hvp(loss, inputs, directions[i] as Tensor[]) };
      }),
    );
    const found = run(cases.map(inputsOf), weights, directions);
    const complaints: string[] = [];
    for (const [i, { name, shape, values, first, second }] of cases.entries()) {
      const results = found[i] as (typeof found)[number];
      if (results.y.shape.join() !== shape.join()) complaints.push(`${name}: shape ${results.y.shape.join()}`);
      const check = async (what: string, t: Tensor, expected: readonly number[]): Promise<void> => {
        const numbers = await t.data();
        const largest = Math.max(1, ...expected.map(Math.abs));
        expected.forEach((value, k) => {
          const error = Math.abs((numbers[k] as number) - value);
          if (!(error <= allowed * largest)) complaints.push(`${name}: ${what}[${k}] is ${numbers[k]}, not ${value}`);
        });
      };
      await check("y", results.y, values);
      for (const [a, t] of results.first.entries()) await check(`first ${a}`, t, first[a] as readonly number[]);
      for (const [a, t] of results.second.entries()) await check(`second ${a}`, t, second[a] as readonly number[]);
    }
    expect(complaints).toEqual([]);
  });
});
