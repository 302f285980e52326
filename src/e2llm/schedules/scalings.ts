/** The RoPE scaling methods with their parameters and formulas. */

/** A RoPE scaling method with its parameters. `factor` is the scale s ≥ 1, `originalMaxPositions` the trained window L. */
export type RopeScaling =
  | DefaultScaling
  | LinearScaling
  | NtkScaling
  | DynamicScaling
  | NtkMixedScaling
  | AbfScaling
  | NtkByPartsScaling
  | YarnScaling
  | Llama3Scaling
  | LongropeScaling
  | ProportionalScaling
  | ResonanceScaling
  | PowerScaling
  | TruncatedScaling;

/** No scaling: θ'_j = θ_j. Source: Su et al. 2021 (RoFormer), eq. 15. */
export interface DefaultScaling {
  readonly type: "default";
}

/** Position Interpolation: θ'_j = θ_j / s. Source: Chen et al. 2023 (arXiv 2306.15595), eq. 4. E²-LLM at scale g is this with s = g. */
export interface LinearScaling {
  readonly type: "linear";
  readonly factor: number;
}

/**
 * NTK-aware scaling: the base becomes theta·s^(D/(D−2)), so that θ'_j = θ_j·s^(−2j/(D−2)): the fastest dimension is kept and the
 * slowest divided by s. Source: bloc97 2023; Peng et al. 2023 (arXiv 2309.00071), §3.1.
 */
export interface NtkScaling {
  readonly type: "ntk";
  readonly factor: number;
}

/**
 * NTK-aware scaling with s = f·l/L − (f − 1), l = max(seqLen, L): nothing changes within the window. Source: emozilla 2023, in the
 * form of Hugging Face.
 */
export interface DynamicScaling {
  readonly type: "dynamic";
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Current length l of the sequence. */
  readonly seqLen: number;
}

/**
 * NTK-mixed: θ'_j = θ_j·exp(−a·(j + 1)^β), a = ln s / (D/2)^β. The slowest dimension is divided by s, faster ones by less, the
 * fastest by a little. Source: Su 2023 (kexue.fm 9706).
 */
export interface NtkMixedScaling {
  readonly type: "ntk-mixed";
  readonly factor: number;
  /** β > 0: the larger, the fewer of the fast dimensions are scaled. Default 0.625. */
  readonly exponent?: number;
}

/**
 * Another base: θ'_j = b^(−2j/D), b = `theta`, whatever the model had. "Adjusted base frequency" when it grows. Source: Xiong et al. 2023
 * (arXiv 2309.16039), §2; ProLong (arXiv 2410.02660) takes 8·10⁶ and 1.28·10⁸.
 */
export interface AbfScaling {
  readonly type: "abf";
  readonly theta: number;
}

/** Where the ramp between kept and interpolated dimensions lies. */
interface Ramp {
  readonly factor: number;
  readonly originalMaxPositions: number;
  /**
   * What the ramp is linear in. `"index"`: the dimension index j, as in the authors' code, Hugging Face and llama.cpp. `"turns"`: the
   * number of turns L/λ_j, as in eq. 17–20 of the paper. The two differ by up to a factor of 3 in some frequencies.
   */
  readonly ramp?: "index" | "turns";
  /** Dimensions with at least this many turns within L are kept (the paper's β). Default 32; too large for windows below some 1,000. */
  readonly betaFast?: number;
  /** Dimensions with at most this many turns within L are interpolated fully (the paper's α). Default 1. */
  readonly betaSlow?: number;
  /** Round the ends of the index ramp outwards to whole dimensions. Default true; has no meaning for `ramp: "turns"`. */
  readonly truncate?: boolean;
}

/**
 * NTK-by-parts: θ'_j = (1 − γ(r_j))·θ_j/s + γ(r_j)·θ_j, r_j = L·θ_j/2π, γ = 0 below α, 1 above β and linear between; no attention
 * factor. The default ramp is "turns". Source: Peng et al. 2023 (arXiv 2309.00071), eq. 17–20.
 */
export interface NtkByPartsScaling extends Ramp {
  readonly type: "ntk-by-parts";
}

