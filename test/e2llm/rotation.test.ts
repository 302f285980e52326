import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ropeFrequencies } from "../../src/e2llm/schedules.js";
import { queriesAndKeys } from "../support/arbitraries.js";
import { ropeScoreF32, unitRoundoff } from "../support/tolerances.js";
import {
  dot,
  inverse,
  type Layout,
  norm,
  pair,
  plainFrequencies,
  products,
  rotate,
  rotationAt,
  scoreAt,
  splitOrder,
} from "./rotation-oracle.js";

const positions = fc.integer({ min: 0, max: 2 ** 20 });
const scales = fc.integer({ min: 1, max: 20 });
const layouts: Layout[] = ["split", "adjacent"];
const frequenciesOf = (headDim: number) => ropeFrequencies({ type: "default" }, { headDim, theta: 10_000 });
const largest = (x: ArrayLike<number>): number => Math.max(...Array.from(x, Math.abs));

/** ⟨R(m/g) q, R(n/g) k⟩ with f32 tables and products. */
function score(q: number[], m: number, k: number[], n: number, g = 1, layout: Layout = "split"): number {
  const frequencies = frequenciesOf(q.length);
  return dot(rotate(q, rotationAt(m, g, frequencies), { layout }), rotate(k, rotationAt(n, g, frequencies), { layout }));
}

describe("rotations with the library's tables", () => {
  it("I-1: by position 0 are the identity, exactly", () => {
    fc.assert(
      fc.property(queriesAndKeys, scales, ({ headDim, q }, g) => {
        for (const layout of layouts) {
          const rotated = rotate(q, rotationAt(0, g, frequenciesOf(headDim)), { layout });
          expect(Array.from(rotated, (value, i) => value === q[i])).not.toContain(false);
        }
      }),
    );
  });

  it("I-2: keep the norm of a vector and of each of its pairs", () => {
    fc.assert(
      fc.property(queriesAndKeys, positions, scales, ({ headDim, q }, p, g) => {
        for (const layout of layouts) {
          const rotated = rotate(q, rotationAt(p, g, frequenciesOf(headDim)), { layout });
          expect(Math.abs(norm(rotated) - norm(q))).toBeLessThanOrEqual(4 * unitRoundoff * norm(q));
          for (let j = 0; j < headDim / 2; j++) {
            const [a, b] = pair(j, headDim / 2, layout);
            const before = Math.hypot(q[a] ?? Number.NaN, q[b] ?? Number.NaN);
            const after = Math.hypot(rotated[a] ?? Number.NaN, rotated[b] ?? Number.NaN);
            expect(Math.abs(after - before)).toBeLessThanOrEqual(4 * unitRoundoff * before);
          }
        }
      }),
    );
  });

  it("I-3: are undone by the same tables with the sine negated", () => {
    fc.assert(
      fc.property(queriesAndKeys, positions, scales, ({ headDim, q }, p, g) => {
        const rotation = rotationAt(p, g, frequenciesOf(headDim));
        const back = rotate(rotate(q, rotation), inverse(rotation));
        expect(largest(back.map((value, i) => value - (q[i] ?? Number.NaN)))).toBeLessThanOrEqual(ropeScoreF32 * largest(q));
      }),
    );
  });

  it("I-4: add up: R(m) R(n) = R(m + n) at one scale", () => {
    fc.assert(
      fc.property(queriesAndKeys, positions, positions, scales, ({ headDim, q }, m, n, g) => {
        const frequencies = frequenciesOf(headDim);
        const twice = rotate(rotate(q, rotationAt(n, g, frequencies)), rotationAt(m, g, frequencies));
        const once = rotate(q, rotationAt(m + n, g, frequencies));
        expect(largest(twice.map((value, i) => value - (once[i] ?? Number.NaN)))).toBeLessThanOrEqual(ropeScoreF32 * largest(q));
      }),
    );
  });

  it("are linear", () => {
    fc.assert(
      fc.property(queriesAndKeys, positions, fc.constantFrom(-2, 0.5, 3), ({ headDim, q, k }, p, alpha) => {
        const rotation = rotationAt(p, 1, frequenciesOf(headDim));
        const sum = q.map((value, i) => Math.fround(alpha * value + (k[i] ?? Number.NaN)));
        const together = rotate(sum, rotation);
        const [first, second] = [rotate(q, rotation), rotate(k, rotation)];
        const apart = first.map((value, i) => alpha * value + (second[i] ?? Number.NaN));
        const bound = ropeScoreF32 * (Math.abs(alpha) * norm(q) + norm(k));
        expect(largest(together.map((value, i) => value - (apart[i] ?? Number.NaN)))).toBeLessThanOrEqual(bound);
      }),
    );
  });

  it("I-9: of adjacent pairs are those of split halves up to the order of channels, bit for bit", () => {
    fc.assert(
      fc.property(queriesAndKeys, positions, scales, ({ headDim, q, k }, p, g) => {
        const rotation = rotationAt(p, g, frequenciesOf(headDim));
        const viaAdjacent = splitOrder(rotate(q, rotation, { layout: "adjacent" }));
        expect(Array.from(rotate(splitOrder(q), rotation, { layout: "split" }))).toEqual(Array.from(viaAdjacent));
        const adjacent = score(q, p, k, 7, g, "adjacent");
        const split = score(Array.from(splitOrder(q)), p, Array.from(splitOrder(k)), 7, g, "split");
        expect(Math.abs(adjacent - split)).toBeLessThanOrEqual(ropeScoreF32 * norm(q) * norm(k));
      }),
    );
  });
});

