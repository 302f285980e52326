import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Tokenizer as Theirs } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/nn/tokenizers.js";

/** What test/golden/make_tokenizers.py wrote: tokens and texts of Python's tokenizers and sentencepiece. */
interface Answers {
  /** Tokens of each text, with spaces between them. */
  readonly ids: string[];
  /** What they are decoded to by place, where it is not the text itself. */
  readonly decoded: Record<number, string>;
  /** The same without special tokens, where that changes anything. */
  readonly skipped: Record<number, string>;
  readonly special: string;
  readonly mixed: [tokens: string, text: string][];
  readonly long: [count: number, digest: string][];
}
const idsOf = (words: string): number[] => words.split(" ").filter(Boolean).map(Number);
const folder = new URL("../golden/tokenizers/", import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, folder));
const golden = JSON.parse(read("answers.json").toString()) as {
  readonly texts: string[];
  readonly tokenizers: Record<string, Answers>;
  readonly models: Record<string, Answers>;
};

/** The same 300 kB as in Python: words with a space after each but one in `words`, or one word. */
function longText(words: number): string {
  const choices = ["whale", "the", "sea", "42", "naïve", "海", "Ishmael", "and", "-", "ing"];
  const parts: string[] = [];
  for (let state = 12345n, size = 0; size < 300_000; ) {
    state = (state * 1103515245n + 12345n) % 2n ** 31n;
    const part = `${choices[Number((state / 65536n) % 10n)]}${(state / 1048576n) % BigInt(words) !== 0n ? " " : ""}`;
    parts.push(part);
    size += part.length;
  }
  return parts.join("");
}
const longTexts = [longText(3), longText(1)];
const digest = (ids: Int32Array): string =>
  createHash("sha256")
    .update(new Uint8Array(ids.buffer, 0, ids.byteLength))
    .digest("hex");

const fromJson: [string, Answers, () => Promise<Tokenizer>][] = Object.entries(golden.tokenizers).map(([name, answers]) => [
  name,
  answers,
  () => loadTokenizer({ "tokenizer.json": read(`${name}.json`) }),
]);

describe.each(fromJson)("the tokenizer of kind %s", (_, answers, load) => {
  it("has the tokens of Python for awkward text", async () => {
    const tokenizer = await load();
    expect(golden.texts.map((text) => [...tokenizer.encode(text)])).toEqual(answers.ids.map(idsOf));
    expect([...tokenizer.encode("Hello world", { special: true })]).toEqual(idsOf(answers.special));
  });

  it("has the texts of Python for its tokens, and for tokens in an order that no text has", async () => {
    const tokenizer = await load();
    const decoded = golden.texts.map((text, i) => answers.decoded[i] ?? text);
    expect(answers.ids.map((ids) => tokenizer.decode(idsOf(ids)))).toEqual(decoded);
    const skipped = decoded.map((text, i) => answers.skipped[i] ?? text);
    expect(answers.ids.map((ids) => tokenizer.decode(idsOf(ids), { skipSpecial: true }))).toEqual(skipped);
    expect(answers.mixed.map(([ids]) => tokenizer.decode(idsOf(ids)))).toEqual(answers.mixed.map(([, text]) => text));
  });

  it("encodes 300 kB on one line as Python does, in less than a second", async () => {
    const tokenizer = await load();
    for (const [i, text] of longTexts.entries()) {
      const started = process.cpuUsage();
      const ids = tokenizer.encode(text);
      expect(process.cpuUsage(started).user).toBeLessThan(1e6); // microseconds
      expect([ids.length, digest(ids)]).toEqual(answers.long[i]);
    }
  });
});

it.each(["gpt2", "llama3", "qwen2", "smollm", "llama2"])(
  "the tokenizer of kind %s is that of Hugging Face's package for JavaScript, where that is right",
  async (name) => {
    const json = JSON.parse(read(`${name}.json`).toString());
    const theirs = new Theirs(json, {});
    const ours = await loadTokenizer({ "tokenizer.json": read(`${name}.json`) });
    for (const text of ["Call me Ishmael. Some years ago", "naïve façades; 1851, it's\n\n\twhales", "海 in the sea 🐋"]) {
      expect([...ours.encode(text)]).toEqual(theirs.encode(text, { add_special_tokens: false }).ids);
    }
  },
);

describe.each(Object.entries(golden.models))("tokenizer.model of kind %s", (name, answers) => {
  const load = (): Promise<Tokenizer> =>
    loadTokenizer({
      "tokenizer.model": read(`${name}.model`),
      "tokenizer_config.json": '{ "add_bos_token": true, "add_eos_token": true }',
    });
  // SentencePiece takes no part of a text for a special token.
  const parseSpecial = false;

  it("has the tokens of SentencePiece for awkward text", async () => {
    const tokenizer = await load();
    expect(golden.texts.map((text) => [...tokenizer.encode(text, { parseSpecial })])).toEqual(answers.ids.map(idsOf));
    expect([...tokenizer.encode("Hello world", { special: true })]).toEqual(idsOf(answers.special));
  });

  it("has the texts of SentencePiece for its tokens, and for tokens in an order that no text has", async () => {
    const tokenizer = await load();
    const decode = (ids: string): string => tokenizer.decode(idsOf(ids), { skipSpecial: true });
    expect(answers.ids.map(decode)).toEqual(golden.texts.map((text, i) => answers.decoded[i] ?? text));
    expect(answers.mixed.map(([ids]) => decode(ids))).toEqual(answers.mixed.map(([, text]) => text));
  });

  it("encodes 300 kB on one line as SentencePiece does, in less than a second", async () => {
    const tokenizer = await load();
    for (const [i, text] of longTexts.entries()) {
      const started = process.cpuUsage();
      const ids = tokenizer.encode(text);
      expect(process.cpuUsage(started).user).toBeLessThan(1e6); // microseconds
      expect([ids.length, digest(ids)]).toEqual(answers.long[i]);
    }
  });
});
