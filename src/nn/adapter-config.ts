/** `adapter_config.json` of PEFT: what a LoRA adapter is put on, read, checked and written. */
import { FormatError } from "../errors.js";
import { isObject, parseJson, showValue } from "./json.js";
import { nameExpression } from "./name-expressions.js";

/** A LoRA adapter as its configuration describes it, under PEFT's names. */
export interface AdapterConfig {
  readonly r: number;
  readonly lora_alpha: number;
  readonly lora_dropout: number;
  readonly use_rslora: boolean;
  /** Names of modules, an expression that whole paths match, or "all-linear". */
  readonly target_modules: string | readonly string[];
  readonly exclude_modules: string | readonly string[];
  /** Layers that have adapters. null: all. */
  readonly layers_to_transform: readonly number[] | null;
  /** Ranks and alphas of modules that have others, by expressions that the ends of paths match. */
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
  /** Ends of the names of modules that are trained whole. */
  readonly modules_to_save: readonly string[];
  /** Whether an embedding that is trained stays the head of a model whose head is tied to it. */
  readonly ensure_weight_tying: boolean;
  /** Where the model is that the adapter belongs to: a path, or a name at Hugging Face's hub. */
  readonly base_model_name_or_path?: string;
  /** The branch, tag or commit of a base at Hugging Face's hub. Default: its main branch. */
  readonly revision?: string;
}

/** Keys that say nothing of what is computed here. */
const notes = new Set([
  "auto_mapping",
  "inference_mode",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "runtime_config",
  "task_type",
]);

/** Keys of other methods, and of options of LoRA that are not computed here, with the values that leave them out. */
const fixed: Readonly<Record<string, readonly unknown[]>> = {
  peft_type: ["LORA"],
  bias: ["none"],
  // Other beginnings change the weights of the base, from which the adapter then differs.
  init_lora_weights: [true, false, "gaussian", "orthogonal"],
  layers_pattern: ["layers"],
};

const maxRank = 2 ** 16;
const isRank = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= maxRank;
const isAlpha = (value: unknown): value is number => Number.isFinite(value) && (value as number) > 0;

/** The configuration in the text of a file. Throws FormatError for what is no adapter, or one of a kind that is not computed here. */
export function parseAdapterConfig(text: string, file: string): AdapterConfig {
  const fail = (message: string, hint: string): FormatError => new FormatError(message, { file, hint });
  const object = parseJson(text, { file });
  if (!isObject(object)) throw fail(`expected an object, found ${showValue(object)}`, "name the adapter_config.json of a LoRA adapter");
  const found = object["peft_type"];
  if (found !== "LORA")
    throw fail(
      `expected peft_type "LORA", found ${found === undefined ? "none" : showValue(found)}`,
      "other adapters are not computed here",
    );

  const known = new Set<string>([...notes, ...Object.keys(fixed)]);
  const value = <T>(key: keyof AdapterConfig, fits: (value: unknown) => value is T, wanted: string, otherwise?: T): T => {
    known.add(key);
    const given = object[key] ?? otherwise;
    if (!fits(given))
      throw fail(`expected ${key} to be ${wanted}, found ${given === undefined ? "none" : showValue(given)}`, "correct the file");
    return given;
  };
  const names = "a list of names, or an expression";
  const base = value("base_model_name_or_path", isTextOrNull, "a text", null);
  const revision = value("revision", isTextOrNull, "a text", null);
  const layers = value("layers_to_transform", isLayers, "a layer or a list of layers", null);
  const config: AdapterConfig = {
    r: value("r", isRank, `a whole number from 1 to ${maxRank}`),
    lora_alpha: value("lora_alpha", isAlpha, "a number above 0"),
    lora_dropout: value("lora_dropout", isFraction, "a number with 0 ≤ x < 1", 0),
    use_rslora: value("use_rslora", isFlag, "true or false", false),
    target_modules: value("target_modules", isNames, names),
    exclude_modules: value("exclude_modules", isNames, names, []),
    layers_to_transform: layers === null || (Array.isArray(layers) && layers.length === 0) ? null : [layers].flat(),
    rank_pattern: value("rank_pattern", isPattern(isRank), "an object of ranks", {}),
    alpha_pattern: value("alpha_pattern", isPattern(isAlpha), "an object of numbers above 0", {}),
    modules_to_save: value("modules_to_save", isList, "a list of names", []),
    ensure_weight_tying: value("ensure_weight_tying", isFlag, "true or false", false),
    ...(base !== null && { base_model_name_or_path: base }),
    ...(revision !== null && revision !== "" && { revision }),
  };
  for (const [key, given] of Object.entries(object)) {
    if ((known.has(key) && !Object.hasOwn(fixed, key)) || isNothing(given) || fixed[key]?.some((one) => one === given)) continue;
    if (key === "layers_pattern" && Array.isArray(given) && given.every((one) => one === "layers")) continue;
    throw fail(
      `found ${showValue(key)}: ${showValue(given)}, which is not computed here`,
      "read are adapters of plain LoRA and rsLoRA; in Python, merge_and_unload() makes one part of its model",
    );
  }
  const expressions = [config.target_modules, config.exclude_modules].filter((one) => typeof one === "string");
  for (const expression of [...expressions, ...Object.keys(config.rank_pattern), ...Object.keys(config.alpha_pattern)])
    nameExpression(expression, fail);
  return config;
}

const isFlag = (value: unknown): value is boolean => typeof value === "boolean";
const isFraction = (value: unknown): value is number => typeof value === "number" && value >= 0 && value < 1;
const isTextOrNull = (value: unknown): value is string | null => value === null || typeof value === "string";
const isList = (value: unknown): value is string[] => Array.isArray(value) && value.every((one) => typeof one === "string" && one !== "");
const isNames = (value: unknown): value is string | string[] => isList(value) || (typeof value === "string" && value !== "");
const isLayer = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
const isLayers = (value: unknown): value is number | number[] | null =>
  value === null || isLayer(value) || (Array.isArray(value) && value.every(isLayer));
const isPattern =
  (fits: (value: unknown) => boolean) =>
  (value: unknown): value is Record<string, number> =>
    isObject(value) && Object.values(value).every(fits);
/** How PEFT writes an option that nobody chose. */
const isNothing = (value: unknown): boolean =>
  value === null ||
  value === false ||
  value === "" ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && Object.keys(value).length === 0);

/** The text of the file, as PEFT writes it. */
export function adapterConfigText(config: AdapterConfig): string {
  const {
    exclude_modules: _,
    layers_to_transform,
    modules_to_save,
    ensure_weight_tying,
    base_model_name_or_path: base = null,
    revision = null,
    ...fields
  } = config;
  const written = {
    ...{
      auto_mapping: null,
      base_model_name_or_path: base,
      bias: "none",
      fan_in_fan_out: false,
      inference_mode: true,
      init_lora_weights: true,
    },
    ...{ layers_to_transform, layers_pattern: null, peft_type: "LORA", revision, task_type: "CAUSAL_LM", use_dora: false },
    modules_to_save: modules_to_save.length === 0 ? null : modules_to_save,
    ...fields,
    // Older versions of PEFT do not know it.
    ...(ensure_weight_tying && { ensure_weight_tying }),
  };
  const sorted = Object.entries(written).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`;
}
