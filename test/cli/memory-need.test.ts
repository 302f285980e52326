import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { type Room, roomOf } from "../../src/cli/fit.js";
import { formatBytes } from "../../src/cli/machine.js";
import { MemoryNeedError } from "../../src/cli/memory-need.js";
import type { StepOptions } from "../../src/cli/options.js";
import { sayTrainingNeed, type TrainingNeedOptions } from "../../src/cli/training-need.js";
import { languageOptions } from "../../src/cli/training-run.js";
import { adamw, type Backend, key, memory, useBackend } from "../../src/index.js";
import { Llama } from "../../src/nn/llama.js";
import { constant } from "../../src/nn/schedules.js";
import { train } from "../../src/nn/training.js";
import { trainingMemory } from "../../src/nn/training-memory.js";
import { randomBatch, tinyConfig } from "../nn/tiny.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

const config = { ...tinyConfig, hidden_size: 32, intermediate_size: 88, max_position_embeddings: 4096 };
const fresh = (): Llama => new Llama(config, { key: key(1) });
const rule = { batch: 8, steps: 3, lr: 0.01, warmup: 0, weightDecay: 0.1, clip: 1 };

describe("what a training is said to need", () => {
  const ways: readonly StepOptions[] = [
    { checkpoint: "none" },
    { checkpoint: "blocks" },
    { checkpoint: "none", microBatch: 1 },
    { checkpoint: "blocks", microBatch: 2 },
  ];
  const cases = [61, 256].flatMap((length) => ways.map((way) => [length, way] as const));

  it.each(cases)("is what it takes from its first step to its last: sequences of %i, %o", async (length, way) => {
    const backend = await createWasmBackend({ threads: 2 });
    const before = useBackend(backend);
    try {
      const options = { optimizer: adamw(), ...languageOptions(way) };
      const said = trainingMemory({ model: fresh(), ...options, batch: rule.batch, length, saves: true });
      expect(memory().peakBytes).toBe(0);
      await train({
        model: fresh(),
        ...options,
        batches: (step) => randomBatch(config, { batch: rule.batch, time: length, seed: step }),
        steps: 3,
        schedule: constant(0.01),
        onSave: async () => undefined,
        saveEvery: 2,
      });
      expect(said.peakBytes / memory().peakBytes).toBeGreaterThan(0.95);
      expect(said.peakBytes / memory().peakBytes).toBeLessThan(1.01);
    } finally {
      useBackend(before);
      await backend.close();
    }
  });
});

