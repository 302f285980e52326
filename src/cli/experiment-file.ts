/** Files that describe experiments: JSON, YAML, and those that come with the package. */
import { readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { didYouMean } from "../arguments.js";
import type { ExperimentDefinition } from "../e2llm/experiment/definition.js";
import { FormatError, OptionError } from "../errors.js";
import { readFileChecked } from "../nn/files.js";
import { isObject, parseJson } from "../nn/json.js";

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

/**
 * The definition in a file, *.json, *.yaml or *.yml, or in the shipped one of that name. What is in it is checked when it is run.
 *
 * @throws OptionError for a name of nothing, FormatError for a file that cannot be read or holds no object
 */
export async function readExperiment(name: string): Promise<ExperimentDefinition> {
  const file = /\.(json|ya?ml)$/i.test(name) ? name : await shippedFile(name);
  const text = new TextDecoder().decode(await readFileChecked(file, { maxBytes: mostBytes }));
  const found = /\.json$/i.test(file) ? parseJson(text, { file }) : await parseYaml(text, file);
  if (!isObject(found)) throw new FormatError("expected an object that describes an experiment", { file, hint: "see docs/experiments.md" });
  return found as unknown as ExperimentDefinition;
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
