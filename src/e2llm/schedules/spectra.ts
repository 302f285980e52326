/** Methods that change frequencies one by one: longrope, proportional, resonance, and Giraffe's power and truncated bases. */
import { type Kind, listOf, number, objectWith, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import {
  checkAttentionFactor,
  checkFactor,
  checkPositive,
  checkSeqLen,
  checkWindow,
  type Method,
  optionalNumber,
  powers,
  type RopeShape,
  typeKinds,
  windowKinds,
} from "./method.js";
import type { LongropeScaling, PowerScaling, ProportionalScaling, ResonanceScaling, TruncatedScaling } from "./scalings.js";

const factorList: Kind = { ...listOf(number), hint: () => "one divisor for each pair of channels, such as [1, 1, 2, 4] for a head of 8" };
const onTopKinds = {
  ...typeKinds,
  on: optional({ ...objectWith("a method with its parameters", "type"), hint: () => 'such as { type: "linear", factor: 4 }' }),
};

export const longrope: Method<LongropeScaling> = {
  kinds: { ...windowKinds, shortFactor: factorList, longFactor: factorList, seqLen: number, attentionFactor: optionalNumber },
  frequencies(scaling, shape) {
    const factor = checkFactor(scaling.factor);
    // ln 1 = 0 stands in the denominator of the attention factor.
    const window = checkWindow(scaling.originalMaxPositions, scaling.attentionFactor === undefined ? 2 : 1);
    const lists = { shortFactor: scaling.shortFactor, longFactor: scaling.longFactor };
    for (const [name, divisors] of Object.entries(lists)) checkDivisors(name, divisors, shape);
    const divisors = checkSeqLen("longrope", scaling.seqLen) > window ? lists.longFactor : lists.shortFactor;
    return {
      invFreq: powers(shape.theta, shape.headDim).map((frequency, j) => frequency / (divisors[j] as number)),
      attentionFactor:
        scaling.attentionFactor === undefined
          ? Math.sqrt(1 + Math.log(factor) / Math.log(window))
          : checkAttentionFactor(scaling.attentionFactor, "√(1 + ln factor / ln originalMaxPositions)"),
    };
  },
};

export const proportional: Method<ProportionalScaling> = {
  kinds: { ...typeKinds, partialRotaryFactor: optionalNumber, factor: optionalNumber },
  frequencies({ partialRotaryFactor = 1, factor = 1 }, { headDim, theta }) {
    checkFactor(factor);
    if (!(partialRotaryFactor >= 0 && partialRotaryFactor <= 1)) {
      throw new OptionError(`partialRotaryFactor must be a number from 0 to 1, found ${partialRotaryFactor}`, {
        hint: "it is the part of a head's channels that turns",
      });
    }
    const turning = Math.floor((partialRotaryFactor * headDim) / 2);
    return { invFreq: powers(theta, headDim).map((frequency, j) => (j < turning ? frequency / factor : 0)), attentionFactor: 1 };
  },
};

export const resonance: Method<ResonanceScaling> = {
  kinds: onTopKinds,
  frequencies({ on }, _, below) {
    const { invFreq, attentionFactor } = below(on);
    const rounded = invFreq.map((frequency, j) => {
      const wavelength = Math.round((2 * Math.PI) / frequency);
      if (wavelength === 0) {
        throw new OptionError(`resonance rounds wavelengths to whole positions, and that of dimension ${j} is below one half`, {
          hint: "put it on a scaling that makes frequencies smaller, not larger",
        });
      }
      return (2 * Math.PI) / wavelength;
    });
    return { invFreq: rounded, attentionFactor };
  },
};

export const power: Method<PowerScaling> = {
  kinds: { ...onTopKinds, exponent: number },
  frequencies({ exponent, on }, { headDim }, below) {
    checkPositive("the exponent of power", exponent, "0.1 is a gentle choice");
    const { invFreq, attentionFactor } = below(on);
    return { invFreq: invFreq.map((frequency, j) => frequency * (1 - (2 * j) / headDim) ** exponent), attentionFactor };
  },
};

export const truncated: Method<TruncatedScaling> = {
  kinds: { ...onTopKinds, originalMaxPositions: number, plateau: optionalNumber, zeroBeyond: optionalNumber },
  frequencies({ originalMaxPositions, plateau = 16, zeroBeyond = 8, on }, _, below) {
    const slowest = (2 * Math.PI) / checkWindow(originalMaxPositions, 1);
    checkPositive("plateau", plateau, "16 is its authors' choice");
    checkPositive("zeroBeyond", zeroBeyond, "8 is its authors' choice");
    if (zeroBeyond < 1) {
      throw new OptionError(`zeroBeyond must be at least 1, found ${zeroBeyond}`, { hint: "dimensions within the window keep turning" });
    }
    const { invFreq, attentionFactor } = below(on);
    const cut = (frequency: number): number =>
      frequency >= slowest ? frequency : frequency < slowest / zeroBeyond ? 0 : slowest / plateau;
    return { invFreq: invFreq.map(cut), attentionFactor };
  },
};

function checkDivisors(name: string, divisors: readonly number[], { headDim }: RopeShape): void {
  if (divisors.length !== headDim / 2) {
    throw new OptionError(`${name} must have ${headDim / 2} numbers, one for each pair of channels, found ${divisors.length}`, {
      hint: `a head of ${headDim} channels has ${headDim / 2} frequencies`,
    });
  }
  divisors.forEach((divisor, j) => {
    checkPositive(`${name}[${j}]`, divisor, "frequencies are divided by it: 1 keeps one");
  });
}
