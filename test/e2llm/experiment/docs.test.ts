import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createWasmBackend } from "../../../src/backend/wasm/index.js";
import { shippedExperiments } from "../../../src/cli/experiment-file.js";
import { type Backend, type ExperimentDefinition, experimentOfSize, runExperiment, useBackend } from "../../../src/index.js";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  useBackend(backend);
});
afterAll(() => backend.close());

const page = await readFile(new URL("../../../docs/experiments.md", import.meta.url), "utf8");

it("the complete file of docs/experiments.md runs as it stands and in its size", async () => {
  const definition = JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? "") as ExperimentDefinition;
  for (const one of [definition, experimentOfSize(definition, "smoke")]) {
    const results = await runExperiment(one);
    expect(results.complete).toBe(true);
    expect(results.held).toBe(true);
    expect(results.rows.map(({ name }) => name)).toContain("E²");
    expect(results.evaluations[0]?.groups).toEqual(["question", "question/near", "question/far", "echo1", "echo2"]);
  }
});

it("docs/experiments.md names every experiment that is shipped", async () => {
  const beginnings = (await shippedExperiments()).map((name) => name.replace(/^(E-posgen).*/, "$1"));
  expect(beginnings.length).toBeGreaterThan(10);
  for (const name of beginnings) expect(page, name).toContain(`\`${name}`);
});