describe("attention scores with the library's tables", () => {
  it("I-5: depend on the difference of positions only, up to 2^20", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(1000), fc.nat(1000), positions, scales, ({ q, k }, m, n, shift, g) => {
        for (const layout of layouts) {
          const difference = score(q, m, k, n, g, layout) - score(q, m + shift, k, n + shift, g, layout);
          expect(Math.abs(difference)).toBeLessThanOrEqual(ropeScoreF32 * norm(q) * norm(k));
        }
      }),
    );
  });

  it("I-6: are Re Σ h_j e^{i(m−n)θ_j}, in either layout", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(4096), fc.nat(4096), scales, ({ headDim, q, k }, m, n, g) => {
        for (const layout of layouts) {
          const expected = scoreAt((m - n) / g, products(q, k, layout), plainFrequencies(headDim).invFreq);
          expect(Math.abs(score(q, m, k, n, g, layout) - expected)).toBeLessThanOrEqual(ropeScoreF32 * norm(q) * norm(k));
        }
      }),
    );
  });

  it("I-6, I-8: are ⟨q, R(n − m) k⟩ and symmetric", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(4096), fc.nat(4096), ({ headDim, q, k }, m, n) => {
        const bound = ropeScoreF32 * norm(q) * norm(k);
        const both = score(q, m, k, n);
        const oneSided = rotate(
          k,
          m >= n ? inverse(rotationAt(m - n, 1, frequenciesOf(headDim))) : rotationAt(n - m, 1, frequenciesOf(headDim)),
        );
        expect(Math.abs(both - dot(q, oneSided))).toBeLessThanOrEqual(bound);
        expect(Math.abs(both - score(k, n, q, m))).toBeLessThanOrEqual(bound);
        const mirrored = [
          rotate(q, inverse(rotationAt(n, 1, frequenciesOf(headDim)))),
          rotate(k, inverse(rotationAt(m, 1, frequenciesOf(headDim)))),
        ];
        expect(Math.abs(both - dot(mirrored[0] ?? [], mirrored[1] ?? []))).toBeLessThanOrEqual(bound);
      }),
    );
  });

  it("P-5: at scale g and distance s are the plain scores at s/g", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(512), scales, ({ q, k }, distance, g) => {
        const difference = score(q, g * distance, k, 0, g) - score(q, distance, k, 0);
        expect(Math.abs(difference)).toBeLessThanOrEqual(ropeScoreF32 * norm(q) * norm(k));
      }),
    );
  });

  it("S-8: carry the attention factor squared", () => {
    fc.assert(
      fc.property(queriesAndKeys, fc.nat(512), fc.nat(512), ({ headDim, q, k }, m, n) => {
        const yarn = ropeFrequencies({ type: "yarn", factor: 8, originalMaxPositions: 256 }, { headDim, theta: 10_000 });
        const plain = { ...yarn, attentionFactor: 1 };
        const scaled = dot(rotate(q, rotationAt(m, 1, yarn)), rotate(k, rotationAt(n, 1, yarn)));
        const unscaled = dot(rotate(q, rotationAt(m, 1, plain)), rotate(k, rotationAt(n, 1, plain)));
        const square = yarn.attentionFactor ** 2;
        expect(Math.abs(scaled - square * unscaled)).toBeLessThanOrEqual(ropeScoreF32 * square * norm(q) * norm(k));
      }),
    );
  });
});

describe("mistakes that these laws catch", () => {
  const q = Array.from({ length: 16 }, (_, i) => Math.fround(Math.sin(3 * i + 1)));
  const k = Array.from({ length: 16 }, (_, i) => Math.fround(Math.cos(5 * i + 2)));
  const frequencies = frequenciesOf(16);
  const tolerance = ropeScoreF32 * norm(q) * norm(k);

  it("M-7: rotating queries by adjacent pairs and keys by split halves breaks relative invariance", () => {
    const mixed = (m: number, n: number): number =>
      dot(rotate(q, rotationAt(m, 1, frequencies), { layout: "adjacent" }), rotate(k, rotationAt(n, 1, frequencies), { layout: "split" }));
    expect(Math.abs(mixed(9, 4) - mixed(109, 104))).toBeGreaterThan(1000 * tolerance);
  });

  it("M-7: reading channels of one layout in the other gives other scores", () => {
    const expected = scoreAt(5, products(q, k, "split"), frequencies.invFreq);
    expect(Math.abs(score(q, 9, k, 4, 1, "adjacent") - expected)).toBeGreaterThan(1000 * tolerance);
  });

  it("M-7: a table that is off by one for the queries gives other scores", () => {
    const expected = scoreAt(5, products(q, k), frequencies.invFreq);
    expect(Math.abs(score(q, 10, k, 4) - expected)).toBeGreaterThan(1000 * tolerance);
  });

  it("M-7: a table of another scale gives other scores", () => {
    expect(Math.abs(score(q, 9, k, 4, 2) - score(q, 9, k, 4, 3))).toBeGreaterThan(1000 * tolerance);
  });
});
