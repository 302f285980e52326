import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostMemory, needRoom, roomOf, trainedBatch, trainedModel } from "../../src/cli/fit.js";
import { createIo } from "../../src/cli/io.js";
import { buildProgram } from "../../src/cli/program.js";
import { otherSpelling, spelledOptions } from "../../src/cli/spellings.js";
import { OptionError } from "../../src/errors.js";
import { llamaConfig } from "../../src/nn/config-options.js";
import { CapturedStream, cli } from "./capture.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

let bench: Workbench;
beforeAll(async () => {
  bench = await createWorkbench();
  expect((await command(bench.train(`--steps 6 --out ${bench.at("base")}`))).code).toBe(0);
});
afterAll(() => bench.remove());

/** The options of every command by its name. */
const optionsOf = (): Map<string, Set<string>> => {
  const io = createIo({ stdout: new CapturedStream(), stderr: new CapturedStream(), env: {}, json: false, verbose: false });
  const program = buildProgram(async () => {}, io);
  return new Map(program.commands.map((one) => [one.name(), new Set(one.options.flatMap(({ long }) => (long ? [long.slice(2)] : [])))]));
};

describe("an option of another program", () => {
  it.each([
    ["train", "--batch-size", "--batch"],
    ["train", "--batch_size", "--batch"],
    ["train", "--learning-rate=1e-3", "--lr"],
    ["extend", "--max-steps", "--steps"],
    ["generate", "--max-tokens", "--tokens"],
    ["generate", "--max-new-tokens", "--tokens"],
    ["generate", "--temp", "--temperature"],
    ["train", "--seq-len", "--length"],
    ["train", "--context-length", "--window"],
    ["eval", "--context-length", "--contexts"],
    ["train", "--n-layer", "--layers"],
    ["train", "--d-model", "--hidden"],
    ["train", "--output-dir", "--out"],
    ["train", "-o", "--out"],
    ["eval", "--checkpoint", "--model"],
    ["train", "--ckpt", "--resume"],
    ["train", "--gradient-checkpointing", "--checkpoint"],
    ["train", "--micro-batch-size", "--micro-batch"],
    ["eval", "--per-device-train-batch-size", "--batch"],
    ["train", "--overwrite", "--force"],
    ["demo", "--device", "--backend"],
    ["train", "--grad-clip", "--clip"],
    ["train", "--stpes", "--steps"],
  ])("dawngrad %s %s is answered with %s", async (name, flag, meant) => {
    const { code, stderr, calls } = await cli([name, flag, "3"]);
    expect(code).toBe(2);
    expect(calls).toEqual([]);
    expect(stderr).toMatch(
      new RegExp(`^error: unknown option '${flag}'\\nhint: did you mean ${meant}\\? see: dawngrad ${name} --help\\n$`),
    );
  });

  it("is never answered with one that the command lacks, and every one that the table names exists", () => {
    const all = optionsOf();
    for (const option of spelledOptions)
      expect(
        [...all.values()].some((options) => options.has(option)),
        option,
      ).toBe(true);
    for (const options of all.values()) {
      for (const flag of ["batch-size", "learning-rate", "max-tokens", "seq-len", "checkpoint", "nothing-like-it"]) {
        const found = otherSpelling(flag, options);
        expect(found === undefined || options.has(found)).toBe(true);
      }
    }
  });
});

