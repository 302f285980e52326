import { checkArgument, either, integer, listOf } from "../arguments.js";
import { ShapeError } from "../errors.js";
import { normalizeAxis, show } from "../ir/shape.js";
import { einsum } from "./einsum.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { ravel } from "./rearranging.js";
import type { Tensor } from "./tensor.js";

/** Products of tensors that are Einstein sums: floats as in `matmul`, integers stay integers. */

function checkOperands(where: string, a: Tensor, b: Tensor): void {
  checkArgument(where, "a", a, tensorKind);
  checkArgument(where, "b", b, tensorKind);
}

/** aᵢ·bⱼ of all elements, in row-major order: [size of a, size of b]. */
export function outer(a: Tensor, b: Tensor): Tensor {
  checkOperands("outer", a, b);
  return einsum("i,j->ij", ravel(a), ravel(b));
}

/**
 * Products summed over axes: over the last `axes` of a and the first of b (2 unless said otherwise), or over axes of a paired with axes of b,
 * [[1, 0], [0, 1]]. The axes that are left stay in their order, those of a first. 0 gives all products. Throws ShapeError where extents differ.
 */
export function tensordot(
  a: Tensor,
  b: Tensor,
  axes: number | readonly [ofA: number | readonly number[], ofB: number | readonly number[]] = 2,
): Tensor {
  checkOperands("tensordot", a, b);
  const pair = either(integer(), listOf(integer()));
  checkArgument(
    "tensordot",
    "axes",
    axes,
    either(integer(0), {
      wanted: "a pair of axes or lists of axes",
      fits: (given) => listOf(pair).fits(given) && (given as unknown[]).length === 2,
    }),
  );
  return paired("tensordot", a, b, axes);
}

function paired(
  where: string,
  a: Tensor,
  b: Tensor,
  axes: number | readonly [number | readonly number[], number | readonly number[]],
): Tensor {
  if (typeof axes === "number" && axes > Math.min(a.rank, b.rank))
    throw new ShapeError(`${where}: ${show(a.shape)} and ${show(b.shape)} have no ${axes} axes to sum over`, {
      hint: "both need as many axes as are summed over; tensordot(a, b, 0) is the outer product",
    });
  const [ofA, ofB] = (
    typeof axes === "number"
      ? [Array.from({ length: axes }, (_, i) => a.rank - axes + i), Array.from({ length: axes }, (_, i) => i)]
      : axes.map((list, side) =>
          (typeof list === "number" ? [list] : list).map((axis) => normalizeAxis(axis, [a, b][side]?.rank as number, where)),
        )
  ) as [number[], number[]];
  const fits = ofA.length === ofB.length && new Set(ofA).size === ofA.length && new Set(ofB).size === ofB.length;
  if (!fits || ofA.some((axis, i) => a.shape[axis] !== b.shape[ofB[i] as number])) {
    throw new ShapeError(`${where}: axes ${show(ofA)} of ${show(a.shape)} and ${show(ofB)} of ${show(b.shape)} do not pair`, {
      hint: "axes that are summed over have the same extent in both",
    });
  }
  if (a.rank + b.rank > letters.length) throw new ShapeError(`${where}: ${a.rank} and ${b.rank} axes are more than can be named`);
  const names = [...letters];
  const first = a.shape.map(() => names.shift() as string);
  const second = b.shape.map((_, axis) =>
    ofB.includes(axis) ? (first[ofA[ofB.indexOf(axis)] as number] as string) : (names.shift() as string),
  );
  const result = [...first, ...second].filter((_, i) => (i < a.rank ? !ofA.includes(i) : !ofB.includes(i - a.rank)));
  return einsum(`${first.join("")},${second.join("")}->${result.join("")}`, a, b);
}
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Products summed over the last axes of both: y[i…, j…] = Σₖ a[i…, k]·b[j…, k]; of a scalar and anything their product. */
export function inner(a: Tensor, b: Tensor): Tensor {
  checkOperands("inner", a, b);
  return a.rank === 0 || b.rank === 0 ? ops.mul(a, b) : paired("inner", a, b, [-1, -1]);
}

/**
 * NumPy's dot: of vectors the sum of their products, of matrices their product, else Σₖ a[i…, k]·b[j…, k, n] for all i and j, which `matmul` does
 * for i = j alone; of a scalar and anything their product.
 */
export function dot(a: Tensor, b: Tensor): Tensor {
  checkOperands("dot", a, b);
  return a.rank === 0 || b.rank === 0 ? ops.mul(a, b) : paired("dot", a, b, [-1, b.rank === 1 ? 0 : -2]);
}

/** Σ aᵢ·bᵢ over all elements in row-major order. */
export function vdot(a: Tensor, b: Tensor): Tensor {
  checkOperands("vdot", a, b);
  if (a.size !== b.size)
    throw new ShapeError(`vdot: ${show(a.shape)} and ${show(b.shape)} have ${a.size} and ${b.size} elements`, {
      hint: "both have as many",
    });
  return paired("vdot", ravel(a), ravel(b), 1);
}

/** Kronecker product: each element of a times all of b, y[i·p + k, j·q + l] = a[i, j]·b[k, l] for b [p, q]; missing leading axes are 1. */
export function kron(a: Tensor, b: Tensor): Tensor {
  checkOperands("kron", a, b);
  const rank = Math.max(a.rank, b.rank);
  const extents = (x: Tensor): number[] => [...new Array<number>(rank - x.rank).fill(1), ...x.shape];
  const [ofA, ofB] = [extents(a), extents(b)];
  const x = ops.reshape(
    a,
    ofA.flatMap((extent) => [extent, 1]),
  );
  const y = ops.reshape(
    b,
    ofB.flatMap((extent) => [1, extent]),
  );
  return ops.reshape(
    ops.mul(x, y),
    ofA.map((extent, i) => extent * (ofB[i] as number)),
  );
}
