import { checkArgument, flag } from "../../arguments.js";
import { type Axes, normalizeAxes } from "../../ir/shape.js";
import { tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";
import { reshape } from "./movement.js";
import { asNumbers } from "./operands.js";

/** Sums and extremes over axes. */

const reduction =
  (name: string, primitive: "sum" | "maxReduce" | "minReduce" | "argmax" | "argmin") =>
  (x: Tensor, axes?: Axes, keepDims = false): Tensor => {
    checkArgument(name, "x", x, tensorKind);
    checkArgument(name, "keepDims", keepDims, flag);
    const list = normalizeAxes(axes, x.rank, name);
    const numbers = asNumbers(x);
    if (list.length === 0 && primitive !== "argmax" && primitive !== "argmin") return numbers;
    const result = apply(primitive, [numbers], { axes: list });
    return keepDims
      ? reshape(
          result,
          x.shape.map((extent, i) => (list.includes(i) ? 1 : extent)),
        )
      : result;
  };

/** Σ x over the axes; 0 where there is nothing to add. bool counts in i32. */
export const sum = reduction("sum", "sum");
/** The largest over the axes, NaN where any is. Places that attain it share a derivative evenly. Throws ShapeError for an empty axis. */
export const max = reduction("max", "maxReduce");
/** The smallest over the axes, NaN where any is. Places that attain it share a derivative evenly. Throws ShapeError for an empty axis. */
export const min = reduction("min", "minReduce");
/** Position (i32) of the first largest element, in row-major order over the reduced axes. */
export const argmax = reduction("argmax", "argmax");
/** Position (i32) of the first smallest element, in row-major order over the reduced axes. */
export const argmin = reduction("argmin", "argmin");
