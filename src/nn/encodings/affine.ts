import { split, uniform } from "../../autograd/random.js";
import type { Tensor } from "../../autograd/tensor.js";
import type { Shape } from "../../ir/shape.js";

/** Weight and bias of a layer, for whose inputs and outputs the module that has it knows the axes. */
export class Affine {
  weight: Tensor; // [out, in, …]
  bias: Tensor; // [out]

  /** Both from U(−1/√n, 1/√n), n the inputs of one output, as PyTorch draws them. */
  constructor(shape: Shape, key: Tensor) {
    const high = 1 / Math.sqrt(shape.slice(1).reduce((n, extent) => n * extent, 1));
    const [ofWeight, ofBias] = split(key) as [Tensor, Tensor];
    this.weight = uniform(ofWeight, shape, { low: -high, high });
    this.bias = uniform(ofBias, [shape[0] as number], { low: -high, high });
  }
}
