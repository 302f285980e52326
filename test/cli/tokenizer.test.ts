import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { cli } from "./capture.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

describe("dawngrad tokenizer train", { timeout: 60_000 }, () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
  });
  afterAll(() => bench.remove());

  it("writes a tokenizer that the text can be read with", async () => {
    const text = bench.at("text.txt");
    const { code, stdout } = await command(
      `tokenizer train --text ${text} --vocab 300 --pattern llama3 --special <|end|>,<|turn|> --out ${bench.at("made/tokens")} --json`,
    );
    expect(code).toBe(0);
    const document = JSON.parse(stdout);
    const tokenizer = await loadTokenizer(bench.at("made/tokens"));
    const read = await readFile(text, "utf8");
    expect(document).toMatchObject({
      command: "tokenizer",
      pattern: "llama3",
      vocabSize: tokenizer.vocabSize,
      merges: tokenizer.vocabSize - 258,
      specialTokens: ["<|end|>", "<|turn|>"],
      bytes: Buffer.byteLength(read),
      tokens: tokenizer.encode(read).length,
    });
    expect([tokenizer.eos, tokenizer.specialTokens.size]).toEqual([0, 2]);
    expect(tokenizer.decode(tokenizer.encode(read))).toBe(read);
  });

  it("replaces none without being told to, and says when a text has no more tokens", async () => {
    const train = `tokenizer train --text ${bench.at("text.txt")} --vocab 100000 --out ${bench.at("tokens")}`;
    const first = await command(train);
    expect(first.code).toBe(0);
    expect(first.stderr).toMatch(/no more than \d+ tokens: no pair of them occurs 2 times/);
    const again = await command(train);
    expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/holds a tokenizer already[\s\S]*--force/)]);
    expect((await command(`${train} --force`)).code).toBe(0);
  });

  it("checks its options", async () => {
    const { calls } = await cli(["tokenizer", "train", "--vocab", "512"]);
    expect(calls).toEqual([
      {
        name: "tokenizer",
        options: {
          text: "moby-dick",
          vocab: 512,
          pattern: "gpt2",
          minFrequency: 2,
          special: ["<|endoftext|>"],
          out: "runs/tokenizer",
          force: false,
          json: false,
          verbose: false,
        },
      },
    ]);
    for (const wrong of [
      ["--vocab", "256"],
      ["--pattern", "gpt5"],
      ["--backend", "wasm"],
      ["--min-frequency", "0"],
    ]) {
      expect((await cli(["tokenizer", "train", ...wrong])).code).toBe(2);
    }
    expect((await cli(["tokenizer"])).code).toBe(2);
  });
});
