import { checkArgument, number } from "../arguments.js";
import { isFloat } from "../autograd/dtype.js";
import { add, div, full, minimum, mul, sqrt, sum } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { mapTensors, type Tree, tensorsOf } from "../autograd/tree.js";
import { OptionError } from "../errors.js";

/** √Σ x² over every element of every tensor of floats of a tree: a scalar. */
export function globalNorm(tree: Tree): Tensor {
  const squares = tensorsOf(tree).flatMap(({ tensor }) => (isFloat(tensor.dtype) ? [sum(mul(tensor, tensor))] : []));
  return sqrt(squares.reduce((total, part) => add(total, part), full([], 0)));
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
  return [mapTensors(grads, (grad) => (isFloat(grad.dtype) ? mul(grad, factor) : grad)), norm];
}
