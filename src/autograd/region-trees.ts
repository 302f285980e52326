import { describe } from "../arguments.js";
import { UsageError } from "../errors.js";
import { Tensor } from "./tensor.js";
import { flattenTree, type Tree } from "./tree.js";
import { WeakScalar } from "./weak-scalar.js";

/** The tensors of a tree, and the tree with others in their places. */
export interface TensorsOfTree<T> {
  readonly tensors: readonly Tensor[];
  /** "args.0.weight" for each tensor. */
  readonly paths: readonly string[];
  readonly key: string;
  /** The other leaves. */
  readonly others: readonly unknown[];
  rebuild(tensors: readonly Tensor[]): T;
}

function split<T extends Tree>(tree: T, owner: string, counts: (leaf: unknown) => leaf is Tensor): TensorsOfTree<T> {
  const { leaves, paths, shape } = flattenTree(tree, owner);
  const places = leaves.flatMap((leaf, i) => (counts(leaf) ? [i] : []));
  return {
    tensors: places.map((place) => leaves[place] as Tensor),
    paths: places.map((place) => paths[place] as string),
    key: `${shape.key} ${places.join()}`,
    others: leaves.filter((leaf) => !counts(leaf)),
    rebuild: (tensors) => {
      const all = [...leaves];
      places.forEach((place, k) => {
        all[place] = tensors[k];
      });
      return shape.build(all) as T;
    },
  };
}

/**
 * The tensors among arguments. Plain numbers stay where they are, those of compiled functions too, so that they keep their weak type
 * inside of a call or a loop: what becomes of them there is an input that the body closes over.
 */
export const tensorArguments = <T extends Tree>(tree: T, owner: string): TensorsOfTree<T> =>
  split(tree, owner, (leaf): leaf is Tensor => leaf instanceof Tensor && !(leaf instanceof WeakScalar));

/** The tensors of what a function returned. Throws UsageError where there is none. */
export function tensorResults<T extends Tree>(value: T, where: string): TensorsOfTree<T> {
  const results = split(value, `${where}: the function's value`, (leaf): leaf is Tensor => leaf instanceof Tensor);
  if (results.tensors.length > 0) return results;
  throw new UsageError(`${where}: the function returned ${describe(value)}, which holds no tensor`, {
    hint: value instanceof Promise ? "it must not be async: await data before it" : "return what tensor operations made",
  });
}
