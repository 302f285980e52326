import { checkArgument, number } from "../arguments.js";
import { add, cast, div, full, minimum, mul, sqrt, sum } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { mapTensors, type Tree, tensorsOf } from "../autograd/tree.js";
import { OptionError } from "../errors.js";
import { isFloat, summableDtype } from "../ir/dtype.js";

/** √Σ x² over every element of every tensor of floats of a tree, each tensor once: a scalar. Halves are squared in f32. */
export function globalNorm(tree: Tree): Tensor {
  const squares = [...new Set(tensorsOf(tree).map(({ tensor }) => tensor))].flatMap((tensor) => {
    if (!isFloat(tensor.dtype)) return [];
    const wide = cast(tensor, summableDtype(tensor.dtype));
    return [sum(mul(wide, wide))];
  });
  return sqrt(inPairs(squares));
}

/** The sum of scalars in a tree of additions, whose error grows with its depth and not with their number. */
function inPairs(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (first === undefined) return full([], 0);
  if (parts.length === 1) return first;
  const half = parts.length >> 1;
  return add(inPairs(parts.slice(0, half)), inPairs(parts.slice(half)));
}

/**
 * Scales all gradients (tensors of floats) by min(1, maxNorm/(‖g‖ + 10⁻⁶)), where ‖g‖ is their common norm (Pascanu et al. 2013; the small term
 * is PyTorch's). Returns the scaled gradients and the norm before, on the device. maxNorm = Infinity leaves them as they are.
 * Throws OptionError unless maxNorm > 0.
 */
export function clipByGlobalNorm<T>(grads: T, maxNorm: number): [grads: T, norm: Tensor] {
  checkArgument("clipByGlobalNorm", "maxNorm", maxNorm, number);
  if (!(maxNorm > 0)) throw new OptionError(`clipByGlobalNorm: maxNorm ${maxNorm} is not positive`, { hint: "1 is customary" });
  const norm = globalNorm(grads);
  if (maxNorm === Infinity) return [grads, norm];
  const factor = minimum(1, div(maxNorm, add(norm, 1e-6)));
  return [mapTensors(grads, (grad) => (isFloat(grad.dtype) ? cast(mul(grad, factor), grad.dtype) : grad)), norm];
}
