import { checkArgument, checkOptions, given, integer, optional } from "../../arguments.js";
import { ShapeError } from "../../errors.js";
import { isFloat, promote, readDType } from "../../ir/dtype.js";
import { broadcastShapes, show, sizeOf } from "../../ir/shape.js";
import { tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";
import { cast } from "./casts.js";
import { equal, greaterEqual, lessEqual } from "./comparisons.js";
import { type DTypeOption, dtypeOf, iota } from "./creation.js";
import { sub, where } from "./elementwise.js";
import { broadcastTo, reshape, squeeze, unsqueeze } from "./movement.js";
import { constant } from "./operands.js";

/** The identity, triangles and products of matrices. */

export interface EyeOptions extends DTypeOption {
  /** How many columns there are. Default n. */
  readonly columns?: number;
  /** The diagonal that has the ones: column − row. Default 0. */
  readonly k?: number;
}

/** The n × n identity matrix, or n rows with ones on another diagonal. */
export function eye(n: number, options: EyeOptions = {}): Tensor {
  checkArgument("eye", "n", n, integer(0));
  checkOptions("eye", options, { dtype: optional(given), columns: optional(integer(0)), k: optional(integer()) });
  const { dtype, columns = n, k = 0 } = options;
  const shape = [n, columns];
  return cast(equal(sub(iota(shape, 1), iota(shape, 0)), k), dtype === undefined ? "f32" : readDType("eye", dtype));
}

/** Rows ≤ columns − k kept, the rest 0. */
export const triu = (x: Tensor, k = 0): Tensor => triangle("triu", x, k, (diagonal) => greaterEqual(diagonal, k));
/** Rows ≥ columns − k kept, the rest 0. */
export const tril = (x: Tensor, k = 0): Tensor => triangle("tril", x, k, (diagonal) => lessEqual(diagonal, k));

function triangle(name: string, x: Tensor, k: number, keep: (diagonal: Tensor) => Tensor): Tensor {
  checkArgument(name, "x", x, tensorKind);
  checkArgument(name, "k", k, integer());
  if (x.rank < 2) throw new ShapeError(`${name}: a triangle needs two axes, not ${show(x.shape)}`, { hint: "x is […, m, n]" });
  // Column − row cannot overflow, as row + k may.
  return where(keep(sub(iota(x.shape, -1), iota(x.shape, -2))), x, constant(0, x.dtype));
}

/**
 * Matrix product over the last two axes, leading axes broadcast: [.., m, k] · [.., k, n] → [.., m, n].
 * A vector is taken as a row on the left and as a column on the right, and that axis is dropped again.
 *
 * Floats of different dtypes are multiplied as they are, so halves beside f32 are not copied; sums are taken in f32 at least. The result
 * has `dtype`, a float; by default that in which the operands meet, and f32 where both are integers. Throws ShapeError, DtypeError.
 */
export function matmul(a: Tensor, b: Tensor, options: DTypeOption = {}): Tensor {
  checkArgument("matmul", "a", a, tensorKind);
  checkArgument("matmul", "b", b, tensorKind);
  if (a.rank === 0 || b.rank === 0)
    throw new ShapeError(`matmul: a scalar is no matrix: ${show(a.shape)} and ${show(b.shape)}`, { hint: "use mul" });
  const common = promote(a.dtype, b.dtype);
  const meeting = isFloat(common) ? common : "f32";
  const dtype = dtypeOf("matmul", options, meeting);
  const [x, y] = [a.rank === 1 ? unsqueeze(a, 0) : a, b.rank === 1 ? unsqueeze(b, 1) : b].map((each) =>
    isFloat(each.dtype) ? each : cast(each, meeting),
  ) as [Tensor, Tensor];
  if (x.shape.at(-1) !== y.shape.at(-2)) {
    throw new ShapeError(
      `matmul: ${show(a.shape)} and ${show(b.shape)} do not chain: ${x.shape.at(-1)} columns meet ${y.shape.at(-2)} rows`,
      { hint: "[…, m, k] times […, k, n]: transpose one of them, or look for the axis that both share" },
    );
  }
  const batch = broadcastShapes(x.shape.slice(0, -2), y.shape.slice(0, -2), "matmul");
  let product: Tensor;
  if (y.rank === 2 && x.rank > 2) {
    // One matrix for every batch entry: the batch becomes more rows, so that one product serves all.
    const rows = reshape(x, [sizeOf(x.shape.slice(0, -1)), x.shape.at(-1) as number]);
    product = reshape(apply("dot", [rows, y], { dtype }), [...x.shape.slice(0, -1), y.shape[1] as number]);
  } else {
    product = apply("dot", [broadcastTo(x, [...batch, ...x.shape.slice(-2)]), broadcastTo(y, [...batch, ...y.shape.slice(-2)])], { dtype });
  }
  if (a.rank === 1) product = squeeze(product, -2);
  return b.rank === 1 ? squeeze(product, -1) : product;
}
