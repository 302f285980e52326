import { readdir, readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadCorpus } from "../../src/cli/corpus.js";
import { readExperiment, shippedExperiments } from "../../src/cli/experiment-file.js";
import { tryPlan } from "../../src/e2llm/experiment/evaluating.js";
import { experimentOfSize, planExperiment } from "../../src/e2llm/experiment/plan.js";
import { FormatError, OptionError } from "../../src/errors.js";
import { CapturedStream, FakeSignals } from "./capture.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

/** Two variants of some steps, in YAML. */
const definition = `
name: small
task: { type: ledger, names: 3, values: 2, fillers: 1, asked: 6, warmUp: 16 }
model: { hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2 }
window: 8
base: { steps: 4, batch: 2, lr: 0.01 }
variants:
  e2: { positions: { type: e2, gMax: 4 } }
  plain: {}
readings:
  none: { schedule: none }
  PI: { schedule: linear }
rows:
  - { variant: [base, plain], reading: none }
  - { variant: e2, reading: PI }
evaluations:
  recall: { type: contexts, contexts: [L, 2L], count: 3 }
seeds: [3, 4]
expectations:
  - { name: losses are numbers, type: flat, row: "base, none", contexts: [L, 2L], within: 99 }
sizes:
  smoke: { seeds: [5], base: { steps: 2 } }
`;

let bench: Workbench;
beforeEach(async () => {
  bench = await createWorkbench();
  await writeFile(bench.at("small.yaml"), definition);
});
afterEach(() => bench.remove());

const run = (rest: string, environment = {}) => command(`experiment ${bench.at("small.yaml")} --backend reference ${rest}`, environment);

describe("dawngrad experiment", () => {
  it("writes results, a table and a report, and prints the table", async () => {
    const { code, stdout } = await run(`--out ${bench.at("out")}`);
    expect(code).toBe(0);
    expect(stdout).toContain("recall: question, share of right answers, 0.50 by chance");
    expect(stdout).toContain("holds: losses are numbers [2 of 2 seeds]");
    expect(stdout.trimEnd().endsWith("report.html")).toBe(true);
    expect((await readdir(bench.at("out"))).sort()).toEqual([
      "experiment.json",
      "report.html",
      "results.json",
      "results.md",
      "seed-3",
      "seed-4",
    ]);
    const results = JSON.parse(await readFile(bench.at("out/results.json"), "utf8"));
    expect(results).toMatchObject({ command: "experiment", experiment: "small", size: null, complete: true, held: true, seeds: [3, 4] });
    expect(await readFile(bench.at("out/results.md"), "utf8")).toContain("| e2, PI |");
    const report = await readFile(bench.at("out/report.html"), "utf8");
    expect(report.match(/<svg/g)?.length).toBeGreaterThan(3);
    expect(report).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)/);
  });

  it("gives one JSON document, and exit code 1 where something does not hold, in a size, for seeds and for some variants", async () => {
    await writeFile(bench.at("small.yaml"), definition.replace("within: 99", "within: -1"));
    const { code, stdout, stderr } = await run(`--out ${bench.at("out")} --size smoke --seeds 8,9 --json`);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ size: "smoke", seeds: [8, 9], held: false, expectations: [{ held: false, seedsHeld: 0 }] });
    expect(stderr).toContain("expected, and not so: losses are numbers");
    // Nothing is expected of rows that are not measured.
    const only = await run(`--out ${bench.at("out")} --size smoke --seeds 8,9 --only e2 --json`);
    expect(only.code).toBe(0);
    const { rows, expectations } = JSON.parse(only.stdout);
    expect(rows.map(({ name }: { name: string }) => name)).toEqual(["e2, PI"]);
    expect(expectations).toEqual([]);
  });

  it("goes on with what was interrupted, and trains nothing twice", async () => {
    const signals = new FakeSignals();
    const stderr = new CapturedStream();
    const writing = stderr.write.bind(stderr);
    stderr.write = (text) => {
      if (text.includes("step")) signals.send("SIGINT");
      return writing(text);
    };
    const first = await run(`--out ${bench.at("out")} --json`, { signals, stderr });
    expect(first.code).toBe(130);
    expect(JSON.parse(first.stdout)).toMatchObject({ interrupted: true });
    const second = await run(`--out ${bench.at("out")} --json`);
    const whole = await run(`--out ${bench.at("whole")} --json`);
    const numbers = (text: string) => JSON.parse(text).cells;
    expect(numbers(second.stdout)).toEqual(numbers(whole.stdout));
    const third = await run(`--out ${bench.at("out")}`);
    expect(third.stderr).not.toMatch(/step \d/);
  });

  it("refuses the folder of another experiment unless it is forced", async () => {
    await run(`--out ${bench.at("out")} --size smoke`);
    const other = await run(`--out ${bench.at("out")}`);
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('holds the experiment "small" in size "smoke"');
    expect((await run(`--out ${bench.at("out")} --force`)).code).toBe(0);
  });

  it("lists the experiments that come with it", async () => {
    const { code, stdout } = await command("experiment --json");
    expect(code).toBe(0);
    const names = JSON.parse(stdout).experiments.map(({ name }: { name: string }) => name);
    expect(names).toContain("A-loss");
    expect((await command("experiment --size smoke")).stderr).toContain("--size needs an experiment");
  });
});

describe("a file of an experiment", () => {
  it("is refused with its place where it is damaged, and with the nearest name where there is none", async () => {
    await writeFile(bench.at("damaged.json"), '{"name": "x", "name": "y"}');
    await expect(readExperiment(bench.at("damaged.json"))).rejects.toThrow(FormatError);
    await writeFile(bench.at("damaged.yaml"), "a: [1, 2");
    await expect(readExperiment(bench.at("damaged.yaml"))).rejects.toThrow(/expected YAML/);
    await writeFile(bench.at("list.yaml"), "- 1");
    await expect(readExperiment(bench.at("list.yaml"))).rejects.toThrow(/expected an object/);
    await expect(readExperiment(bench.at("none.json"))).rejects.toThrow(FormatError);
    const error = await readExperiment("A-los").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).hint).toContain('"A-loss"');
  });

  it("may be YAML or JSON, or go by the beginning of a shipped name", async () => {
    const found = await readExperiment(bench.at("small.yaml"));
    await writeFile(bench.at("small.json"), JSON.stringify(found));
    expect(await readExperiment(bench.at("small.json"))).toEqual(found);
    expect((await readExperiment("a")).name).toBe("A-loss");
  });

  it("is sound in every size, for every experiment that is shipped", async () => {
    const names = await shippedExperiments();
    const text = await loadCorpus("moby-dick");
    for (const name of names) {
      const whole = await readExperiment(name);
      expect(whole.name).toBe(name);
      expect(Object.keys(whole.sizes ?? {}), name).toEqual(expect.arrayContaining(["smoke", "cpu", "gpu"]));
      for (const size of Object.keys(whole.sizes ?? {})) {
        const sized = experimentOfSize(whole, size);
        const plan = planExperiment(sized, sized.text === undefined ? undefined : text);
        // Numbers that others chose things by are not reported.
        for (const used of [1, 2, 3, 4, 5, 6, 100]) expect(plan.seeds, name).not.toContain(used);
        if (size !== "gpu") expect(() => tryPlan(plan), `${name} ${size}`).not.toThrow();
      }
    }
  });
});
