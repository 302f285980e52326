import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FormatError } from "../../src/errors.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { fuzzRuns } from "../support/fuzz.js";

/** Mutations of each file. */
const mutations = fuzzRuns(12);

const read = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`../golden/tokenizers/${name}`, import.meta.url)));
const files = [
  "llama3.json",
  "mistral.json",
  "deepseek.json",
  "phi.json",
  "t5.json",
  "bert.json",
  "clip.json",
  "bpe.model",
  "unigram.model",
];

/** Draws that depend on the run alone. */
function drawer(seed: number): (below: number) => number {
  let count = 0;
  return (below) => (threefry2x32(seed, 7, count++, 0)[0] >>> 0) % below;
}

/** Values that a field of JSON might have instead. */
const others: readonly unknown[] = [
  null,
  -1,
  0,
  1,
  2.5,
  1e9,
  2 ** 53,
  1e308,
  "",
  "a",
  "▁",
  "(a+)+$",
  "[",
  "\\p{Nope}",
  "(?=(a*)*)",
  true,
  false,
  [],
  {},
  [[]],
  { type: "Sequence" },
  ["a", "b"],
];

/** Another value at a random place of JSON, or a place without its value, or a copy of something else. */
function mutateJson(json: unknown, draw: (below: number) => number): unknown {
  if (typeof json !== "object" || json === null || (draw(6) === 0 && !Array.isArray(json))) return others[draw(others.length)];
  const keys = Object.keys(json);
  const key = keys[draw(Math.max(1, keys.length))];
  if (key === undefined) return others[draw(others.length)];
  const copy: Record<string, unknown> | unknown[] = Array.isArray(json) ? [...json] : { ...json };
  const at = copy as Record<string, unknown>;
  const kind = draw(8);
  if (kind === 0) delete at[key];
  else if (kind === 1) at[key] = others[draw(others.length)];
  else if (kind === 2) at[key] = at[keys[draw(keys.length)] as string];
  else at[key] = mutateJson(at[key], draw);
  return copy;
}

/** Bytes exchanged, left out, doubled or cut off. */
function mutateBytes(bytes: Uint8Array, draw: (below: number) => number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const at = draw(copy.length);
  const kind = draw(6);
  if (kind === 0) return copy.subarray(0, at);
  if (kind === 1) return Uint8Array.from([...copy.subarray(0, at), ...copy.subarray(at + 1 + draw(8))]);
  if (kind === 2) return Uint8Array.from([...copy.subarray(0, at), ...copy.subarray(Math.max(0, at - draw(40)), at), ...copy.subarray(at)]);
  for (let i = 0; i <= draw(4); i++) copy[draw(copy.length)] = kind === 3 ? ([0, 0x7f, 0x80, 0xff][draw(4)] as number) : draw(256);
  return copy;
}

/** Loads and uses a tokenizer: whatever is wrong with it is told by a FormatError. */
async function attempt(name: string, bytes: Uint8Array): Promise<"taken" | "refused"> {
  try {
    const tokenizer = await loadTokenizer({ [name.endsWith(".json") ? "tokenizer.json" : "tokenizer.model"]: bytes });
    const tokens = tokenizer.encode("The  whale's naïve 1851\r\n 海🐋 <|end|> aaaaaaaaaaaaaaaaaaaaaaaaaaaa", { special: true });
    const known = tokens.filter((token) => token < tokenizer.vocabSize);
    tokenizer.decode(known);
    for (const token of known.subarray(0, 4)) tokenizer.tokenBytes(token);
    return "taken";
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect(error.message).toContain("tokenizer.");
    return "refused";
  }
}

describe.each(files)("%s, damaged", (name) => {
  const bytes = read(name);

  it("is refused with a FormatError, or read, and never takes longer than the file is worth", async () => {
    const found = { taken: 0, refused: 0 };
    const json: unknown = name.endsWith(".json") ? JSON.parse(new TextDecoder().decode(bytes)) : undefined;
    for (let i = 0; i < mutations; i++) {
      const draw = drawer(i);
      const damaged =
        json !== undefined && i % 3 > 0 ? new TextEncoder().encode(JSON.stringify(mutateJson(json, draw))) : mutateBytes(bytes, draw);
      const started = process.cpuUsage();
      found[await attempt(name, damaged)]++;
      const { user } = process.cpuUsage(started);
      expect(user, `mutation ${i}`).toBeLessThan(3e6);
    }
    expect(found.taken + found.refused).toBe(mutations);
  });
});

const gpt2 = JSON.parse(new TextDecoder().decode(read("gpt2.json")));
/** What is changed below. */
interface Json {
  readonly model: { readonly vocab: Record<string, number>; readonly merges: string[][] };
}
const changed = (change: (json: Json) => void): Uint8Array => {
  const json = structuredClone(gpt2);
  change(json);
  return new TextEncoder().encode(JSON.stringify(json));
};
const split = (Regex: string): Uint8Array =>
  changed((json) => Object.assign(json, { pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false } }));

describe("a tokenizer.json is refused that", () => {
  it.each([
    ["has patterns that take exponential time", split("(a+)+b")],
    ["has patterns that choose in repetitions", split("(a|a)*b")],
    ["has patterns with many repetitions in a row", split("a*a*a*a*a*b")],
    ["has patterns that are none", split("(a")],
    ["has unknown properties in patterns", split("\\p{Whale}")],
    ["has a number of a token that is none", changed((json) => Object.assign(json.model.vocab, { whale: -1 }))],
    ["has one number for two tokens", changed((json) => Object.assign(json.model.vocab, { whale: 5 }))],
    ["has merges of what are no tokens", changed((json) => json.model.merges.push(["whale", "s"]))],
    ["has a model that is not known", changed((json) => Object.assign(json, { model: { type: "Whale" } }))],
    ["has steps that are not known", changed((json) => Object.assign(json, { normalizer: { type: "Whale" } }))],
    ["has dropout", changed((json) => Object.assign(json.model, { dropout: 0.1 }))],
    ["is none", new TextEncoder().encode("{}")],
    ["is deep", new TextEncoder().encode("[".repeat(100_000))],
  ])("%s", async (_, bytes) => {
    await expect(loadTokenizer({ "tokenizer.json": bytes })).rejects.toThrow(FormatError);
  });

  it("is missing, unless the model reads bytes", async () => {
    await expect(loadTokenizer({ "config.json": '{ "vocab_size": 300 }' })).rejects.toMatchObject({
      name: "FormatError",
      hint: expect.stringContaining("copy tokenizer.json"),
    });
    expect((await loadTokenizer({ "config.json": '{ "vocab_size": 256 }' })).name).toBe("bytes");
  });
});
