import { checkArgument, integer } from "../../arguments.js";
import { normalizeAxis } from "../../ir/shape.js";
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

/** Sums rows of x into `size` bins: y[s] = Σ x[i] over index[i] = s. An index outside of 0…size − 1 adds nothing. */
export function scatterAdd(x: Tensor, index: Tensor, size: number): Tensor {
  checkArgument("scatterAdd", "x", x, tensorKind);
  checkArgument("scatterAdd", "index", index, tensorKind);
  checkArgument("scatterAdd", "size", size, integer(0));
  return apply("scatterAdd", [x, index], { size });
}
