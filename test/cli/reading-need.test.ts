import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { roomOf } from "../../src/cli/fit.js";
import { MemoryNeedError } from "../../src/cli/memory-need.js";
import { type ReadingSizes, sayReadingNeed } from "../../src/cli/reading-need.js";
import { lossByPosition } from "../../src/e2llm/position-loss.js";
import { planScoring, type ScoringPlan, scoringMemory } from "../../src/e2llm/scoring.js";
import {
  type Backend,
  evaluateContexts,
  evaluationTargets,
  type HostTables,
  key,
  memory,
  type ReadingSchedule,
  readingTables,
  realize,
  useBackend,
} from "../../src/index.js";
import { Llama } from "../../src/nn/llama.js";
import { integers, tinyConfig } from "../nn/tiny.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

const config = { ...tinyConfig, hidden_size: 32, intermediate_size: 88, max_position_embeddings: 64 };
const documents = [{ name: "text", tokens: integers(3000, config.vocab_size, 5) }];

describe("what a reading is said to need", () => {
  /** The peak of `body` on a backend of its own, and what was said before it. */
  async function compare(
    plan: ScoringPlan,
    body: (model: Llama) => Promise<unknown>,
    { tables, of = config }: { readonly tables?: HostTables; readonly of?: typeof config } = {},
  ): Promise<number> {
    const backend = await createWasmBackend({ threads: 2 });
    const before = useBackend(backend);
    try {
      const said = scoringMemory(new Llama(of, { key: key(1) }), plan, tables);
      expect(memory().peakBytes).toBe(0);
      const model = new Llama(of, { key: key(1) });
      await realize(model);
      await body(model);
      return said.peakBytes / memory().peakBytes;
    } finally {
      useBackend(before);
      await backend.close();
    }
  }

  it.each([
    [200, 8, 4, 1024],
    [512, 32, 4, 1024],
    [700, 32, 2, 128],
    [1024, 256, 1, 100],
  ])("is what it takes: context %i, %i targets a row, %i rows, blocks of %i", async (context, targetLength, batch, block) => {
    const count = 4;
    const plan = planScoring(config, { context, targetLength, count, batch, block });
    const blocks = evaluationTargets({ documents, targetLength, maxContext: context, count });
    const ratio = await compare(plan, (model) =>
      evaluateContexts({ model, documents, blocks, targetLength, contexts: [context], batch, block }),
    );
    expect(ratio).toBeGreaterThan(0.93);
    expect(ratio).toBeLessThan(1.05);
  });

  it.each<readonly [ReadingSchedule, number]>([
    ["self-extend", 1024],
    ["streaming", 128],
    ["log-n", 1024],
    ["leaky-rerope", 200],
  ])("is what a reading by %s takes, in blocks of %i", async (schedule, block) => {
    // With narrow feed-forwards the largest there is is attention, which these methods do twice.
    const narrow = { ...config, intermediate_size: 32 };
    const context = 1024;
    const tables = (length: number) => readingTables(narrow, { schedule, scale: 16, length, window: 64 });
    const plan = planScoring(narrow, { context, targetLength: 8, count: 1, batch: 1, block });
    const blocks = evaluationTargets({ documents, targetLength: 8, maxContext: context, count: 1 });
    const reading = { documents, blocks, targetLength: 8, contexts: [context], batch: 1, block, tables };
    const ratio = await compare(plan, (model) => evaluateContexts({ model, ...reading }), { tables: tables(context), of: narrow });
    expect(ratio).toBeGreaterThan(0.965);
    expect(ratio).toBeLessThan(1.02);
  });

  it("is what the loss by position takes", async () => {
    const plan = planScoring(config, { context: 2048, targetLength: 2048, count: 1, block: 256 });
    const ratio = await compare(plan, (model) =>
      lossByPosition({ model, tokens: (documents[0] as { tokens: Int32Array }).tokens.subarray(0, 2049), block: 256 }),
    );
    expect(ratio).toBeGreaterThan(0.93);
    expect(ratio).toBeLessThan(1.05);
  });
});

describe("a reading that cannot fit", () => {
  const backend = createReferenceBackend();
  let before: Backend | undefined;
  beforeAll(() => {
    before = useBackend(backend);
  });
  afterAll(() => {
    useBackend(before);
  });
  const model = new Llama(config, { key: key(1) });
  const plansOf = ({ contexts, batch }: ReadingSizes): ScoringPlan[] =>
    contexts.map((context) => planScoring(config, { context, targetLength: 16, count: 8, batch }));
  const needOf = (sizes: ReadingSizes): number => Math.max(...plansOf(sizes).map((plan) => scoringMemory(model, plan).peakBytes));
  const io = { note: () => undefined, warn: () => undefined };
  const ask = (sizes: ReadingSizes, bytes: number) =>
    sayReadingNeed(io, { info: backend.info, model, sizes, unit: "bytes", plansOf, room: { ...roomOf(backend.info), bytes } });

  it("is offered fewer rows and shorter contexts, with the figures that it would have", () => {
    const sizes = { contexts: [64, 512, 4096, 16384], batch: 8 };
    const bytes = needOf({ ...sizes, batch: 1 });
    try {
      ask(sizes, bytes);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(MemoryNeedError);
      const { memory: found, message } = error as MemoryNeedError;
      expect(message).toMatch(/^reading 8 sequences of 16384 bytes at a time needs [\d.]+ MiB of memory, and this machine has/);
      expect(found.needed).toBe(needOf(sizes));
      expect(found.alternatives.map(({ options }) => options)).toEqual(["--batch 1", expect.stringMatching(/^--contexts 64,512/)]);
      for (const { options, needed } of found.alternatives) {
        const contexts = options.startsWith("--contexts") ? { contexts: options.slice(11).split(",").map(Number) } : { batch: 1 };
        expect(needOf({ ...sizes, ...contexts })).toBe(needed);
        expect(ask({ ...sizes, ...contexts }, bytes).needed).toBe(needed);
      }
    }
  });

  it("is told to be shorter where nothing of it fits", () => {
    expect(() => ask({ contexts: [64], batch: 1 }, 1000)).toThrow(
      expect.objectContaining({ hint: "take shorter --contexts, or a smaller model" }),
    );
  });
});

describe("the command", () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
    expect((await command(bench.train(`--steps 1 --out ${bench.at("base")}`))).code).toBe(0);
  });
  afterAll(() => bench.remove());

  it("says what an evaluation needs, and has it in its JSON", async () => {
    const line = `eval --model ${bench.at("base")} --text ${bench.at("text.txt")} --contexts 8,16 --targets 16 --json --backend reference`;
    const { stdout, stderr } = await command(line);
    expect(stderr).toMatch(/needs [\d.]+ [KM]iB of memory; this machine has [\d.]+ [GT]iB: parameters/);
    const { memory: figures } = JSON.parse(stdout);
    expect(figures.needed).toBeGreaterThan(figures.parameters + figures.keysAndValues);
    expect(figures.available).toBeGreaterThan(figures.needed);
  });
});
