import { callable, checkArgument, optional } from "../arguments.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { type Part, partition } from "../autograd/tree-parts.js";
import { OptionError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";

/** Which tensors of a tree are trained. Integers and bools never are, whatever it says. */
export type Trainable = (tensor: Tensor, path: string) => boolean;

/**
 * The part of a tree that is trained and the rest, by a predicate; without one every tensor of floats is trained. An optimizer's state
 * for a training with that predicate is `optimizer.init(trainablePart(model, trainable)[0])`.
 *
 * Throws OptionError where the predicate selects no tensor, or one at some of its places and not at others.
 */
export function trainablePart<T>(tree: T, trainable?: Trainable): [trained: Part<T>, rest: Part<T>] {
  checkArgument("trainablePart", "trainable", trainable, optional(callable));
  const parts = partition(tree, (tensor, path) => isFloat(tensor.dtype) && (trainable?.(tensor, path) ?? true));
  if (tensorsOf(parts[0]).length === 0) {
    const paths = tensorsOf(tree).map(({ path }) => path);
    throw new OptionError("trainable selects no tensor of floats, so there is nothing to train", {
      hint: `it is called with each tensor and its path: ${paths.slice(0, 3).join(", ")}${paths.length > 3 ? ", …" : ""}`,
    });
  }
  const frozen = new Map(tensorsOf(parts[1]).map(({ tensor, path }) => [tensor, path]));
  const torn = tensorsOf(parts[0]).find(({ tensor }) => frozen.has(tensor));
  if (torn !== undefined) {
    throw new OptionError(`trainable selects ${torn.path} and not ${frozen.get(torn.tensor)}, and one tensor stands at both`, {
      hint: "answer the same for all places of a tensor, or untie them",
    });
  }
  return parts;
}
