import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../../src/backend/wasm/index.js";
import {
  type Backend,
  type ExperimentDefinition,
  type ExperimentOptions,
  type ExperimentResults,
  type Pooled,
  runExperiment,
  useBackend,
} from "../../../src/index.js";
import { tiny } from "./tiny.js";

let backend: Backend;
let folder: string;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  useBackend(backend);
});
afterAll(() => backend.close());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "experiment-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** All that is a function of the definition: everything but times. */
const withoutTimes = (results: ExperimentResults): object => ({ ...results, runs: results.runs.map(({ seconds: _, ...run }) => run) });

/** Runs until done, stopped before every n-th question whether to stop. */
async function inSittings(
  definition: ExperimentDefinition,
  options: ExperimentOptions,
  every: number,
): Promise<{ results: ExperimentResults; sittings: number }> {
  for (let sittings = 1; ; sittings++) {
    let asked = 0;
    const results = await runExperiment(definition, { ...options, shouldStop: () => ++asked > every });
    if (results.complete) return { results, sittings };
  }
}

describe("runExperiment", () => {
  it("gives a cell for each row, context and group, with differences to the reference on the same targets", async () => {
    const results = await runExperiment(tiny);
    expect(results.complete).toBe(true);
    expect(results.rows.map(({ name }) => name)).toEqual([
      "base, none",
      "base, PI",
      "plain, none",
      "plain, PI",
      "E²",
      "full, g = 4",
      "scratch, PI",
    ]);
    expect(results.evaluations[0]?.groups.slice(0, 3)).toEqual(["question", "question/near", "question/far"]);
    for (const { row } of results.cells) expect(results.rows.map(({ name }) => name)).toContain(row);
    const cell = (row: string, context: number, group = "question") =>
      results.cells.find((one) => one.row === row && one.context === context && one.group === group);
    const base = cell("base, none", 32);
    const other = cell("E²", 32);
    expect(base?.difference).toBeNull();
    expect(other?.targets).toBe(base?.targets);
    expect(other?.difference?.nats?.mean).toBeCloseTo((other?.nats?.mean ?? 0) - (base?.nats?.mean ?? 0), 10);
    for (const { nats, accuracy } of results.cells) {
      for (const one of [nats, accuracy] as Pooled[]) {
        expect(one.bySeed).toHaveLength(2);
        expect(one.mean).toBeCloseTo(((one.bySeed[0] ?? 0) + (one.bySeed[1] ?? 0)) / 2, 10);
        expect(one.low).toBeLessThanOrEqual((one.high ?? 0) + 1e-12);
      }
    }
    // Read at scale 1 within the window, all schedules are one.
    expect(cell("base, PI", 8)?.nats).toEqual(cell("base, none", 8)?.nats);
    expect(cell("plain, none", 8)?.nats).not.toEqual(cell("base, none", 8)?.nats);
  });

  it("comes to the same bits where it was interrupted at any step or pass, and takes up what is finished", async () => {
    const definition = { ...tiny, rows: tiny.rows.slice(1, 3), seeds: [3] };
    const whole = await runExperiment(definition, { folder: join(folder, "whole"), saveEvery: 3 });
    for (const every of [9, 14]) {
      const { results, sittings } = await inSittings(definition, { folder: join(folder, `pieces-${every}`), saveEvery: 2 }, every);
      expect(sittings).toBeGreaterThan(1);
      expect(withoutTimes(results)).toEqual(withoutTimes(whole));
    }
    expect(await readdir(join(folder, "whole"))).toEqual(["seed-3"]);
    expect((await readdir(join(folder, "whole/seed-3"))).sort()).toEqual(["base", "e2", "full"]);
    const phases: string[] = [];
    const again = await runExperiment(definition, { folder: join(folder, "whole"), onProgress: ({ phase }) => phases.push(phase) });
    expect(new Set(phases)).toEqual(new Set(["found"]));
    expect(again).toEqual(whole);
  });

  it("trains again what a changed setting changes, and nothing else", async () => {
    await runExperiment(tiny, { folder, seeds: [3] });
    const trained = async (change: object): Promise<string[]> => {
      const found = new Set<string>();
      await runExperiment(
        { ...tiny, ...change },
        {
          folder,
          seeds: [3],
          onProgress: ({ phase, variant, row }) => phase !== "found" && found.add(row === undefined ? variant : `read ${row}`),
        },
      );
      return [...found];
    };
    expect(await trained({ variants: { ...tiny.variants, e2: { positions: { type: "e2", gMax: 3, granularity: "sample" } } } })).toEqual([
      "e2",
      "read E²",
    ]);
    expect(await trained({ readings: { ...tiny.readings, "g = 4": { schedule: "linear", scale: 3 } }, variants: tiny.variants })).toEqual([
      "e2",
      "read E²",
      "read full, g = 4",
    ]);
    expect(await trained({ base: { ...tiny.base, lr: 2e-2 } })).toContain("base");
  });

  it("reads the same data in the same order for all variants, and counts its work to the end", async () => {
    const seen: { work: number; totalWork: number }[] = [];
    const alike = { ...tiny, variants: { a: {}, b: { positions: { type: "plain" } } }, rows: [{ variant: ["a", "b"], reading: "none" }] };
    const results = await runExperiment(alike, { onProgress: ({ work, totalWork }) => seen.push({ work, totalWork }) });
    const [a, b] = ["a", "b"].map((name) => results.runs.find(({ variant }) => variant === name)?.losses);
    expect(a).toEqual(b);
    expect(results.cells.filter(({ row }) => row === "b, none").every(({ difference }) => difference?.nats?.mean === 0)).toBe(true);
    expect(seen.every(({ work }, i) => i === 0 || work >= (seen[i - 1]?.work ?? 0))).toBe(true);
    expect((seen.at(-1)?.work ?? 0) / (seen.at(-1)?.totalWork ?? 1)).toBeCloseTo(1, 6);
  });

  it("trains the base for a variant that is chosen, and measures what is required of it", async () => {
    const required = { ...tiny, requires: [{ row: "base, none", context: "L", atLeast: 0.999 }] };
    const results = await runExperiment(required, { only: ["e2"], seeds: [5] });
    expect(results.rows.map(({ name }) => name)).toEqual(["base, none", "E²"]);
    expect(results.requirements).toHaveLength(1);
    expect(results.requirements[0]?.held).toBe(false);
    expect(results.held).toBe(false);
  });

  it("holds a record of each run in its folder", async () => {
    await runExperiment({ ...tiny, memory: true }, { folder, seeds: [3], only: ["full"] });
    const record = JSON.parse(await readFile(join(folder, "seed-3/full/run.json"), "utf8"));
    expect(record).toMatchObject({ variant: "full", seed: 3, steps: 4, tokens: 4 * 32 });
    expect(record.bytes).toBeGreaterThan(10_000);
  });
});
