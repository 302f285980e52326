import { readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fc, it } from "@fast-check/vitest";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { OptionError } from "../../src/errors.js";
import {
  byteTokenizer,
  encodeFileCached,
  encodeText,
  encodeTextCached,
  loadTokenizer,
  type Tokenizer,
  tokensFile,
} from "../../src/nn/tokenizers.js";

const folder = new URL("../golden/tokenizers/", import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, folder));
const names = [
  "gpt2",
  "llama3",
  "qwen2",
  "smollm",
  "o200k",
  "deepseek",
  "phi",
  "llama2",
  "mistral",
  "gemma",
  "t5",
  "xlm-roberta",
  "bert",
  "clip",
];
const tokenizers: Tokenizer[] = [];
let place = "";
beforeAll(async () => {
  for (const name of names) tokenizers.push(await loadTokenizer({ "tokenizer.json": read(`${name}.json`) }));
  for (const name of ["bpe", "unigram"]) tokenizers.push(await loadTokenizer({ "tokenizer.model": read(`${name}.model`) }));
  tokenizers.push(byteTokenizer);
  place = await mkdtemp(join(tmpdir(), "dawngrad-tokens-"));
});
afterAll(() => rm(place, { recursive: true, force: true }));
const [gpt2, llama2] = [(): Tokenizer => tokenizers[0] as Tokenizer, (): Tokenizer => tokenizers[7] as Tokenizer];

const awkward = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      " ",
      "  ",
      "\n",
      "\r\n",
      "\t",
      "a",
      "whale",
      "The",
      "1",
      "23",
      "'s",
      "é",
      "e\u0301",
      "🐋",
      "👩‍👩‍👧",
      "ส",
      "วั",
      "海",
      "▁",
      "<|end|>",
      "WORD",
      "<s>",
      ".",
    ),
    fc.string({ unit: "grapheme", minLength: 1, maxLength: 2 }),
  ),
  maxLength: 30,
});

describe("every tokenizer", () => {
  it.prop([awkward, fc.array(fc.nat(1000), { maxLength: 12 })], { numRuns: 60 })(
    "streams what it decodes, wherever the stream is cut, and never half of a character",
    (text, cuts) => {
      for (const tokenizer of tokenizers) {
        const tokens = tokenizer.encode(text);
        const places = [0, ...cuts.map((cut) => cut % (tokens.length + 1)), tokens.length].sort((a, b) => a - b);
        const decoder = tokenizer.decoder();
        let whole = "";
        for (const [i, to] of places.slice(1).entries()) {
          const part = decoder.push(tokens.subarray(places[i], to));
          expect(part).not.toMatch(/�(?!$)|\p{Surrogate}/u);
          whole += part;
        }
        expect(whole + decoder.end()).toBe(tokenizer.decode(tokens));
      }
    },
  );

  it.prop([awkward], { numRuns: 60 })("knows the bytes of its tokens", (text) => {
    // Those that change nothing but where words are cut, and the byte tokenizer.
    for (const tokenizer of [...tokenizers.slice(0, 2), ...tokenizers.slice(3, 6), byteTokenizer]) {
      const tokens = tokenizer.encode(text, { parseSpecial: false });
      expect(Buffer.concat([...tokens].map((token) => tokenizer.tokenBytes(token))).toString()).toBe(text);
    }
    // Those that write spaces as "▁" have one more in front.
    const tokens = llama2().encode(text, { parseSpecial: false });
    const bytes = Buffer.concat([...tokens].map((token) => llama2().tokenBytes(token))).toString();
    if (!/WORD|▁/.test(text)) expect(bytes).toBe(text === "" ? "" : ` ${text}`);
  });

  it("refuses what is no text and what is no token in the same words", () => {
    for (const tokenizer of tokenizers) {
      expect(() => tokenizer.encode("a\ud83d")).toThrow(/half of a surrogate pair at place 1/);
      for (const token of [-1, tokenizer.vocabSize, 0.5, Number.NaN]) {
        expect(() => tokenizer.decode([token])).toThrow(OptionError);
        expect(() => tokenizer.decoder().push([token])).toThrow(OptionError);
        expect(() => tokenizer.tokenBytes(token)).toThrow(OptionError);
        expect(() => tokenizer.tokenText(token)).toThrow(OptionError);
      }
    }
    expect(() => gpt2().encode(Uint8Array.of(0xff))).toThrow(/not UTF-8/);
    expect([...gpt2().encode(new TextEncoder().encode("héllo"))]).toEqual([...gpt2().encode("héllo")]);
  });

  it.prop([awkward], { numRuns: 30 })("takes writings of special tokens for text where it is told to", (text) => {
    const special = new Set(gpt2().specialTokens.values());
    expect([...gpt2().encode(`${text}<|end|>`)].at(-1)).toBe(gpt2().specialTokens.get("<|end|>"));
    expect([...gpt2().encode(`${text}<|end|>`, { parseSpecial: false })].some((token) => special.has(token))).toBe(false);
  });
});

