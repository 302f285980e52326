import { callable, checkArgument, describe } from "../arguments.js";
import { UsageError } from "../errors.js";
import { Tensor } from "./tensor.js";

/**
 * A value whose leaves are tensors, numbers and other plain values, nested in arrays, plain objects and class instances.
 * Modules, optimizer states and batches are trees. Methods are no part of a tree. Fields that start with "_" are carried
 * along as constants: they are not walked, and two trees are of one form only if theirs are identical (===).
 */
export type Tree = unknown;

/** The places of the leaves, without the leaves: `unflatten` puts new leaves there. */
export interface TreeShape {
  /** The same for trees of one form. */
  readonly key: string;
  /** The same for trees whose objects have the same classes and the same functions for fields. */
  readonly behaviour: string;
  build(leaves: readonly unknown[]): unknown;
}

const pathOf = (path: string, name: string | number): string => (path === "" ? String(name) : `${path}.${name}`);

type Walk = { readonly leaves: unknown[]; readonly paths: string[]; readonly key: string[]; readonly behaviour: string[] };

/** Whether a value is walked: arrays and objects are, tensors and typed arrays are leaves. */
export const isBranch = (value: unknown): value is object =>
  typeof value === "object" &&
  value !== null &&
  !(value instanceof Tensor) &&
  !ArrayBuffer.isView(value) &&
  !(value instanceof Map || value instanceof Set);

/** An array or object of the same class with the same fields. */
export const copyBranch = (value: object): object =>
  Array.isArray(value) ? [...value] : Object.assign(Object.create(Object.getPrototypeOf(value) as object | null), value);

/** The field names of a branch in a stable order. */
function fields(value: object): string[] {
  return Object.keys(value).filter((name) => !name.startsWith("_") && typeof (value as Record<string, unknown>)[name] !== "function");
}

const identities = new WeakMap<object, number>();
let nextIdentity = 0;

/** A text that is the same for identical values only. */
export function identityKey(value: unknown): string {
  if ((typeof value !== "object" && typeof value !== "function") || value === null)
    return `${typeof value}:${Object.is(value, -0) ? "-0" : String(value)}`;
  let identity = identities.get(value);
  if (identity === undefined) {
    identity = nextIdentity++;
    identities.set(value, identity);
  }
  return `#${identity}`;
}

function constantsKey(value: object): string {
  const names = Object.keys(value).filter((name) => name.startsWith("_"));
  return names.map((name) => `;${name}=${identityKey((value as Record<string, unknown>)[name])}`).join("");
}

function walk(value: unknown, path: string, into: Walk, open: Set<object>): (leaves: readonly unknown[]) => unknown {
  if (!isBranch(value)) {
    const position = into.leaves.length;
    into.leaves.push(value);
    into.paths.push(path);
    into.key.push("*");
    return (leaves) => leaves[position];
  }
  if (open.has(value))
    throw new UsageError(`the tree refers to itself at ${path || "its root"}`, {
      hint: "name fields that are no part of the tree with a leading underscore",
    });
  open.add(value);
  let build: (leaves: readonly unknown[]) => unknown;
  if (Array.isArray(value)) {
    into.key.push(`[${value.length}`);
    const parts = value.map((item, i) => walk(item, pathOf(path, i), into, open));
    build = (leaves) => parts.map((part) => part(leaves));
  } else {
    const names = fields(value);
    into.key.push(`{${names.join()}${constantsKey(value)}`);
    const parts = names.map((name) => walk((value as Record<string, unknown>)[name], pathOf(path, name), into, open));
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype) into.behaviour.push(`${path}:${identityKey(prototype)}`);
    for (const [name, field] of Object.entries(value)) {
      if (typeof field === "function") into.behaviour.push(`${path}.${name}=${identityKey(field)}`);
    }
    build = (leaves) => {
      const copy = copyBranch(value) as Record<string, unknown>;
      names.forEach((name, i) => {
        copy[name] = parts[i]?.(leaves);
      });
      return copy;
    };
  }
  open.delete(value);
  return build;
}

