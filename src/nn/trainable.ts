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
  const chosen = tensorsOf(parts[0]);
  if (chosen.length === 0) {
    const paths = tensorsOf(tree).map(({ path }) => path);
    throw new OptionError("trainable selects no tensor of floats, so there is nothing to train", {
      hint: `it is called with each tensor and its path: ${paths.slice(0, 3).join(", ")}${paths.length > 3 ? ", …" : ""}`,
    });
  }
  refuseTorn("trainable", chosen, tensorsOf(parts[1]));
  return parts;
}

/** A tensor of a tree with its path. */
type Placed = ReturnType<typeof tensorsOf>[number];

/** Throws OptionError where a predicate selects a tensor at one of its places and not at another. */
export function refuseTorn(predicate: string, selected: readonly Placed[], rest: readonly Placed[]): void {
  const left = new Map(rest.map(({ tensor, path }) => [tensor, path]));
  const torn = selected.find(({ tensor }) => left.has(tensor));
  if (torn === undefined) return;
  throw new OptionError(`${predicate} selects ${torn.path} and not ${left.get(torn.tensor)}, and one tensor stands at both`, {
    hint: "answer the same for all places of a tensor, or untie them",
  });
}
