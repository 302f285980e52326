/** Configurations as Hugging Face's `config.json` holds them, read and written. */
import { checkArgument, text } from "../arguments.js";
import { FormatError } from "../errors.js";
import { configKind, type ExtensionNotes, type LlamaConfig, nestedTheta, type RopeObject } from "./config.js";
import { checkConfig, type Fail } from "./config-checks.js";
import { type ConfigFamily, type ConfigKeys, configFamilies, familyOf, OWN_TYPE } from "./config-families.js";
import type { PositionEncodingConfig } from "./encodings/encoding-config.js";
import { isObject, parseJson, showValue } from "./json.js";

const MAX_FILE_CHARACTERS = 64 * 2 ** 20;

/** What Hugging Face assumes where a `config.json` of any family is silent. */
const HF_DEFAULTS = { rms_norm_eps: 1e-6, rope_theta: 10_000, initializer_range: 0.02 } as const;

/** Keys with the values that this library computes; a key that is absent has such a value. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  hidden_act: ["silu", "swish"],
  quantization_config: [],
};

/**
 * Reads a Hugging Face `config.json` of a model whose layers are those of a Llama, with or without some flags: Llama 1 to 3, SmolLM2,
 * TinyLlama (`model_type` "llama"), Mistral, Qwen2 and Qwen3. Where it is silent, Hugging Face's defaults hold, but the sizes must be there.
 *
 * @param json the file's text, or the parsed object
 * @param file its name, for messages
 * @throws FormatError for text that is no JSON, keys that are missing, of a wrong type or out of any sane range, another architecture,
 *   and features that weights of these families may have and this library lacks (another activation, quantization)
 */
export function parseLlamaConfig(json: unknown, file: string): LlamaConfig {
  checkArgument("parseLlamaConfig", "json", json, {
    wanted: "the text of a config.json or its object",
    fits: (value) => text.fits(value) || isObject(value),
  });
  checkArgument("parseLlamaConfig", "file", file, text);
  const fail: Fail = (message, hint) => new FormatError(message, { file, hint });
  if (typeof json === "string" && json.length > MAX_FILE_CHARACTERS) {
    throw fail(`expected at most ${MAX_FILE_CHARACTERS} characters, found ${json.length}`, "this is no config.json");
  }
  const object = typeof json === "string" ? parseJson(json, { file }) : json;
  if (!isObject(object)) throw fail("expected a JSON object", "this is no config.json of a model");
  const family = familyIn(object, fail);

  // null counts as absent, as in Hugging Face.
  const value = (key: string): unknown => object[key] ?? undefined;
  const keys: ConfigKeys = {
    raw: (key) => (Object.hasOwn(object, key) ? object[key] : undefined),
    number: (key) => {
      const found = value(key);
      if (found === undefined || typeof found === "number") return found;
      throw fail(`expected "${key}" to be a number, found ${showValue(found)}`, "correct the file");
    },
    boolean: (key) => {
      const found = value(key);
      if (found === undefined || typeof found === "boolean") return found;
      throw fail(`expected "${key}" to be true or false, found ${showValue(found)}`, "correct the file");
    },
  };
  const number = (key: string, otherwise?: number): number => {
    const found = keys.number(key) ?? otherwise;
    if (found === undefined) throw fail(`expected "${key}" to be a number, found no such key`, "config.json must be of a Llama model");
    return found;
  };
  const nested = (key: string): RopeObject | undefined => {
    const found = value(key);
    if (found !== undefined && !isObject(found))
      throw fail(`expected "${key}" to be an object, found ${showValue(found)}`, "correct the file");
    return found;
  };

  const part = value("partial_rotary_factor");
  const ropes = { rope_scaling: nested("rope_scaling"), rope_parameters: nested("rope_parameters") };
  // Hugging Face moves a factor of the top level into the object; without an object it is one of the default type.
  const { rope_scaling: scaling, rope_parameters: parameters } = part === undefined ? ropes : withPart(ropes, part);
  const heads = number("num_attention_heads");
  const hidden = number("hidden_size");
  const layers = number("num_hidden_layers");
  // Where a family assumes another number of them than heads, null still means as many.
  const keyHeads = keys.raw("num_key_value_heads") === undefined ? family.defaults.num_key_value_heads : undefined;
  const theta = nestedTheta({ rope_scaling: scaling, rope_parameters: parameters }) ?? number("rope_theta", HF_DEFAULTS.rope_theta);
  if (typeof theta !== "number") throw fail(`expected "rope_theta" to be a number, found ${showValue(theta)}`, "correct the file");
  const bos = tokenIds(value("bos_token_id"), "bos_token_id", fail);
  const eos = tokenIds(value("eos_token_id"), "eos_token_id", fail);
  const notes = nested("e2llm");
  const encoding = value("position_encoding");
  const original = value("original_max_position_embeddings");
  const config: LlamaConfig = {
    vocab_size: number("vocab_size"),
    hidden_size: hidden,
    intermediate_size: number("intermediate_size"),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: number("num_key_value_heads", keyHeads ?? heads),
    head_dim: number("head_dim", family.defaults.head_dim ?? hidden / heads),
    max_position_embeddings: number("max_position_embeddings", family.defaults.max_position_embeddings),
    rms_norm_eps: number("rms_norm_eps", HF_DEFAULTS.rms_norm_eps),
    rope_theta: theta,
    tie_word_embeddings: keys.boolean("tie_word_embeddings") ?? false,
    initializer_range: number("initializer_range", HF_DEFAULTS.initializer_range),
    ...(scaling && { rope_scaling: scaling }),
    ...(parameters && { rope_parameters: parameters }),
    ...(notes !== undefined && { e2llm: notes as ExtensionNotes }),
    ...(encoding !== undefined && { position_encoding: encoding as PositionEncodingConfig }),
    ...(original !== undefined && { original_max_position_embeddings: number("original_max_position_embeddings") }),
    ...family.flags(keys, layers),
    ...(typeof bos === "number" && { bos_token_id: bos }),
    ...(eos !== undefined && { eos_token_id: eos }),
  };
  checkConfig(config, fail);
  if (family === configFamilies[OWN_TYPE] && familyOf(config)[1] !== family) {
    throw fail(
      `expected position_encoding beside model_type "${OWN_TYPE}", or flags that no other family has, found none`,
      "the weights mean nothing without it",
    );
  }
  return config;
}

