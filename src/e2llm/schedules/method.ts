/** What every RoPE scaling method is made of: the record that states it, plain frequencies, and the checks that methods share. */
import { number, type OptionKinds, optional, text } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { RopeScaling } from "./scalings.js";

/** The rotary shape of a head: `headDim` D (even) and the base `theta` (10,000 in most models). */
export interface RopeShape {
  readonly headDim: number;
  readonly theta: number;
}

/** Scaled frequencies of one schedule. */
export interface RopeFrequencies {
  /** θ'_j in radians per position, j = 0 … D/2 − 1. */
  readonly invFreq: Float64Array;
  /** Multiplied into cos and sin alike, so attention logits carry its square. */
  readonly attentionFactor: number;
}

/** One method: the kinds of its parameters and its formula. */
export interface Method<Scaling extends { readonly type: string }> {
  readonly kinds: OptionKinds<Scaling>;
  /** θ' and the attention factor. `below` computes what a method that works on top of another one (`on`) starts from. */
  frequencies(scaling: Scaling, shape: RopeShape, below: (on: RopeScaling | undefined) => RopeFrequencies): RopeFrequencies;
}

export const typeKinds = { type: text } as const;
export const factorKinds = { ...typeKinds, factor: number } as const;
export const windowKinds = { ...factorKinds, originalMaxPositions: number } as const;
export const optionalNumber = optional(number);

/** θ_j = base^(−2j/D), j = 0 … D/2 − 1. */
export function powers(base: number, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, j) => base ** ((-2 * j) / headDim));
}

/** Plain RoPE at another base. */
export const atBase = (theta: number, { headDim }: RopeShape): RopeFrequencies => ({ invFreq: powers(theta, headDim), attentionFactor: 1 });

export function checkShape({ headDim, theta }: RopeShape): void {
  if (!Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0) {
    throw new OptionError(`headDim must be an even integer of at least 2, because RoPE rotates pairs of channels, found ${headDim}`, {
      hint: "choose hidden size / heads as an even number",
    });
  }
  checkTheta(theta);
}

export function checkTheta(theta: number): number {
  if (!Number.isFinite(theta) || theta <= 1) {
    throw new OptionError(`theta, the base of RoPE, must be a finite number above 1, found ${theta}`, { hint: "10000 is usual" });
  }
  return theta;
}

export function checkFactor(factor: number): number {
  if (!Number.isFinite(factor) || factor < 1) {
    throw new OptionError(`the factor of RoPE scaling must be a finite number of at least 1, found ${factor}`, {
      hint: "factor = extended window / trained window",
    });
  }
  return factor;
}

export function checkWindow(window: number, smallest: number): number {
  if (!Number.isInteger(window) || window < smallest) {
    throw new OptionError(`originalMaxPositions must be an integer of at least ${smallest}, found ${window}`, {
      hint: "it is the context window that the model was trained with",
    });
  }
  return window;
}

export function checkSeqLen(type: string, seqLen: number): number {
  if (!Number.isFinite(seqLen) || seqLen < 0) {
    throw new OptionError(`${type} scaling needs seqLen as a length of 0 or more, found ${seqLen}`, {
      hint: "pass the number of tokens in the sequence",
    });
  }
  return seqLen;
}

export function checkAttentionFactor(attentionFactor: number, otherwise: string): number {
  if (!Number.isFinite(attentionFactor) || attentionFactor <= 0) {
    throw new OptionError(`attentionFactor must be a positive number, found ${attentionFactor}`, {
      hint: `leave it out to get ${otherwise}`,
    });
  }
  return attentionFactor;
}

export function checkPositive(name: string, value: number, hint: string): number {
  if (!Number.isFinite(value) || value <= 0) {
    throw new OptionError(`${name} must be a finite number above 0, found ${value}`, { hint });
  }
  return value;
}
