import { checkArgument, checkFields, didYouMean, number, objectWith, text } from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";
import { sizeOf } from "../ir/shape.js";
import { encodingShapes } from "./encodings/create.js";
import { encodingProblem, type PositionEncodingConfig } from "./encodings/encoding-config.js";
import { isObject, parseJson, showValue } from "./json.js";

/** `rope_scaling` or `rope_parameters` of a Hugging Face config, carried along as it is. */
export type RopeObject = Readonly<Record<string, unknown>>;

/** What `config.json` of an extended model says of its extension. */
export interface ExtensionNotes {
  /** L: the window that it was trained with before. */
  readonly trained_window: number;
  /** The largest scale that it has seen. */
  readonly g_max: number;
  /** Name of the schedule that it is read by. Default "linear": positions divided by the scale. */
  readonly schedule?: string;
  /** Whether it has seen every whole scale up to g_max, or that one alone. Default true. */
  readonly every_scale?: boolean;
  readonly [key: string]: unknown;
}

/** Sizes and constants of a Llama, under the names of Hugging Face's `config.json`. */
export interface LlamaConfig {
  /** V: how many tokens there are. */
  readonly vocab_size: number;
  /** C: width of the residual stream. */
  readonly hidden_size: number;
  /** F: width inside of the feed-forward block. */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  /** H: query heads. */
  readonly num_attention_heads: number;
  /** Hkv: key/value heads, a divisor of H. H is multi-head attention, 1 is multi-query attention. */
  readonly num_key_value_heads: number;
  /** D: channels of a head; even, because RoPE turns pairs. */
  readonly head_dim: number;
  /** Window in tokens: the trained one, or the extended one beside a `rope_scaling` that extends it. */
  readonly max_position_embeddings: number;
  /** ε inside of the square root of RMSNorm. */
  readonly rms_norm_eps: number;
  /** Base b of the RoPE frequencies b^(−2j/D). */
  readonly rope_theta: number;
  /** Whether the embedding matrix is the head too. */
  readonly tie_word_embeddings: boolean;
  /** Standard deviation of the initial weights. */
  readonly initializer_range: number;
  /** How RoPE is scaled, in the form of transformers 4; null or absent for not at all. */
  readonly rope_scaling?: RopeObject | null;
  /** How RoPE is scaled, in the form of transformers 5. */
  readonly rope_parameters?: RopeObject;
  /** Trained window, where `max_position_embeddings` is the extended one. */
  readonly original_max_position_embeddings?: number;
  /** How the window was extended in training and how the model is read therefore; other software takes no notice of it. */
  readonly e2llm?: ExtensionNotes;
  /** How the layers know positions in place of RoPE; see `createPositionEncoding`. Absent: RoPE. */
  readonly position_encoding?: PositionEncodingConfig;
  /** Token that begins a text. */
  readonly bos_token_id?: number;
  /** Token or tokens that end a text. */
  readonly eos_token_id?: number | readonly number[];
}

const configKeys: Readonly<Record<keyof LlamaConfig, true>> = {
  vocab_size: true,
  hidden_size: true,
  intermediate_size: true,
  num_hidden_layers: true,
  num_attention_heads: true,
  num_key_value_heads: true,
  head_dim: true,
  max_position_embeddings: true,
  rms_norm_eps: true,
  rope_theta: true,
  tie_word_embeddings: true,
  initializer_range: true,
  rope_scaling: true,
  rope_parameters: true,
  original_max_position_embeddings: true,
  e2llm: true,
  position_encoding: true,
  bos_token_id: true,
  eos_token_id: true,
};

/** A configuration with its sizes, as `llamaConfig` and `loadConfig` make it. */
export const configKind = objectWith(
  "a configuration, as llamaConfig(…) makes it",
  "vocab_size",
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
);

