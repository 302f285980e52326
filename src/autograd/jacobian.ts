import { callable, checkArgument, checkOptions, integer, oneOf, optional } from "../arguments.js";
import { GradientError, OptionError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";
import { differentiated, jvp, vjp } from "./grad.js";
import * as ops from "./operations.js";
import { tensorArguments } from "./region-trees.js";
import type { Tensor } from "./tensor.js";
import { vmap } from "./vmap.js";

export interface JacobianOptions {
  /** The argument to differentiate by, counted from 0. Default 0. */
  readonly argnum?: number;
  /**
   * "reverse": one pass back for each number of the value, all at once; for fewer of those than of the argument's. "forward": one tangent for
   * each number of the argument. Both give the same. Default "reverse".
   */
  readonly mode?: "forward" | "reverse";
}

/** Where tensors stand that derivatives by x have in its place: for a value y and an argument x, [shape of y…, shape of x…]. */
type Jacobian<R, X> = R extends Tensor ? X : { [K in keyof R]: Jacobian<R[K], X> };

/**
 * x ↦ ∂f/∂x: for a value y and an argument x the tensor J[i…, j…] = ∂y[i…]/∂x[j…] of shape [shape of y…, shape of x…]. Where they are trees,
 * a tree like the value, each tensor of which is a tree like the argument. Values that are no floats are refused: return them elsewhere.
 *
 *   jacobian((x) => x.mul(x))(tensor([1, 2]))     // [[2, 0], [0, 4]]
 *
 * @throws GradientError where f or the argument holds what has no derivative, OptionError where there is no argument `argnum`
 */
export function jacobian<A extends readonly unknown[], R, N extends number = 0>(
  f: (...args: A) => R,
  options: JacobianOptions & { readonly argnum?: N } = {},
): (...args: A) => Jacobian<R, A[N]> {
  checkArgument("jacobian", "f", f, callable);
  checkOptions("jacobian", options, { argnum: optional(integer(0)), mode: optional(oneOf("forward", "reverse")) });
  return (...args) => jacobianAt("jacobian", f, args, options) as Jacobian<R, A[N]>;
}

/**
 * x ↦ ∂²f/∂x² for a scalar f: H[i…, j…] = ∂²f/∂x[i…]∂x[j…], [shape of x…, shape of x…]; for a tree a tree of trees. The Jacobian of the gradient,
 * n passes side by side for n numbers; `hvp` gives one product with it in the time of one.
 */
export function hessian<A extends readonly unknown[], N extends number = 0>(
  f: (...args: A) => Tensor,
  options: { readonly argnum?: N } = {},
): (...args: A) => Jacobian<A[N], A[N]> {
  checkArgument("hessian", "f", f, callable);
  checkOptions("hessian", options, { argnum: optional(integer(0)) });
  const argnum = (options.argnum ?? 0) as N;
  const gradient = differentiated("hessian", f, argnum, false);
  return (...args) => jacobianAt("hessian", (...at: A) => gradient(...at)[1], args, { argnum }) as Jacobian<A[N], A[N]>;
}

function jacobianAt<A extends readonly unknown[], R>(
  where: string,
  f: (...args: A) => R,
  args: A,
  { argnum = 0, mode = "reverse" }: JacobianOptions,
): unknown {
  if (argnum >= args.length)
    throw new OptionError(`${where}: there is no argument ${argnum}, ${args.length} were passed`, { hint: "argnum counts from 0" });
  const ofOne = (x: unknown): R => f(...(args.map((arg, i) => (i === argnum ? x : arg)) as unknown as A));
  const x = numbersAsTensors(args[argnum]);
  return mode === "reverse" ? byRows(where, ofOne, x) : byColumns(where, ofOne, x);
}

/** A plain number as a scalar: what is differentiated by is a tensor. */
const numbersAsTensors = (x: unknown): unknown => (typeof x === "number" ? ops.full([], x) : x);

/** e₀, e₁, … of a tensor's numbers: [n, …shape]. */
const basis = ({ size, shape, dtype }: Tensor): Tensor => ops.reshape(ops.eye(size, { dtype }), [size, ...shape]);

/** Each tensor of a tree, beside zeros in the places of the others: the tree that has `at` in place `chosen`. */
const alone = (tensors: readonly Tensor[], chosen: number, at: Tensor): Tensor[] =>
  tensors.map((x, i) => (i === chosen ? at : ops.zerosLike(x)));

/** Rows: the pullback of each unit cotangent of the value. */
function byRows<R>(where: string, f: (x: unknown) => R, x: unknown): unknown {
  const [value, pullback] = vjp(f, x);
  const outputs = tensorArguments(value, `${where}: the function's value`);
  for (const [i, y] of outputs.tensors.entries())
    needFloat(where, y, `the value${outputs.paths[i] === "" ? "" : ` at ${outputs.paths[i]}`}`);
  const rows = outputs.tensors.map((y, i) => {
    const back = (unit: Tensor): unknown => pullback(outputs.rebuild(alone(outputs.tensors, i, unit)))[0];
    const stack = tensorArguments(vmap(back)(basis(y)), where);
    return stack.rebuild(stack.tensors.map((row) => ops.reshape(row, [...y.shape, ...row.shape.slice(1)])));
  });
  return outputs.rebuild(rows as unknown as Tensor[]);
}

/** Columns: the value's tangent for each unit tangent of the argument. */
function byColumns<R>(where: string, f: (x: unknown) => R, x: unknown): unknown {
  const inputs = tensorArguments(x, `${where}: the argument`);
  const columns = inputs.tensors.map((part, i) => {
    needFloat(where, part, "the argument");
    const forth = (unit: Tensor): R => jvp(f as (...xs: [unknown]) => R, [x], [inputs.rebuild(alone(inputs.tensors, i, unit))])[1];
    return tensorArguments(vmap(forth, { outAxes: -1 })(basis(part)), where);
  });
  const [first] = columns;
  if (first === undefined) throw new GradientError(`${where}: the argument holds no tensor`, { hint: "pass what to differentiate by" });
  const entries = first.tensors.map((_, k) =>
    inputs.rebuild(
      columns.map((column, i) => {
        const found = column.tensors[k] as Tensor;
        return ops.reshape(found, [...found.shape.slice(0, -1), ...(inputs.tensors[i] as Tensor).shape]);
      }),
    ),
  );
  return first.rebuild(entries as unknown as Tensor[]);
}

function needFloat(where: string, x: Tensor, what: string): void {
  if (!isFloat(x.dtype))
    throw new GradientError(`${where}: ${what} is ${x.dtype}, which has no derivative`, {
      hint: "return and differentiate by floats only",
    });
}
