import fc from "fast-check";
import { callable, checkArgument, checkOptions, integer, listOf, notNegative, type OptionKinds, oneOf, optional } from "../arguments.js";
import { type Flat, flatFunction, type Numbers, tensorOf, type Variable } from "../autograd/flat-function.js";
import { realize } from "../autograd/realize.js";
import type { Tensor } from "../autograd/tensor.js";
import { sizeOf } from "../ir/shape.js";
import { threefry2x32 } from "../ir/threefry.js";
import { expectSame, LawError, type LawName, laws } from "./laws.js";

export interface CheckLawsOptions {
  /** Which laws. Default all of them. */
  readonly laws?: readonly LawName[];
  /** Cases to generate. Default 10. */
  readonly runs?: number;
  /** Chooses the cases and the directions of derivatives. Default 0, so that every run is the same. */
  readonly seed?: number;
  /** Allowed difference, relative to the largest element of a tensor. Default 1e-9 in f64, 1e-3 in f32. */
  readonly relative?: number;
}

const kinds: OptionKinds<CheckLawsOptions> = {
  laws: optional(listOf(oneOf(...laws.map(({ name }) => name)))),
  runs: optional(integer(1)),
  seed: optional(integer(0, 2 ** 31 - 1)),
  relative: optional(notNegative),
};

/** For each argument of a function what it may be: an arbitrary, or a value. */
export type Cases<A extends readonly unknown[]> = { readonly [K in keyof A]: fc.Arbitrary<A[K]> | A[K] };

/**
 * Holds the {@link laws} of differentiation and transformation against f, at generated arguments: that derivatives of order 1 and 2 are
 * limits of differences, that forward and reverse are adjoint, that pullbacks are linear, Hessians symmetric, and that `compile`,
 * `checkpoint`, `vmap` and `scan` of f are f.
 *
 *   await checkLaws(swish, [tensors(shapes())]);
 *   await checkLaws((layer, x) => layer.call(x), [new Linear(…), tensors([2, 3])], { runs: 3 });
 *
 * Arguments are trees, and a module is one; each is given as a value or as a fast-check arbitrary of such. Floats are varied and differentiated
 * by, in f64 where the backend has it, all else is kept. f must be differentiable where it is examined: keep `tensors` away from
 * its kinks.
 *
 * @throws LawError that names the law that fails, says what it states, and shows the smallest arguments found for which it does
 */
export async function checkLaws<A extends readonly unknown[]>(
  f: (...args: A) => unknown,
  cases: Cases<A>,
  options: CheckLawsOptions = {},
): Promise<void> {
  checkArgument("checkLaws", "f", f, callable);
  checkArgument("checkLaws", "cases", cases, { wanted: "a list with an arbitrary or a value for each argument of f", fits: Array.isArray });
  checkOptions("checkLaws", options, kinds);
  const { runs = 10, seed = 0, relative } = options;
  const asked = laws.filter(({ name }) => options.laws?.includes(name) ?? true);
  const parts = cases.map((part) => (part instanceof fc.Arbitrary ? part : fc.constant(part)));
  const isConstant = !cases.some((part) => part instanceof fc.Arbitrary);
  const holds = fc.asyncProperty(fc.tuple(...parts), async (args) => {
    const { flat, variables } = await flatFunction("checkLaws", f, args as unknown as A);
    const examination = await examine(flat, variables, seed, relative);
    for (const law of asked) {
      try {
        await law.holds(examination);
      } catch (error) {
        const found = error instanceof Error ? error.message : String(error);
        throw new LawError(`checkLaws: the law "${law.name}" does not hold. ${law.statement}\nFound: ${found}\n${pointOf(variables)}`, {
          hint: "look at the rules of what the function is made of; laws of derivatives do not hold at kinks",
          cause: error,
        });
      }
    }
  });
  const { failed, errorInstance } = await fc.check(holds, { seed, numRuns: isConstant ? 1 : runs });
  if (failed) throw errorInstance;
}

/** Random directions and cotangents of a function at a point. */
export async function examine(f: Flat, variables: readonly Variable[], seed: number, relative?: number) {
  const draw = drawing(seed);
  const at = variables.map((variable) => tensorOf(variable));
  const other = variables.map((variable) => tensorOf(variable, variable.values.map((x) => 0.9 * x + 0.05) as Numbers));
  const like = (shapes: readonly { readonly shape: readonly number[]; readonly dtype: Variable["dtype"] }[]): Tensor[] =>
    shapes.map(({ shape, dtype }) => tensorOf({ path: "", shape, dtype, values: draw(dtype, sizeOf(shape)) }));
  const results = f(...at);
  await realize(results);
  const allowed = relative ?? (variables[0]?.dtype === "f64" ? 1e-9 : 1e-3);
  return {
    f,
    at,
    other,
    tangents: [like(at), like(at)] as const,
    cotangents: [like(results), like(results)] as const,
    same: (found: readonly Tensor[], expected: readonly Tensor[]) => expectSame(found, expected, allowed),
  };
}

/** Numbers of either sign between ½ and 1½ in magnitude. */
function drawing(seed: number): (dtype: Variable["dtype"], length: number) => Numbers {
  let counter = 0;
  return (dtype, length) =>
    (dtype === "f64" ? new Float64Array(length) : new Float32Array(length)).map(() => {
      const [word, sign] = threefry2x32(1, seed, counter++, 0);
      return (sign % 2 === 0 ? 1 : -1) * (0.5 + word / 2 ** 32);
    });
}

/** The arguments that vary as one can paste them, the large ones cut short. */
function pointOf(variables: readonly Variable[]): string {
  const shown = 24;
  return variables
    .map(({ path, shape, values }) => {
      const some = [...values.subarray(0, shown)].map((value) => (Object.is(value, -0) ? "-0" : String(value)));
      return `  ${path}: tensor([${some.join(", ")}${values.length > shown ? ", …" : ""}], { shape: [${shape.join(", ")}] })`;
    })
    .join("\n");
}
