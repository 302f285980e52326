import fc from "fast-check";
import { afterAll, beforeAll, describe, expect } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import { compile, grad, key, randn, type Tensor, tensor, useBackend } from "../../src/index.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";
import { indexOf, type LoopArguments, type LoopRecipe, loopRecipes, scanned, unrolled } from "../support/random-loops.js";

/** Loops whose carries are written over, in memory that is poisoned: whatever reads too late reads something else. */
const variants: readonly { name: string; create: () => Promise<Backend>; runs: number }[] = [
  { name: "reference", create: async () => createReferenceBackend(), runs: 40 },
  { name: "wasm on one thread", create: () => createWasmBackend({ threads: 1, poison: true }), runs: 60 },
  {
    name: "wasm on three threads, in the smallest chunks",
    create: () => createWasmBackend({ threads: 3, chunks: "finest", poison: true }),
    runs: 60,
  },
  { name: "wasm by definition", create: () => createWasmBackend({ threads: 2, kernels: "definitions", poison: true }), runs: 20 },
  { name: "webgpu with software kernels", create: () => createWebGpuBackend({ kernelClass: "software", poison: true }), runs: 8 },
  { name: "webgpu with GPU kernels", create: () => createWebGpuBackend({ kernelClass: "gpu", poison: true }), runs: 2 },
];

type Numbers = ArrayLike<number>;

/** A mean that depends on every element of every result in a way of its own. */
const weighted = (results: readonly Tensor[]): Tensor =>
  results.map((y, i) => y.mul(randn(key(100 + i), y.shape)).mean()).reduce((a, b) => a.add(b));

/** The numbers of the arguments of a recipe's loop, one list for each tensor. */
function numbersFor({ carries, slices, count }: LoopRecipe, size: number): Promise<Numbers[]> {
  useBackend(createReferenceBackend());
  const shapes = [...Array(carries).fill([size, size]), ...Array(slices).fill([count, size, size]), [size, size]] as number[][];
  return Promise.all(shapes.map((shape, i) => randn(key(i), shape).mul(0.7).data()));
}

/** Results of a loop, and with `derivatives` its gradient by everything it is given. */
async function resultsOf(
  backend: Backend,
  loop: typeof scanned,
  recipe: LoopRecipe,
  given: { numbers: readonly Numbers[]; size: number; derivatives: boolean },
): Promise<Numbers[]> {
  useBackend(backend);
  const { numbers, size, derivatives } = given;
  const { carries, slices, count } = recipe;
  const make = (from: number, to: number, shape: number[]): Tensor[] =>
    numbers.slice(from, to).map((values) => tensor(Float32Array.from(values), { shape }));
  const all: LoopArguments = {
    carry: make(0, carries, [size, size]),
    xs: make(carries, carries + slices, [count, size, size]),
    constants: make(carries + slices, numbers.length, [size, size]),
  };
  const index = indexOf(size);
  const run = compile((at: LoopArguments) => {
    const results = (inputs: LoopArguments): Tensor[] => loop(recipe, inputs, index).flat();
    if (!derivatives) return results(at);
    const { carry, xs, constants } = grad((inputs: LoopArguments) => weighted(results(inputs)))(at);
    return [...results(at), ...carry, ...xs, ...constants];
  });
  return Promise.all(run(all).map((y) => y.data()));
}

describe.each(variants)("loops with random bodies on $name", ({ create, runs }) => {
  let backend: Backend;
  const reference = createReferenceBackend();
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => backend.close());

  law(
    "scan is the loop, on every backend",
    "A loop with any body, loops in it too, is its steps written one after another, and so is its gradient by everything that it is given, on every backend and in poisoned memory.",
    { timeout: 60_000 },
    async () => {
      const holds = fc.asyncProperty(loopRecipes, fc.constantFrom(2, 5, 17), fc.boolean(), async (recipe, size, derivatives) => {
        const given = { numbers: await numbersFor(recipe, size), size, derivatives };
        const expected = await resultsOf(reference, unrolled, recipe, given);
        const found = await resultsOf(backend, scanned, recipe, given);
        expect(found.length).toBe(expected.length);
        found.forEach((values, i) => {
          const wanted = Array.from(expected[i] as Numbers);
          const scale = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-2);
          const worst = wanted.reduce((most, value, at) => Math.max(most, Math.abs(value - (values[at] as number))), 0);
          expect(worst / scale, `result ${i}`).toBeLessThan(2e-3);
        });
      });
      await fc.assert(holds, { seed: fuzzSeed(7), numRuns: runs });
    },
  );
});