/**
 * The content of a `config.json` that Hugging Face's transformers loads with the weights of this library, as one of the family that has the
 * model's flags. Write it with JSON.stringify; for an extended window spread the keys of its schedule over it.
 *
 * A model that no family of theirs computes, such as one with a position encoding of its own, has a model type of its own, so that no other
 * software reads it as something else.
 */
export function toHfConfig(config: LlamaConfig): Record<string, unknown> {
  checkArgument("toHfConfig", "config", config, configKind);
  const unscaled = config.rope_scaling === undefined && config.rope_parameters === undefined;
  const [type, family] = familyOf(config);
  const { attention_bias, attention_output_bias, mlp_bias, qk_norm, sliding_window, layer_types, ...others } = config;
  return {
    architectures: [family.architecture],
    model_type: type,
    hidden_act: "silu",
    attention_dropout: 0,
    torch_dtype: "float32",
    use_cache: true,
    // Hugging Face would otherwise assume tokens 1 and 2, which are bytes like any others here.
    bos_token_id: null,
    eos_token_id: null,
    ...family.keys(config),
    // transformers 5 reads theta from here, transformers 4 from the top.
    ...(unscaled && { rope_parameters: { rope_type: "default", rope_theta: config.rope_theta }, rope_scaling: null }),
    ...others,
  };
}

interface RopeObjects {
  readonly rope_scaling: RopeObject | undefined;
  readonly rope_parameters: RopeObject | undefined;
}

const withPart = (ropes: RopeObjects, part: unknown): RopeObjects => {
  const inside = (rope: RopeObject | undefined): RopeObject | undefined => rope && { partial_rotary_factor: part, ...rope };
  if (part === 1) return ropes;
  return ropes.rope_scaling === undefined && ropes.rope_parameters === undefined
    ? { rope_scaling: undefined, rope_parameters: { rope_type: "default", partial_rotary_factor: part } }
    : { rope_scaling: inside(ropes.rope_scaling), rope_parameters: inside(ropes.rope_parameters) };
};

/** Numbers that Python's programs want as floats: older ones refuse a `factor` of 4, and newer ones warn of it. */
const floats = /"(rope_theta|(?:\w+_)?factor|beta_fast|beta_slow|mscale|mscale_all_dim)": (-?\d+)(?=[,\s}])/g;

/** The text of a `config.json`. */
export const configText = (config: Readonly<Record<string, unknown>>): string =>
  `${JSON.stringify(config, null, 2).replace(floats, '"$1": $2.0')}\n`;

/** The family that a config names. Throws for others, and for features that are not computed here. */
function familyIn(object: Record<string, unknown>, fail: Fail): ConfigFamily {
  const type = object["model_type"];
  const family = typeof type === "string" && Object.hasOwn(configFamilies, type) ? configFamilies[type] : undefined;
  if (family === undefined) {
    const known = Object.keys(configFamilies).filter((name) => name !== OWN_TYPE);
    throw fail(
      `expected model_type ${known.map(showValue).join(" or ")}, found ${type === undefined ? "none" : showValue(type)}`,
      "models of the Llama family are read: Llama, SmolLM2, TinyLlama, Mistral, Qwen2, Qwen3",
    );
  }
  for (const [key, allowed] of Object.entries(FIXED)) {
    const found = object[key] ?? undefined;
    if (found !== undefined && !allowed.includes(found)) {
      const expected = allowed.length === 0 ? `no ${key}` : `${key} ${allowed.map(showValue).join(" or ")}`;
      throw fail(`expected ${expected}, found ${showValue(found)}`, "weights of this kind cannot be run here");
    }
  }
  return family;
}

function tokenIds(value: unknown, key: string, fail: Fail): number | readonly number[] | undefined {
  if (value === undefined || typeof value === "number") return value;
  if (Array.isArray(value) && value.every((id) => typeof id === "number")) return value;
  throw fail(`expected "${key}" to be a token id or a list of them, found ${showValue(value)}`, "correct the file");
}