/** All leaves in order with their paths ("layers.0.wq"), and the shape that puts others in their place. */
export function flattenTree(tree: Tree): { leaves: unknown[]; paths: string[]; shape: TreeShape } {
  const into: Walk = { leaves: [], paths: [], key: [], behaviour: [] };
  const build = walk(tree, "", into, new Set());
  return { leaves: into.leaves, paths: into.paths, shape: { key: into.key.join(""), behaviour: into.behaviour.join(";"), build } };
}

/** Where and how the forms of two trees first differ, for a message; undefined where they do not. */
export function formDifference(first: Tree, second: Tree, path = ""): string | undefined {
  const where = path === "" ? "at the root" : `at ${path}`;
  if (!isBranch(first) && !isBranch(second)) return undefined;
  if (!isBranch(first) || !isBranch(second) || Array.isArray(first) !== Array.isArray(second))
    return `${where} one has ${describe(first)}, the other ${describe(second)}`;
  if (Array.isArray(first) && Array.isArray(second)) {
    if (first.length !== second.length) return `${where} one has ${first.length} entries, the other ${second.length}`;
  } else {
    const [names, others] = [fields(first), fields(second)];
    const lacking = [...names.filter((name) => !others.includes(name)), ...others.filter((name) => !names.includes(name))][0];
    if (lacking !== undefined) return `only one of them has ${pathOf(path, lacking)}`;
    if (names.some((name, i) => name !== others[i]))
      return `${where} one has its fields in the order ${names.join(", ")}, the other ${others.join(", ")}`;
    if (constantsKey(first) !== constantsKey(second)) return `${where} their fields that start with "_" hold different values`;
  }
  const names = Array.isArray(first) ? first.map((_, i) => String(i)) : fields(first);
  for (const name of names) {
    const difference = formDifference(
      (first as Record<string, unknown>)[name],
      (second as Record<string, unknown>)[name],
      pathOf(path, name),
    );
    if (difference !== undefined) return difference;
  }
  return undefined;
}

/** The tensors of a tree with their paths. */
export function tensorsOf(tree: Tree): { path: string; tensor: Tensor }[] {
  const { leaves, paths } = flattenTree(tree);
  return leaves.flatMap((leaf, i) => (leaf instanceof Tensor ? [{ path: paths[i] as string, tensor: leaf }] : []));
}

/** A tree of the same form with f applied to each tensor; other leaves are kept. */
export function mapTensors<T>(tree: T, f: (tensor: Tensor, path: string) => Tensor): T {
  checkArgument("mapTensors", "f", f, callable);
  const { leaves, paths, shape } = flattenTree(tree);
  return shape.build(leaves.map((leaf, i) => (leaf instanceof Tensor ? f(leaf, paths[i] as string) : leaf))) as T;
}

/** Applies f to the tensors at the same places of several trees of one form. Throws UsageError where the forms differ. */
export function zipTensors<T>(f: (tensors: Tensor[], path: string) => Tensor, first: T, ...others: unknown[]): T {
  checkArgument("zipTensors", "f", f, callable);
  const head = flattenTree(first);
  const rest = others.map((tree) => {
    const flat = flattenTree(tree);
    if (flat.shape.key !== head.shape.key)
      throw new UsageError("trees of different form cannot be zipped", { hint: "give trees with the same fields in the same order" });
    return flat.leaves;
  });
  return head.shape.build(
    head.leaves.map((leaf, i) => {
      if (!(leaf instanceof Tensor)) return leaf;
      const column = rest.map((leaves) => leaves[i]);
      if (!column.every((item): item is Tensor => item instanceof Tensor))
        throw new UsageError(`no tensor at ${head.paths[i]} in one of the trees`);
      return f([leaf, ...column], head.paths[i] as string);
    }),
  ) as T;
}