describe("a training that cannot fit", () => {
  // Whose plans are made in no time.
  const backend = createReferenceBackend();
  let before: Backend | undefined;
  beforeAll(() => {
    before = useBackend(backend);
  });
  afterAll(() => {
    useBackend(before);
  });

  const needOf = (way: StepOptions, length: number) =>
    trainingMemory({ model: fresh(), optimizer: adamw(), ...languageOptions(way), batch: rule.batch, length, saves: true });
  const told: { notes: string[]; warnings: string[] } = { notes: [], warnings: [] };
  const io = { note: (text: string) => told.notes.push(text), warn: (text: string) => told.warnings.push(text) };
  const ask = (room: Partial<Room>, rest: Partial<TrainingNeedOptions> = {}) =>
    sayTrainingNeed(io, {
      info: backend.info,
      model: fresh(),
      rule,
      computing: { checkpoint: "none" },
      length: 512,
      unit: "bytes",
      tableRows: 1,
      heldOutContext: () => 64,
      shorter: "--length",
      room: { ...roomOf(backend.info, 2 ** 40), ...room },
      ...rest,
    });
  const refused = (room: Partial<Room>, rest: Partial<TrainingNeedOptions> = {}): MemoryNeedError => {
    try {
      ask(room, rest);
    } catch (error) {
      expect(error).toBeInstanceOf(MemoryNeedError);
      return error as MemoryNeedError;
    }
    throw new Error("it was not refused");
  };
  /** The options that flags stand for. */
  const read = (flags: string): { way: StepOptions; length: number } => {
    const words = flags.split(" ");
    const value = (flag: string): string | undefined => (words.includes(flag) ? words[words.indexOf(flag) + 1] : undefined);
    const micro = value("--micro-batch");
    const way = {
      checkpoint: value("--checkpoint") === "blocks" ? ("blocks" as const) : ("none" as const),
      ...(micro === undefined ? {} : { microBatch: Number(micro) }),
    };
    return { way, length: Number(value("--length") ?? 512) };
  };

  it("is offered what would make it fit, with the figures that it would have, and the mildest of each kind", () => {
    const [whole, one] = [needOf({ checkpoint: "none" }, 512).peakBytes, needOf({ checkpoint: "blocks", microBatch: 1 }, 512).peakBytes];
    for (const share of [0.98, 0.6, 0.3, 0.1, 0.01]) {
      const bytes = Math.round(one + share * (whole - one));
      const { memory: found, message, hint } = refused({ bytes });
      expect(message).toBe(
        `training on batches of 8 sequences of 512 bytes needs ${formatBytes(whole)} of memory, and this machine has ${formatBytes(bytes)}`,
      );
      expect(found).toMatchObject({ needed: whole, available: bytes });
      expect(found.alternatives.length).toBeGreaterThan(0);
      for (const { options, needed } of found.alternatives) {
        const { way, length } = read(options);
        expect(needOf(way, length).peakBytes).toBe(needed);
        expect(needed).toBeLessThanOrEqual(bytes);
        expect(hint).toContain(`${options} needs ${formatBytes(needed)}`);
        if (way.microBatch !== undefined)
          expect(needOf({ ...way, microBatch: 2 * way.microBatch }, length).peakBytes).toBeGreaterThan(bytes);
        if (length < 512) expect(needOf(way, 2 * length).peakBytes).toBeGreaterThan(bytes);
        expect(ask({ bytes }, { computing: way, length }).needed).toBe(needed);
      }
    }
  });

  it("is offered several options together where none is enough alone, and shorter sequences only where the run may have them", () => {
    const bytes = needOf({ checkpoint: "blocks", microBatch: 1 }, 512).peakBytes;
    const flags = ({ memory: found }: MemoryNeedError): string[] => found.alternatives.map(({ options }) => options);
    const both = "--checkpoint blocks --micro-batch 1";
    expect(flags(refused({ bytes }))).toEqual([both, expect.stringMatching(/^--length \d+$/)]);
    const { shorter: _, ...settled } = {
      shorter: "",
      info: backend.info,
      model: fresh(),
      rule,
      length: 512,
      unit: "bytes" as const,
      tableRows: 1,
      heldOutContext: () => 64,
    };
    const room = { ...roomOf(backend.info, 2 ** 40), bytes };
    try {
      sayTrainingNeed(io, { ...settled, computing: { checkpoint: "none" }, room });
      expect.unreachable();
    } catch (error) {
      expect(flags(error as MemoryNeedError)).toEqual([both]);
    }
  });

  it("says what the least is where nothing helps", () => {
    const { hint, memory: found } = refused({ bytes: 1000 });
    expect(found.alternatives).toEqual([]);
    expect(hint).toMatch(/^it needs [\d.]+ [KM]iB even with --checkpoint blocks --micro-batch 1 --length 2; it takes a smaller model/);
  });

  it("is refused for one tensor that is too large too", () => {
    const { largestTensorBytes } = needOf({ checkpoint: "none" }, 512);
    const { message, memory: found } = refused({ tensorBytes: largestTensorBytes - 1 });
    expect(message).toContain(`needs a tensor of ${formatBytes(largestTensorBytes)}, and the reference backend holds`);
    expect(found.alternatives.length).toBeGreaterThan(0);
    for (const { largestTensor } of found.alternatives) expect(largestTensor).toBeLessThan(largestTensorBytes);
  });

  it("is warned of where memory is there and not free, and not refused", () => {
    told.warnings.length = 0;
    const { needed } = ask({ free: 2 ** 20 });
    expect(needed).toBeGreaterThan(2 ** 20);
    expect(told.warnings).toHaveLength(1);
    expect(told.warnings[0]).toContain("only 1 MiB of memory are free");
    ask({ free: null, known: false });
    expect(told.warnings).toHaveLength(1);
    expect(told.notes.at(-1)).not.toContain("has");
  });
});

describe("the command", () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
  });
  afterAll(() => bench.remove());

  it("says what it needs, and has it in its JSON", async () => {
    const { stdout, stderr } = await command(bench.train(`--steps 1 --json --out ${bench.at("a")}`));
    expect(stderr).toMatch(/needs [\d.]+ [KM]iB of memory; this machine has [\d.]+ [GT]iB: parameters/);
    const { memory: figures } = JSON.parse(stdout);
    const { parameters, optimizerState, scratch, batch, trial, needed } = figures;
    expect(Math.abs(optimizerState - 2 * parameters)).toBeLessThan(64);
    expect(needed).toBeGreaterThan(parameters + optimizerState + batch + trial);
    expect(scratch).toBeGreaterThan(figures.gradients);
    expect(figures.available).toBeGreaterThan(needed);
  });

  it.each(["", " --checkpoint blocks --micro-batch 2"])("needs what it says, its held-out reading included:%s", async (way) => {
    const line = `train --text ${bench.at("text.txt")} --window 200 --length 100 --hidden 32 --layers 2 --batch 4 --steps 2 --backend wasm`;
    const { code, stdout, stderr } = await command(`${line} --out ${bench.at("wasm")} --force --json${way}`);
    expect(code, stderr).toBe(0);
    const { needed } = JSON.parse(stdout).memory;
    // The backend is closed by now and still knows its peak.
    expect(needed / memory().peakBytes).toBeGreaterThan(0.93);
    expect(needed / memory().peakBytes).toBeLessThan(1.05);
  });

  it.each(["--window 65536 --batch 64"])("refuses %s before its first step", async (sizes) => {
    const line = `train --text ${bench.at("text.txt")} --hidden 16 --heads 2 --layers 1 --backend wasm --json --out ${bench.at("b")} ${sizes}`;
    const { code, stdout, stderr } = await command(line);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /error: training on batches of [^\n]+ needs [\d.]+ [GT]iB of memory, and [^\n]+ has [^\n]+\nhint: [^\n]*--(checkpoint|micro-batch|window)/,
    );
    expect(stderr).not.toContain("train 1/");
    const { error } = JSON.parse(stdout);
    expect(error).toMatchObject({ exitCode: 2, memory: { needed: expect.any(Number), available: expect.any(Number) } });
    expect(error.memory.needed).toBeGreaterThan(error.memory.available);
    expect(error.memory.alternatives.length).toBeGreaterThan(0);
  });
});
