import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FormatError } from "../../src/errors.js";
import { GGUF_TOKEN_TYPES, type GgufTokenizer } from "../../src/nn/gguf/keys.js";
import { ggufTokenizerFiles } from "../../src/nn/tokenizers/gguf-to-json.js";
import { ggufTokenizerParts } from "../../src/nn/tokenizers/gguf-tokenizer.js";
import { PipelineTokenizer } from "../../src/nn/tokenizers/pipeline.js";
import { protoFields } from "../../src/nn/tokenizers/protobuf.js";
import { loadTokenizer } from "../../src/nn/tokenizers.js";

const read = (name: string): Buffer => readFileSync(new URL(`../golden/tokenizers/${name}`, import.meta.url));
const golden = JSON.parse(read("answers.json").toString()) as {
  readonly texts: string[];
  readonly tokenizers: Record<string, { readonly ids: string[] }>;
  readonly models: Record<string, { readonly ids: string[] }>;
};
// llama.cpp knows no tokens that look at what stands around them.
const plain = golden.texts.flatMap((text, i) => (/WORD|<\|left|<\|right/.test(text) ? [] : [{ text, i }]));

const nothing: GgufTokenizer = {
  model: "gpt2",
  pre: undefined,
  tokens: [],
  scores: undefined,
  tokenTypes: undefined,
  merges: undefined,
  bosTokenId: undefined,
  eosTokenId: undefined,
  unknownTokenId: undefined,
  paddingTokenId: undefined,
  eotTokenId: undefined,
  addBosToken: undefined,
  addEosToken: undefined,
  addSpacePrefix: undefined,
  removeExtraWhitespaces: undefined,
  chatTemplate: undefined,
};
const made = (tokenizer: GgufTokenizer): PipelineTokenizer =>
  new PipelineTokenizer(ggufTokenizerParts(tokenizer, "model.gguf"), {
    bos: undefined,
    eos: undefined,
    stopTokens: [],
    chatTemplate: undefined,
    fingerprint: undefined,
  });

/** The files that say the same elsewhere. */
const asFiles = (tokenizer: GgufTokenizer): Record<string, Uint8Array> =>
  Object.fromEntries(
    Object.entries(ggufTokenizerFiles(tokenizer, "model.gguf")).map(([name, text]) => [name, new TextEncoder().encode(text)]),
  );

/** A byte-level tokenizer.json with the lists that a conversion to GGUF writes. */
function converted(name: string, pre: string): GgufTokenizer {
  const json = JSON.parse(read(`${name}.json`).toString());
  const tokens: string[] = [];
  for (const [text, token] of Object.entries<number>(json.model.vocab)) tokens[token] = text;
  const types = tokens.map((): number => GGUF_TOKEN_TYPES.normal);
  for (const { id, content, special } of json.added_tokens) {
    tokens[id] = content;
    types[id] = special ? GGUF_TOKEN_TYPES.control : GGUF_TOKEN_TYPES.userDefined;
  }
  const merges = json.model.merges.map((pair: string[]) => pair.join(" "));
  return { ...nothing, pre, tokens, tokenTypes: Float64Array.from(types), merges };
}

const kinds = [
  ["gpt2", "gpt-2"],
  ["llama3", "llama-bpe"],
  ["smollm", "smollm"],
  ["deepseek", "deepseek-v3"],
] as const;

