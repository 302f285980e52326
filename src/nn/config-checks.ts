/** Checks of the values of a configuration, for options and files alike. */
import { countParameters, type ExtensionNotes, type LlamaConfig, nestedTheta, type RopeObject, ropeTypes } from "./config.js";
import { encodingProblem } from "./encodings/encoding-config.js";
import { showValue } from "./json.js";

/** Bounds that every real model keeps, so that a file cannot ask for memory that no model needs. */
const INTEGER_RANGES = {
  vocab_size: [1, 2 ** 20],
  hidden_size: [1, 2 ** 16],
  intermediate_size: [1, 2 ** 18],
  num_hidden_layers: [1, 512],
  num_attention_heads: [1, 1024],
  num_key_value_heads: [1, 1024],
  head_dim: [2, 1024],
  max_position_embeddings: [1, 2 ** 28],
} as const;
type IntegerKey = keyof typeof INTEGER_RANGES;

/** 2³⁸ weights are a tebibyte in f32. */
const MAX_PARAMETERS = 2 ** 38;
/** What a check throws: an OptionError for options, a FormatError for files. */
export type Fail = (message: string, hint: string) => Error;

/** Throws what `fail` makes where values are out of range or do not fit together. */
export function checkConfig(config: LlamaConfig, fail: Fail): void {
  const { num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D } = config;
  if (!Number.isInteger(D) && D === config.hidden_size / H) {
    throw fail(`expected num_attention_heads to divide hidden_size, found ${H} and ${config.hidden_size}`, "or give head_dim");
  }
  for (const key of Object.keys(INTEGER_RANGES) as IntegerKey[]) checkInteger(key, config[key], fail, INTEGER_RANGES[key]);
  const original = config.original_max_position_embeddings;
  if (original !== undefined) {
    checkInteger("original_max_position_embeddings", original, fail, INTEGER_RANGES.max_position_embeddings);
  }
  if (H % Hkv !== 0) {
    throw fail(
      `expected num_key_value_heads to divide num_attention_heads, found ${Hkv} and ${H}`,
      "every key/value head serves as many heads",
    );
  }
  if (D % 2 !== 0) throw fail(`expected an even head_dim, found ${D}`, "RoPE turns channels in pairs");

  checkNumber("rms_norm_eps", config.rms_norm_eps, fail, { above: 0, most: 1 });
  checkNumber("rope_theta", config.rope_theta, fail, { above: 0, most: 1e12 });
  for (const rope of [config.rope_scaling, config.rope_parameters]) checkRope(rope, fail);
  if (config.e2llm !== undefined) checkNotes(config.e2llm, fail);
  const problem = config.position_encoding === undefined ? undefined : encodingProblem(config.position_encoding);
  if (problem !== undefined) throw fail(problem.message, problem.hint);
  const nested = nestedTheta(config);
  if (nested !== undefined && nested !== config.rope_theta) {
    throw fail(`expected one rope_theta, found ${config.rope_theta} and ${showValue(nested)}`, "give the same theta in both places");
  }
  if (config.initializer_range !== 0) checkNumber("initializer_range", config.initializer_range, fail, { above: 0, most: 10 });
  if (typeof config.tie_word_embeddings !== "boolean") {
    throw fail(`expected tie_word_embeddings to be true or false, found ${showValue(config.tie_word_embeddings)}`, "give true or false");
  }
  checkFlags(config, fail);
  for (const id of [config.bos_token_id ?? [], config.eos_token_id ?? []].flat()) {
    checkInteger("bos_token_id and eos_token_id", id, fail, [0, config.vocab_size - 1]);
  }
  const parameters = countParameters(config);
  if (parameters > MAX_PARAMETERS) {
    throw fail(
      `expected a model of at most 2^38 weights, found sizes that make ${parameters}`,
      "each size is possible, all together are not",
    );
  }
}

/** What no table of cosines and sines here could honour is refused where the model is made or read, not where it is first used. */
function checkRope(rope: RopeObject | null | undefined, fail: Fail): void {
  const type = rope?.["rope_type"] ?? rope?.["type"] ?? "default";
  if (!ropeTypes.some((known) => known === type)) {
    throw fail(
      `expected a RoPE of type ${ropeTypes.map(showValue).join(" or ")}, found ${showValue(type)}`,
      "other kinds are not computed here",
    );
  }
  const part = rope?.["partial_rotary_factor"] ?? 1;
  if (part !== 1 && type !== "proportional") {
    throw fail(
      `expected partial_rotary_factor 1 beside rope_type ${showValue(type)}, found ${showValue(part)}`,
      'all channels of a head are rotated here, except by "proportional"',
    );
  }
}

function checkFlags(config: LlamaConfig, fail: Fail): void {
  for (const name of ["attention_bias", "attention_output_bias", "mlp_bias", "qk_norm"] as const) {
    const value = config[name];
    if (value !== undefined && typeof value !== "boolean") {
      throw fail(`expected ${name} to be true or false, found ${showValue(value)}`, "give true or false");
    }
  }
  const { sliding_window: window, layer_types: types, num_hidden_layers: layers } = config;
  if (window !== undefined && window !== null) checkInteger("sliding_window", window, fail, INTEGER_RANGES.max_position_embeddings);
  if (types === undefined) return;
  const known: readonly unknown[] = ["full_attention", "sliding_attention"];
  if (!Array.isArray(types) || types.length !== layers || !types.every((type) => known.includes(type))) {
    throw fail(
      `expected layer_types to be a list of ${layers} times "full_attention" or "sliding_attention", found ${showValue(types)}`,
      "one for each layer; other kinds of attention are not computed here",
    );
  }
  if (types.includes("sliding_attention") && (window ?? undefined) === undefined) {
    throw fail("expected a sliding_window beside layers of sliding_attention, found none", "give the number of keys that they see");
  }
}

function checkNotes({ trained_window, g_max, schedule, every_scale, scales }: ExtensionNotes, fail: Fail): void {
  checkInteger("e2llm.trained_window", trained_window, fail, INTEGER_RANGES.max_position_embeddings);
  checkNumber("e2llm.g_max", g_max, fail, { above: 0, most: 2 ** 24 });
  if (schedule !== undefined && typeof schedule !== "string") {
    throw fail(`expected e2llm.schedule to be a name, found ${showValue(schedule)}`, 'correct it, "linear" for example');
  }
  if (every_scale !== undefined && typeof every_scale !== "boolean") {
    throw fail(`expected e2llm.every_scale to be true or false, found ${showValue(every_scale)}`, "correct it");
  }
  if (scales === undefined) return;
  if (!Array.isArray(scales) || scales.length === 0) {
    throw fail(`expected e2llm.scales to be a list of scales, found ${showValue(scales)}`, "correct it, or leave it out");
  }
  for (const scale of scales) checkNumber("each of e2llm.scales", scale, fail, { above: 0, most: g_max });
}

function checkInteger(name: string, value: unknown, fail: Fail, [least, most]: readonly [number, number]): void {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw fail(`expected ${name} to be a whole number from ${least} to ${most}, found ${describeNumber(value)}`, `correct ${name}`);
  }
}

function checkNumber(name: string, value: unknown, fail: Fail, range: { readonly above: number; readonly most: number }): void {
  if (typeof value !== "number" || !(value > range.above && value <= range.most)) {
    throw fail(
      `expected ${name} to be a number above ${range.above} and up to ${range.most}, found ${describeNumber(value)}`,
      `correct ${name}`,
    );
  }
}

/** JSON writes NaN and infinities as null. */
const describeNumber = (value: unknown): string => (typeof value === "number" ? String(value) : showValue(value));
