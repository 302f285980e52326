import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DemoResults, type LedgerResults, parseDemoResults } from "../../src/cli/results.js";
import { tooSlowForSmall } from "../../src/cli/run/demo.js";
import { builtCommand } from "./built.js";

const execute = promisify(execFile);
const minutes = 60_000;

describe("dawngrad demo without a preset", () => {
  it.each([
    [true, { name: "reference", software: true }],
    [true, { name: "webgpu", software: true }],
    [false, { name: "webgpu", software: false }],
    [false, { name: "wasm", software: true }],
  ] as const)("picks a size that its backend can finish: smoke %s on %j", (smoke, info) => {
    expect(tooSlowForSmall(info)).toBe(smoke);
  });
});

describe("dawngrad demo --preset smoke", { timeout: 10 * minutes }, () => {
  let out = "";
  let stdout = "";
  let results: DemoResults;

  beforeAll(async () => {
    const main = await builtCommand();
    out = await mkdtemp(join(tmpdir(), "dawngrad-demo-"));
    ({ stdout } = await execute(process.execPath, [main, "demo", "--preset", "smoke", "--out", out], { maxBuffer: 2 ** 26 }));
    results = parseDemoResults(JSON.parse(await readFile(join(out, "results.json"), "utf8")));
  }, 10 * minutes);
  afterAll(() => rm(out, { recursive: true, force: true }));

  const nats = (variant: string, schedule: string, scale: number, times: number): number => {
    const found = results.rows.filter(
      (row) => row.variant === variant && row.schedule === schedule && row.scale === scale && row.context === times * results.window,
    );
    expect(found, `${variant} ${schedule} ${scale} at ${times}L`).toHaveLength(1);
    return found[0]?.nats as number;
  };

  it("prints its table and ends with the path of the report", () => {
    expect(stdout).toContain("nats per byte");
    expect(stdout.trimEnd().endsWith(join(out, "report.html"))).toBe(true);
  });

  it("computes on a GPU or on the wasm backend, and never on the reference unless asked for", () => {
    expect(["webgpu", "wasm"]).toContain(results.backend);
    if (results.backend === "wasm") expect(results.adapter).toMatch(/^WebAssembly SIMD, \d+ threads?, fused multiply-add$/);
  });

  it("writes the report and all models of both settings", async () => {
    expect(await readFile(join(out, "report.html"), "utf8")).toMatch(/^<!doctype html>/i);
    for (const name of ["base", "plain", "e2", "full", "ledger/base", "ledger/plain", "ledger/e2", "ledger/full"]) {
      for (const file of ["config.json", "model.safetensors"]) expect((await stat(join(out, name, file))).size).toBeGreaterThan(0);
    }
  });

  it("measures every row of the comparison", () => {
    const { window, rows } = results;
    expect(new Set(rows.map(({ context }) => context))).toEqual(new Set([1, 2, 4, 8].map((times) => times * window)));
    expect(rows).toHaveLength((5 + 3 + 4 + 1) * 4);
    for (const scale of [1, 2, 4, 8]) for (const times of [1, 2, 4, 8]) expect(nats("e2", "linear", scale, times)).toBeGreaterThan(0);
    for (const schedule of ["linear", "ntk", "yarn", "yarn-turns"]) expect(nats("base", schedule, 8, 8)).toBeGreaterThan(0);
    for (const schedule of ["yarn", "yarn-turns"]) expect(nats("plain", schedule, 8, 8)).toBeGreaterThan(0);
    expect(results.truncation.base).toBe(nats("base", "none", 1, 1));
    expect(new Set(results.train.map(({ phase }) => phase))).toEqual(
      new Set(["pretrain", "plain", "e2", "full", ...["pretrain", "plain", "e2", "full"].map((phase) => `ledger-${phase}`)]),
    );
    expect(results.draws.length).toBeGreaterThan(0);
  });

  it("asks the same questions of every model in the ledger", () => {
    const { window, rows, perfect, chance } = results.ledger as LedgerResults;
    expect(chance).toBe(0.5);
    const ways = ["base none", "base linear", "base yarn-turns", "plain none", "plain yarn-turns", "e2 linear", "full none"];
    expect(new Set(rows.map(({ variant, schedule }) => `${variant} ${schedule}`))).toEqual(new Set(ways));
    for (const way of ways) {
      const own = rows.filter(({ variant, schedule }) => `${variant} ${schedule}` === way);
      for (const kind of ["question", "echo1", "echo2"]) {
        expect(own.filter((row) => row.kind === kind).map(({ context }) => context)).toEqual([1, 2, 4, 8].map((times) => times * window));
      }
    }
    for (const kind of ["question", "echo1", "echo2"])
      expect(new Set(rows.filter((row) => row.kind === kind).map(({ targets }) => targets)).size).toBe(1);
    const atWindow = rows.filter(({ context, kind, variant }) => context === window && kind === "question" && variant === "base");
    expect(new Set(atWindow.map(({ accuracy }) => accuracy)).size).toBe(1);
    expect(perfect.map(({ accuracy }) => accuracy)).toEqual([...perfect.map(({ accuracy }) => accuracy)].sort());
  });

  it("reads the model of full length as far as it was trained, unscaled", () => {
    for (const times of [1, 2, 4, 8]) expect(Math.abs(nats("full", "none", 1, times) - nats("full", "none", 1, 1))).toBeLessThan(0.25);
    expect(results.truncation.full).toBe(nats("full", "none", 1, 1));
  });

  it.each([1, 2, 4, 8])("shows that E² at g = %i stays flat up to g·L", (g) => {
    const atWindow = nats("e2", "linear", g, 1);
    for (const times of [1, 2, 4, 8].filter((n) => n <= g)) {
      expect(Math.abs(nats("e2", "linear", g, times) - atWindow), `at ${times}L`).toBeLessThan(0.25);
    }
  });

  it.each([4, 8])("shows that the base model without scaling is worse than E² by half a nat at %iL", (times) => {
    expect(nats("base", "none", 1, times) - nats("e2", "linear", times, times)).toBeGreaterThanOrEqual(0.5);
  });
});
