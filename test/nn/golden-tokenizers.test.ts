import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/nn/tokenizers.js";

/** What test/golden/make_tokenizers.py wrote: tokens and texts of Python's tokenizers and sentencepiece. */
interface Answers {
  readonly ids: number[][];
  readonly decoded: string[];
  readonly skipped?: string[];
  readonly special: number[];
  readonly mixed: [tokens: number[], text: string][];
  readonly long: [count: number, digest: string][];
}
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

const cases: [string, Answers, () => Promise<Tokenizer>][] = Object.entries(golden.tokenizers).map(([name, answers]) => [
  name,
  answers,
  () => loadTokenizer({ "tokenizer.json": read(`${name}.json`) }),
]);

describe.each(cases)("the tokenizer of kind %s", (_, answers, load) => {
  it("has the tokens of Python for awkward text", async () => {
    const tokenizer = await load();
    expect(golden.texts.map((text) => [...tokenizer.encode(text)])).toEqual(answers.ids);
    expect([...tokenizer.encode("Hello world", { special: true })]).toEqual(answers.special);
  });

  it("has the texts of Python for its tokens, and for tokens in an order that no text has", async () => {
    const tokenizer = await load();
    expect(answers.ids.map((ids) => tokenizer.decode(ids))).toEqual(answers.decoded);
    if (answers.skipped) expect(answers.ids.map((ids) => tokenizer.decode(ids, { skipSpecial: true }))).toEqual(answers.skipped);
    expect(answers.mixed.map(([ids]) => tokenizer.decode(ids))).toEqual(answers.mixed.map(([, text]) => text));
  });

  it("encodes 300 kB on one line as Python does, in time of a few passes", async () => {
    const tokenizer = await load();
    for (const [i, text] of longTexts.entries()) {
      const started = process.cpuUsage();
      const ids = tokenizer.encode(text);
      const { user } = process.cpuUsage(started);
      expect([ids.length, digest(ids)]).toEqual(answers.long[i]);
      if (process.env.SHOW) console.log(_, i, user / 1e6);
    }
  });
});