describe("tokenizers inside of GGUF files", () => {
  it.each(kinds)("%s has the tokens that Python has for its tokenizer.json, as the kind %s", (name, pre) => {
    const tokenizer = made(converted(name, pre));
    const { ids } = golden.tokenizers[name] as { ids: string[] };
    expect(plain.map(({ text }) => tokenizer.encode(text).join(" "))).toEqual(plain.map(({ i }) => ids[i]));
    for (const { text } of plain) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it("of SentencePiece's pieces has the tokens that SentencePiece has, and so has llama2.c's list of them", async () => {
    const pieces = [...protoFields(read("bpe.model"), "bpe.model")].filter(({ number }) => number === 1);
    const fields = pieces.map(
      ({ value }) => new Map([...protoFields(value as Uint8Array, "bpe.model")].map((field) => [field.number, field.value])),
    );
    // The same pieces as llama2.c lists them.
    const entries = fields.map((field, token) => {
      const text = Buffer.from(
        token === 1
          ? "\n<s>\n"
          : Buffer.from(field.get(1) as Uint8Array)
              .toString()
              .replaceAll("▁", " "),
      );
      const head = Buffer.alloc(8);
      (field.get(2) as Uint8Array | undefined)?.forEach((byte, i) => {
        head[i] = byte;
      });
      head.writeUInt32LE(text.length, 4);
      return Buffer.concat([head, text]);
    });
    const listed = await loadTokenizer({ "tokenizer.bin": Buffer.concat([Buffer.from([64, 0, 0, 0]), ...entries]) });
    expect([...listed.encode("Hello world", { special: true })]).toEqual([1, ...listed.encode("Hello world")]);
    await expect(loadTokenizer({ "tokenizer.bin": Buffer.concat([Buffer.from([4, 0, 0, 0]), ...entries]) })).rejects.toThrow(FormatError);
    await expect(loadTokenizer({ "tokenizer.bin": Buffer.concat(entries) })).rejects.toThrow(FormatError);
    const definition: GgufTokenizer = {
      ...nothing,
      model: "llama",
      tokens: fields.map((field) => new TextDecoder().decode(field.get(1) as Uint8Array)),
      scores: Float64Array.from(fields, (field) => Buffer.from((field.get(2) as Uint8Array | undefined) ?? [0, 0, 0, 0]).readFloatLE()),
      tokenTypes: Float64Array.from(fields, (field) => (field.get(3) as number | undefined) ?? 1),
      bosTokenId: 1,
    };
    const tokenizer = made(definition);
    const { ids } = golden.models.bpe as { ids: string[] };
    const encoded = golden.texts.map((text) => tokenizer.encode(text, { parseSpecial: false }).join(" "));
    expect(encoded).toEqual(ids);
    // A space and "▁" are one there.
    const told = golden.texts.flatMap((text, i) => (text.includes("▁") ? [] : [i]));
    expect(told.map((i) => listed.encode(golden.texts[i] as string, { parseSpecial: false }).join(" "))).toEqual(told.map((i) => ids[i]));
    expect([...tokenizer.encode("", { special: true })]).toEqual([1]);
    // And as the files of Hugging Face's libraries.
    const files = await loadTokenizer(asFiles(definition));
    expect(golden.texts.map((text) => files.encode(text, { parseSpecial: false }).join(" "))).toEqual(ids);
    expect([...files.encode("a", { special: true })]).toEqual([1, ...files.encode("a")]);
  });

  it.each([...kinds, ["gpt2", "default"] as const])(
    "%s of the kind %s are the same as files of Hugging Face's libraries",
    async (name, pre) => {
      const ends = { bosTokenId: 1, eosTokenId: 2, eotTokenId: 3, addBosToken: true, chatTemplate: "{{ messages }}" };
      const tokenizer = { ...converted(name, pre), ...ends };
      const files = await loadTokenizer(asFiles(tokenizer));
      for (const text of golden.texts) {
        expect([...files.encode(text, { special: true })], text).toEqual([...made(tokenizer).encode(text, { special: true })]);
        expect(files.decode(files.encode(text))).toBe(made(tokenizer).decode(made(tokenizer).encode(text)));
      }
      expect(files).toMatchObject({ bos: 1, eos: 2, stopTokens: [2, 3], chatTemplate: "{{ messages }}" });
    },
  );

  it("cut a text as llama.cpp does where no kind is named", () => {
    const tokenizer = made(converted("gpt2", "default"));
    const pieces = (text: string): string => [...tokenizer.encode(text)].map((token) => tokenizer.tokenText(token)).join(" ");
    // What llama.cpp makes of these with the same vocabulary, which has "Ġ12345" and "'t".
    expect(pieces("a+b 12345 don't")).toBe("a + b Ġ 1 2 3 4 5 Ġdon ' t");
    expect(pieces("return   1234567 x")).toBe("re turn ĠĠ Ġ 1 2 3 4 5 6 7 Ġx");
  });

  it("of other kinds are refused by name", () => {
    expect(() => made({ ...converted("gpt2", "gpt-2"), model: "bert" })).toThrow(/"llama" or "gpt2", found "bert"/);
    expect(() => made(converted("gpt2", "unheard-of"))).toThrow(/qwen2.*found "unheard-of"/);
    expect(() => made({ ...converted("gpt2", "gpt-2"), merges: undefined })).toThrow(FormatError);
    expect(() => made({ ...converted("gpt2", "gpt-2"), merges: ["a b", "Ġ whale-that-is-none"] })).toThrow(FormatError);
    expect(() => made({ ...nothing, model: "llama", tokens: ["a"] })).toThrow(/scores/);
  });
});
