/** What the configuration of an adapter says of a model: where matrices are adapted, and what is trained whole. And the other way round. */
import { copyBranch } from "../autograd/tree.js";
import { UsageError } from "../errors.js";
import type { AdapterConfig } from "./adapter-config.js";
import { parseHubAddress } from "./hub.js";
import { showValue } from "./json.js";
import type { Llama } from "./llama.js";
import { type AdapterPlace, attachAdapters, LoraLinear, linearPaths, TrainedModule, unloadLora, wholeKind } from "./lora.js";
import { Linear } from "./module.js";
import { nameExpression } from "./name-expressions.js";
import { modulesOf } from "./surgery.js";

type Fail = (message: string, hint: string) => Error;

const [headPath, embeddingPath] = ["lm_head", "model.embed_tokens"];
const endsWith = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`);

/**
 * The model with the modules of an adapter, whose numbers are still to come. A tied head of which the adapter trains the embedding alone stays
 * what it was, as in PEFT: the model is untied then. Throws what `fail` makes where the adapter does not fit the model.
 */
export function withAdapterModules(model: Llama, config: AdapterConfig, fail: Fail): Llama {
  const savesTied = config.modules_to_save.some((name) => embeddingPath.endsWith(name) || headPath.endsWith(name));
  const base = model.lm_head === null && savesTied && !config.ensure_weight_tying ? untied(model) : model;
  const saved = savedPaths(base, config, fail);
  const places = adapterPlaces(base, config, saved, fail);
  if (places.size === 0) {
    const names = [...new Set(linearPaths(base).map((path) => path.slice(path.lastIndexOf(".") + 1)))];
    throw fail(`expected target_modules of the model, found ${showValue(config.target_modules)}`, `the model has ${names.join(", ")}`);
  }
  return attachAdapters(base, places, saved);
}

/** The model with a head of its own, of the weights that the embedding has. */
function untied(model: Llama): Llama {
  const fields = { _config: { ...model.config, tie_word_embeddings: false }, lm_head: new Linear(model.model.embed_tokens.weight) };
  return Object.assign(copyBranch(model), fields) as Llama;
}

/** PEFT takes names as ends of paths, whatever stands before: "norm" is every norm. */
function savedPaths(model: Llama, { modules_to_save: names, ensure_weight_tying: tie }: AdapterConfig, fail: Fail): Set<string> {
  const modules = modulesOf(model).filter(({ path }) => path !== "");
  const found = names.map((name) => {
    const chosen = modules.filter(({ path }) => path.endsWith(name));
    const part = chosen.find(({ module }) => !wholeKind.fits(module));
    const tiedHead = tie && model.lm_head === null && headPath.endsWith(name);
    if (part !== undefined || (chosen.length === 0 && !tiedHead)) {
      const what = part === undefined ? "which the model does not have" : `and ${part.path} is a part of several modules`;
      throw fail(
        `found ${showValue(name)} in modules_to_save, ${what}`,
        "embeddings, norms and matrices of this model can be trained whole",
      );
    }
    return chosen.map(({ path }) => path);
  });
  return new Set(found.flat());
}

function adapterPlaces(model: Llama, config: AdapterConfig, saved: ReadonlySet<string>, fail: Fail): Map<string, AdapterPlace> {
  const { exclude_modules: excluded, layers_to_transform: layers, r, lora_alpha, use_rslora: rslora, lora_dropout: dropout } = config;
  const linear = linearPaths(model);
  const targets = config.target_modules;
  const isAll = typeof targets === "string" && targets.toLowerCase() === "all-linear";
  const chosen = isAll ? linear : [...linear, headPath, embeddingPath].filter(chooser(targets, fail, layers));
  const isExcluded = excluded.length === 0 ? () => false : chooser(excluded, fail);
  const isSaved = (path: string): boolean => saved.has(path) || config.modules_to_save.some((name) => `.${path}.`.includes(`.${name}.`));
  const wanted = chosen.filter((path) => !isExcluded(path) && !isSaved(path));
  const outside = wanted.find((path) => path === headPath || path === embeddingPath);
  if (outside !== undefined)
    throw fail(
      `expected adapters of matrices of the layers, found one of ${outside}`,
      "an embedding and a head are trained whole, by modules_to_save",
    );
  const rankAt = patternOf(config.rank_pattern, fail);
  const alphaAt = patternOf(config.alpha_pattern, fail);
  return new Map(wanted.map((path) => [path, { rank: rankAt(path) ?? r, alpha: alphaAt(path) ?? lora_alpha, rslora, dropout }]));
}

/** Whether names choose a path: an expression of all of it, or a list of last parts, of certain layers alone where the path is not whole. */
function chooser(names: string | readonly string[], fail: Fail, layers: readonly number[] | null = null): (path: string) => boolean {
  if (typeof names === "string") {
    const expression = nameExpression(names, fail);
    return (path) => expression.test(path);
  }
  const inLayers = (path: string): boolean => layers === null || layers.some((layer) => path.startsWith(`model.layers.${layer}.`));
  return (path) => names.includes(path) || (names.some((name) => path.endsWith(`.${name}`)) && inLayers(path));
}

/** The number of the first expression that the end of a path matches. */
function patternOf(pattern: Readonly<Record<string, number>>, fail: Fail): (path: string) => number | undefined {
  const found = Object.entries(pattern).map(([key, number]) => {
    nameExpression(key, fail);
    return { expression: new RegExp(`^(?:.*\\.)?(?:${key})$`), number };
  });
  return (path) => found.find(({ expression }) => expression.test(path))?.number;
}

/** The configuration that brings the adapters of a model back. Throws UsageError where no configuration can say what the model has. */
export function configOfAdapters(where: string, model: Llama, name?: string): AdapterConfig {
  const modules = modulesOf(model);
  const adapters = modules.filter((one): one is { path: string; module: LoraLinear } => one.module instanceof LoraLinear);
  const saved = new Set(modules.filter(({ module }) => module instanceof TrainedModule).map(({ path }) => path));
  const settings = adapters[0]?.module;
  const odd = adapters.find(({ module }) => module._dropout !== settings?._dropout || module._rslora !== settings._rslora);
  if (settings === undefined || odd !== undefined) {
    const what = odd === undefined ? "has no matrix with an adapter" : `has adapters that differ in dropout or rslora, at ${odd.path}`;
    throw new UsageError(`${where}: the model ${what}, which no adapter_config.json can say`, {
      hint: "make the adapters with one call of applyLora",
    });
  }
  const r = mostCommon(adapters.map(({ module }) => module.rank));
  const lora_alpha = mostCommon(adapters.map(({ module }) => module._alpha));
  const others = (of: (module: LoraLinear) => number, common: number): Record<string, number> =>
    Object.fromEntries(
      adapters.filter(({ module }) => of(module) !== common).map(({ path, module }) => [path.replaceAll(".", "\\."), of(module)]),
    );
  const base = unloadLora(model);
  const bare = modulesOf(base).map(({ path }) => path);
  const linear = linearPaths(base).filter((path) => !saved.has(path));
  const adapted = new Set(adapters.map(({ path }) => path));
  return {
    ...{ r, lora_alpha, lora_dropout: settings._dropout, use_rslora: settings._rslora },
    target_modules: shortNames(adapted, (name) => linear.filter((path) => endsWith(path, name))),
    exclude_modules: [],
    layers_to_transform: null,
    rank_pattern: others((module) => module.rank, r),
    alpha_pattern: others((module) => module._alpha, lora_alpha),
    modules_to_save: shortNames(saved, (name) => bare.filter((path) => path.endsWith(name))),
    ensure_weight_tying: model.lm_head === null && saved.has(embeddingPath),
    ...(name !== undefined && namedBase(name)),
  };
}

/** How an adapter names its base, so that Python's programs find it too. */
function namedBase(base: string): Pick<AdapterConfig, "base_model_name_or_path" | "revision"> {
  const model = parseHubAddress(base);
  if (model === undefined || model.path !== "") return { base_model_name_or_path: base };
  return { base_model_name_or_path: model.repo, ...(model.revision !== "main" && { revision: model.revision }) };
}

/** The last parts of paths where they choose no other, and whole paths elsewhere. */
function shortNames(paths: ReadonlySet<string>, chosenBy: (name: string) => readonly string[]): string[] {
  const names = [...paths].map((path) => {
    const name = path.slice(path.lastIndexOf(".") + 1);
    return chosenBy(name).every((one) => paths.has(one)) ? name : path;
  });
  return [...new Set(names)].sort();
}

function mostCommon(numbers: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const number of numbers) counts.set(number, (counts.get(number) ?? 0) + 1);
  return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best))[0];
}
