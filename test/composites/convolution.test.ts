import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import * as dawngrad from "../../src/index.js";
import {
  avgPool1d,
  avgPool2d,
  conv1d,
  conv2d,
  convTranspose1d,
  convTranspose2d,
  grad,
  maxPool1d,
  maxPool2d,
  memoryOf,
  OptionError,
  ShapeError,
  type Tensor,
  tensor,
  useBackend,
  withBackend,
  zeros,
} from "../../src/index.js";
import { type CompositeCase, type Plain, sizeOf, tensorOf, testComposites } from "../support/composite-cases.js";

/** Against numbers of PyTorch, which test/golden/make_convolutions.py wrote. */

interface GoldenCase {
  readonly name: string;
  readonly shapes: readonly (readonly number[])[];
  readonly size: number | readonly number[] | null;
  readonly options: Readonly<Record<string, unknown>>;
  readonly result: Plain;
  readonly gradients: readonly Plain[];
  readonly curvature: Plain;
}
const golden = JSON.parse(readFileSync(new URL("../golden/arrays/convolutions.json", import.meta.url), "utf8")) as readonly GoldenCase[];
const strides = [7, 3, 9];

const argsOf = ({ shapes }: GoldenCase): Plain[] =>
  shapes.map((shape, k) => ({
    shape,
    data: Array.from({ length: sizeOf(shape) }, (_, i) => (((i * (strides[k] as number)) % 11) - 5) / 4),
  }));

type Windowed = (x: Tensor, by: unknown, options: unknown) => Tensor;
const functionOf = ({ name, size, options }: GoldenCase): ((...args: Tensor[]) => Tensor) => {
  const f = (dawngrad as unknown as Readonly<Record<string, Windowed>>)[name] as Windowed;
  if (size !== null) return (x) => f(x as Tensor, size, options);
  return (x, weight, bias) => f(x as Tensor, weight, bias === undefined ? options : { ...options, bias });
};

const caseOf = (each: GoldenCase, i: number): CompositeCase => ({
  f: functionOf(each),
  args: argsOf(each),
  expected: each.result,
  smooth: i % 6 === 1 && !each.name.startsWith("max"),
  relative: 3e-7,
});

testComposites(
  "windows",
  {
    convolutions: golden.filter(({ size }) => size === null).map(caseOf),
    pools: golden.filter(({ size }) => size !== null).map(caseOf),
  },
  { thin: true, linear: true },
);

