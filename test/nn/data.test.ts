import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OptionError } from "../../src/errors.js";
import { countTokens, createWindowSampler, encodeDocuments, splitHeldOut, type TokenDocument, windows } from "../../src/nn/data.js";
import { availableTargets, evaluationTargets, targetWindows } from "../../src/nn/evaluation-targets.js";
import { byteTokenizer } from "../../src/nn/tokenizers.js";
import { numberedDocuments } from "../support/arbitraries.js";

const documentsOf = (...lengths: number[]): TokenDocument[] => {
  let next = 0;
  return lengths.map((length, index) => ({ name: `document ${index}`, tokens: Int32Array.from({ length }, () => next++) }));
};
const someLengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 });
const someDocuments = numberedDocuments(someLengths);
const allTokens = (documents: readonly TokenDocument[]): number[] => documents.flatMap(({ tokens }) => [...tokens]);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const rows = (values: Int32Array, width: number): number[][] =>
  upTo(values.length / width).map((row) => [...values.subarray(row * width, (row + 1) * width)]);

it("documents become tokens one by one", () => {
  expect(encodeDocuments([{ name: "a", text: "hé" }], byteTokenizer)).toEqual([{ name: "a", tokens: Int32Array.of(104, 195, 169) }]);
});

describe("the held-out split", () => {
  it("has every token once, in order, the held-out ones last", () => {
    fc.assert(
      fc.property(someDocuments, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (documents, fraction) => {
        fc.pre(countTokens(documents) > 1);
        const { train, heldOut, cut } = splitHeldOut(documents, { fraction });
        expect(allTokens([...train, ...heldOut])).toEqual(upTo(countTokens(documents)));
        expect(countTokens(train)).toBeGreaterThan(0);
        expect(countTokens(heldOut)).toBeGreaterThan(0);
        expect(cut).toBe(documents.length === 1);
        if (!cut) expect([...train, ...heldOut]).toEqual(documents);
      }),
    );
  });

  it("holds out the number of documents that comes nearest to the fraction", () => {
    const heldOut = (fraction: number): number => splitHeldOut(documentsOf(50, 20, 10, 10, 10), { fraction }).heldOut.length;
    expect([0.01, 0.1, 0.14, 0.16, 0.3, 0.39, 0.41, 0.99].map(heldOut)).toEqual([1, 1, 1, 2, 3, 3, 4, 4]);
    expect(splitHeldOut(documentsOf(900, 60, 40)).heldOut.map(({ name }) => name)).toEqual(["document 1", "document 2"]);
  });

  it("cuts a text of one document at the fraction", () => {
    const { train, heldOut, cut } = splitHeldOut(documentsOf(100), { fraction: 0.2 });
    expect([countTokens(train), countTokens(heldOut), cut]).toEqual([80, 20, true]);
  });

  it("is refused for text that is too short, and impossible fractions", () => {
    for (const documents of [[], documentsOf(0), documentsOf(1), documentsOf(0, 0), documentsOf(0, 5)]) {
      expect(() => splitHeldOut(documents)).toThrow(OptionError);
    }
    for (const fraction of [0, 1, -1, Number.NaN]) expect(() => splitHeldOut(documentsOf(5, 5), { fraction })).toThrow(OptionError);
  });
});

