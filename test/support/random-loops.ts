import fc from "fast-check";
import { concat, gather, less, matmul, scan, scatterAdd, softmax, stack, type Tensor, tensor, transpose, where } from "../../src/index.js";
import { written } from "./region-cases.js";

/** One operation of a body: which, and its operands among the values so far, counted from the last. */
export interface RandomStep {
  readonly operation: number;
  readonly a: number;
  readonly b: number;
}

/** A loop over square matrices of one size. Values of its body are, in this order: constants, slices, carries, and what each step makes. */
export interface LoopRecipe {
  readonly carries: number;
  readonly slices: number;
  readonly steps: readonly RandomStep[];
  /** Which values are carried on and stacked, counted from the last. */
  readonly next: readonly number[];
  readonly stacked: readonly number[];
  readonly count: number;
  readonly reverse: boolean;
  /** A loop inside of the body, before its steps. */
  readonly inner: LoopRecipe | undefined;
}

const place = fc.nat({ max: 30 });
const step = fc.record({ operation: fc.nat({ max: 200 }), a: place, b: place });

const recipes = (depth: number): fc.Arbitrary<LoopRecipe> =>
  fc.integer({ min: 1, max: 3 }).chain((carries) =>
    fc.record({
      carries: fc.constant(carries),
      slices: fc.integer({ min: 0, max: 2 }),
      steps: fc.array(step, { minLength: 1, maxLength: 7 }),
      next: fc.array(place, { minLength: carries, maxLength: carries }),
      stacked: fc.array(place, { minLength: 0, maxLength: 2 }),
      count: fc.integer({ min: 1, max: 4 }),
      reverse: fc.boolean(),
      inner: depth > 1 ? fc.option(recipes(depth - 1), { nil: undefined, freq: 2 }) : fc.constant(undefined),
    }),
  );

/** Loops with loops inside, up to three deep. */
export const loopRecipes = recipes(3);

type Operation = (a: Tensor, b: Tensor, index: Tensor) => Tensor;

/** Operations on square matrices with values of order 1 for operands of order 1. */
const operations: readonly Operation[] = [
  (a) => a.tanh(),
  (a) => a.mul(0.5),
  (a, b) => a.add(b).mul(0.7),
  (a, b) => a.sub(b.mul(0.5)),
  (a, b) => a.mul(b).tanh(),
  (a) => transpose(a),
  (a) => a.flip(0),
  (a) => a.flip(1).mul(0.9),
  (a) => softmax(a),
  (a) => a.sub(a.mean(1, true)),
  (a, b) => a.mul(b.sum(0, true).tanh()),
  (a, b) => a.mul(0.5).add(b.sum().tanh()),
  (a) => a.max(1, true).add(a).mul(0.5),
  (a, b) => matmul(a, b).tanh(),
  (a, b) => a.mul(0.5).add(matmul(a, b).mul(0.1)),
  (a, b) => a.mul(0.5).add(matmul(b, b).mul(0.1)),
  (a, b) => a.add(matmul(transpose(b), b)).tanh(),
  (a, b) => a.mul(0.3).add(matmul(b, transpose(a)).tanh()),
  (a, _, index) => gather(a, index),
  (a, b, index) =>
    scatterAdd(a, index, a.shape[0] as number)
      .mul(0.2)
      .add(b.mul(0.5)),
  (a, b) => where(less(a, b), a, b),
  (a, b) => concat([a, b], 0).slice([[1, (a.shape[0] as number) + 1]]),
  (a) =>
    a
      .slice([[0, 1]])
      .expand(a.shape)
      .mul(0.9),
];

/** What a loop is given. */
export interface LoopArguments {
  readonly carry: Tensor[];
  readonly xs: Tensor[];
  readonly constants: Tensor[];
}

type Results = [carry: Tensor[], ys: Tensor[]];
type Loop = (recipe: LoopRecipe, given: LoopArguments, index: Tensor) => Results;

/** The step of a loop, in which inner loops are made by `loop`. */
function stepOf(recipe: LoopRecipe, constants: readonly Tensor[], index: Tensor, loop: Loop): (carry: Tensor[], x: Tensor[]) => Results {
  return (carry, x) => {
    const values = [...constants, ...x, ...carry];
    const at = (back: number): Tensor => values[values.length - 1 - (back % values.length)] as Tensor;
    const several = (count: number, from: number): Tensor[] => Array.from({ length: count }, (_, i) => at(from + i));
    const { inner } = recipe;
    if (inner !== undefined) {
      const xs = several(inner.slices, 0).map((_, i) => stack(several(inner.count, i)));
      const [last, ys] = loop(inner, { carry: several(inner.carries, 1), xs, constants: [at(0), at(2)] }, index);
      values.push(...last, ...ys.map((y) => y.mean(0)));
    }
    for (const { operation, a, b } of recipe.steps) {
      values.push((operations[operation % operations.length] as Operation)(at(a), at(b), index));
    }
    return [recipe.next.map(at), recipe.stacked.map(at)];
  };
}

/** The loop of a recipe. */
export const scanned: Loop = (recipe, { carry, xs, constants }, index) =>
  scan(stepOf(recipe, constants, index, scanned), carry, xs, { length: recipe.count, reverse: recipe.reverse });

/** The same, step after step. */
export const unrolled: Loop = (recipe, { carry, xs, constants }, index) => {
  const step = stepOf(recipe, constants, index, unrolled);
  const [last, ys] = written(step, carry, xs, recipe.count, recipe.reverse);
  return [last, ys];
};

/** Rows of a square matrix in another order, some of them twice where their number is even. */
export const indexOf = (size: number): Tensor =>
  tensor(
    Array.from({ length: size }, (_, i) => (i * 2 + 1) % size),
    { dtype: "i32" },
  );
