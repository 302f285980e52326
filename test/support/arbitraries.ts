import fc from "fast-check";
import { viewKinds } from "./views.js";

/** Even head dimensions from 4 to 64. */
export const headDims = fc.integer({ min: 2, max: 32 }).map((half) => 2 * half);

/** Vectors of a length, of numbers up to 4 in magnitude that f32 holds exactly. */
export const vectors = (length: number): fc.Arbitrary<number[]> =>
  fc.array(
    fc.integer({ min: -4096, max: 4096 }).map((value) => value / 1024),
    { minLength: length, maxLength: length },
  );

/** A query and a key of one even head dimension from 4 to 64. */
export const queriesAndKeys = headDims.chain((headDim) =>
  fc.record({ headDim: fc.constant(headDim), q: vectors(headDim), k: vectors(headDim) }),
);

/** A window L, a length R ≤ L, a scale g and a shift t that fits them: what one step of E²-LLM may draw. */
export const e2Draws = fc
  .record({ window: fc.integer({ min: 2, max: 64 }), g: fc.integer({ min: 1, max: 20 }) })
  .chain(({ window, g }) =>
    fc
      .integer({ min: 1, max: window })
      .chain((length) =>
        fc.record({ window: fc.constant(window), g: fc.constant(g), length: fc.constant(length), t: fc.nat(g * window - length) }),
      ),
  );

/** One step of a random computation: which operation, and which earlier values it takes, all modulo what there is. */
const graphSteps = fc.record({ operation: fc.nat(10_000), a: fc.nat(10_000), b: fc.nat(10_000) });

/** Directions for a random graph of some 5 to 25 operations: extents (1, small, around tile sizes, and long), values and steps. */
export const graphRecipes = fc.record({
  extents: fc
    .array(fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33, 65, 1201), { minLength: 1, maxLength: 3 })
    .filter((extents) => extents.reduce<number>((product, extent) => product * extent, 1) <= 100_000),
  seed: fc.nat(10_000),
  steps: fc.array(graphSteps, { minLength: 2, maxLength: 12 }),
});
export type GraphRecipe = typeof graphRecipes extends fc.Arbitrary<infer Recipe> ? Recipe : never;

/** A sum over some axes of up to 120,000 elements, most of them along one axis, and how its operand lies in memory. */
export const longSums = fc
  .record({
    long: fc.integer({ min: 100, max: 100_000 }),
    short: fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 2 }),
    place: fc.nat(2),
    reduced: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
    view: fc.constantFrom(...viewKinds),
    seed: fc.nat(999),
  })
  .map(({ long, short, place, reduced, view, seed }) => {
    const at = place % (short.length + 1);
    const shape = [...short.slice(0, at), long, ...short.slice(at)];
    // The long axis is always among those that are summed over.
    return { shape, axes: shape.flatMap((_, axis) => (axis === at || reduced[axis] ? [axis] : [])), view, seed };
  })
  .filter(({ shape }) => shape.reduce((product, extent) => product * extent, 1) <= 120_000);

/** Tensors of a safetensors file by name: any bytes, any dtype, up to four small extents (zeros among them). */
export const storedTensors = fc.uniqueArray(
  fc
    .record({
      name: fc.oneof(fc.string({ minLength: 1, unit: "binary" }), fc.constantFrom("__proto__", "constructor", "7", "model.norm.weight")),
      dtype: fc.constantFrom("F32", "F16", "BF16", "F64", "U8", "I32", "U64", "BOOL"),
      shape: fc.array(fc.nat(3), { maxLength: 4 }),
    })
    .chain(({ name, dtype, shape }) => {
      const elementBytes = { F32: 4, F16: 2, BF16: 2, F64: 8, U8: 1, I32: 4, U64: 8, BOOL: 1 }[dtype] as number;
      const bytes = shape.reduce((product, extent) => product * extent, elementBytes);
      const data = fc.uint8Array({ minLength: bytes, maxLength: bytes });
      return fc.record({ name: fc.constant(name), dtype: fc.constant(dtype), shape: fc.constant(shape), data });
    }),
  { selector: ({ name }) => name, maxLength: 6 },
);

/** A text as documents of given lengths; token i of the whole text is i, so a token says where it stands. */
export const numberedDocuments = (lengths: fc.Arbitrary<number[]>): fc.Arbitrary<{ name: string; tokens: Int32Array }[]> =>
  lengths.map((sizes) => {
    let next = 0;
    return sizes.map((size, index) => ({ name: `document ${index}`, tokens: Int32Array.from({ length: size }, () => next++) }));
  });

/** What happens to a buffer pool: sizes to acquire, or (by a number, modulo what is held) something to release. */
export const poolSteps = fc.array(
  fc.oneof(
    fc.record({ acquire: fc.oneof(fc.nat(2000), fc.nat(2 ** 22)), owner: fc.constantFrom("value", "program", "staging") }),
    fc.record({ release: fc.nat(1000) }),
  ),
  { maxLength: 60 },
);

/** What happens to a heap of 9 MiB: sizes to take, or (by a number, modulo what is held) something to give back or rename. */
export const heapSteps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        take: fc.oneof(fc.nat(300), fc.nat(40_000), fc.nat(5_000_000)),
        owner: fc.constantFrom("value", "program"),
      }),
    },
    { weight: 3, arbitrary: fc.record({ give: fc.nat(1000) }) },
    { weight: 1, arbitrary: fc.record({ rename: fc.nat(1000), owner: fc.constantFrom("value", "test") }) },
  ),
  { maxLength: 60, size: "max" },
);

/** Directions for a smooth function of two tensors [rows, columns], by operations that take earlier values. */
export const functionRecipes = fc.record({
  rows: fc.integer({ min: 1, max: 4 }),
  columns: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(10_000),
  steps: fc.array(graphSteps, { minLength: 1, maxLength: 8 }),
});
export type FunctionRecipe = typeof functionRecipes extends fc.Arbitrary<infer Recipe> ? Recipe : never;

/** Shapes of up to four small extents, zeros among them. */
export const smallShapes = fc.array(fc.constantFrom(0, 1, 1, 2, 3, 4), { maxLength: 4 });

/** Two shapes that broadcast together: extents of one shape left out in front or set to 1 in either. */
export const broadcastPairs = fc
  .array(fc.record({ extent: fc.integer({ min: 0, max: 4 }), left: fc.boolean(), right: fc.boolean() }), { maxLength: 4 })
  .chain((axes) =>
    fc.record({
      a: fc.nat(axes.length).map((cut) => axes.slice(cut).map(({ extent, left }) => (left ? 1 : extent))),
      b: fc.nat(axes.length).map((cut) => axes.slice(cut).map(({ extent, right }) => (right ? 1 : extent))),
    }),
  );

/** Nested arrays and objects whose leaves are small numbers. */
export const numberTrees: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.integer({ min: -9, max: 9 }),
    fc.array(tie("tree"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "b", "weight", "bias"), tie("tree"), { maxKeys: 3 }),
  ),
})).tree;

/** A chain of views: which movement, and two numbers that choose its parameters. */
export const viewChains = fc.record({
  shape: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
  steps: fc.array(fc.record({ view: fc.nat(10_000), a: fc.nat(10_000), b: fc.nat(10_000) }), { minLength: 1, maxLength: 6 }),
});
export type ViewChain = typeof viewChains extends fc.Arbitrary<infer Chain> ? Chain : never;
