import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import type { PrimitiveName } from "../../src/ir/primitives.js";
import { graphRecipes } from "../support/arbitraries.js";
import { backendVariants } from "../support/backends.js";
import { barrierPicks, withBarriers } from "../support/barriers.js";
import { difference } from "../support/compare.js";
import { confused } from "../support/confused-backend.js";
import { type Computation, compute, type HostTensor } from "../support/graphs.js";
import { law } from "../support/law.js";
import { randomComputation } from "../support/random-graphs.js";
import { inCall, inLoop, sliceOf } from "../support/regions.js";
import { unitRoundoff } from "../support/tolerances.js";

const reference = createReferenceBackend();

/** The first difference between a backend and the reference that rounding does not explain. */
async function firstDifference(backend: Backend, computation: Computation, errors: readonly number[]): Promise<string | undefined> {
  const expected = await compute(reference, computation);
  const found = await compute(backend, computation);
  for (const [i, wanted] of expected.entries()) {
    const error = errors[i] as number;
    const message = difference(found[i] as HostTensor, wanted, (value) => (error === 0 ? 0 : error + unitRoundoff * Math.abs(value)));
    if (message !== undefined) return `output ${i}: ${message}\n${reference.compile(computation.graph).describe()}`;
  }
  return undefined;
}

const agrees = (backend: Backend) =>
  fc.asyncProperty(graphRecipes, async (recipe) => {
    const { computation, errors } = randomComputation(recipe);
    const message = await firstDifference(backend, computation, errors);
    if (message !== undefined) throw new Error(message);
  });

/** Barriers keep computations apart that would be one, and change where kernels begin and end, but no value. */
const agreesWithBarriers = (backend: Backend) =>
  fc.asyncProperty(graphRecipes, barrierPicks, async (recipe, picks) => {
    const { computation, errors } = randomComputation(recipe);
    const message = await firstDifference(backend, { ...computation, graph: withBarriers(computation.graph, picks) }, errors);
    if (message !== undefined) throw new Error(message);
  });

/** A call means its body, and each step of a loop means its body at that step's slices, with and without barriers inside and outside. */
const agreesInRegions = (backend: Backend) =>
  fc.asyncProperty(
    graphRecipes,
    fc.boolean(),
    fc.constantFrom(0 as const, 1 as const),
    fc.option(barrierPicks, { nil: undefined }),
    async (recipe, reverse, slice, picks) => {
      const { computation, errors } = randomComputation(recipe);
      const held = (of: Computation): Computation => (picks === undefined ? of : { ...of, graph: withBarriers(of.graph, picks) });
      const looped = held(inLoop(held(computation), reverse, slice).computation);
      const expected = await compute(reference, computation);
      const ways = [
        await compute(backend, held(inCall(held(computation)))),
        (await compute(backend, looped)).map((stack) => sliceOf(stack, slice)),
      ];
      for (const found of ways) {
        for (const [i, wanted] of expected.entries()) {
          const allowance = (value: number): number => (errors[i] === 0 ? 0 : (errors[i] as number) + unitRoundoff * Math.abs(value));
          const message = difference(found[i] as HostTensor, wanted, allowance);
          if (message !== undefined) throw new Error(`output ${i}: ${message}\n${reference.compile(looped.graph).describe()}`);
        }
      }
    },
  );

const seed = 20_26;

describe.each(backendVariants())("$name agrees with the reference on", ({ create, graphs }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  law(
    "every backend is the reference: graphs",
    "Each backend computes every output of a random graph within the bound that rounding errors, followed operation by operation, allow; fused and unfused, by hand-written kernels and by definitions.",
    { timeout: 240_000 },
    async () => {
      await fc.assert(agrees(backend), { seed, numRuns: graphs });
    },
  );

  law(
    "barriers change no value",
    "Barriers keep computations apart and change where kernels begin and end, but no value.",
    { timeout: 120_000 },
    async () => {
      await fc.assert(agreesWithBarriers(backend), { seed: seed + 1, numRuns: Math.ceil(graphs / 4) });
    },
  );

  law(
    "a call is its body",
    "A call means exactly its body, and a loop its body at each step, whether they are lowered or inlined, on every backend.",
    { timeout: 240_000 },
    async () => {
      await fc.assert(agreesInRegions(backend), { seed: seed + 2, numRuns: Math.ceil(graphs / 2) });
    },
  );
});

describe("random graphs reveal a backend that takes", () => {
  const confusions: readonly (readonly [PrimitiveName, PrimitiveName])[] = [
    ["sub", "add"],
    ["max", "min"],
    ["tanh", "erf"],
    ["maxReduce", "minReduce"],
    ["sum", "maxReduce"],
    ["flip", "alias"],
    ["recip", "sqrt"],
    ["lt", "eq"],
    ["floor", "sign"],
    ["log", "sqrt"],
  ];
  it.each(confusions)("%s for %s", async (wrong, taken) => {
    const { failed } = await fc.check(agrees(confused(createReferenceBackend(), wrong, taken)), { seed, numRuns: 100, endOnFailure: true });
    expect(failed).toBe(true);
  });
});

describe("the error bounds of random graphs", () => {
  it("are small for most outputs, so that agreement means something", () => {
    const errors = fc.sample(graphRecipes, { seed, numRuns: 200 }).flatMap((recipe) => randomComputation(recipe).errors);
    expect(errors.filter((error) => error < 1e-2).length / errors.length).toBeGreaterThan(0.8);
  });

  it("graphs have up to some 60 nodes and reach every kind of operation", () => {
    const graphs = fc.sample(graphRecipes, { seed, numRuns: 300 }).map((recipe) => randomComputation(recipe).computation.graph);
    const reached = new Set(graphs.flatMap(({ nodes }) => nodes.map((node) => (node.kind === "operation" ? node.primitive : node.kind))));
    expect([...reached].sort()).toEqual(
      expect.arrayContaining([
        "dot",
        "gather",
        "scatterAdd",
        "sum",
        "maxReduce",
        "exp",
        "where",
        "cast",
        "permute",
        "expand",
        "pad",
        "concat",
        "scalar",
      ]),
    );
  });
});
