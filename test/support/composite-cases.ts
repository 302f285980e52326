import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { checkGrads, compile, realize, type Tensor, tensor, useBackend, vmap } from "../../src/index.js";
import { type DType, isFloat } from "../../src/ir/dtype.js";
import { backends, thinned, usedBackends } from "./backends.js";
import { uniformSource } from "./samples.js";

/** Functions of tensors against plain loops: on every backend, differentiated, and for several examples at once. */

/** An array as a list of numbers in row-major order. */
export interface Plain {
  readonly shape: readonly number[];
  readonly data: readonly number[];
  /** f32 when left out. */
  readonly dtype?: DType;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** All coordinates of a shape in row-major order. */
export function coordinatesOf(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>((all, extent) => all.flatMap((at) => Array.from({ length: extent }, (_, i) => [...at, i])), [[]]);
}

/** The array whose element at each place is f of its coordinates. */
export const tabulate = (shape: readonly number[], f: (...at: number[]) => number, dtype?: DType): Plain => ({
  shape,
  data: coordinatesOf(shape).map((at) => f(...at)),
  ...(dtype === undefined ? {} : { dtype }),
});

/** The element at coordinates; one that is not there is an error of the test. */
export function element({ shape, data }: Plain, ...at: readonly number[]): number {
  const place = shape.reduce((sum, extent, axis) => {
    const i = at[axis];
    if (i === undefined || !(i >= 0 && i < extent)) throw new Error(`no element [${at.join()}] in [${shape.join()}]`);
    return sum * extent + i;
  }, 0);
  return data[place] as number;
}

/** 1, 2, 3, … in a shape. */
export const counted = (...shape: number[]): Plain => ({ shape, data: Array.from({ length: sizeOf(shape) }, (_, i) => i + 1) });

/** Numbers of either sign with few digits, so that sums and products of them are exact in f32. */
export function mixed(shape: readonly number[], seed = 1): Plain {
  const uniform = uniformSource(seed);
  return { shape, data: Array.from({ length: sizeOf(shape) }, () => Math.round(uniform() * 64 - 32) / 8) };
}

/** Indices in the dtype of indices. */
export const indices = (data: readonly number[], shape: readonly number[] = [data.length], dtype: DType = "i32"): Plain => ({
  shape,
  data,
  dtype,
});

export const tensorOf = ({ shape, data, dtype = "f32" }: Plain, floats: DType = dtype): Tensor => {
  const values = Float64Array.from(data);
  return tensor(isFloat(dtype) ? values : [...values], { shape: [...shape], dtype: isFloat(dtype) ? floats : dtype });
};

export interface CompositeCase {
  readonly f: (...args: Tensor[]) => Tensor;
  readonly args: readonly Plain[];
  readonly expected: Plain;
  /** Whether the gradients are those of differences, to the second order. Default true. */
  readonly smooth?: boolean;
  /** What values may be off by, relative to those expected. Default 0. */
  readonly relative?: number;
}

export const on = (f: (...args: never[]) => Tensor, args: readonly Plain[], expected: Plain, smooth = true): CompositeCase => ({
  f: f as (...args: Tensor[]) => Tensor,
  args,
  expected,
  smooth,
});

const isNear = (x: number, expected: number, relative: number): boolean =>
  x === expected || (Number.isNaN(x) && Number.isNaN(expected)) || Math.abs(x - expected) <= relative * Math.abs(expected);

async function expectValues(found: Tensor, expected: Plain, name: string, relative = 0): Promise<void> {
  const { shape, data, dtype = found.dtype } = expected;
  expect([found.dtype, ...found.shape], name).toEqual([dtype, ...shape]);
  const numbers = [...(await found.data())];
  const wrong = numbers.findIndex((x, i) => !isNear(x, data[i] as number, relative));
  if (wrong >= 0) expect.fail(`${name}: element ${wrong} is ${numbers[wrong]}, not ${data[wrong]}`);
}

/** Tests that every case has its values exactly, on every backend, compiled, by `vmap`, and the gradients of its definition. */
export function testComposites(
  what: string,
  cases: Readonly<Record<string, readonly CompositeCase[]>>,
  /** Whether slow backends run some of the cases only, and the reference is not run a second time with its numbers rounded. */
  { thin = false, linear = false }: { readonly thin?: boolean; readonly linear?: boolean } = {},
): void {
  const all = Object.entries(cases).flatMap(([name, list]) => list.map((each, i) => ({ name: `${name} ${i + 1}`, ...each })));

  const variants = thin ? usedBackends() : backends();
  describe.each(variants)(`${what} on $name`, ({ create, stride }) => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await create();
      useBackend(backend);
    }, 60_000);
    afterAll(async () => {
      useBackend(undefined);
      await backend.close();
    });

    it("has the values of plain loops", async () => {
      const list = thinned(all, thin ? stride : 1);
      const found = list.map(({ f, args }) => f(...args.map((arg) => tensorOf(arg))));
      await realize(found);
      for (const [i, { name, expected, relative }] of list.entries()) await expectValues(found[i] as Tensor, expected, name, relative);
    });
  });

  describe(`${what} in f64`, () => {
    beforeAll(() => {
      useBackend(createReferenceBackend());
    });

    it("is the same compiled and for two examples at once", async () => {
      const batched = all.filter(({ args }) => args.length > 0);
      const run = compile((...args: Tensor[][]) => batched.map(({ f }, i) => vmap(f)(...(args[i] as Tensor[]))));
      const twice = ({ shape, data, ...rest }: Plain): Tensor =>
        tensorOf({ ...rest, shape: [2, ...shape], data: [...data, ...data] }, "f64");
      const found = run(...batched.map(({ args }) => args.map(twice)));
      for (const [i, { name, expected, relative }] of batched.entries()) {
        const { shape, data, dtype } = expected;
        const both = { shape: [2, ...shape], data: [...data, ...data] };
        await expectValues(found[i] as Tensor, dtype === undefined || isFloat(dtype) ? both : { ...both, dtype }, name, relative);
      }
    });

    it.each(Object.keys(cases))("%s has the gradients of differences, of order 1 and 2", async (name) => {
      let checked = 0;
      for (const { f, args, smooth } of cases[name] as readonly CompositeCase[]) {
        if (smooth === false) continue;
        const tensors = args.map((arg) => tensorOf(arg, "f64"));
        const variable = tensors.map(({ dtype }) => isFloat(dtype));
        if (!variable.some(Boolean)) continue;
        const of = (...floats: Tensor[]): Tensor => {
          let next = 0;
          const y = f(...tensors.map((t, i) => (variable[i] ? (floats[next++] as Tensor) : t)));
          return y.mul(y).mul(0.5).add(y);
        };
        await checkGrads(
          of,
          tensors.filter((_, i) => variable[i]),
          { order: linear && checked++ > 0 ? 1 : 2, places: linear ? 6 : 12 },
        );
      }
    });
  });
}