/**
 * YaRN: NTK-by-parts and the attention factor 0.1·ln s + 1. The default ramp is "index", as in all code in circulation.
 * Source: Peng et al. 2023 (arXiv 2309.00071), eq. 17–22; jquesnelle/yarn.
 */
export interface YarnScaling extends Ramp {
  readonly type: "yarn";
  /** Replaces the computed attention factor. */
  readonly attentionFactor?: number;
  /** With `mscaleAllDim`: attention factor (0.1·mscale·ln s + 1) / (0.1·mscaleAllDim·ln s + 1). Ignored unless both are given and not 0. */
  readonly mscale?: number;
  readonly mscaleAllDim?: number;
}

/**
 * Llama-3 scaling: a ramp in the number of turns between lowFreqFactor and highFreqFactor, without attention factor: NTK-by-parts with
 * α = lowFreqFactor and β = highFreqFactor. Source: meta-llama/llama-models, `models/llama3/model.py`.
 */
export interface Llama3Scaling {
  readonly type: "llama3";
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Dimensions with fewer turns than this are divided by `factor`. Default 1. */
  readonly lowFreqFactor?: number;
  /** Dimensions with more turns than this are kept. Default 4. */
  readonly highFreqFactor?: number;
}

/**
 * LongRoPE: θ'_j = θ_j/λ_j with one divisor for each dimension, found by search (`searchLongropeFactors`); attention factor
 * √(1 + ln s/ln L). One list of divisors serves texts within the trained window L, the other longer ones.
 * Source: Ding et al. 2024 (arXiv 2402.13753), in the form of Hugging Face. With both lists equal it expresses any fixed schedule.
 */
export interface LongropeScaling {
  readonly type: "longrope";
  /** s = extended window / L; it decides the attention factor alone. */
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** λ_j for texts of at most L tokens, D/2 positive numbers. */
  readonly shortFactor: readonly number[];
  /** λ_j for longer texts. */
  readonly longFactor: readonly number[];
  /** Current length of the sequence. */
  readonly seqLen: number;
  /** Replaces √(1 + ln s/ln L). */
  readonly attentionFactor?: number;
}

/**
 * Proportional RoPE: of D/2 dimensions the first ⌊p·D/2⌋ turn, with θ'_j = theta^(−2j/D)/s, and the others never do (θ'_j = 0).
 * Source: Hugging Face (`proportional`, of Gemma). p = 0 is no position encoding at all.
 */
export interface ProportionalScaling {
  readonly type: "proportional";
  /** p, from 0 to 1. Default 1. */
  readonly partialRotaryFactor?: number;
  /** s. Default 1. */
  readonly factor?: number;
}

/** A method that changes what another one computed. */
interface OnTop {
  /** The scaling whose frequencies are changed. Default: plain RoPE. */
  readonly on?: RopeScaling;
}

/**
 * Resonance RoPE: wavelengths λ_j = 2π/θ_j are rounded to whole positions, θ'_j = 2π/round(λ_j), so that a dimension whose wavelength
 * fits into the trained window meets no new angle at any later position. Source: Wang et al. 2024 (arXiv 2403.00071), §4; Resonance YaRN is
 * `{ type: "resonance", on: { type: "yarn", … } }`.
 */
export interface ResonanceScaling extends OnTop {
  readonly type: "resonance";
}

/**
 * Giraffe's power basis: θ'_j = θ_j·(1 − 2j/D)^p: slow dimensions are slowed most. Source: Pal et al. 2023 (arXiv 2308.10882), §3;
 * abacusai/Long-Context. For models that are trained with it.
 */
export interface PowerScaling extends OnTop {
  readonly type: "power";
  /** p > 0. */
  readonly exponent: number;
}

/**
 * Giraffe's truncated basis: dimensions whose wavelength is over the window L get the one wavelength `plateau`·L, and those over
 * `zeroBeyond`·L do not turn (θ'_j = 0). Source: Pal et al. 2023 (arXiv 2308.10882), §3; abacusai/Long-Context. For models that are trained
 * with it.
 */
export interface TruncatedScaling extends OnTop {
  readonly type: "truncated";
  readonly originalMaxPositions: number;
  /** In windows L. Default 16. */
  readonly plateau?: number;
  /** In windows L. Default 8. */
  readonly zeroBeyond?: number;
}