describe("windows for training", () => {
  const cases = fc
    .record({
      documents: someDocuments,
      length: fc.integer({ min: 1, max: 24 }),
      batch: fc.integer({ min: 1, max: 5 }),
      seed: fc.nat(),
      step: fc.nat(),
    })
    .filter(({ documents, length }) => countTokens(documents) > length);

  it("are consecutive tokens, the targets one further", () => {
    fc.assert(
      fc.property(cases, (options) => {
        const { inputs, targets, batch, length } = windows(options);
        expect([batch, length, inputs.length]).toEqual([options.batch, options.length, options.batch * options.length]);
        for (const row of rows(inputs, length)) expect(row).toEqual(upTo(length).map((i) => (row[0] as number) + i));
        expect([...targets]).toEqual([...inputs].map((token) => token + 1));
      }),
    );
  });

  it("lie inside one document unless they hold tokens of one that is shorter than a window", () => {
    fc.assert(
      fc.property(cases, (options) => {
        const owner = options.documents.flatMap(({ tokens }, index) => [...tokens].map(() => index));
        const { inputs, targets, length } = windows(options);
        rows(inputs, length).forEach((row, r) => {
          const owners = [...row, targets[(r + 1) * length - 1] as number].map((token) => owner[token] as number);
          const short = owners.some((index) => (options.documents[index]?.tokens.length ?? 0) <= length);
          if (!short) expect(new Set(owners).size).toBe(1);
        });
      }),
    );
  });

  it("reach every token of every document, and all windows equally often", () => {
    const documents = documentsOf(3, 10, 1, 2, 12, 2, 1);
    const sampler = createWindowSampler({ documents, length: 4, batch: 500, seed: 1 });
    expect(sampler.counts).toEqual({ documents: 7, segments: 2, joinedDocuments: 5, tokens: 31, windows: 23 });
    const seen = new Map<number, number>();
    for (let step = 0; step < 46; step++) {
      for (const row of rows(sampler.at(step).inputs, 4)) seen.set(row[0] as number, (seen.get(row[0] as number) ?? 0) + 1);
    }
    // 23 windows, 1000 draws of each expected: χ² with 22 degrees of freedom is below 60 with probability 1 − 2·10⁻⁵.
    expect([...seen.keys()].sort((a, b) => a - b)).toEqual([...upTo(9), ...upTo(14).map((i) => 13 + i)]);
    expect([...seen.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)).toBeLessThan(60);
  });

  it("are a function of seed and step alone", () => {
    fc.assert(
      fc.property(cases, (options) => {
        const { documents, length, batch, seed } = options;
        const sampler = createWindowSampler({ documents, length, batch, seed });
        sampler.at(options.step + 1);
        expect(sampler.at(options.step)).toEqual(windows(options));
        const fewer = windows({ ...options, batch: 1 });
        expect([...fewer.inputs]).toEqual([...windows(options).inputs.subarray(0, options.length)]);
      }),
    );
    const long = { documents: documentsOf(100_000), length: 8, batch: 4 };
    const draws = [0, 1].flatMap((seed) => [0, 1, 2].map((step) => windows({ ...long, seed, step }).inputs.join()));
    expect(new Set(draws).size).toBe(6);
  });

  it("are refused for text shorter than a window, and for sizes that are no counts", () => {
    const good = { documents: documentsOf(5, 5), length: 9, batch: 1, step: 0 };
    expect(windows(good).targets[8]).toBe(9);
    expect(() => windows({ ...good, length: 10 })).toThrow(/need a text of at least 11, found 10/);
    for (const change of [{ length: 0 }, { batch: 0 }, { batch: 1.5 }, { step: -1 }, { step: 2 ** 32 }, { seed: -1 }, { documents: [] }]) {
      expect(() => windows({ ...good, ...change })).toThrow(OptionError);
    }
  });
});

describe("evaluation targets", () => {
  const cases = fc
    .record({ documents: someDocuments, targetLength: fc.integer({ min: 1, max: 6 }), more: fc.nat(12) })
    .map(({ documents, targetLength, more }) => ({ documents, targetLength, maxContext: targetLength + more }))
    .filter((options) => availableTargets(options) > 0);

  it("have every context up to the longest inside of their document, and are the same for all", () => {
    fc.assert(
      fc.property(cases, fc.double({ min: 0, max: 1, noNaN: true }), (options, share) => {
        const { documents, targetLength, maxContext } = options;
        const count = Math.max(1, Math.floor(share * availableTargets(options)));
        const blocks = evaluationTargets({ ...options, count });
        expect(blocks.length).toBe(count);
        const longest = targetWindows({ documents, blocks, targetLength, context: maxContext });
        expect(new Set(longest.targets).size).toBe(count * targetLength);
        for (let context = targetLength; context <= maxContext; context++) {
          const { inputs, targets } = targetWindows({ documents, blocks, targetLength, context });
          expect(targets).toEqual(longest.targets);
          rows(inputs, context).forEach((row, block) => {
            const last = targets[(block + 1) * targetLength - 1] as number;
            expect(row).toEqual(upTo(context).map((i) => last - context + i));
            const document = documents[blocks[block]?.document ?? -1]?.tokens ?? new Int32Array();
            expect(document.includes(row[0] as number) && document.includes(last)).toBe(true);
          });
        }
      }),
    );
  });

  it("are all that fit when all are asked for", () => {
    const options = { documents: documentsOf(3, 20, 9, 10), targetLength: 4, maxContext: 8 };
    expect(availableTargets(options)).toBe(5);
    expect(evaluationTargets({ ...options, count: 5 })).toEqual([
      { document: 1, start: 5 },
      { document: 1, start: 9 },
      { document: 1, start: 13 },
      { document: 2, start: 5 },
      { document: 3, start: 5 },
    ]);
  });

  it("are spread over all documents when fewer are asked for", () => {
    const blocks = evaluationTargets({ documents: documentsOf(400, 400), targetLength: 1, maxContext: 1, count: 6 });
    // 798 blocks exist, 399 in each document: one from the middle of every 133.
    expect(blocks).toEqual(
      [67, 200, 333].flatMap((start) => ({ document: 0, start })).concat([67, 200, 333].map((start) => ({ document: 1, start }))),
    );
  });

  it("are refused where too few exist, and for contexts that a block has not", () => {
    const options = { documents: documentsOf(20), targetLength: 4, maxContext: 8 };
    expect(() => evaluationTargets({ ...options, count: 4 })).toThrow(/there are 3 blocks of 4 targets with 8 tokens of context/);
    expect(() => availableTargets({ ...options, maxContext: 3 })).toThrow(OptionError);
    const blocks = evaluationTargets({ ...options, count: 3 });
    for (const change of [
      { context: 9 },
      { context: 3 },
      { blocks: [{ document: 1, start: 5 }], context: 4 },
      { blocks: [{ document: 0, start: 17 }], context: 4 },
    ]) {
      expect(() => targetWindows({ ...options, blocks, ...change })).toThrow(OptionError);
    }
  });
});
