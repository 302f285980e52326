import { callable, checkArgument, describe } from "../arguments.js";
import { UsageError } from "../errors.js";
import { Tensor } from "./tensor.js";
import { copyBranch, flattenTree, isBranch, sameForm } from "./tree.js";

declare const whole: unique symbol;

type WithGaps<T> = T extends Tensor
  ? Tensor | null
  : T extends (...args: never[]) => unknown
    ? T
    : T extends object
      ? { [K in keyof T]: WithGaps<T[K]> }
      : T | null;

/** A tree of the form of T in which leaves may be null, because they stand in another part. `combine` makes it whole. */
export type Part<T> = WithGaps<T> & { readonly [whole]?: T };

/**
 * Two trees of the form of `tree` that share its leaves: the tensors for which the predicate holds, and all the rest. Where a leaf
 * is in the other part there is null, which gradients, optimizers and compiled functions leave as it is. Leaves that are no
 * tensors (numbers, null) belong to the rest. `combine` puts the two together again:
 *
 *     const [trainable, frozen] = partition(model, (_, path) => path.startsWith("layers.0."));
 *     const gradient = grad((part) => loss(combine(part, frozen)))(trainable);
 *
 * The model is equinox's `partition` (Kidger & Garcia 2021).
 */
export function partition<T>(tree: T, predicate: (tensor: Tensor, path: string) => boolean): [selected: Part<T>, rest: Part<T>] {
  checkArgument("partition", "predicate", predicate, callable);
  const { leaves, paths, shape } = flattenTree(tree);
  const selected = leaves.map((leaf, i) => leaf instanceof Tensor && isTrue(predicate(leaf, paths[i] as string), paths[i] as string));
  const part = (chosen: boolean): Part<T> => shape.build(leaves.map((leaf, i) => (selected[i] === chosen ? leaf : null))) as Part<T>;
  return [part(true), part(false)];
}

function isTrue(answer: unknown, path: string): boolean {
  if (typeof answer === "boolean") return answer;
  throw new UsageError(`partition: the predicate answered ${describe(answer)} for ${path || "the root"}`, {
    hint: "return true or false; a comparison of tensors is a tensor",
  });
}

/**
 * The tree whose two parts these are: at each place the leaf that is not null. Leaves that are null in both stay null. Throws
 * UsageError that names the path where the forms differ or both parts have a leaf.
 */
export function combine<T>(first: Part<T>, second: Part<T>): T {
  const one = flattenTree(first, "combine: the first part");
  const others = sameForm("combine", ["the first part", "the second"], first, second, one);
  return one.shape.build(
    one.leaves.map((leaf, i) => {
      if (leaf === null) return others[i];
      if (others[i] === null) return leaf;
      throw new UsageError(
        `combine: both parts have a leaf at ${one.paths[i] || "the root"}: ${describe(leaf)} and ${describe(others[i])}`,
        {
          hint: "parts have null where the other has the leaf; give each leaf once",
        },
      );
    }),
  ) as T;
}

/**
 * The tree with other nodes at some places; everything else is shared. `where` selects a node, or a list of nodes, by reading
 * fields: it is called with a stand-in of the tree. `replacement` is put in their places, or, if it is a function, what it makes
 * of each node:
 *
 *     treeAt(model, (m) => m.layers[0].mlp, newMlp)
 *     treeAt(model, (m) => m.layers.map((layer) => layer.attention.wq), (wq) => new LowRank(wq, 8))
 *
 * Throws UsageError where `where` selects something that is no node of the tree. The model is equinox's `tree_at`.
 */
export function treeAt<T, N>(
  tree: T,
  where: (tree: T) => N | readonly N[],
  replacement: ((node: N) => unknown) | object | number | string | boolean | null,
): T {
  checkArgument("treeAt", "where", where, callable);
  const places = new Map<unknown, readonly string[]>();
  const standIn = (node: unknown, place: readonly string[]): unknown => {
    const fields = isBranch(node) ? copyBranch(node) : {};
    const made = new Proxy(fields, {
      get: (_, name) => {
        const value: unknown = Reflect.get(fields, name);
        if (typeof name === "symbol" || typeof value === "function" || (Array.isArray(fields) && name === "length")) return value;
        if (Object.hasOwn(fields, name)) return standIn(value, [...place, name]);
        throw new UsageError(`treeAt: there is no field ${[...place, name].join(".")} in the tree`, {
          hint: "where selects nodes by their fields alone: (tree) => tree.layers[0].weight",
        });
      },
    });
    places.set(made, place);
    return made;
  };
  const answer: unknown = where(standIn(tree, []) as T);
  const nodes: readonly unknown[] = places.has(answer) || !Array.isArray(answer) ? [answer] : answer;
  const chosen = nodes.map((node) => {
    const place = places.get(node);
    if (place !== undefined) return place;
    throw new UsageError(`treeAt: where selected ${describe(node)}, which is no node of the tree`, {
      hint: "return the node itself, or a list of nodes: (tree) => tree.layers[0].weight",
    });
  });
  chosen.forEach((place, i) => {
    if (chosen.some((other, j) => i !== j && place.every((name, depth) => name === other[depth])))
      throw new UsageError(`treeAt: ${place.join(".") || "the root"} is selected twice, or holds another selected node`, {
        hint: "select each node once",
      });
  });
  return chosen.reduce<unknown>((changed, place) => replaceAt(changed, place, replacement), tree) as T;
}

function replaceAt(node: unknown, [name, ...rest]: readonly string[], replacement: unknown): unknown {
  if (name === undefined) return typeof replacement === "function" ? (replacement as (old: unknown) => unknown)(node) : replacement;
  const copy = copyBranch(node as object) as Record<string, unknown>;
  copy[name] = replaceAt(copy[name], rest, replacement);
  return copy;
}
