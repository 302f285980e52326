/** The one file of tolerances. Each entry says what a result may differ by and why. */

/** |found − expected| ≤ absolute + relative · |expected| */
export interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
}

/** Unit roundoff of f32. */
export const unitRoundoff = 2 ** -24;

/** Movement, integers, comparisons, and what IEEE 754 rounds correctly (+ − ×). */
export const exact: Tolerance = { relative: 0, absolute: 0 };

/** WGSL gives division 2.5 ulp and the square root about twice that. */
export const quotient: Tolerance = { relative: 6e-7, absolute: 1e-37 };

/** Single f32 transcendentals: WGSL's accuracy table allows several ulp, and absolute errors near zeros. */
export const transcendental: Tolerance = { relative: 1e-5, absolute: 1e-6 };

/** WGSL promises sin and cos to 2⁻¹¹ absolute on [−π, π], and nothing outside of it. */
export const trigonometric: Tolerance = { relative: 1e-5, absolute: 2 ** -11 };

/**
 * Bound for a sum of K products or terms in f32, whatever its order: c·u·√K·Σ|terms|. A relative tolerance would be
 * wrong, because sums cancel. (The worst case is K·u; √K is what rounding errors of either sign add up to.)
 */
export const sumBound = (terms: number, magnitude: number): number => 8 * unitRoundoff * Math.sqrt(Math.max(terms, 1)) * magnitude;

/**
 * Relative error of a sum of many terms of one sign in f32: blocks of bounded length, whose sums are added in pairs, so that it grows
 * with the logarithm of the number of terms.
 */
export const longSumBound = (terms: number): number => 4 * unitRoundoff * Math.log2(Math.max(terms, 2));

/** RoPE frequencies against Hugging Face, which computes them in f32. */
export const ropeFrequencyF32: Tolerance = { relative: 2e-7, absolute: 0 };

/** f64 formulas for the same RoPE frequency that differ in the order of a few operations and one power. */
export const ropeFrequencyF64: Tolerance = { relative: 1e-12, absolute: 0 };

/** Two f64 angles that differ in their last bits, each rounded to an f32 cosine or sine: one f32 ulp below 1. */
export const ropeTableUlp = 2 ** -24;

/** Rotations and scores with f32 tables and f32 products, relative to the norms of the vectors, whatever the position. */
export const ropeScoreF32 = 1e-6;

/** Scores in f64, relative to the sum of their terms' magnitudes; angles up to some 10³ radians carry 10⁻¹³. */
export const ropeScoreF64 = 1e-12;

/** Loss and gradients of a tiny Llama in f32, on one implementation of WebGPU against f64, relative norm-wise. */
export const browserGradient = 1e-4;

/** Two orders of the same f64 operations in a function of some hundred of them, relative to the largest element. */
export const lawF64 = 1e-10;

/** Values and derivatives to the second order of one operation in f64, relative to the largest element; expected ones have 12 digits. */
export const goldenF64 = 1e-11;

/** The same in f32: some tens of operations, each within 4 ulp, where second derivatives are some ten times what they are made of. */
export const goldenF32 = 400 * unitRoundoff;