describe("a number that cannot fit", () => {
  const big = [1e9, 2 ** 31 - 1, 2 ** 32, 1e15];
  const numeric: readonly [string, string][] = [
    ...["batch", "length", "window", "hidden", "layers", "heads", "kv-heads", "intermediate", "threads"].map((o): [string, string] => [
      "train",
      o,
    ]),
    ...["batch", "length", "g-max"].map((o): [string, string] => ["extend", o]),
    ...["targets", "contexts"].map((o): [string, string] => ["eval", o]),
    ["generate", "tokens"],
  ];

  it.each(numeric)("dawngrad %s --%s is refused in the words of the command, and nothing is computed", async (name, option) => {
    const lines: Readonly<Record<string, string>> = {
      train: `train --text ${bench.at("text.txt")} --steps 1 --out ${bench.at("big")}`,
      extend: `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --steps 1 --out ${bench.at("big")}`,
      eval: `eval --model ${bench.at("base")} --text ${bench.at("text.txt")}`,
      generate: `generate --model ${bench.at("base")} --prompt a`,
    };
    for (const value of big) {
      for (const where of option === "threads" ? [""] : ["--backend reference", "--backend wasm"]) {
        const found = await command(`${lines[name]} --${option} ${value} ${where}`);
        expect(found.code, found.stderr).toBe(2);
        expect(found.stderr).toMatch(/(^|\n)error: [^\n]+\nhint: [^\n]+\n$/);
        const words = option === "contexts" || option === "targets" ? "tokens of context|Whole numbers|whole number" : `--${option}`;
        expect(found.stderr).toMatch(new RegExp(words));
        expect(found.stderr).not.toMatch(/Array|undefined|NaN|stack|hidden_size|head_dim/);
      }
    }
  });

  it("of a model is told by its parameters", async () => {
    const found = await command(`train --text ${bench.at("text.txt")} --hidden 65536 --heads 64 --out ${bench.at("big")} --backend wasm`);
    expect(found.code).toBe(2);
    expect(found.stderr).toMatch(
      /error: training a model of \d+G parameters needs at least [\d.]+ TiB of memory, and [^\n]+ has [\d.]+ GiB\nhint: take a smaller --hidden/,
    );
  });

  it("is held against the smaller of machine and backend, for all that is needed together", () => {
    const tensors = { adapter: "a chip", maxTensorBytes: 2 ** 31 };
    const wasm = { ...tensors, name: "wasm", software: true, maxBytes: 2 ** 32 } as const;
    expect(roomOf(wasm, 2 ** 40)).toMatchObject({ bytes: 2 ** 32, name: "the wasm backend", known: true });
    expect(roomOf(wasm, 2 ** 40, true).moreBytes).toBeUndefined();
    const one = roomOf(wasm, 2 ** 35, false);
    const much = { what: "much", numbers: 2 ** 31, advice: "less" };
    expect(() => needRoom(one, [much])).toThrow(
      "much needs at least 8 GiB of memory, and the wasm backend has 4 GiB (with Node 22 or newer it has 32 GiB)",
    );
    expect(() => needRoom(one, [{ ...much, numbers: 2 ** 34 }])).toThrow(/ has 4 GiB$/);
    expect(() => needRoom(roomOf({ ...wasm, maxBytes: 2 ** 35 }, 2 ** 35, true), [much])).not.toThrow();
    expect(roomOf(wasm, 2 ** 30)).toMatchObject({ bytes: 2 ** 30, name: "this machine", known: true });
    expect(roomOf({ ...tensors, name: "reference", software: true }, 2 ** 30)).toMatchObject({ bytes: 2 ** 30, numberBytes: 8 });
    expect(roomOf({ ...tensors, name: "webgpu", software: false }, 2 ** 30)).toMatchObject({
      known: false,
      free: null,
      bytes: 2 ** 40,
      holder: "a chip",
    });
    expect(hostMemory()).toBeGreaterThan(2 ** 28);
    const room = { ...roomOf(wasm, 2 ** 30), bytes: 100 };
    expect(room.free).toBeGreaterThan(0);
    expect(room.free).toBeLessThanOrEqual(hostMemory());
    const half = { what: "half", numbers: 13, advice: "less" };
    expect(() => needRoom(room, [half])).not.toThrow();
    expect(() => needRoom(room, [half, half])).toThrow(OptionError);
  });

  it("is not seen in sizes that train here", () => {
    const config = llamaConfig({
      vocab_size: 256,
      hidden_size: 512,
      num_hidden_layers: 8,
      num_attention_heads: 8,
      tie_word_embeddings: true,
    });
    const room = roomOf({ name: "wasm", adapter: "a chip", software: true, maxTensorBytes: 2 ** 31, maxBytes: 2 ** 32 }, 2 ** 33);
    expect(() => needRoom(room, [trainedModel(config), trainedBatch(config, { batch: 16, length: 1024, unit: "bytes" })])).not.toThrow();
  });
});

describe("the length of training sequences", () => {
  it("is apart from the window, and is kept by the run", async () => {
    const short = await command(
      bench.train(`--window 32 --length 12 --steps 3 --json --out ${bench.at("short")}`).replace("--window 8 ", ""),
    );
    expect(JSON.parse(short.stdout)).toMatchObject({ window: 32, length: 12, step: 3 });
    expect(JSON.parse(await readFile(bench.at("short/config.json"), "utf8"))).toMatchObject({ max_position_embeddings: 32 });
    expect(
      (await readFile(bench.at("short/metrics.jsonl"), "utf8"))
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).tokens),
    ).toEqual([24, 24, 24]);
    const more = await command(`train --resume ${bench.at("short")} --steps 4 --backend reference --json`);
    expect(JSON.parse(more.stdout)).toMatchObject({ length: 12, step: 4 });
  });

  it("of an extension may be shorter or longer than the window, and longer plain steps make that the window", async () => {
    const extend = (rest: string) =>
      command(`extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --steps 2 --batch 2 --backend reference --json ${rest}`);
    for (const [length, out] of [
      [5, "e5"],
      [24, "e24"],
    ] as const) {
      const found = await extend(`--length ${length} --g-max 4 --out ${bench.at(out)}`);
      expect(JSON.parse(found.stdout)).toMatchObject({ window: 8, length });
      expect(JSON.parse(await readFile(bench.at(`${out}/config.json`), "utf8"))).toMatchObject({ max_position_embeddings: 8 });
    }
    expect((await extend(`--length 33 --g-max 4 --out ${bench.at("e33")}`)).stderr).toContain("--g-max 5");
    expect((await extend(`--method plain --length 24 --out ${bench.at("p24")}`)).code).toBe(0);
    expect(JSON.parse(await readFile(bench.at("p24/config.json"), "utf8"))).toMatchObject({ max_position_embeddings: 24 });
  });

  it("is not longer than the window of a new model", async () => {
    const { code, stderr } = await cli("train --window 64 --length 65".split(" "));
    expect(code).toBe(2);
    expect(stderr).toContain("error: --length 65 is longer than --window 64");
  });
});

