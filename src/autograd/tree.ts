import { callable, checkArgument, describe } from "../arguments.js";
import { DawngradError, UsageError } from "../errors.js";
import { foreign } from "./foreign-objects.js";
import { Tensor } from "./tensor.js";

/**
 * A value whose leaves are tensors, numbers and other plain values, nested in arrays, plain objects and class instances.
 * Modules, optimizer states and batches are trees. Methods are no part of a tree. Fields that start with "_" are carried
 * along as constants: they are not walked, and two trees are of one form only if theirs are identical (===).
 */
export type Tree = unknown;

/** The places of the leaves without the leaves (JAX's treedef): `build` puts new leaves there. */
export interface TreeDef {
  /** The same for trees of one form. */
  readonly key: string;
  /** The same for trees whose objects have the same classes and the same functions for fields. */
  readonly behaviour: string;
  build(leaves: readonly unknown[]): unknown;
}

/** A tree as a list. */
export interface FlatTree {
  readonly leaves: unknown[];
  readonly paths: string[];
  readonly shape: TreeDef;
}

type Walk = {
  readonly owner: string;
  readonly leaves: unknown[];
  readonly paths: string[];
  readonly key: string[];
  readonly behaviour: string[];
  /** The branches around, the outermost first. */
  readonly around: object[];
  /** Whether a name was met that can make two paths print alike. */
  ambiguous: boolean;
};

/** A place in a tree: the number of a leaf, or a branch with the places in it, of its fields where it has names. */
type Place = number | { readonly branch: object; readonly names: readonly string[] | undefined; readonly places: readonly Place[] };

const pathOf = (path: string, name: string | number): string => (path === "" ? String(name) : `${path}.${name}`);

/** Whether a value is walked: arrays and objects are, tensors and typed arrays are leaves. */
export const isBranch = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !(value instanceof Tensor) && !ArrayBuffer.isView(value);

/** An array or object of the same class with the same fields. */
export const copyBranch = (value: object): object =>
  Array.isArray(value) ? [...value] : Object.assign(Object.create(Object.getPrototypeOf(value) as object | null), value);

const identities = new WeakMap<object, number>();
const symbols = new Map<symbol, number>();
let nextIdentity = 0;

/** A text that is the same for identical values only (Object.is), and that tells where it ends. */
export function identityKey(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "symbol":
      return `#${numbered(symbols, value)}`;
    case "object":
    case "function":
      return value === null ? "null" : `#${numbered(identities, value)}`;
    default:
      return `${typeof value}:${Object.is(value, -0) ? "-0" : String(value)}`;
  }
}

function numbered<K>(known: { get(key: K): number | undefined; set(key: K, number: number): unknown }, value: K): number {
  let identity = known.get(value);
  if (identity === undefined) {
    identity = nextIdentity++;
    known.set(value, identity);
  }
  return identity;
}

/** The name and the value of a field; JSON keeps a name from printing like anything else. */
const fieldKey = (name: string, field: unknown): string => `;${JSON.stringify(name)}=${identityKey(field)}`;

/** What is in an object beside its leaves and branches. */
interface Fields {
  /** Of those that are walked, in a stable order. */
  readonly names: string[];
  /** Those that start with "_", and the functions, with their values. */
  readonly constants: string;
  readonly functions: string;
}

function fieldsOf(value: object): Fields {
  const names: string[] = [];
  let [constants, functions] = ["", ""];
  for (const name of Object.keys(value)) {
    const field = (value as Record<string, unknown>)[name];
    const isFunction = typeof field === "function";
    if (name.startsWith("_")) constants += fieldKey(name, field);
    else if (!isFunction) names.push(name);
    if (isFunction) functions += fieldKey(name, field);
  }
  return { names, constants, functions };
}

function refuse(owner: string, what: string, path: string, hint: string): never {
  throw new UsageError(`${owner} holds ${what} at ${path || "its root"}`, { hint });
}

/** Refuses what would lose something when it is rebuilt from its fields. */
function checkBranch(value: object, path: string, owner: string): void {
  const problem = foreign(value);
  if (problem !== undefined) refuse(owner, problem.what, path, problem.hint);
  if (Array.isArray(value)) {
    if (Object.keys(value).length !== value.length)
      refuse(
        owner,
        "a list with holes or named fields",
        path,
        "give each entry a value (null for none), and names to the fields of an object",
      );
    return;
  }
  for (const name of Reflect.ownKeys(value)) {
    if (typeof name === "symbol") refuse(owner, `a field that is named by a symbol, ${String(name)},`, path, "name fields by strings");
    if (name === "__proto__")
      refuse(owner, 'a field named "__proto__"', path, "objects cannot be rebuilt with a field of that name; rename it");
    const { get, set, enumerable } = Object.getOwnPropertyDescriptor(value, name) as PropertyDescriptor;
    if (get !== undefined || set !== undefined)
      refuse(owner, "a getter or setter", pathOf(path, name), "store the value itself, or define the getter in a class");
    if (!enumerable) refuse(owner, "a hidden field (not enumerable)", pathOf(path, name), "assign fields as usual: this.name = value");
  }
}