/** What {@link llamaConfig} takes: sizes without a default, and all else. */
export type LlamaOptions = Partial<LlamaConfig> & Pick<LlamaConfig, SizeKey>;
type SizeKey = "vocab_size" | "hidden_size" | "num_hidden_layers" | "num_attention_heads";

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
const MAX_FILE_CHARACTERS = 64 * 2 ** 20;

/** What Hugging Face assumes where a `config.json` is silent. */
const HF_DEFAULTS = { max_position_embeddings: 2048, rms_norm_eps: 1e-6, rope_theta: 10_000, initializer_range: 0.02 } as const;

/** Keys with the values that this library computes; a key that is absent has such a value. */
const FIXED: Readonly<Record<string, readonly unknown[]>> = {
  hidden_act: ["silu", "swish"],
  attention_bias: [false],
  mlp_bias: [false],
  quantization_config: [],
};

/** `model_type` of a Llama without RoPE, which other software would compute wrongly. */
const ENCODED_LLAMA = "dawngrad_llama";

/** The kinds of RoPE scaling that are computed, by their names in Hugging Face's configs. */
export const ropeTypes: readonly string[] = ["default", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"];

/**
 * A config for code: checks it and fills in what is left out.
 *
 * Defaults: as many key/value heads as heads; `head_dim` C/H; `intermediate_size` 8/3·C rounded up to a multiple of 8, at which
 * SwiGLU has the weights of an ordinary block of 4·C (Shazeer 2020); window 2048; ε 10⁻⁵; theta 10,000; head not tied; weights from N(0, 0.02²).
 *
 * @throws OptionError for values that are missing, out of range or do not fit together
 */
export function llamaConfig(options: LlamaOptions): LlamaConfig {
  checkFields<Pick<LlamaConfig, SizeKey>>("llamaConfig", "the options", options, {
    vocab_size: number,
    hidden_size: number,
    num_hidden_layers: number,
    num_attention_heads: number,
  });
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(configKeys, name)) continue;
    throw new OptionError(`llamaConfig: there is no option "${name}"`, {
      hint: didYouMean(name, Object.keys(configKeys)) ?? "the names are those of Hugging Face's config.json for a Llama",
    });
  }
  const { hidden_size: C, num_attention_heads: H } = options;
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as unknown as LlamaOptions;
  const config: LlamaConfig = {
    intermediate_size: 8 * Math.ceil(C / 3),
    num_key_value_heads: H,
    head_dim: C / H,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: false,
    initializer_range: 0.02,
    ...given,
  };
  checkConfig(config, (message, hint) => new OptionError(message, { hint }));
  return config;
}

/**
 * Reads a Hugging Face `config.json` of a Llama. Where it is silent, Hugging Face's defaults hold, but the sizes must be there.
 *
 * @param json the file's text, or the parsed object
 * @param file its name, for messages
 * @throws FormatError for text that is no JSON, keys that are missing, of a wrong type or out of any sane range, another architecture,
 *   and features that Llama weights may have and this library lacks (biases, another activation, quantization)
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
  refuseOtherModels(object, fail);

  // null counts as absent, as in Hugging Face.
  const value = (key: string): unknown => object[key] ?? undefined;
  const number = (key: string, otherwise?: number): number => {
    const found = value(key) ?? otherwise;
    if (typeof found !== "number") {
      const what = found === undefined ? "no such key" : showValue(found);
      throw fail(`expected "${key}" to be a number, found ${what}`, "config.json must be of a Llama model");
    }
    return found;
  };
  const boolean = (key: string, otherwise: boolean): boolean => {
    const found = value(key) ?? otherwise;
    if (typeof found !== "boolean") throw fail(`expected "${key}" to be true or false, found ${showValue(found)}`, "correct the file");
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
    num_hidden_layers: number("num_hidden_layers"),
    num_attention_heads: heads,
    num_key_value_heads: number("num_key_value_heads", heads),
    head_dim: number("head_dim", hidden / heads),
    max_position_embeddings: number("max_position_embeddings", HF_DEFAULTS.max_position_embeddings),
    rms_norm_eps: number("rms_norm_eps", HF_DEFAULTS.rms_norm_eps),
    rope_theta: theta,
    tie_word_embeddings: boolean("tie_word_embeddings", false),
    initializer_range: number("initializer_range", HF_DEFAULTS.initializer_range),
    ...(scaling && { rope_scaling: scaling }),
    ...(parameters && { rope_parameters: parameters }),
    ...(notes !== undefined && { e2llm: notes as ExtensionNotes }),
    ...(encoding !== undefined && { position_encoding: encoding as PositionEncodingConfig }),
    ...(original !== undefined && { original_max_position_embeddings: number("original_max_position_embeddings") }),
    ...(typeof bos === "number" && { bos_token_id: bos }),
    ...(eos !== undefined && { eos_token_id: eos }),
  };
  checkConfig(config, fail);
  return config;
}

/**
 * The content of a `config.json` that Hugging Face's transformers loads with the weights of this library. Write it with
 * JSON.stringify; for an extended window spread the keys of its schedule over it.
 *
 * A model with a position encoding of its own has a model type of its own, so that no other software reads it as one with RoPE.
 */