describe("a run that is gone on with", () => {
  beforeAll(async () => {
    const extend = `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --steps 2 --batch 2 --backend reference`;
    expect((await command(`${extend} --g-max 4 --out ${bench.at("e2")}`)).code).toBe(0);
    expect((await command(`${extend} --method plain --out ${bench.at("plain")}`)).code).toBe(0);
  });

  it.each([
    ["e2", "extend", "--g-max 8", "begun with 4"],
    ["e2", "extend", "--granularity sample", "begun with batch"],
    ["e2", "extend", "--sinks 2", "begun with 4"],
    ["e2", "extend", "--seed 1", "begun with 0"],
    ["e2", "extend", "--length 16", "begun with 8"],
    ["e2", "extend", "--method plain", "begun with e2"],
    ["plain", "extend", "--method e2", "begun with plain"],
    ["plain", "extend", "--g-max 8", "draws no scale"],
    ["plain", "extend", "--sinks 4", "draws no scale"],
    ["e2", "extend", "--text README.md", "another text"],
    ["base", "train", "--text README.md", "another text"],
    ["base", "train", "--seed 1", "begun with 0"],
    ["base", "train", "--length 4", "begun with 8"],
    ["base", "train", "--window 16", "--window"],
  ])("%s refuses what contradicts it: %s %s", async (folder, name, flags, words) => {
    const found = await command(`${name} --resume ${bench.at(folder)} --steps 9 ${flags} --backend reference`);
    expect(found.code).toBe(2);
    expect(found.stderr).toContain(words);
    expect(found.stderr).toContain(flags.split(" ")[0]);
    expect(found.stderr).not.toContain("step 1");
  });

  it("takes what agrees with it, and changes of the learning rule", async () => {
    const found = await command(
      `extend --resume ${bench.at("e2")} --steps 3 --g-max 4 --seed 0 --method e2 --length 8 --text ${bench.at("text.txt")} ` +
        "--lr 0.001 --batch 3 --warmup 1 --clip 2 --weight-decay 0 --json --backend reference",
    );
    expect(found.code, found.stderr).toBe(0);
    const { train } = JSON.parse(found.stdout);
    expect(train.at(-1)).toMatchObject({ step: 3, phase: "e2" });
  });
});

describe("what a training tells", () => {
  it("has loss, gradient norm and rate of every step in its JSON and its file of metrics", async () => {
    const found = await command(bench.train(`--steps 8 --warmup 2 --json --out ${bench.at("told")}`));
    const { train } = JSON.parse(found.stdout);
    const lines = (await readFile(bench.at("told/metrics.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(train).toHaveLength(8);
    for (const [i, { loss, gradNorm, lr, tokensPerSecond }] of train.entries()) {
      expect(lines[i]).toMatchObject({ loss, gradNorm, lr, tokens: 16, tokensPerSecond });
      expect(loss).toBeGreaterThan(0);
      expect(gradNorm).toBeGreaterThan(0);
      expect(tokensPerSecond === null).toBe(i < 5);
    }
    expect(train[0].lr).toBeCloseTo(0.005, 9);
    expect(train[1].lr).toBeCloseTo(0.01, 9);
    expect(train[7].lr).toBeLessThan(0.002);
  });

  it("names no rate after two steps", async () => {
    const found = await command(bench.train(`--steps 2 --out ${bench.at("two")}`));
    expect(found.stderr).toContain("train: 2 steps in");
    expect(found.stderr).not.toContain("tokens/s");
  });

  it("says when the held-out loss was left out, and why", async () => {
    const line = bench.train(`--steps 1 --json --out ${bench.at("no-held-out")}`).replace("--window 8", "--window 400");
    const found = await command(line);
    const { heldOut, heldOutSkipped } = JSON.parse(found.stdout);
    expect(heldOut).toBeNull();
    expect(heldOutSkipped).toMatch(/too few for targets with 400 bytes before them/);
    expect(found.stderr).toContain(`held-out loss not measured: ${heldOutSkipped}`);
    const measured = JSON.parse((await command(bench.train(`--steps 1 --json --out ${bench.at("held-out")}`))).stdout);
    expect(measured).toMatchObject({ heldOutSkipped: null });
    expect(measured.heldOut).toBeGreaterThan(0);
  });
});
