import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type DawngradError, FormatError } from "../../src/errors.js";
import { adapterBlobs, applyLora, ggufBlob, key, Llama, llamaConfig, loadAdapter, loadTokenizer, useBackend } from "../../src/index.js";
import { readCompanions } from "../../src/nn/companion-files.js";
import { type FileContent, modelFiles } from "../../src/nn/model-source.js";
import { tinyTemplate, tinyTokenizerJson } from "../cli/tiny-tokenizer.js";
import { fuzzRuns } from "../support/fuzz.js";
import { llama2cTokenizer } from "../support/llama2c.js";
import { tinyConfig, tinyLlama } from "./tiny.js";

type Files = Readonly<Record<string, Uint8Array>>;

/** A reader with sound files for it. */
interface Case {
  readonly files: Files;
  /** Reads all of it, and uses what it read. */
  readonly read: (files: Files) => Promise<void>;
  /** The file of which most is worth changing. */
  readonly within?: number;
}

const cases = new Map<string, Case>();
const bytesOf = (text: unknown): Uint8Array => new TextEncoder().encode(typeof text === "string" ? text : JSON.stringify(text));
const golden = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`../golden/tokenizers/${name}`, import.meta.url)));

/** A tokenizer that was taken has to be one; what is said of tokens that it does not have is an OptionError of whoever asks. */
async function useTokenizer(files: Readonly<Record<string, FileContent>>): Promise<void> {
  const tokenizer = await loadTokenizer(files);
  const tokens = tokenizer.encode("a whale's naïve 1851\r\n 海🐋 <|im_end|>", { special: true });
  for (const token of tokens) expect(token).toBeLessThan(tokenizer.vocabSize);
  tokenizer.decode(tokens);
  for (const token of tokens.subarray(0, 4)) tokenizer.tokenBytes(token);
}

beforeAll(async () => {
  useBackend(createReferenceBackend());
  const read = async (blobs: Readonly<Record<string, { arrayBuffer(): Promise<ArrayBuffer> }>>): Promise<Files> =>
    Object.fromEntries(
      await Promise.all(Object.entries(blobs).map(async ([name, blob]) => [name, new Uint8Array(await blob.arrayBuffer())])),
    );
  const model = await tinyLlama();
  cases.set("adapters", {
    files: await read(await adapterBlobs(applyLora(model, { rank: 2, targets: ["q_proj"], trainNorms: true }))),
    read: async (files) => void (await loadAdapter(model, files)),
    within: 900,
  });
  cases.set("tokenizer.bin", { files: { "tokenizer.bin": llama2cTokenizer() }, read: useTokenizer });
  const folder = {
    "tokenizer.json": bytesOf(tinyTokenizerJson()),
    "tokenizer_config.json": bytesOf({ eos_token: { content: "<|im_end|>" }, add_bos_token: false, chat_template: tinyTemplate }),
    "special_tokens_map.json": bytesOf({ bos_token: "<|im_start|>" }),
    "generation_config.json": bytesOf({ eos_token_id: [2, 0] }),
  };
  cases.set("a tokenizer with its settings", { files: folder, read: useTokenizer, within: 400 });
  const inside = async (tokenizer: Readonly<Record<string, FileContent>>, V: number): Promise<Case> => ({
    files: await read({
      "m.gguf": await ggufBlob(new Llama(llamaConfig({ ...tinyConfig, hidden_size: 4, vocab_size: V }), { key: key(1) }), { tokenizer }),
    }),
    read: async (files) => {
      await readCompanions(modelFiles("test", files));
      await useTokenizer(files);
    },
    within: 6000,
  });
  cases.set("the byte-level tokenizer of a GGUF file", await inside(folder, 300));
  cases.set("the pieces of a GGUF file", await inside({ "tokenizer.model": golden("bpe.model") }, 1000));
});
afterAll(() => void useBackend(undefined));

/** Reads files, and lets nothing but FormatError out. */
async function attempt({ read }: Case, files: Files): Promise<void> {
  const before = process.memoryUsage().arrayBuffers;
  const started = process.cpuUsage();
  try {
    await read(files);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    expect((error as DawngradError).hint).not.toBe("");
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 25);
  expect(process.cpuUsage(started).user).toBeLessThan(3e6);
}

const names = [
  "adapters",
  "tokenizer.bin",
  "a tokenizer with its settings",
  "the byte-level tokenizer of a GGUF file",
  "the pieces of a GGUF file",
];

describe.each(names)("nothing but FormatError comes from %s", { timeout: 3_600_000 }, (name) => {
  const found = (): Case => cases.get(name) as Case;

  it("that is sound", async () => {
    await found().read(found().files);
  });

  it("of which bytes are changed, added or missing", async () => {
    const change = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      remove: fc.nat(3),
      insert: fc.oneof(
        fc.uint8Array({ maxLength: 3 }),
        fc.constantFrom(Uint8Array.of(255, 255, 255, 255), new Uint8Array(4), bytesOf("null"), bytesOf("1e400"), bytesOf('"')),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.nat(20), fc.array(change, { minLength: 1, maxLength: 4 }), async (which, changes) => {
        const { files, within } = found();
        const all = Object.entries(files);
        const [file, given] = all[which % all.length] as [string, Uint8Array];
        let bytes = given;
        for (const { at, remove, insert } of changes) {
          const begin = Math.floor(at * Math.min(bytes.length, within ?? bytes.length));
          bytes = Uint8Array.from([...bytes.subarray(0, begin), ...insert, ...bytes.subarray(begin + remove)]);
        }
        await attempt(found(), { ...files, [file]: bytes });
      }),
      { numRuns: fuzzRuns(10) },
    );
  });

  it("of which a value of JSON is another", async () => {
    const value = fc.oneof(
      fc.constantFrom(null, true, false, 0, 1, 2, -1, 0.5, 2 ** 31, 2 ** 53, 1e308, "", "LORA", "whale", ".*", "(a+)+$", [], {}),
      fc.jsonValue({ maxDepth: 2 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(20), fc.array(fc.tuple(fc.nat(200), value), { minLength: 1, maxLength: 3 }), async (which, changes) => {
        const { files } = found();
        const all = Object.entries(files).filter(([file]) => file.endsWith(".json") && file !== "tokenizer.json");
        if (all.length === 0) return;
        const [file, given] = all[which % all.length] as [string, Uint8Array];
        const json = JSON.parse(new TextDecoder().decode(given)) as Record<string, unknown>;
        const keys = Object.keys(json);
        for (const [at, other] of changes) json[keys[at % keys.length] as string] = other;
        await attempt(found(), { ...files, [file]: bytesOf(json) });
      }),
      { numRuns: fuzzRuns(10) },
    );
  });
});

describe("a tokenizer is refused with advice where its settings", () => {
  it.each([
    ["tokenizer_config.json", { eos_token: [] }, "expected eos_token to be an object, found []"],
    ["tokenizer_config.json", { chat_template: [1] }, "expected chat_template[0] to be an object, found 1"],
    ["special_tokens_map.json", { bos_token: 7 }, "expected bos_token to be an object, found 7"],
    ["generation_config.json", { eos_token_id: ["a"] }, "expected eos_token_id to be a token or tokens"],
    ["tokenizer_config.json", [], "expected an object, found []"],
  ])("%s say %j", async (file, content, message) => {
    const files = { ...(cases.get("a tokenizer with its settings") as Case).files, [file]: bytesOf(content) };
    await expect(loadTokenizer(files)).rejects.toMatchObject({
      name: "FormatError",
      message: expect.stringContaining(message),
      hint: expect.stringMatching(/./),
    });
  });
});
