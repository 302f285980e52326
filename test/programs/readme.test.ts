import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type CompiledSources, compileSources, runModule } from "../support/compiled.js";

let sources: CompiledSources;
beforeAll(async () => {
  sources = await compileSources();
});
afterAll(() => sources.remove());

it("the example of the README runs as it stands and prints what its comments say", async () => {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const example = /^```js\n([\s\S]*?)^```/m.exec(readme)?.[1] ?? "";
  expect(example).toContain('from "dawngrad"');
  const { code, stdout } = await runModule(sources, example.replace('"dawngrad"', '"./index.js"'), { seconds: 100 });
  expect(code).toBe(0);
  const lines = stdout.trim().split("\n");
  const first = JSON.parse(lines[0] ?? "") as number[];
  [0, 1, 2].forEach((x, i) => {
    expect(first[i]).toBeCloseTo(2 * x * Math.cos(x * x), 3);
  });
  const second = JSON.parse(lines[1] ?? "") as number[];
  [0, 1, 2].forEach((x, i) => {
    expect(second[i]).toBeCloseTo(2 * Math.cos(x * x) - 4 * x * x * Math.sin(x * x), 2);
  });
  const [w, b] = (lines[2] ?? "").split(" ").map(Number);
  expect(w).toBeCloseTo(2, 2);
  expect(b).toBeCloseTo(1, 2);
});
