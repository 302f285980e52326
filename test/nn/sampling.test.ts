import { readFileSync } from "node:fs";
import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { createSampler, OptionError } from "../../src/index.js";
import { candidatesOf, type SamplingOptions } from "../../src/nn/sampling.js";
import { minP, topK, topP, weigh } from "../../src/nn/token-filters.js";

interface FilterCase {
  readonly options: SamplingOptions;
  readonly logits: number[];
  readonly seen: number[];
  readonly probabilities: number[];
}

/** What test/golden/make_sampling.py wrote. */
const { cases } = JSON.parse(readFileSync(new URL("../golden/sampling/filters.json", import.meta.url), "utf8")) as { cases: FilterCase[] };

/** Probabilities of all V tokens. */
function probabilities(logits: readonly number[], options: SamplingOptions, seen: readonly number[] = []): number[] {
  const { tokens, weights } = candidatesOf(logits, options, seen);
  const total = Array.from(weights).reduce((a, b) => a + b, 0);
  const all = logits.map(() => 0);
  Array.from(tokens).forEach((token, i) => {
    all[token] = (weights[i] as number) / total;
  });
  return all;
}

/** Few values, so that many are equal. */
const scores = fc.array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.double({ min: -9, max: 9, noNaN: true })), {
  minLength: 1,
  maxLength: 40,
});
const share = fc.double({ min: 0.001, max: 0.999, noNaN: true });
const weighAll = (logits: readonly number[]) => weigh(logits, 1, Int32Array.from(logits.keys()));
const tokensOf = ({ tokens }: { tokens: ArrayLike<number> }): number[] => Array.from(tokens);

describe("filters of tokens", () => {
  it.each(cases.map((one) => [JSON.stringify(one.options), one] as const))("leave what transformers leaves: %s", (_, one) => {
    const found = probabilities(one.logits, one.options, one.seen);
    found.forEach((p, token) => {
      expect(Math.abs(p - (one.probabilities[token] as number))).toBeLessThan(1e-10);
    });
  });

  test.prop([scores, fc.integer({ min: 1, max: 45 })])("top-k: those that fewer than k tokens beat", (logits, k) => {
    const beats = (a: number, b: number) => (logits[a] as number) > (logits[b] as number) || (logits[a] === logits[b] && a < b);
    const all = logits.map((_, token) => token);
    const expected = all.filter((token) => all.filter((other) => beats(other, token)).length < k);
    expect([...topK(logits, k)]).toEqual(expected);
  });

  test.prop([scores, share])("top-p: no token that the likelier ones already sum to p without, and p together", (logits, p) => {
    const all = weighAll(logits);
    const total = Array.from(all.weights).reduce((a, b) => a + b, 0);
    const of = (token: number) => (all.weights[token] as number) / total;
    const kept = tokensOf(topP(all, p));
    const sum = kept.reduce((a, token) => a + of(token), 0);
    const least = Math.min(...kept.map(of));
    expect(sum).toBeGreaterThan(p - 1e-9);
    expect(sum - least).toBeLessThan(p + 1e-9);
    expect(
      Math.max(
        0,
        ...logits
          .map((_, token) => token)
          .filter((token) => !kept.includes(token))
          .map(of),
      ),
    ).toBeLessThanOrEqual(least);
    expect(kept).toEqual([...kept].sort((a, b) => a - b));
  });

  test.prop([scores, share])("min-p: a share of the largest probability", (logits, least) => {
    const weights = Array.from(weighAll(logits).weights);
    const expected = logits.map((_, token) => token).filter((token) => (weights[token] as number) >= least * Math.max(...weights));
    expect(tokensOf(minP(weighAll(logits), least))).toEqual(expected);
  });

  test.prop([scores, fc.double({ min: 0.1, max: 4, noNaN: true }), fc.array(fc.nat({ max: 39 }), { maxLength: 8 })])(
    "repetition penalty: seen tokens once, however often they were seen",
    (logits, repetitionPenalty, all) => {
      const seen = all.filter((token) => token < logits.length);
      const expected = logits.map((s, token) => {
        if (!seen.includes(token)) return s;
        return s > 0 ? s / repetitionPenalty : s * repetitionPenalty;
      });
      expect(probabilities(logits, { repetitionPenalty }, seen)).toEqual(probabilities(expected, {}));
    },
  );

  test.prop([scores, fc.nat()])(
    "together they draw one of the tokens that are left, and the likeliest at temperature 0",
    (logits, step) => {
      const options = { temperature: 0.8, topK: 7, topP: 0.9, minP: 0.05, seed: 3 };
      expect(probabilities(logits, options)[createSampler(options)(logits, step)]).toBeGreaterThan(0);
      expect(createSampler({ ...options, temperature: 0 })(logits, step)).toBe(logits.indexOf(Math.max(...logits)));
    },
  );

  it("are drawn as often as their probabilities say, another one at each step, within four standard errors", () => {
    const logits = [0.2, 1.4, -0.5, 0.9, -2];
    const sample = createSampler({ temperature: 0.9, topK: 4, seed: 5 });
    const expected = probabilities(logits, { temperature: 0.9, topK: 4 });
    const n = 4000;
    const counts = logits.map(() => 0);
    for (let step = 0; step < n; step++) counts[sample(logits, step)] = (counts[sample(logits, step)] as number) + 1;
    for (const [token, p] of expected.entries())
      expect(Math.abs((counts[token] as number) / n - p), `token ${token}`).toBeLessThanOrEqual(4 * Math.sqrt((p * (1 - p)) / n));
  });

  it("take a vocabulary of 49,152 in milliseconds, sharp or flat", () => {
    for (const spread of [0, 1, 8]) {
      const logits = Float32Array.from({ length: 49152 }, (_, i) => spread * Math.sin(i * i));
      const sample = createSampler({ topK: 50, topP: 0.9, minP: 0.01 });
      const flat = createSampler({ topP: 0.9 });
      const begun = performance.now();
      for (let step = 0; step < 10; step++) sample(logits, step);
      flat(logits, 0);
      expect(performance.now() - begun).toBeLessThan(3000);
    }
  });

  it("refuse what is out of range, and tokens without a logit", () => {
    for (const options of [{ topP: 0 }, { topP: 1.1 }, { minP: -0.1 }, { minP: 2 }, { repetitionPenalty: 0 }, { topK: 1.5 }]) {
      expect(() => createSampler(options), JSON.stringify(options)).toThrow(OptionError);
    }
    expect(() => createSampler({ repetitionPenalty: 2 })([1, 2], 0, [2])).toThrow(/token 2/);
  });
});
