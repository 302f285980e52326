import { checkArgument, integer } from "../../arguments.js";
import { ShapeError } from "../../errors.js";
import { normalizeAxis, sameShape, show } from "../../ir/shape.js";
import { tensorKind } from "../kinds.js";
import { apply, type Tensor } from "../tensor.js";
import { permute } from "./movement.js";

/** Rows picked, and summed, by tensors of indices. */

/**
 * Rows of x along `axis` (default 0) picked by an integer tensor, whose shape takes the place of that axis. An index outside of
 * 0…n − 1, negative ones included, gives NaN (0 for integers and bool), and no derivative.
 */
export function gather(x: Tensor, index: Tensor, axis = 0): Tensor {
  checkArgument("gather", "x", x, tensorKind);
  checkArgument("gather", "index", index, tensorKind);
  const along = normalizeAxis(axis, x.rank, "gather");
  if (along === 0) return apply("gather", [x, index], {});
  const others = x.shape.map((_, i) => i).filter((i) => i !== along);
  const picked = apply("gather", [permute(x, [along, ...others]), index], {});
  const order = [
    ...others.slice(0, along).map((_, i) => index.rank + i),
    ...index.shape.map((_, i) => i),
    ...others.slice(along).map((_, i) => index.rank + along + i),
  ];
  return permute(picked, order);
}
/** The same as {@link gather}. */
export function take(x: Tensor, index: Tensor, axis = 0): Tensor {
  checkArgument("take", "x", x, tensorKind);
  normalizeAxis(axis, x.rank, "take");
  return gather(x, index, axis);
}

/**
 * Sums rows of x along `axis` (default 0) into `size` bins: y[…, s, …] = Σ x[…, i, …] over index[i] = s, which undoes what `gather` picks. The
 * axes of the index stand in x from `axis` on, and the bins take their place: x [...before, ...index.shape, ...after] → [...before, size, ...after].
 * An index outside of 0…size − 1 adds nothing. Throws ShapeError, DtypeError.
 */
export function scatterAdd(x: Tensor, index: Tensor, size: number, axis = 0): Tensor {
  checkArgument("scatterAdd", "x", x, tensorKind);
  checkArgument("scatterAdd", "index", index, tensorKind);
  checkArgument("scatterAdd", "size", size, integer(0));
  checkArgument("scatterAdd", "axis", axis, integer());
  // An index of no axes names one bin for all of x, before any of its axes.
  const along = normalizeAxis(axis, Math.max(1, x.rank), "scatterAdd");
  if (along === 0) return apply("scatterAdd", [x, index], { size });
  const taken = index.shape.map((_, i) => along + i);
  if (!sameShape(x.shape.slice(along, along + index.rank), index.shape)) {
    throw new ShapeError(`scatterAdd: ${show(x.shape)} does not have the shape ${show(index.shape)} of the index from axis ${along} on`, {
      hint: "x is [...before, ...index.shape, ...after], with as many axes before as axis says",
    });
  }
  const others = x.shape.map((_, i) => i).filter((i) => !taken.includes(i));
  const summed = apply("scatterAdd", [permute(x, [...taken, ...others]), index], { size });
  const order = others.map((_, i) => i + 1);
  return permute(summed, [...order.slice(0, along), 0, ...order.slice(along)]);
}
