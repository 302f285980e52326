/** The tensors of a tree as they go into a safetensors file. */
import { data } from "../autograd/realize.js";
import { type Tree, tensorsOf } from "../autograd/tree.js";
import { DtypeError, NonFiniteError } from "../errors.js";
import { float32Tensor, type SafetensorsTensor } from "./safetensors.js";
import type { Trainable } from "./trainable.js";

/** The tensors of a tree, or those that are `chosen`, as f32, named by a prefix and their paths. Throws NonFiniteError where a number is none that f32 has. */
export async function readTree(tree: Tree, prefix: string, chosen: Trainable = () => true): Promise<[string, SafetensorsTensor][]> {
  const entries: [string, SafetensorsTensor][] = [];
  for (const { path, tensor } of tensorsOf(tree)) {
    if (!chosen(tensor, path)) continue;
    if (tensor.dtype !== "f32") throw new DtypeError(`${prefix}${path} is ${tensor.dtype}; checkpoints hold f32`);
    const values = (await data(tensor)) as Float32Array;
    requireFinite(prefix + path, values);
    entries.push([prefix + path, float32Tensor(values, tensor.shape)]);
  }
  return entries;
}

/** As f32, which is what a file holds: the reference backend has numbers that are infinite there. */
function requireFinite(name: string, values: ArrayLike<number>): void {
  for (let i = 0; i < values.length; i++) {
    const value = Math.fround(values[i] as number);
    if (Number.isFinite(value)) continue;
    throw new NonFiniteError(`${name} holds ${value} (element ${i} of ${values.length}), so nothing was saved`, {
      hint: "what was saved before is as it was; go on from there with a lower learning rate",
    });
  }
}
