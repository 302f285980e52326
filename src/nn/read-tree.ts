/** The tensors of a tree as they go into a safetensors file. */
import { data } from "../autograd/realize.js";
import { type Tree, tensorsOf } from "../autograd/tree.js";
import { DtypeError } from "../errors.js";
import { float32Tensor, type SafetensorsTensor } from "./safetensors.js";
import { requireFinite } from "./saved-tensors.js";
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