function walk(value: unknown, path: string, into: Walk): Place {
  if (!isBranch(value)) {
    into.paths.push(path);
    into.key.push("*");
    return into.leaves.push(value) - 1;
  }
  const { owner, around, key } = into;
  if (around.includes(value))
    throw new UsageError(`${owner} refers to itself at ${path || "its root"}`, {
      hint: "name fields that are no part of the tree with a leading underscore",
    });
  checkBranch(value, path, owner);
  around.push(value);
  let place: Place;
  if (Array.isArray(value)) {
    key.push(`[${value.length}`);
    place = { branch: value, names: undefined, places: value.map((item, i) => walk(item, pathOf(path, i), into)) };
  } else {
    const { names, constants, functions } = fieldsOf(value);
    key.push(`{${JSON.stringify(names)}${constants}`);
    const prototype: unknown = Object.getPrototypeOf(value);
    into.behaviour.push(`${prototype === Object.prototype ? "" : identityKey(prototype)}${functions}`);
    into.ambiguous ||= names.some((name) => name === "" || name.includes("."));
    const places = names.map((name) => walk((value as Record<string, unknown>)[name], pathOf(path, name), into));
    place = { branch: value, names, places };
  }
  around.pop();
  return place;
}

/** What is at a place with these leaves: copies of its branches. */
function buildAt(place: Place, leaves: readonly unknown[]): unknown {
  if (typeof place === "number") return leaves[place];
  const { branch, names, places } = place;
  if (names === undefined) return places.map((part) => buildAt(part, leaves));
  const copy = copyBranch(branch) as Record<string, unknown>;
  names.forEach((name, i) => {
    copy[name] = buildAt(places[i] as Place, leaves);
  });
  return copy;
}

/**
 * All leaves in order with their paths ("layers.0.wq"), and the shape that puts others in their place. `owner` names the tree in
 * messages. Throws UsageError that names the path of what cannot be rebuilt from its fields (a Map, an object with private fields,
 * a getter), of a tree that holds itself, and of two leaves whose paths are the same text.
 */
export function flattenTree(tree: Tree, owner = "the tree"): FlatTree {
  const into: Walk = { owner, leaves: [], paths: [], key: [], behaviour: [], around: [], ambiguous: false };
  const root = walk(tree, "", into);
  const { leaves, paths } = into;
  if (into.ambiguous && new Set(paths).size < paths.length) {
    const twice = paths.find((path, i) => paths.indexOf(path) !== i) as string;
    refuse(owner, "two leaves", twice, "paths are names; rename a field so that no two leaves have one name");
  }
  const build = (given: readonly unknown[]): unknown => buildAt(root, given);
  return { leaves, paths, shape: { key: into.key.join(""), behaviour: into.behaviour.join("|"), build } };
}

/** Where and how the forms of two trees first differ, in words. */
function formDifference(first: Tree, second: Tree, names: readonly [string, string], path: string): string | undefined {
  const [one, other] = names;
  const where = path === "" ? "at the root" : `at ${path}`;
  if (!isBranch(first) && !isBranch(second)) return undefined;
  if (!isBranch(first) || !isBranch(second) || Array.isArray(first) !== Array.isArray(second))
    return `${where} ${one} has ${describe(first)}, ${other} ${describe(second)}`;
  if (Array.isArray(first) && Array.isArray(second) && first.length !== second.length)
    return `${where} ${one} has ${entries(first)}, ${other} ${entries(second)}`;
  const [{ names: fieldsOfOne, constants }, { names: fieldsOfOther, constants: otherConstants }] = [fieldsOf(first), fieldsOf(second)];
  const lacking = fieldsOfOne.find((name) => !fieldsOfOther.includes(name));
  const extra = fieldsOfOther.find((name) => !fieldsOfOne.includes(name));
  if (lacking !== undefined) return `${other} has no ${pathOf(path, lacking)}`;
  if (extra !== undefined) return `only ${other} has ${pathOf(path, extra)}`;
  if (fieldsOfOne.some((name, i) => name !== fieldsOfOther[i]))
    return `${where} ${one} has its fields in the order ${fieldsOfOne.join(", ")}, ${other} ${fieldsOfOther.join(", ")}`;
  if (constants !== otherConstants) return `${where} the fields that start with "_" hold different values`;
  for (const name of fieldsOfOne) {
    const [a, b] = [first, second].map((branch) => (branch as Record<string, unknown>)[name]);
    const difference = formDifference(a, b, names, pathOf(path, name));
    if (difference !== undefined) return difference;
  }
  return undefined;
}

