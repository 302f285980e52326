/** Files that describe experiments: JSON, YAML, and those that come with the package. */
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { didYouMean } from "../arguments.js";
import type { ExperimentDefinition } from "../e2llm/experiment/definition.js";
import { mergedFields } from "../e2llm/experiment/plan.js";
import { FormatError, OptionError } from "../errors.js";
import { readFileChecked } from "../nn/files.js";
import { isObject, parseJson, showValue } from "../nn/json.js";

/** The same relative path holds for the sources and for what is built from them. */
const shippedFolder = fileURLToPath(new URL("../../experiments/", import.meta.url));

const mostBytes = 2 ** 22;

/** Names of the experiments that come with the package, in alphabetical order. */
export async function shippedExperiments(): Promise<string[]> {
  const names = await readdir(shippedFolder).catch(() => []);
  return names
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length))
    .sort();
}

/** Files that extend another one that extends another one. */
const mostParents = 8;

/**
 * The definition in a file, *.json, *.yaml or *.yml, or in the shipped one of that name. What is in it is checked when it is run.
 * `extends: NAME` begins with another file, or a shipped experiment, and changes it as a size would.
 *
 * @throws OptionError for a name of nothing, FormatError for a file that cannot be read or holds no object
 */
export async function readExperiment(name: string, from: readonly string[] = []): Promise<ExperimentDefinition> {
  const file = /\.(json|ya?ml)$/i.test(name) ? name : await shippedFile(name);
  const text = new TextDecoder().decode(await readFileChecked(file, { maxBytes: mostBytes }));
  const found = /\.json$/i.test(file) ? parseJson(text, { file }) : await parseYaml(text, file);
  if (!isObject(found)) throw new FormatError("expected an object that describes an experiment", { file, hint: "see docs/experiments.md" });
  const { extends: parent, ...own } = found;
  if (parent === undefined) return own as unknown as ExperimentDefinition;
  if (typeof parent !== "string" || from.length > mostParents) {
    throw new FormatError(`"extends" must be the name of another experiment, found ${showValue(parent)}`, {
      file,
      hint: from.length > mostParents ? "files extend each other in a circle" : "give a file, or the name of one that is shipped",
    });
  }
  const path = /\.(json|ya?ml)$/i.test(parent) ? join(dirname(file), parent) : parent;
  return mergedFields(await readExperiment(path, [...from, file]), own) as ExperimentDefinition;
}

async function shippedFile(name: string): Promise<string> {
  const names = await shippedExperiments();
  const short = names.filter((one) => one.toLowerCase() === name.toLowerCase() || one.toLowerCase().startsWith(`${name.toLowerCase()}-`));
  if (short.length === 1) return `${shippedFolder}${short[0]}.json`;
  throw new OptionError(`there is no experiment "${name}"`, {
    hint: `${didYouMean(name, names) ?? `there are ${names.join(", ")}`}; a file of your own ends in .json, .yaml or .yml`,
  });
}

/** What of the package `yaml` is used here. */
interface Yaml {
  readonly parse: (text: string, options: { readonly maxAliasCount: number }) => unknown;
}

async function parseYaml(text: string, file: string): Promise<unknown> {
  // Only those who write YAML wait for its parser.
  const packageName: string = "yaml";
  const { parse } = (await import(packageName)) as Yaml;
  try {
    return parse(text, { maxAliasCount: 100 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.replace(/\s*\n[\s\S]*$/, "") : String(cause);
    throw new FormatError(`expected YAML, found text that is none (${reason})`, { file, hint: "see docs/experiments.md", cause });
  }
}
