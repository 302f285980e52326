/** Methods that scale all positions alike or change the base of RoPE: default, linear, ntk, dynamic, ntk-mixed, abf. */
import { checkArgument, checkFields, number, type OptionKinds, objectWith } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import {
  atBase,
  checkFactor,
  checkPositive,
  checkSeqLen,
  checkShape,
  checkTheta,
  checkWindow,
  factorKinds,
  type Method,
  optionalNumber,
  powers,
  type RopeFrequencies,
  type RopeShape,
  typeKinds,
  windowKinds,
} from "./method.js";
import type { AbfScaling, DefaultScaling, DynamicScaling, LinearScaling, NtkMixedScaling, NtkScaling } from "./scalings.js";

export const defaultMethod: Method<DefaultScaling> = {
  kinds: typeKinds,
  frequencies: (_, shape) => atBase(shape.theta, shape),
};

export const linear: Method<LinearScaling> = {
  kinds: factorKinds,
  frequencies: ({ factor }, shape) => interpolatedFrequencies(atBase(shape.theta, shape), factor),
};

export const ntk: Method<NtkScaling> = {
  kinds: factorKinds,
  frequencies: ({ factor }, shape) => atBase(ntkTheta(shape, factor), shape),
};

export const dynamic: Method<DynamicScaling> = {
  kinds: { ...windowKinds, seqLen: number },
  frequencies(scaling, shape) {
    const factor = checkFactor(scaling.factor);
    const window = checkWindow(scaling.originalMaxPositions, 1);
    const length = checkSeqLen("dynamic", scaling.seqLen);
    // Within the window the formula is 1 only up to rounding; an exact 1 keeps short sequences bit-equal to plain RoPE.
    return atBase(ntkTheta(shape, length <= window ? 1 : (factor * length) / window - (factor - 1)), shape);
  },
};

export const ntkMixed: Method<NtkMixedScaling> = {
  kinds: { ...factorKinds, exponent: optionalNumber },
  frequencies({ factor, exponent = 0.625 }, { headDim, theta }) {
    checkFactor(factor);
    checkPositive("the exponent of ntk-mixed", exponent, "0.625 is its author's choice");
    const rate = Math.log(factor) / (headDim / 2) ** exponent;
    const invFreq = powers(theta, headDim).map((frequency, j) => frequency * Math.exp(-rate * (j + 1) ** exponent));
    return { invFreq, attentionFactor: 1 };
  },
};

export const abf: Method<AbfScaling> = {
  kinds: { ...typeKinds, theta: number },
  frequencies: ({ theta }, shape) => atBase(checkTheta(theta), shape),
};

/** Position Interpolation on top of any frequencies: θ'_j/s. Throws OptionError for a factor s below 1. */
export function interpolatedFrequencies(frequencies: RopeFrequencies, factor: number): RopeFrequencies {
  checkArgument(
    "interpolatedFrequencies",
    "frequencies",
    frequencies,
    objectWith("frequencies, as ropeFrequencies(…) makes them", "invFreq", "attentionFactor"),
  );
  checkArgument("interpolatedFrequencies", "factor", factor, number);
  const { invFreq, attentionFactor } = frequencies;
  checkFactor(factor);
  return { invFreq: invFreq.map((frequency) => frequency / factor), attentionFactor };
}

export const shapeKinds: OptionKinds<RopeShape> = { headDim: number, theta: number };

/**
 * The base at which plain RoPE equals NTK-aware scaling by s: theta·s^(D/(D−2)).
 *
 * @throws OptionError if D < 4 (the exponent has a pole at D = 2), or for a factor below 1
 */
export function ntkTheta(shape: RopeShape, factor: number): number {
  checkFields<RopeShape>("ntkTheta", "shape", shape, shapeKinds);
  checkArgument("ntkTheta", "factor", factor, number);
  checkShape(shape);
  if (shape.headDim < 4) {
    throw new OptionError(`NTK-aware scaling needs a head dimension of at least 4, found ${shape.headDim}`, {
      hint: 'use { type: "linear" } for heads of two channels',
    });
  }
  return shape.theta * checkFactor(factor) ** (shape.headDim / (shape.headDim - 2));
}