export function toHfConfig(config: LlamaConfig): Record<string, unknown> {
  checkArgument("toHfConfig", "config", config, configKind);
  const unscaled = config.rope_scaling === undefined && config.rope_parameters === undefined;
  const isLlama = config.position_encoding === undefined;
  return {
    architectures: [isLlama ? "LlamaForCausalLM" : "DawngradLlamaForCausalLM"],
    model_type: isLlama ? "llama" : ENCODED_LLAMA,
    hidden_act: "silu",
    attention_bias: false,
    attention_dropout: 0,
    mlp_bias: false,
    torch_dtype: "float32",
    use_cache: true,
    // Hugging Face would otherwise assume tokens 1 and 2, which are bytes like any others here.
    bos_token_id: null,
    eos_token_id: null,
    // transformers 5 reads theta from here, transformers 4 from the top.
    ...(unscaled && { rope_parameters: { rope_type: "default", rope_theta: config.rope_theta }, rope_scaling: null }),
    ...config,
  };
}

/**
 * Every parameter of the model by its name in Hugging Face's checkpoints, with its shape. Matrices are [out, in]. A tied head has
 * no tensor of its own.
 */
export function llamaShapes(config: LlamaConfig): Map<string, readonly number[]> {
  checkArgument("llamaShapes", "config", config, configKind);
  const { vocab_size: V, hidden_size: C, intermediate_size: F, head_dim: D } = config;
  const ofEncoding = shapesOfEncoding(config);
  const shapes = new Map<string, readonly number[]>([["model.embed_tokens.weight", [V, C]]]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const block = `model.layers.${layer}`;
    shapes.set(`${block}.input_layernorm.weight`, [C]);
    shapes.set(`${block}.self_attn.q_proj.weight`, [config.num_attention_heads * D, C]);
    shapes.set(`${block}.self_attn.k_proj.weight`, [config.num_key_value_heads * D, C]);
    shapes.set(`${block}.self_attn.v_proj.weight`, [config.num_key_value_heads * D, C]);
    shapes.set(`${block}.self_attn.o_proj.weight`, [C, config.num_attention_heads * D]);
    for (const [name, shape] of ofEncoding) shapes.set(`${block}.self_attn.position_encoding.${name}`, shape);
    shapes.set(`${block}.post_attention_layernorm.weight`, [C]);
    shapes.set(`${block}.mlp.gate_proj.weight`, [F, C]);
    shapes.set(`${block}.mlp.up_proj.weight`, [F, C]);
    shapes.set(`${block}.mlp.down_proj.weight`, [C, F]);
  }
  shapes.set("model.norm.weight", [C]);
  if (!config.tie_word_embeddings) shapes.set("lm_head.weight", [V, C]);
  return shapes;
}

