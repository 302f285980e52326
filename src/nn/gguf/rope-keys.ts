/**
 * How RoPE is scaled, in the keys of GGUF and in those of a Hugging Face config. llama.cpp knows "linear" and "yarn" by name, and divides each
 * frequency by a factor of the tensor `rope_freqs.weight` where there is one, which is how converters write Llama 3's scaling.
 */
import { FormatError } from "../../errors.js";
import type { LlamaConfig, RopeObject } from "../config.js";
import { showValue } from "../json.js";
import type { GgufHeader } from "./header.js";
import { ggufNumber, ggufString } from "./keys.js";

/** The keys of a configuration that say how positions are encoded, in both forms of Hugging Face. */
export type RopeConfig = Pick<LlamaConfig, "rope_theta" | "rope_scaling" | "rope_parameters" | "original_max_position_embeddings">;

export interface RopeSizes {
  readonly theta: number;
  /** D. */
  readonly headDim: number;
  /** The window in tokens. */
  readonly window: number;
}

/** What a GGUF header and its factors of frequencies, if any, say. Throws FormatError for what cannot be computed here. */
export function readRopeKeys(
  header: Pick<GgufHeader, "keys" | "file">,
  architecture: string,
  sizes: RopeSizes,
  factors: Float32Array | undefined,
): RopeConfig {
  const key = (name: string): string => `${architecture}.rope.${name}`;
  const number = (name: string): number | undefined => asWritten(ggufNumber(header, key(name)));
  const fail = (message: string, hint: string): FormatError => new FormatError(message, { file: header.file, hint });
  const factor = number("scaling.factor") ?? number("scale_linear");
  // Files from before there were types state a factor alone.
  const type = ggufString(header, key("scaling.type")) ?? (factor === undefined ? "none" : "linear");
  const attention = number("scaling.attn_factor");
  const original = number("scaling.original_context_length");
  const isScaled = type !== "none" && factor !== undefined && factor !== 1;
  if (isScaled && !(factor > 0))
    throw fail(`expected ${showValue(key("scaling.factor"))} to be above 0, found ${factor}`, "correct the file");
  if (factors !== undefined && (factors.length !== sizes.headDim / 2 || !factors.every((one) => one > 0 && Number.isFinite(one)))) {
    throw fail(
      `expected "rope_freqs.weight" to hold ${sizes.headDim / 2} numbers above 0, found [${showValue(Array.from(factors))}]`,
      "convert the model again",
    );
  }
  if (factors !== undefined && !factors.every((one) => one === 1)) {
    if (isScaled)
      throw fail(`expected one way of scaling RoPE, found "${type}" and the tensor "rope_freqs.weight"`, "convert the model again");
    return byFactors(factors, attention ?? 1, sizes, original);
  }
  if (attention !== undefined && attention !== 1 && type !== "yarn") {
    throw fail(
      `expected ${showValue(key("scaling.attn_factor"))} beside the type "yarn" alone, found it beside ${showValue(type)}`,
      "convert the model again",
    );
  }
  if (!isScaled) return { rope_theta: sizes.theta };
  switch (type) {
    case "linear":
      return scaled(sizes.theta, { rope_type: "linear", factor });
    case "yarn": {
      const trained = original ?? sizes.window;
      const extrapolation = number("scaling.yarn_ext_factor") ?? 1;
      if (extrapolation !== 1) {
        throw fail(
          `expected ${showValue(key("scaling.yarn_ext_factor"))} to be 1, found ${extrapolation}`,
          "YaRN is not computed in part here",
        );
      }
      // llama.cpp multiplies the attention factor of YaRN by this one.
      const multiplier = (attention ?? 1) * (number("scaling.yarn_attn_factor") ?? 1);
      const logMultiplier = number("scaling.yarn_log_multiplier") ?? 0;
      if (logMultiplier !== 0) {
        throw fail(
          `expected no ${showValue(key("scaling.yarn_log_multiplier"))}, found ${logMultiplier}`,
          "it belongs to models of another family",
        );
      }
      return scaled(sizes.theta, {
        rope_type: "yarn",
        factor,
        original_max_position_embeddings: trained,
        ...given({ beta_fast: number("scaling.yarn_beta_fast"), beta_slow: number("scaling.yarn_beta_slow") }),
        ...(multiplier !== 1 && { attention_factor: multiplier * yarnAttention(factor) }),
      });
    }
    default:
      throw fail(
        `expected RoPE scaled by "linear" or "yarn", found ${showValue(type)}`,
        "get the model in safetensors, whose keys say more",
      );
  }
}