/** Lists of tokens are compared as bytes, because that is fast. */
const bytesOf = (tokens: Int32Array): string => Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength).toString("base64");
const same = (found: Int32Array, expected: Int32Array): void => expect(bytesOf(found) === bytesOf(expected)).toBe(true);

const words = ["whale", " the", " sea", "\n\n", " 1851", " naïve", "海", " — ", "  ", "<|end|>", "x".repeat(90)];
const long = Array.from({ length: 8000 }, (_, i) => words[(i * i + 7 * i) % words.length]).join("");

describe("a long text", () => {
  it("has the tokens of the whole, encoded between other things", async () => {
    for (const tokenizer of tokenizers) {
      const told: number[] = [];
      const part = long.slice(0, 30_000);
      const tokens = await encodeText(tokenizer, part, { onProgress: (done) => told.push(done) });
      same(tokens, tokenizer.encode(part));
      expect(told).toEqual([...told].sort((a, b) => a - b));
      expect(told.at(-1)).toBe(1);
    }
    expect((await encodeText(gpt2(), "", { special: true })).length).toBe(0);
    let timers = 0;
    const timer = setInterval(() => timers++, 1);
    await encodeText(gpt2(), long.repeat(12));
    clearInterval(timer);
    expect(timers).toBeGreaterThan(0);
  });

  it("is encoded once, and again when the text, the tokenizer or the file is another", async () => {
    const path = join(place, "book.txt");
    await writeFile(path, long);
    const kept = tokensFile(path, gpt2());
    const tokens = await encodeFileCached(gpt2(), path);
    same(tokens, gpt2().encode(long));
    // What is read from the file cannot have been encoded: this one encodes nothing.
    const lazy: Tokenizer = {
      ...gpt2(),
      name: "lazy",
      fingerprint: gpt2().fingerprint,
      encodeParts: () => expect.unreachable("it was encoded again"),
    };
    same(await encodeTextCached(lazy, long, kept), tokens);
    await expect(encodeTextCached(lazy, `${long}.`, kept)).rejects.toThrow(/encoded again/);
    await expect(encodeTextCached(lazy, long, kept, { parseSpecial: false })).rejects.toThrow(/encoded again/);
    await expect(encodeTextCached({ ...lazy, fingerprint: "another" }, long, kept)).rejects.toThrow(/encoded again/);

    const bytes = await readFile(kept);
    for (const change of [
      bytes.subarray(0, 40),
      bytes.subarray(0, -4),
      Buffer.concat([bytes, Buffer.alloc(4)]),
      Buffer.from(bytes.map((byte, i) => (i === bytes.length - 3 ? byte ^ 1 : byte))),
      Buffer.alloc(0),
    ]) {
      await writeFile(kept, change);
      await expect(encodeTextCached(lazy, long, kept)).rejects.toThrow(/encoded again/);
      same(await encodeFileCached(gpt2(), path), tokens);
      same(await encodeTextCached(lazy, long, kept), tokens);
    }
    // A text of the same length and age.
    const { atime, mtime } = await stat(path);
    const other = long.replace("whale", "Whale");
    await writeFile(path, other);
    await utimes(path, atime, mtime);
    same(await encodeFileCached(gpt2(), path), gpt2().encode(other));
    expect(tokensFile(path, llama2())).not.toBe(kept);
  });

  it("is encoded where nothing can be written, and short ones leave no file", async () => {
    const closed = join(place, "closed");
    await mkdir(closed);
    await writeFile(join(closed, "book.txt"), long);
    await writeFile(join(closed, "short.txt"), "a whale");
    expect((await encodeFileCached(gpt2(), join(closed, "short.txt"))).length).toBeGreaterThan(0);
    expect((await encodeFileCached(byteTokenizer, join(closed, "book.txt"))).length).toBeGreaterThan(0);
    expect(await readdir(closed)).toEqual(["book.txt", "short.txt"]);
    await chmod(closed, 0o500);
    same(await encodeFileCached(gpt2(), join(closed, "book.txt")), gpt2().encode(long));
    same(await encodeTextCached(gpt2(), long, join(place, "no", "such", "folder")), gpt2().encode(long));
    await chmod(closed, 0o700);
  });
});