describe("windows in f64", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });

  it.each(golden.map((each, i) => [`${each.name} ${i + 1}`, each] as const))("%s has PyTorch's gradients, and theirs", async (_, each) => {
    const f = functionOf(each);
    const args = argsOf(each).map((arg) => tensorOf(arg, "f64"));
    const energy = (...tensors: Tensor[]): Tensor =>
      f(...tensors)
        .square()
        .sum()
        .mul(0.5);
    const gradient = (k: number) => grad(energy, k) as (...tensors: Tensor[]) => Tensor;
    const curvature = grad((...tensors: Tensor[]) =>
      gradient(0)(...tensors)
        .square()
        .sum()
        .mul(0.5),
    ) as (...tensors: Tensor[]) => Tensor;
    const found = [...args.map((_, k) => gradient(k)(...args)), curvature(...args)];
    for (const [k, expected] of [...each.gradients, each.curvature].entries()) {
      const values = [...(await (found[k] as Tensor).data())];
      expect((found[k] as Tensor).shape).toEqual(expected.shape);
      values.forEach((value, i) => expect(value).toBeCloseTo(expected.data[i] as number, 7));
    }
  });

  it("what is equal gives its derivative to the first, and NaN is the largest", async () => {
    const x = tensor([
      [2, 2, 1, 1],
      [2, 1, 1, 1],
    ]);
    expect(await grad((t: Tensor) => maxPool2d(t, 2).sum())(x).array()).toEqual([
      [1, 0, 1, 0],
      [0, 0, 0, 0],
    ]);
    expect(await maxPool1d(tensor([1, Number.NaN, 0, 5]), 2, { stride: 1 }).array()).toEqual([Number.NaN, Number.NaN, 5]);
    const least = Number.NEGATIVE_INFINITY;
    expect(await maxPool1d(tensor([least, least]), 2, { padding: 1 }).array()).toEqual([least, least]);
  });

  it("integers are pooled as integers, their means are f32; convolutions of integers are f32", async () => {
    const x = tensor([-7, -9, 4, 5], { dtype: "i32" });
    expect([maxPool1d(x, 2).dtype, await maxPool1d(x, 3, { padding: 1, stride: 2 }).array()]).toEqual(["i32", [-7, 5]]);
    expect([avgPool1d(x, 2).dtype, await avgPool1d(x, 2).array()]).toEqual(["f32", [-8, 4.5]]);
    const y = conv1d(x.reshape([1, 4]), tensor([[[1, 2]]], { dtype: "i32" }));
    expect([y.dtype, await y.array()]).toEqual(["f32", [[-25, -1, 14]]]);
    expect(conv1d(zeros([1, 4], { dtype: "f16" }), zeros([1, 1, 2], { dtype: "f16" })).dtype).toBe("f16");
    expect(convTranspose1d(zeros([1, 4], { dtype: "f16" }), zeros([1, 1, 2])).dtype).toBe("f32");
  });

  it("has no elements where there are no examples or no channels", () => {
    expect(conv2d(zeros([0, 2, 4, 4]), zeros([3, 2, 3, 3])).shape).toEqual([0, 3, 2, 2]);
    expect(conv2d(zeros([2, 2, 4, 4]), zeros([0, 2, 3, 3])).shape).toEqual([2, 0, 2, 2]);
    expect(maxPool2d(zeros([0, 4, 4]), 2).shape).toEqual([0, 2, 2]);
  });

  it("of no input channels are the bias", async () => {
    expect(await conv1d(zeros([0, 3]), zeros([2, 0, 2]), { bias: tensor([1, 2]) }).array()).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  it('"same" keeps ⌈extent/stride⌉ places, of an odd number of zeros the last after the end', async () => {
    const ones = tensor([[[1, 1]]]);
    expect(await conv1d(tensor([[1, 2, 3]]), ones, { padding: "same" }).array()).toEqual([[3, 5, 3]]);
    expect(await conv1d(tensor([[1, 2, 3]]), ones, { padding: "same", stride: 2 }).array()).toEqual([[3, 3]]);
    expect(conv2d(zeros([1, 5, 7]), zeros([1, 1, 4, 3]), { padding: "same", stride: [2, 3] }).shape).toEqual([1, 3, 3]);
    expect(await conv1d(tensor([[1, 2, 3]]), ones, { padding: [[2, 0]] }).array()).toEqual([[0, 1, 3, 5]]);
  });

  const [x, w] = [zeros([1, 4, 5, 5]), zeros([4, 2, 3, 3])];
  it.each([
    ["channels that differ", ShapeError, () => conv2d(x, w)],
    ["groups that do not divide the channels", ShapeError, () => conv2d(x, zeros([5, 2, 3, 3]), { groups: 2 })],
    ["an image without channels", ShapeError, () => conv2d(zeros([5, 5]), zeros([1, 1, 3, 3]))],
    ["a kernel of one axis", ShapeError, () => conv2d(x, zeros([4, 4, 3]))],
    ["a kernel larger than the image", ShapeError, () => conv2d(x, zeros([4, 4, 6, 1]))],
    ["a kernel of nothing", ShapeError, () => conv2d(x, zeros([4, 4, 0, 1]))],
    ["a bias of other channels", ShapeError, () => conv2d(x, w, { groups: 2, bias: zeros([2]) })],
    ["three strides", OptionError, () => conv2d(x, w, { groups: 2, stride: [1, 1, 1] })],
    ["a stride of 0", OptionError, () => conv2d(x, w, { groups: 2, stride: 0 })],
    ["negative padding", OptionError, () => conv2d(x, w, { groups: 2, padding: [-1, 0] })],
    ["padding by another word", OptionError, () => conv2d(x, w, { groups: 2, padding: "full" as "same" })],
    ["outputs that no input reaches", OptionError, () => convTranspose2d(x, w, { stride: 2, outputPadding: 2 })],
    ["a transpose that is cut off whole", ShapeError, () => convTranspose1d(zeros([1, 1]), zeros([1, 1, 1]), { padding: 1 })],
    ["a transpose of other channels", ShapeError, () => convTranspose2d(x, zeros([3, 2, 3, 3]))],
    ["a pool wider than what it pools", ShapeError, () => avgPool2d(x, [6, 1])],
    ["a pool that sees padding alone", OptionError, () => maxPool2d(x, 2, { padding: 2 })],
    ["a pool of a vector over two axes", ShapeError, () => maxPool2d(zeros([4]), 2)],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));
});

it("a convolution takes the memory of its padded input and of some results, but not of patches", async () => {
  const backend = await createWasmBackend({ threads: 1 });
  await withBackend(backend, async () => {
    const [x, w] = [zeros([1, 64, 32, 32]), zeros([64, 64, 3, 3])];
    const { scratchBytes } = memoryOf((x: Tensor, w: Tensor) => conv2d(x, w, { padding: 1 }), x, w);
    const padded = 4 * 64 * 34 * 34;
    expect(scratchBytes).toBeLessThan(4 * padded);
  });
  await backend.close();
});
