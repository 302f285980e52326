import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { FormatError } from "../../src/errors.js";
import { loadModel, openModel, useBackend } from "../../src/index.js";
import { bytesSource } from "../../src/nn/byte-source.js";
import { openLlama2c, readLlama2cTokenizer } from "../../src/nn/llama2c.js";
import { goldenConfig, goldenWeights } from "../golden/llama-fixture.js";
import { join } from "../support/gguf.js";
import { distance, valuesOf } from "./tiny.js";

beforeAll(() => useBackend(createReferenceBackend()));
afterAll(() => useBackend(undefined));

const i32 = (...values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
const f32 = (values: Float32Array): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** Groups of 16 with a scale of max/127 each: all numbers, then all scales. */
function grouped(values: Float32Array): Uint8Array {
  const scales = Float32Array.from(
    { length: values.length / 16 },
    (_, g) => Math.max(...values.subarray(16 * g, 16 * g + 16).map(Math.abs)) / 127,
  );
  const numbers = Int8Array.from(values, (value, i) => Math.round(value / (scales[i >> 4] as number)));
  return join(new Uint8Array(numbers.buffer), f32(scales));
}

/** The file of the golden model, in the layout that llama2.c's export.py and run.c state. */
function fileOf(version: 0 | 1 | 2, tied = false): Uint8Array {
  const weights = goldenWeights();
  const values = (name: string): Float32Array => weights.get(name)?.values as Float32Array;
  /** Row 2j of a head is channel j, row 2j + 1 channel j + 4. */
  const pairs = (name: string): Float32Array => {
    const rows = values(name);
    const order = Array.from({ length: rows.length / 32 }, (_, row) => (row >> 3) * 8 + (row % 2) * 4 + ((row % 8) >> 1));
    return Float32Array.from(order.flatMap((row) => [...rows.subarray(32 * row, 32 * row + 32)]));
  };
  const layers = (part: string): string[] => [0, 1].map((layer) => `model.layers.${layer}.${part}.weight`);
  const matrix = version === 2 ? grouped : f32;
  const all = (part: string): Uint8Array =>
    join(...layers(part).map((name) => matrix(/[qk]_proj/.test(name) ? pairs(name) : values(name))));
  const norms = (part: string): Uint8Array => join(...layers(part).map((name) => f32(values(name))));
  const attention = join(...["q", "k", "v", "o"].map((one) => all(`self_attn.${one}_proj`)));
  const feedForward = join(...["gate", "down", "up"].map((one) => all(`mlp.${one}_proj`)));
  const embedding = matrix(values("model.embed_tokens.weight"));
  const [norm, head] = [f32(values("model.norm.weight")), tied ? new Uint8Array() : matrix(values("lm_head.weight"))];
  const [first, second] = [norms("input_layernorm"), norms("post_attention_layernorm")];
  const sizes = [32, 48, 2, 4, 2, version === 0 && !tied ? -61 : 61, 32];
  if (version === 0) return join(i32(...sizes), embedding, first, attention, second, feedForward, norm, new Uint8Array(4 * 32 * 8), head);
  const header = new Uint8Array(256);
  header.set(join(i32(0x616b3432, version, ...sizes), Uint8Array.of(Number(tied)), version === 2 ? i32(16) : new Uint8Array()));
  return join(header, first, second, norm, embedding, attention, feedForward, head);
}

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
      { numRuns: 1000 },
    );
  });
});

describe("tokenizer.bin of llama2.c", () => {
  const token = (text: string, score: number, length?: number): Uint8Array => {
    const bytes = new TextEncoder().encode(text);
    return join(f32(Float32Array.of(score)), i32(length ?? bytes.length), bytes);
  };
  const file = join(i32(5), token("<unk>", 0), token(" é", -1.5), token("", 2));

  it("has tokens and scores by id", () => {
    expect(readLlama2cTokenizer(file, 3, "t")).toEqual({ tokens: ["<unk>", " é", ""], scores: Float32Array.of(0, -1.5, 2) });
  });

  it.each([
    ["of fewer tokens", file, 2, /file of \d+ bytes for 2 tokens/],
    ["of more tokens", file, 4, /expected 4 tokens/],
    ["of a million tokens", file, 2 ** 20, /expected 1048576 tokens, found a file of/],
    ["with a length that is negative", join(i32(5), token("a", 0, -1)), 1, /token 0 to have from 0 to 1 bytes, found -1/],
    ["with a length above the longest", join(i32(1), token("ab", 0)), 1, /from 0 to 1 bytes, found 2/],
    ["that is not UTF-8", join(i32(5), f32(Float32Array.of(1)), i32(1), Uint8Array.of(255)), 1, /token 0 in UTF-8/],
  ])("is refused %s", (_, bytes, count, message) => {
    expect(() => readLlama2cTokenizer(bytes, count, "t")).toThrow(message);
    expect(() => readLlama2cTokenizer(bytes, count, "t")).toThrow(FormatError);
  });
});
