import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { writeTinyTokenizer } from "./tiny-tokenizer.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json"];

describe("a model of tokens", { timeout: 120_000 }, () => {
  let bench: Workbench;
  let text = "";
  beforeAll(async () => {
    bench = await createWorkbench();
    text = `--text ${bench.at("text.txt")} --backend reference`;
    await writeTinyTokenizer(bench.at("tokens"));
    const trained = await command(bench.train(`--tokenizer ${bench.at("tokens")} --steps 6 --out ${bench.at("base")}`));
    expect(trained).toMatchObject({ code: 0 });
  });
  afterAll(() => bench.remove());

  const json = async (line: string) => {
    const found = await command(`${line} --json`);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };

  it("has the vocabulary, the special tokens and the files of its tokenizer", async () => {
    const tokenizer = await loadTokenizer(bench.at("tokens"));
    const config = JSON.parse(await readFile(bench.at("base/config.json"), "utf8"));
    expect(config).toMatchObject({ vocab_size: tokenizer.vocabSize, eos_token_id: tokenizer.eos });
    for (const name of tokenizerFiles) {
      expect(await readFile(bench.at(`base/${name}`))).toEqual(await readFile(bench.at(`tokens/${name}`)));
    }
    const seen = await json(`inspect ${bench.at("base")} --no-needs`);
    expect(seen.tokenizer).toMatchObject({ vocabSize: tokenizer.vocabSize, eos: tokenizer.eos, specialTokens: { "<|im_start|>": 1 } });
    expect(seen.tokenizer.chatTemplate).toContain("im_start");
  });

  it("is trained by losses per token and per byte, in every line of its metrics", async () => {
    const lines = (await readFile(bench.at("base/metrics.jsonl"), "utf8")).trimEnd().split("\n");
    for (const line of lines) {
      const { loss, lossPerByte } = JSON.parse(line);
      expect(lossPerByte).toBeGreaterThan(0);
      expect(lossPerByte).toBeLessThan(loss);
    }
  });

  it("is gone on with by the tokenizer of its folder, which comes along to another", async () => {
    const options = `--tokenizer ${bench.at("tokens")}`;
    await json(bench.train(`${options} --steps 2 --out ${bench.at("part")}`));
    const resumed = await json(`train --resume ${bench.at("part")} --out ${bench.at("whole")} --steps 4 --backend reference`);
    expect(resumed).toMatchObject({ step: 4, unit: "tokens" });
    for (const name of tokenizerFiles) expect(await readdir(bench.at("whole"))).toContain(name);
    const renamed = await command(`train --resume ${bench.at("part")} ${options} --steps 8`);
    expect(renamed).toMatchObject({ code: 2, stderr: expect.stringContaining("so --tokenizer cannot be given") });
  });

  it("is measured per token and per byte: the same nats over the targets and over what they stand for", async () => {
    const line = `eval --model ${bench.at("base")} ${text} --contexts 4,8 --targets 8 --sliding --by-position`;
    const found = await json(line);
    expect(found).toMatchObject({ unit: "tokens", targets: 8 });
    expect(found.targetBytes).toBeGreaterThan(found.targets);
    for (const { nats, natsPerByte } of [...found.rows, { nats: found.truncation, natsPerByte: found.truncationPerByte }]) {
      expect(nats * found.targets).toBeCloseTo(natsPerByte * found.targetBytes, 9);
    }
    for (const { nats, natsPerByte, bitsPerByte, perplexity } of found.sliding.rows) {
      expect(natsPerByte).toBeLessThan(nats);
      expect(bitsPerByte).toBeCloseTo(natsPerByte / Math.LN2, 12);
      expect(perplexity).toBeCloseTo(Math.exp(nats), 9);
    }
    for (const { nats, natsPerByte } of found.positions.buckets) expect(natsPerByte).toBeLessThan(nats);
    const { stdout } = await command(line);
    expect(stdout).toContain("the same 8 target tokens at every context");
    expect(stdout).toMatch(/context +scale +nats\/token +nats\/byte\n/);
    expect(stdout).toMatch(/window +stride +scale +nats\/token +nats\/byte +ppl\/token\n/);
    expect(stdout).toMatch(/position +nats\/token +nats\/byte\n/);
    expect(stdout).not.toContain("bytes");
  });

  it("is read over all of a text, and over its documents as one, where that is asked for", async () => {
    const folder = bench.at("chapters");
    await mkdir(folder);
    for (const name of ["1.txt", "2.txt", "3.txt"]) await writeFile(`${folder}/${name}`, "call me whale. ".repeat(8));
    const line = `eval --model ${bench.at("base")} --text ${folder} --backend reference --targets 4`;
    const longest = async (rest: string, context: number): Promise<number> => (await command(`${line}${rest} --contexts ${context}`)).code;
    // The last chapter is held out.
    const tokens = (await loadTokenizer(bench.at("tokens"))).encode("call me whale. ".repeat(8)).length;
    expect(await longest("", tokens - 1)).toBe(0);
    expect(await longest("", tokens)).toBe(2);
    expect(await longest(" --join", tokens)).toBe(2);
    expect(await longest(" --part all", tokens)).toBe(2);
    expect(await longest(" --part all --join", 3 * tokens)).toBe(0);
    expect((await json(`${line} --part all --join --contexts 4`)).part).toBe("all");
  });

  it("has no line of truncation below contexts that are shorter than its window", async () => {
    const found = await json(`eval --model ${bench.at("base")} ${text} --contexts 4 --targets 4`);
    expect(found).toMatchObject({ truncation: null, truncationPerByte: null, rows: [{ context: 4 }] });
  });

  it("is extended and written to, counted in tokens throughout", async () => {
    const extended = await command(`extend --model ${bench.at("base")} --out ${bench.at("e2")} ${text} --g-max 4 --steps 2 --batch 2`);
    expect(extended).toMatchObject({ code: 0 });
    expect(extended.stderr).toContain("window of 8 tokens: E²-LLM up to g = 4, so 32 tokens");
    expect(extended.stdout).toMatch(/held-out loss [\d.]+ nats per token, [\d.]+ per byte at 8 tokens of context, g = 1/);
    for (const name of tokenizerFiles) expect(await readdir(bench.at("e2"))).toContain(name);
    const found = await json(`generate --model ${bench.at("e2")} --prompt whale --tokens 5 --temperature 0 --backend reference`);
    expect(found).toMatchObject({ unit: "tokens", prompt: "whale" });
  });

  it("is not taken for one of bytes by a later run in its folder, nor one of bytes for it", async () => {
    await json(bench.train(`--tokenizer ${bench.at("tokens/tokenizer.json")} --steps 1 --out ${bench.at("again")}`));
    // What lies beside a tokenizer.json says where texts end, and belongs to it.
    for (const name of tokenizerFiles)
      expect(await readFile(bench.at(`again/${name}`))).toEqual(await readFile(bench.at(`tokens/${name}`)));
    await json(bench.train(`--steps 1 --force --out ${bench.at("again")}`));
    for (const name of tokenizerFiles) expect(await readdir(bench.at("again"))).not.toContain(name);
    expect((await json(`inspect ${bench.at("again")} --no-needs`)).tokenizer.name).toBe("bytes");
  });

  it("is extended from a GGUF file with the tokenizer inside of it, and read by that of its base where it has none", async () => {
    const [gguf, tuned, merged] = [bench.at("from.gguf"), bench.at("from-gguf"), bench.at("from-merged")];
    await json(bench.train(`--tokenizer ${bench.at("tokens")} --steps 1 --out ${bench.at("to-gguf")}`));
    await json(`convert ${bench.at("to-gguf")} --out ${gguf} --tokenizer ${bench.at("tokens")}`);
    await json(`extend --model ${gguf} ${text} --lora 2 --g-max 2 --steps 1 --batch 1 --out ${tuned}`);
    const read = (model: string) => json(`eval --model ${model} ${text} --contexts 8 --targets 4`);
    const { rows } = await read(tuned);
    expect(await readdir(tuned)).toContain("tokenizer.json");
    for (const name of tokenizerFiles) await rm(`${tuned}/${name}`, { force: true });
    expect((await read(tuned)).rows).toEqual(rows);
    await json(`convert ${tuned} --out ${merged}`);
    expect(await readdir(merged)).toContain("tokenizer.json");
  });

  it("is refused where its tokenizer is missing or another's, with the option that names one", async () => {
    const { vocabSize } = await loadTokenizer(bench.at("tokens"));
    await command(bench.train(`--steps 1 --out ${bench.at("bytes")}`));
    const other = await command(`eval --model ${bench.at("bytes")} ${text} --tokenizer ${bench.at("tokens")}`);
    expect(other).toMatchObject({ code: 2, stdout: "" });
    expect(other.stderr).toContain(`has ${vocabSize} tokens, and the model knows 256`);
    await json(bench.train(`--tokenizer ${bench.at("tokens")} --steps 1 --out ${bench.at("bare")}`));
    for (const name of tokenizerFiles) await rm(bench.at(`bare/${name}`));
    for (const line of [`eval --model ${bench.at("bare")} ${text}`, `generate --model ${bench.at("bare")} --prompt whale`]) {
      const bare = await command(line);
      expect(bare).toMatchObject({ code: 2, stdout: "" });
      expect(bare.stderr).toContain("hint: put its tokenizer.json or tokenizer.model there, or name one: --tokenizer");
    }
    const named = await json(`eval --model ${bench.at("bare")} --tokenizer ${bench.at("tokens")} ${text} --contexts 8 --targets 4`);
    expect(named.rows[0].nats).toBeGreaterThan(0);
    const seen = await json(`inspect ${bench.at("bare")} --no-needs`);
    expect(seen).toMatchObject({ tokenizer: null, tokenizerProblem: expect.stringContaining("no tokenizer beside the model") });
    const missing = await command(bench.train(`--tokenizer ${bench.at("nowhere")} --out ${bench.at("none")}`));
    expect(missing).toMatchObject({ code: 2, stdout: "" });
  });
});