/** The parameters of the position encoding of a layer, which RoPE has none of. */
const shapesOfEncoding = ({ position_encoding: encoding, num_attention_heads: H }: LlamaSizes): Map<string, readonly number[]> =>
  encoding === undefined ? new Map() : encodingShapes(encoding, H);

/** What of a configuration decides how many weights there are. */
export type LlamaSizes = Pick<
  LlamaConfig,
  | "vocab_size"
  | "hidden_size"
  | "intermediate_size"
  | "head_dim"
  | "num_hidden_layers"
  | "num_attention_heads"
  | "num_key_value_heads"
  | "tie_word_embeddings"
  | "position_encoding"
>;

/** Number of weights: V·C·(1 or 2) + layers·(2·C·D·(H + Hkv) + 3·C·F + 2·C + those of a position encoding) + C. */
export function countParameters(config: LlamaSizes): number {
  checkArgument("countParameters", "config", config, configKind);
  const { vocab_size: V, hidden_size: C, intermediate_size: F, head_dim: D, num_attention_heads: H, num_key_value_heads: Hkv } = config;
  const ofEncoding = [...shapesOfEncoding(config).values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
  const block = 2 * C * D * (H + Hkv) + 3 * C * F + 2 * C + ofEncoding;
  return V * C * (config.tie_word_embeddings ? 1 : 2) + config.num_hidden_layers * block + C;
}

/** Theta as the objects about RoPE give it, the older one first, as in Hugging Face. */
const nestedTheta = (ropes: {
  readonly rope_scaling?: RopeObject | null | undefined;
  readonly rope_parameters?: RopeObject | undefined;
}): unknown => ropes.rope_scaling?.["rope_theta"] ?? ropes.rope_parameters?.["rope_theta"] ?? undefined;

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

type Fail = (message: string, hint: string) => Error;

function checkConfig(config: LlamaConfig, fail: Fail): void {
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

function checkNotes({ trained_window, g_max, schedule, every_scale }: ExtensionNotes, fail: Fail): void {
  checkInteger("e2llm.trained_window", trained_window, fail, INTEGER_RANGES.max_position_embeddings);
  checkNumber("e2llm.g_max", g_max, fail, { above: 0, most: 2 ** 24 });
  if (schedule !== undefined && typeof schedule !== "string") {
    throw fail(`expected e2llm.schedule to be a name, found ${showValue(schedule)}`, 'correct it, "linear" for example');
  }
  if (every_scale !== undefined && typeof every_scale !== "boolean") {
    throw fail(`expected e2llm.every_scale to be true or false, found ${showValue(every_scale)}`, "correct it");
  }
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

function refuseOtherModels(object: Record<string, unknown>, fail: Fail): void {
  const type = object["model_type"];
  if (type !== "llama" && type !== ENCODED_LLAMA) {
    throw fail(`expected model_type "llama", found ${type === undefined ? "none" : showValue(type)}`, "only Llama models are read");
  }
  if (type === ENCODED_LLAMA && (object["position_encoding"] ?? undefined) === undefined) {
    throw fail(`expected position_encoding beside model_type "${ENCODED_LLAMA}", found none`, "the weights mean nothing without it");
  }
  for (const [key, allowed] of Object.entries(FIXED)) {
    const found = object[key] ?? undefined;
    if (found !== undefined && !allowed.includes(found)) {
      const expected = allowed.length === 0 ? `no ${key}` : `${key} ${allowed.map(showValue).join(" or ")}`;
      throw fail(`expected ${expected}, found ${showValue(found)}`, "weights of this kind cannot be run here");
    }
  }
}

function tokenIds(value: unknown, key: string, fail: Fail): number | readonly number[] | undefined {
  if (value === undefined || typeof value === "number") return value;
  if (Array.isArray(value) && value.every((id) => typeof id === "number")) return value;
  throw fail(`expected "${key}" to be a token id or a list of them, found ${showValue(value)}`, "correct the file");
}
