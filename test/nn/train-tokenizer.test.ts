import { readFileSync } from "node:fs";
import { fc, it } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { OptionError } from "../../src/errors.js";
import { loadTokenizer, type TokenizerPattern, trainTokenizer } from "../../src/nn/tokenizers.js";

const golden = JSON.parse(readFileSync(new URL("../golden/tokenizers/answers.json", import.meta.url), "utf8")) as {
  readonly texts: string[];
  readonly trained: Record<TokenizerPattern, string>;
};
const texts = fc.array(
  fc.string({ unit: fc.oneof(fc.constantFrom("a", "b", " ", "the ", "1", "\n", "é", "🐋"), fc.string({ unit: "grapheme" })) }),
  {
    maxLength: 4,
  },
);

describe("a trained tokenizer", () => {
  it.each(Object.entries(golden.trained) as [TokenizerPattern, string][])(
    "has the merges that Hugging Face's trainer learns from the same texts, cut as %s cuts them",
    async (pattern, merges) => {
      const files = await trainTokenizer(golden.texts, { vocabSize: 330, specialTokens: ["<|end|>"], pattern });
      const { model } = JSON.parse(files["tokenizer.json"]) as { model: { merges: string[][] } };
      expect(model.merges.map((pair) => pair.join(" ")).join("\n")).toBe(merges);
    },
  );

  it.prop([texts, fc.integer({ min: 257, max: 300 }), fc.constantFrom<TokenizerPattern>("gpt2", "llama3", "qwen2", "smollm")], {
    numRuns: 40,
  })("encodes any text and gives it back, and is the same every time", async (samples, vocabSize, pattern) => {
    const files = await trainTokenizer(samples, { vocabSize, pattern });
    expect(await trainTokenizer(samples, { vocabSize, pattern })).toEqual(files);
    const tokenizer = await loadTokenizer(files);
    expect(tokenizer.vocabSize).toBeLessThanOrEqual(vocabSize);
    for (const text of [...samples, "\u0000ſ 12 whales\r\n\r\n\t🐋🏽"]) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it("has its special tokens first, of which the first begins and ends texts", async () => {
    const tokenizer = await loadTokenizer(await trainTokenizer(["abab abab"], { vocabSize: 260, specialTokens: ["<|end|>", "<|turn|>"] }));
    expect([tokenizer.bos, tokenizer.eos, tokenizer.stopTokens, [...tokenizer.specialTokens]]).toEqual([
      0,
      0,
      [0],
      [
        ["<|end|>", 0],
        ["<|turn|>", 1],
      ],
    ]);
    expect(tokenizer.vocabSize).toBe(260);
    expect(tokenizer.decode(tokenizer.encode("ab<|turn|>"), { skipSpecial: true })).toBe("ab");
  });

  it("tells how far it is, and lets timers run meanwhile", async () => {
    const told: number[] = [];
    let timers = 0;
    const timer = setInterval(() => timers++, 1);
    const long = Array.from({ length: 60_000 }, (_, i) => `w${(i * 7919) % 9973} `).join("");
    await trainTokenizer([long], { vocabSize: 2000, onProgress: (done) => told.push(done) });
    clearInterval(timer);
    expect(told.length).toBeGreaterThan(0);
    expect(timers).toBeGreaterThan(0);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.every((done) => done > 0 && done <= 1)).toBe(true);
  });

  it("needs room for bytes and special tokens, and special tokens that differ", async () => {
    await expect(trainTokenizer(["a"], { vocabSize: 256 })).rejects.toThrow(/give vocabSize|no place for 256 bytes and 1 special/);
    await expect(trainTokenizer(["a"], { vocabSize: 300, specialTokens: ["<x>", "<x>"] })).rejects.toThrow(OptionError);
    await expect(trainTokenizer(["a"], { vocabSize: 300, specialTokens: ["a"] })).rejects.toThrow(OptionError);
    await expect(trainTokenizer(["\ud83d"], { vocabSize: 300 })).rejects.toThrow(/half of a surrogate pair/);
  });
});
