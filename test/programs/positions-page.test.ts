import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { positionSourceTypes } from "../../src/e2llm/positions/index.js";
import { type CompiledSources, compileSources, runModule } from "../support/compiled.js";

describe("docs/positions.md", { timeout: 300_000 }, () => {
  let sources: CompiledSources;
  let page: string;
  let programs: string[];
  beforeAll(async () => {
    sources = await compileSources();
    page = await readFile(new URL("../../docs/positions.md", import.meta.url), "utf8");
    programs = [...page.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, program]) => program as string);
  });
  afterAll(() => sources.remove());

  const run = async (program: string): Promise<string[]> => {
    const text = program.replace('"dawngrad"', '"./index.js"').replace("await init()", 'await init({ backend: "wasm" })');
    const { code, stdout, stderr } = await runModule(sources, text, { seconds: 280 });
    expect(code, stderr).toBe(0);
    return stdout.trim().split("\n");
  };

  it("names every source", () => {
    for (const type of positionSourceTypes) expect(page).toContain(`| \`${type}\` |`);
  });

  it("draws what its comment says", async () => {
    const [first = ""] = programs;
    const comment = /\/\/ (.*)$/m.exec(first)?.[1];
    expect(await run(first)).toEqual([comment]);
  });

  it("has a whole program with a source of one's own, which trains and is compared as it stands", async () => {
    const lines = await run(programs[1] ?? "");
    const [, positions = "", g, cut, gap] = /^\(([\d ]+)\) \/ \d+ \{ g: (\d+), cut: (\d+), gap: (\d+) \}$/.exec(lines[0] ?? "") ?? [];
    const expected = Array.from({ length: 8 }, (_, i) => (i < Number(cut) ? i : i + Number(gap)));
    expect(positions.split(" ").map(Number)).toEqual(expected);
    expect((expected.at(-1) as number) / Number(g)).toBeLessThan(8);

    const table = lines.slice(1).map((line) => /^(\w+) (\d+) (.*)$/.exec(line)?.slice(1) as string[]);
    expect(table.map(([name, context]) => `${name} ${context}`)).toEqual(
      ["plain", "e2", "gap"].flatMap((name) => [32, 64, 128, 256].map((context) => `${name} ${context}`)),
    );
    for (const [, , kinds = ""] of table) {
      const accuracies = [...kinds.matchAll(/(question|echo1|echo2) (\d\.\d\d)/g)].map(([, , accuracy]) => Number(accuracy));
      expect(accuracies).toHaveLength(3);
      for (const accuracy of accuracies) expect(accuracy >= 0 && accuracy <= 1).toBe(true);
    }
  });
});
