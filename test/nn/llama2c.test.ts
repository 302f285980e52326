import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { FormatError } from "../../src/errors.js";
import { loadModel, openModel, useBackend } from "../../src/index.js";
import { bytesSource } from "../../src/nn/byte-source.js";
import { openLlama2c } from "../../src/nn/llama2c.js";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { goldenConfig, goldenWeights } from "../golden/llama-fixture.js";
import { fuzzRuns } from "../support/fuzz.js";
import { join } from "../support/gguf.js";
import { f32, llama2cFile as fileOf, i32, llama2cTokenizer } from "../support/llama2c.js";
import { distance, valuesOf } from "./tiny.js";

beforeAll(() => useBackend(createReferenceBackend()));
afterAll(() => useBackend(undefined));

describe("a model of llama2.c", () => {
  it.each([0, 1] as const)("of version %i has the weights and sizes that were written", async (version) => {
    const model = await loadModel({ "model.bin": fileOf(version) });
    expect(model.config).toEqual(goldenConfig);
    const found = await valuesOf(model);
    for (const [name, { values }] of goldenWeights()) expect(found.get(name), name).toEqual([...values]);
  });

  it("of version 2 has them as far as groups of eight bits keep them", async () => {
    const model = await loadModel({ "model.bin": fileOf(2) });
    expect(model.config).toEqual(goldenConfig);
    const found = await valuesOf(model);
    for (const [name, { values }] of goldenWeights()) expect(distance(found.get(name) as number[], values), name).toBeLessThan(0.01);
  });

  it.each([0, 1, 2] as const)("of version %i may have a tied head", async (version) => {
    const { config, tensors, format } = await openModel({ "model.bin": fileOf(version, true) });
    expect([format, config.tie_word_embeddings, tensors.has("lm_head.weight")]).toEqual(["llama2.c", true, false]);
  });

  it.each([0, 1, 2] as const)("of version %i gives the same numbers unit by unit", async (version) => {
    const { tensors } = await openModel({ "model.bin": fileOf(version) });
    for (const tensor of tensors.values()) {
      const size = tensor.shape.reduce((a, b) => a * b, 1);
      const pieces: number[] = [];
      for (let begin = 0; begin < size; begin += tensor.unit) pieces.push(...(await tensor.read(begin, begin + tensor.unit)));
      expect(pieces).toEqual([...(await tensor.read(0, size))]);
    }
  });

  const edited = (version: 0 | 1 | 2, at: number, value: number): Uint8Array => {
    const bytes = fileOf(version);
    new DataView(bytes.buffer).setInt32(at, value, true);
    return bytes;
  };
  it.each([
    ["cut", fileOf(1).subarray(0, -1), /expected a file of \d+ bytes, found \d+/],
    ["too long", join(fileOf(1), new Uint8Array(1)), /expected a file of/],
    ["of another version", edited(1, 4, 3), /version 1 or 2 behind its mark, found 3/],
    ["with impossible sizes", edited(1, 8, -32), /hidden_size/],
    ["with sizes of another file", edited(1, 12, 2 ** 18), /expected a file of \d+ bytes/],
    ["with groups of nothing", edited(2, 37, 0), /groups of at least 1, found 0/],
    ["with groups that do not divide", edited(2, 37, 7), /whole groups of 7/],
    ["of version 0 with a size that its header denies", fileOf(0).subarray(0, -4), /expected the folder of a model, found a file/],
  ])("is refused when it is %s", async (_, bytes, message) => {
    const error = await loadModel({ "model.bin": bytes }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
    expect((error as FormatError).hint).not.toBe("");
  });

  it("lets nothing but FormatError out, whatever bytes of its header are changed", async () => {
    const files = [fileOf(0), fileOf(1), fileOf(2)];
    const change = fc.record({ at: fc.nat(47), to: fc.oneof(fc.constantFrom(0, 1, 127, 128, 255), fc.nat(255)) });
    await fc.assert(
      fc.asyncProperty(fc.nat(2), fc.array(change, { minLength: 1, maxLength: 4 }), async (which, changes) => {
        const bytes = (files[which] as Uint8Array).slice();
        for (const { at, to } of changes) bytes[at] = to;
        await openLlama2c(bytesSource(bytes, "m.bin")).catch((error: unknown) => {
          if (!(error instanceof FormatError)) throw error;
        });
      }),
      { numRuns: fuzzRuns(50) },
    );
  });
});

describe("tokenizer.bin of llama2.c", () => {
  const entry = (text: string, score: number, length?: number): Uint8Array => {
    const bytes = new TextEncoder().encode(text);
    return join(f32(Float32Array.of(score)), i32(length ?? bytes.length), bytes);
  };
  const few = [entry("<unk>", 0), entry("\n<s>\n", 0), entry("\n</s>\n", 0), entry(" ", 0)];

  it("joins what has the largest score, and begins texts", async () => {
    const tokenizer = await loadTokenizer({ "tokenizer.bin": llama2cTokenizer() });
    const texts = (text: string): string[] => Array.from(tokenizer.encode(text, { special: true }), (token) => tokenizer.tokenText(token));
    expect(texts("whale sea.")).toEqual(["<s>", " whale", " ", "sea", "."]);
    expect(tokenizer).toMatchObject({ vocabSize: 61, bos: 1, eos: 2, stopTokens: [1, 2] });
  });

  it.each([
    ["empty", new Uint8Array(), /length of the longest token, found 0 bytes/],
    ["cut", join(i32(8), ...few, f32(Float32Array.of(1))), /expected a score and a length, found the end/],
    ["of lengths that are negative", join(i32(8), ...few, entry("a", 0, -1)), /at most 8 bytes inside of the file, found 4294967295/],
    ["of lengths above the longest", join(i32(1), ...few), /at most 1 bytes inside of the file, found 5/],
    ["not UTF-8", join(i32(8), ...few, f32(Float32Array.of(1)), i32(1), Uint8Array.of(255)), /text in UTF-8/],
    ["of nothing but reserved tokens", join(i32(8), ...few.slice(0, 3)), /tokens beside <unk>, <s>, <\/s>, found 3 in all/],
    ["of scores that are none", join(i32(8), ...few, entry("a", Number.NaN)), /piece 4 to have a finite score/],
  ])("is refused when it is %s", async (_, bytes, message) => {
    const error = await loadTokenizer({ "tokenizer.bin": bytes }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(FormatError);
    expect((error as FormatError).message).toMatch(message);
  });
});