/** YaRN's attention factor (Peng et al. 2023, eq. 22), as both llama.cpp and Hugging Face compute it. */
export const yarnAttention = (factor: number): number => (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1);

/** Both forms: `rope_parameters` of transformers 5, `rope_scaling` of transformers 4, which knew `type` before `rope_type`. */
export function scaled(theta: number, rope: RopeObject & { readonly rope_type: string }): RopeConfig {
  const original = rope["original_max_position_embeddings"];
  return {
    rope_theta: theta,
    rope_parameters: { ...rope, rope_theta: theta },
    rope_scaling: { type: rope.rope_type, ...rope },
    ...(typeof original === "number" && { original_max_position_embeddings: original }),
  };
}

/** Divisors of the frequencies: those of Llama 3's ramp under its parameters, others as both lists of "longrope". */
function byFactors(
  factors: Float32Array,
  attention: number,
  { theta, headDim, window }: RopeSizes,
  original: number | undefined,
): RopeConfig {
  const ramp = attention === 1 ? llama3Of(factors, theta, headDim) : undefined;
  if (ramp !== undefined) return scaled(theta, { rope_type: "llama3", ...ramp });
  const list = Array.from(factors, asWritten);
  return scaled(theta, {
    rope_type: "longrope",
    factor: 1,
    original_max_position_embeddings: original ?? window,
    short_factor: list,
    long_factor: list,
    attention_factor: attention,
  });
}

export interface Llama3Ramp {
  readonly factor: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
  readonly original_max_position_embeddings: number;
}

/**
 * Llama 3's divisors of the frequencies theta^(−2j/D): 1 for wavelengths λ below L/high, `factor` for those above L/low, and between them
 * 1/((1 − s)/factor + s) with s = (L/λ − low)/(high − low). Source: meta-llama/llama-models, `models/llama3/model.py`.
 */
export function llama3Factors(ramp: Llama3Ramp, theta: number, headDim: number): Float32Array {
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: window } = ramp;
  return Float32Array.from({ length: headDim / 2 }, (_, j) => {
    const turns = window / wavelength(j, theta, headDim);
    const s = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / ((1 - s) / factor + s);
  });
}

const wavelength = (j: number, theta: number, headDim: number): number => 2 * Math.PI * theta ** ((2 * j) / headDim);

/** The parameters that give these divisors: those of Meta's models, or a ramp with low = 1 that is fitted to two divisors on it. */
function llama3Of(factors: Float32Array, theta: number, headDim: number): Llama3Ramp | undefined {
  const factor = asWritten(factors.at(-1)) as number;
  const fits = (ramp: Llama3Ramp): boolean =>
    llama3Factors(ramp, theta, headDim).every((one, j) => Math.abs(one - (factors[j] as number)) <= 1e-5 * one);
  const known = { factor, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  if (factor > 1 && fits(known)) return known;
  const onRamp = Array.from(factors.keys()).filter((j) => (factors[j] as number) > 1.001 && (factors[j] as number) < 0.999 * factor);
  const [first, last] = [onRamp[0], onRamp.at(-1)];
  if (first === undefined || last === undefined || first === last) return undefined;
  // s is a·(1/λ) + b with a = L/(high − low) and b = −low/(high − low).
  const s = (j: number): number => (1 / (factors[j] as number) - 1 / factor) / (1 - 1 / factor);
  const turns = (j: number): number => 1 / wavelength(j, theta, headDim);
  const a = (s(first) - s(last)) / (turns(first) - turns(last));
  const b = s(first) - a * turns(first);
  const high = Number((1 - 1 / b).toPrecision(4));
  const fitted = { factor, low_freq_factor: 1, high_freq_factor: high, original_max_position_embeddings: Math.round(a * (high - 1)) };
  return high > 1 && fitted.original_max_position_embeddings >= 1 && fits(fitted) ? fitted : undefined;
}

/** The shortest decimal that f32 rounds to the number: 1e-5 was meant by 0.000009999999747378752. */
export function asWritten(value: number): number;
export function asWritten(value: number | undefined): number | undefined;
export function asWritten(value: number | undefined): number | undefined {
  if (value === undefined || !Number.isFinite(value)) return value;
  for (let digits = 1; digits <= 9; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (Math.fround(shorter) === value) return shorter;
  }
  return value;
}

const given = (fields: Readonly<Record<string, number | undefined>>): Record<string, number> =>
  Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, number] => entry[1] !== undefined));