const entries = (list: readonly unknown[]): string => `${list.length} ${list.length === 1 ? "entry" : "entries"}`;

/** The tensors of a tree with their paths. `owner` names the tree in messages. */
export function tensorsOf(tree: Tree, owner?: string): { path: string; tensor: Tensor }[] {
  const { leaves, paths } = flattenTree(tree, owner);
  return leaves.flatMap((leaf, i) => (leaf instanceof Tensor ? [{ path: paths[i] as string, tensor: leaf }] : []));
}

/** What f makes of the tensors at a place; errors of this library say which place. */
function atPlace(path: string, f: () => Tensor): Tensor {
  try {
    return f();
  } catch (error) {
    if (error instanceof DawngradError) error.message += ` (at ${path || "the root"} of the tree)`;
    throw error;
  }
}

/**
 * A tree of the same form with f applied to each tensor; other leaves are kept. A tensor at several places is one: f is called once,
 * with the first path, and what it makes stands at all of them.
 */
export function mapTensors<T>(tree: T, f: (tensor: Tensor, path: string) => Tensor): T {
  checkArgument("mapTensors", "f", f, callable);
  const { leaves, paths, shape } = flattenTree(tree, "mapTensors: the tree");
  const made = new Map<Tensor, Tensor>();
  leaves.forEach((leaf, i) => {
    const path = paths[i] as string;
    if (leaf instanceof Tensor && !made.has(leaf))
      made.set(
        leaf,
        atPlace(path, () => f(leaf, path)),
      );
  });
  return shape.build(leaves.map((leaf) => (leaf instanceof Tensor ? made.get(leaf) : leaf))) as T;
}

/**
 * Applies f to the tensors at the same places of several trees of one form; other leaves are those of the first tree. Where the same
 * tensors meet at several places f is called once, with the first path, and what it makes stands at all of them. Throws UsageError that
 * names the path where the forms first differ, or where one has a tensor and another does not.
 */
export function zipTensors<T>(f: (tensors: Tensor[], path: string) => Tensor, first: T, ...others: unknown[]): T {
  checkArgument("zipTensors", "f", f, callable);
  const names = [first, ...others].map((_, i) => `tree ${i + 1}`);
  return zipNamed("zipTensors", names, f, first, ...others);
}

/** {@link zipTensors} for a caller that has names for its trees. */
export function zipNamed<T>(
  where: string,
  names: readonly string[],
  f: (tensors: Tensor[], path: string) => Tensor,
  first: T,
  ...others: unknown[]
): T {
  const head = flattenTree(first, `${where}: ${names[0]}`);
  const rest = others.map((tree, k) => sameForm(where, [names[0], names[k + 1]] as [string, string], first, tree, head));
  const made = new Map<string, Tensor>();
  return head.shape.build(
    head.leaves.map((leaf, i) => {
      const path = head.paths[i] as string;
      const column = rest.map((leaves) => leaves[i]);
      // A number among parameters has a gradient, and stays the constant that it is.
      const odd = column.findIndex((item) => item instanceof Tensor !== leaf instanceof Tensor && typeof leaf !== "number");
      if (odd >= 0) {
        throw new UsageError(
          `${where}: at ${path || "the root"} ${names[0]} has ${describe(leaf)} and ${names[odd + 1]} has ${describe(column[odd])}`,
          { hint: "give trees with tensors at the same places" },
        );
      }
      if (!(leaf instanceof Tensor)) return leaf;
      const tensors = [leaf, ...(column as Tensor[])];
      const key = tensors.map(({ id }) => id).join();
      const result = made.get(key) ?? atPlace(path, () => f(tensors, path));
      made.set(key, result);
      return result;
    }),
  ) as T;
}

/**
 * The leaves of `second`. Throws UsageError that says where its form first differs from that of `first`, which a caller who has it flat
 * gives in `expected` too.
 */
export function sameForm(
  where: string,
  [one, other]: readonly [string, string],
  first: Tree,
  second: Tree,
  expected: FlatTree = flattenTree(first, `${where}: ${one}`),
): unknown[] {
  const found = flattenTree(second, `${where}: ${other}`);
  if (expected.shape.key !== found.shape.key)
    throw new UsageError(`${where}: ${one} and ${other} differ in form: ${formDifference(first, second, [one, other], "")}`, {
      hint: "give trees with the same fields in the same order",
    });
  return found.leaves;
}
