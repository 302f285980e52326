/** The modules of a tree by their paths, and the tree with others in their places. */
import { copyBranch, isBranch } from "../autograd/tree.js";

/** What is walked: fields that start with "_" are constants. */
const children = (node: object): [name: string, child: object][] =>
  Object.entries(node).filter((entry): entry is [string, object] => !entry[0].startsWith("_") && isBranch(entry[1]));

/** Every array, object and module of a tree with its path, parents first; one that stands at several places comes with each. */
export function modulesOf(tree: object): { path: string; module: object }[] {
  const found: { path: string; module: object }[] = [];
  const walk = (node: object, path: string): void => {
    found.push({ path, module: node });
    for (const [name, child] of children(node)) walk(child, path === "" ? name : `${path}.${name}`);
  };
  walk(tree, "");
  return found;
}

/**
 * The tree with what f makes of some modules in their places; where f answers undefined, what is inside is looked at in turn. What holds no
 * such module is shared. A module at several places stays one where f answers for each of them: its answer for the first stands at all.
 */
export function replaceModules<T extends object>(tree: T, f: (module: object, path: string) => object | undefined): T {
  const made = new Map<object, object>();
  const walk = (node: object, path: string): object => {
    const replacement = f(node, path);
    if (replacement !== undefined) {
      const first = made.get(node) ?? replacement;
      made.set(node, first);
      return first;
    }
    const changed = children(node)
      .map(([name, child]) => [name, child, walk(child, path === "" ? name : `${path}.${name}`)] as const)
      .filter(([, child, next]) => next !== child);
    if (changed.length === 0) return node;
    return Object.assign(copyBranch(node), Object.fromEntries(changed.map(([name, , next]) => [name, next])));
  };
  return walk(tree, "") as T;
}
