import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import {
  checkGrads,
  compile,
  grad,
  jvp,
  key,
  ones,
  randn,
  realize,
  scan,
  type Tensor,
  tensor,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import { backendVariants, thinned } from "../support/backends.js";
import type { RegionCase } from "../support/region-case.js";
import { regionCases } from "../support/region-cases.js";

/** Arguments of a case, small numbers. */
const argumentsOf = ({ shapes }: RegionCase): Tensor[] => shapes.map((shape, i) => randn(key(i + 1), shape).mul(0.5));

/** A scalar that depends on every element of every result in a way of its own. */
const weighted = (results: readonly Tensor[]): Tensor =>
  results.map((y, i) => y.mul(randn(key(100 + i), y.shape)).sum()).reduce((a, b) => a.add(b));

const relative = (found: ArrayLike<number>, expected: ArrayLike<number>): number => {
  let [worst, size] = [0, 1e-3];
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs((found[i] as number) - (expected[i] as number)));
    size = Math.max(size, Math.abs(expected[i] as number));
  }
  return found.length === expected.length && Number.isFinite(worst) ? worst / size : Number.POSITIVE_INFINITY;
};

/** Everything that is asked of a function: its results, its gradient, the gradient's own, and a directional derivative. */
function everything(f: (...args: Tensor[]) => Tensor[], args: Tensor[]): Tensor[] {
  const loss = (all: Tensor[]): Tensor => weighted(f(...all));
  const [value, gradient] = valueAndGrad(loss)(args);
  const second = grad((all: Tensor[]) => weighted(grad(loss)(all)))(args);
  const tangents = args.map((arg, i) => randn(key(200 + i), arg.shape));
  const [, tangent] = jvp((all: Tensor[]) => f(...all), [args], [tangents]);
  return [...f(...args), value, ...gradient, ...second, ...tangent];
}

/** Variants on which each case is a program to compile for a driver run some of them. */
describe.each(backendVariants())("calls and loops on $name", ({ create, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => backend.close());

  it.each(thinned(regionCases, Math.min(stride, 16)))("$name: values and derivatives are those of the same written out", async (each) => {
    useBackend(createReferenceBackend());
    const args = argumentsOf(each);
    await realize(args);
    const expected = everything(each.plain, args);
    const numbers = await Promise.all(expected.map((y) => y.data()));
    const host = await Promise.all(args.map((arg) => arg.data()));
    useBackend(backend);
    const inputs = args.map((arg, i) => tensor(Float32Array.from(host[i] as ArrayLike<number>), { shape: arg.shape }));
    const results = compile((all: Tensor[]) => everything(each.f, all))(inputs);
    const found = await Promise.all(results.map((y) => y.data()));
    expect(found.length).toBe(numbers.length);
    found.forEach((values, i) => {
      expect(relative(values, numbers[i] as ArrayLike<number>), `result ${i}`).toBeLessThan(2e-3);
    });
  });
});

describe("calls and loops in f64", () => {
  it.each(regionCases)("$name: derivatives of both orders are those of central differences", async (each) => {
    useBackend(createReferenceBackend());
    const args = argumentsOf(each).map((arg) => arg.cast("f64"));
    await realize(args);
    await expect(
      checkGrads((...all: Tensor[]) => each.f(...all) as never, args as never, { order: 2, places: 6 }),
    ).resolves.toBeUndefined();
  });
});

describe("sums over the steps of a loop", () => {
  it.each(["bf16", "f16"] as const)("of the cotangents of %s are added up in f32", async (dtype) => {
    const backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
    const steps = 3000;
    const loss = (w: Tensor): Tensor =>
      scan((none: null, x: Tensor) => [none, w.mul(x)], null, ones([steps], { dtype }))[1]
        .cast("f32")
        .sum();
    const gradient = grad(loss)(tensor(1, { dtype }));
    expect(gradient.dtype).toBe(dtype);
    // 3000 ones: bf16 alone stops at 256, f16 at 2048.
    expect(Math.abs((await gradient.item()) - steps)).toBeLessThanOrEqual(8);
    await backend.close();
  });
});
