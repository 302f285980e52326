/** Modules chosen by their names, as PEFT's `target_modules` and `modules_to_save` choose them. */
import { didYouMean, type Kind } from "../arguments.js";
import { OptionError } from "../errors.js";

/** Names of modules: the whole path or its last parts ("q_proj", "layers.0.mlp.up_proj"), or an expression that is found in the path. */
export type ModulePattern = string | RegExp;

export const patternsKind: Kind = {
  wanted: "a RegExp, or a list of module names and RegExps",
  fits: (value) => value instanceof RegExp || (Array.isArray(value) && value.every(isPattern)),
  hint: (value) => (typeof value === "string" ? `write a list: ["${value}"]` : '["q_proj", "v_proj"], or /layers\\.[01]\\./'),
};

const isPattern = (value: unknown): boolean => (typeof value === "string" && value !== "") || value instanceof RegExp;

// `search` starts at the beginning whatever an expression with the flag g remembers.
const chooses = (pattern: ModulePattern, path: string): boolean =>
  typeof pattern === "string" ? path === pattern || path.endsWith(`.${pattern}`) : path.search(pattern) >= 0;

/**
 * The paths that at least one pattern chooses. Throws OptionError for a pattern that chooses none, which lists the names that there are;
 * `what` says of what kind they are.
 */
export function choosePaths(
  where: string,
  what: string,
  patterns: RegExp | readonly ModulePattern[],
  paths: readonly string[],
): Set<string> {
  const list = patterns instanceof RegExp ? [patterns] : patterns;
  if (list.length === 0) throw new OptionError(`${where}: the list of names is empty, so no ${what} is chosen`, { hint: namesIn(paths) });
  const chosen = list.map((pattern) => {
    const found = paths.filter((path) => chooses(pattern, path));
    if (found.length > 0) return found;
    const near = typeof pattern === "string" ? didYouMean(pattern, lastNames(paths)) : undefined;
    throw new OptionError(`${where}: ${typeof pattern === "string" ? `"${pattern}"` : String(pattern)} is the name of no ${what}`, {
      hint: [near, namesIn(paths)].filter((text) => text !== undefined).join(" "),
    });
  });
  return new Set(chosen.flat());
}

/** The last part of each path, each once. */
const lastNames = (paths: readonly string[]): string[] => [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))];

const namesIn = (paths: readonly string[]): string => {
  const names = lastNames(paths);
  return names.length === 0 ? "the model has none" : `there are ${names.slice(0, 20).join(", ")}${names.length > 20 ? ", …" : ""}`;
};
