import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../../src/cli/program.js";
import { withoutEnd } from "../../src/cli/prompts.js";
import { runners } from "../../src/cli/runners.js";
import { loadTokenizer } from "../../src/nn/tokenizers.js";
import { llama2cFile, llama2cTokenizer } from "../support/llama2c.js";
import { CapturedStream, cli, FakeSignals } from "./capture.js";
import { writeTinyTokenizer } from "./tiny-tokenizer.js";
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

describe("dawngrad tokenizer encode and decode", { timeout: 60_000 }, () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
    await writeTinyTokenizer(bench.at("tokens"));
  });
  afterAll(() => bench.remove());

  const golden = (name: string): string => fileURLToPath(new URL(`../golden/tokenizers/${name}`, import.meta.url));
  /** The command with these words, which may have spaces, and this standard input. */
  const run = async (words: readonly string[], input?: string | Uint8Array) => {
    const [stdout, stderr] = [new CapturedStream(), new CapturedStream()];
    async function* stdin() {
      yield typeof input === "string" ? new TextEncoder().encode(input) : (input as Uint8Array);
    }
    const code = await runCli(["tokenizer", ...words], {
      ...{ stdout, stderr, env: {}, runners, signals: new FakeSignals() },
      ...(input === undefined ? {} : { stdin: stdin() }),
    });
    return { code, stdout: stdout.text, stderr: stderr.text };
  };
  const awkward = "  two  spaces\r\n\n\ttabs naïve Ünï 🐋👩‍👩‍👧 ﷽ \u0000 <|im_end|> 1234567 e\u0301 \ufeff end\n";

  it("write a text as the tokens that the library gives, and give it back to the byte", async () => {
    for (const name of ["gpt2.json", "llama3.json", "smollm.json", "qwen2.json", "deepseek.json"]) {
      const tokenizer = await loadTokenizer({ "tokenizer.json": await readFile(golden(name)) });
      const { code, stdout } = await run(["encode", "--tokenizer", golden(name)], awkward);
      expect([name, code, stdout]).toEqual([name, 0, `${tokenizer.encode(awkward).join(" ")}\n`]);
      expect(await run(["decode", "--tokenizer", golden(name)], stdout)).toMatchObject({
        code: 0,
        stdout: tokenizer.decode(tokenizer.encode(awkward)),
        stderr: "",
      });
    }
  });

  it("take any kind of tokenizer, by itself or with its model", async () => {
    await mkdir(bench.at("llama2c"));
    await writeFile(bench.at("llama2c/tok61.bin"), llama2cTokenizer());
    await writeFile(bench.at("llama2c/model.bin"), llama2cFile(1));
    await command(bench.train(`--tokenizer ${bench.at("tokens")} --steps 1 --out ${bench.at("base")}`));
    await command(`convert ${bench.at("base")} --out ${bench.at("m.gguf")}`);
    for (const [option, source, text] of [
      ["--tokenizer", golden("bpe.model"), "whale sea"],
      ["--tokenizer", golden("unigram.model"), "whale sea"],
      ["--tokenizer", bench.at("tokens"), "whale sea"],
      ["--tokenizer", bench.at("tokens/tokenizer.json"), "whale sea"],
      ["--tokenizer", bench.at("m.gguf"), "whale sea"],
      ["--tokenizer", bench.at("llama2c/tok61.bin"), "whale sea"],
      ["--model", bench.at("base"), "whale sea"],
      ["--model", bench.at("m.gguf"), "whale sea"],
      ["--model", bench.at("llama2c/model.bin"), "whale sea"],
    ] as const) {
      const { code, stdout } = await run(["encode", option, source, text]);
      expect([source, code]).toEqual([source, 0]);
      expect(stdout).toMatch(/^\d+( \d+)*\n$/);
      expect((await run(["decode", option, source, ...stdout.trim().split(" ")])).stdout).toBe(text);
    }
  });

  it("have options for special tokens, pieces and documents", async () => {
    const source = ["--tokenizer", bench.at("tokens")];
    const { stdout } = await run(["encode", ...source, "--json", " whale<|im_end|>é"]);
    const tokenizer = await loadTokenizer(bench.at("tokens"));
    const tokens = [...tokenizer.encode(" whale<|im_end|>é")];
    expect(JSON.parse(stdout)).toEqual({
      command: "tokenizer encode",
      tokenizer: expect.stringContaining("tokenizer.json"),
      vocabSize: tokenizer.vocabSize,
      bytes: 18,
      tokens,
      pieces: tokens.map((token) => tokenizer.tokenText(token)),
      texts: [" ", "whale", "", "\ufffd", "\ufffd"],
    });
    const lines = (await run(["encode", ...source, "--pieces", "whale<|im_end|>"])).stdout;
    expect(lines).toBe(`${tokenizer.encode("whale")[0]}\twhale\t"whale"\n2\t<|im_end|>\t""\n`);
    const written = (await run(["encode", ...source, "--no-parse-special", "<|im_end|>"])).stdout.split(" ");
    expect(written.length).toBe(10);
    expect((await run(["decode", ...source, "--skip-special", "2", String(tokens[1])])).stdout).toBe("whale");
    expect(JSON.parse((await run(["decode", ...source, "--json"], `[2, ${tokens[1]}]`)).stdout)).toMatchObject({
      tokens: [2, tokens[1]],
      text: "<|im_end|>whale",
    });
    const special = await run(["encode", "--tokenizer", golden("llama3.json"), "--special", "a"]);
    const llama3 = await loadTokenizer({ "tokenizer.json": await readFile(golden("llama3.json")) });
    expect(special.stdout.trim().split(" ").map(Number)).toEqual([...llama3.encode("a", { special: true })]);
    await writeFile(bench.at("empty.txt"), "");
    expect(await run(["encode", ...source, "--text", bench.at("empty.txt")])).toMatchObject({ code: 0, stdout: "\n" });
    expect(await run(["encode", ...source, "--text", "-"], "whale")).toMatchObject({ code: 0, stdout: `${tokens[1]}\n` });
  });

  it("keep an end that is written in a prompt, and leave out the one that is put behind every text", async () => {
    for (const [name, end] of [
      ["bert.json", "[SEP]"],
      ["t5.json", "</s>"],
      ["llama3.json", "<|end_of_text|>"],
      ["gpt2.json", "<|endoftext|>"],
      ["llama2.json", "</s>"],
    ] as const) {
      const tokenizer = await loadTokenizer({ "tokenizer.json": await readFile(golden(name)) });
      for (const text of ["whale", `whale${end}`, end]) {
        const open = [...withoutEnd(tokenizer.encode(text, { special: true }), tokenizer)];
        const plain = [...tokenizer.encode(text)];
        expect([name, text, open.slice(open.length - plain.length)]).toEqual([name, text, plain]);
        expect(open.length - plain.length).toBe(name === "bert.json" || name.startsWith("llama") ? 1 : 0);
      }
    }
  });

  it("refuse what is no text, no token and no tokenizer in a line with advice", async () => {
    const source = ["--tokenizer", bench.at("tokens")];
    await mkdir(bench.at("nothing"));
    await writeFile(bench.at("bad.json"), "{whale}");
    for (const [words, message, input] of [
      [["encode", "a"], "tokenizer encode needs a tokenizer"],
      [["decode", "1"], "tokenizer decode needs a tokenizer"],
      [["encode", ...source, "--model", "x", "a"], "takes one tokenizer, found x and"],
      [["encode", ...source, "a", "--text", "b"], "a text was given, and the file b too"],
      [["encode", ...source], "no text was given, and standard input is a terminal"],
      [["encode", ...source], "not UTF-8", Uint8Array.of(0x61, 0xff)],
      [["encode", ...source, "--text", bench.at("no.txt")], "no.txt: there is no such file"],
      [["encode", "--model", bench.at("nowhere"), "a"], "hint: there is no folder"],
      [["encode", "--model", bench.at("nothing"), "a"], "hint: the folder is empty"],
      [
        ["encode", "--tokenizer", bench.at("text.txt"), "a"],
        'text.txt: expected a model or a tokenizer, found a file: text that begins with "boat',
      ],
      [["encode", "--tokenizer", bench.at("bad.json"), "a"], "bad.json at byte 1: expected JSON"],
      [["decode", ...source, "1", "x"], 'expected the numbers of tokens, found "x" at place 1'],
      [["decode", ...source, "1", "-1"], 'found "-1" at place 1'],
      [["decode", ...source, "100000"], "token 100000 at place 0 is no token of this tokenizer"],
    ] as const) {
      const { code, stdout, stderr } = await run(words, input);
      expect([words, code, stdout]).toEqual([words, 2, ""]);
      expect(stderr).toContain(message);
      expect(stderr).toMatch(/^error: [^\n]+\nhint: [^\n]+\n$/);
    }
  });
});
