import { describe } from "../arguments.js";
import { GradientError } from "../errors.js";
import { type DType, isFloat } from "../ir/dtype.js";
import type { Shape } from "../ir/shape.js";
import { data } from "./realize.js";
import { currentBackend } from "./runtime.js";
import { fromHost, Tensor } from "./tensor.js";
import { flattenTree } from "./tree.js";

/** Numbers in the precision in which functions are examined: f64 where the backend has it. */
export type Numbers = Float64Array | Float32Array;

/** A function of float tensors alone, with a list of float tensors for results. */
export type Flat = (...variables: Tensor[]) => Tensor[];

/** A float among the arguments of a function: where it stands, and its numbers. */
export interface Variable {
  readonly path: string;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly values: Numbers;
}

/** The tensor of a variable, or one of other numbers in its place. */
export const tensorOf = ({ shape, dtype, values }: Variable, numbers: Numbers = values): Tensor => fromHost(shape, dtype, numbers);

/**
 * A function of trees as one of the floats among the leaves of its arguments, tensors and numbers, with all else kept as it is, and these
 * floats in f64 where the backend has it, else in f32. Of its value it keeps the float tensors.
 *
 * @throws GradientError if no argument is a float, or, when it is called, if no result is
 */
export async function flatFunction<A extends readonly unknown[]>(
  where: string,
  f: (...args: A) => unknown,
  args: A,
): Promise<{ readonly flat: Flat; readonly variables: readonly Variable[] }> {
  const wide = currentBackend().info.dtypes.has("f64");
  const { leaves, paths, shape } = flattenTree(args, `${where}: the list of arguments`);
  const isVariable = (leaf: unknown): leaf is Tensor | number =>
    typeof leaf === "number" || (leaf instanceof Tensor && isFloat(leaf.dtype));
  const variables: Variable[] = [];
  for (const [i, leaf] of leaves.entries()) {
    if (!isVariable(leaf)) continue;
    const numbers = typeof leaf === "number" ? [leaf] : await data(leaf);
    variables.push({
      path: `argument ${paths[i]}`,
      shape: typeof leaf === "number" ? [] : leaf.shape,
      dtype: wide ? "f64" : "f32",
      values: wide ? Float64Array.from(numbers) : Float32Array.from(numbers),
    });
  }
  if (variables.length === 0) throw new GradientError(`${where}: no argument is a float`, { hint: "pass float tensors or numbers" });
  const flat: Flat = (...given) => {
    let next = 0;
    const inner = shape.build(leaves.map((leaf) => (isVariable(leaf) ? given[next++] : leaf))) as unknown as A;
    const value = f(...inner);
    const outputs = flattenTree(value, `${where}: the function's value`).leaves.filter(
      (leaf): leaf is Tensor => leaf instanceof Tensor && isFloat(leaf.dtype),
    );
    if (outputs.length === 0)
      throw new GradientError(`${where}: the function returned no float tensor: ${describe(value)}`, {
        hint: "return what tensor operations made",
      });
    return outputs;
  };
  return { flat, variables };
}
