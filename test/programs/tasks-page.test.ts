import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as dawngrad from "../../src/index.js";

/** Runs a program of the page within this process. */
async function run(program: string): Promise<string[]> {
  const lines: string[] = [];
  const body = program
    .replace(/import (\{[\s\S]*?\}) from "dawngrad";/, "const $1 = dawngrad;")
    .replace("await init()", 'await init({ backend: "wasm" })');
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...given: unknown[]) => Promise<void>;
  await new AsyncFunction("dawngrad", "console", body)(dawngrad, { log: (...parts: unknown[]) => lines.push(parts.join(" ")) });
  return lines;
}

describe("docs/tasks.md", { timeout: 120_000 }, () => {
  let page: string;
  let programs: string[];
  beforeAll(async () => {
    page = await readFile(new URL("../../docs/tasks.md", import.meta.url), "utf8");
    programs = [...page.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, program]) => program as string);
  });
  afterAll(() => dawngrad.useBackend(undefined)?.close());

  it("names every task, with kinds that it has, and functions that there are", () => {
    for (const type of dawngrad.taskTypes) expect(page).toContain(`| \`${type}\` |`);
    for (const [, type, kinds] of page.matchAll(/^\| `([\w-]+)` \|[^|]*\| (`[^|]*) \|/gm)) {
      const documents = [{ name: "a", text: "It was a dark and stormy night." }];
      const options = { type, ...(type === "posgen" ? { rule: "cot" } : {}), ...(type === "text" ? { documents } : {}) };
      const task = dawngrad.createTask(options as dawngrad.TaskOptions);
      for (const [, kind] of (kinds as string).matchAll(/`(\w+)`/g)) expect(Object.keys(task.kinds)).toContain(kind);
    }
    const measured = page.slice(page.indexOf("## What can be measured"), page.indexOf("## One of your own"));
    const names = [...measured.matchAll(/^\|(.*?)\|/gm)].flatMap(([, cell]) =>
      [...(cell as string).matchAll(/`(\w+)`/g)].map(([, name]) => name),
    );
    expect(names.length).toBeGreaterThan(10);
    for (const name of names) expect(dawngrad).toHaveProperty(name as string);
  });

  it("shows what its comment says", async () => {
    const [first = ""] = programs;
    expect(await run(first)).toEqual([/\/\/ (.*)$/m.exec(first)?.[1]]);
  });

  it("has a whole program with a task of one's own, which trains and is measured as it stands", async () => {
    const lines = await run(programs[1] ?? "");
    expect(lines).toHaveLength(3);
    lines.forEach((line, i) => {
      const [, context, mean, low, high, far, all] =
        /^(\d+): (-?[\d.]+) over truncation, (-?[\d.]+) … (-?[\d.]+); (\d+) of (\d+) questions are far$/.exec(line)?.map(Number) ?? [];
      expect(context).toBe(32 * 2 ** i);
      expect((low as number) <= (mean as number) && (mean as number) <= (high as number)).toBe(true);
      expect((far as number) > 0 && (far as number) < (all as number)).toBe(true);
    });
    // The first context is the truncated one itself, read at scale 1.
    expect(lines[0]).toMatch(/^32: 0\.00 over truncation, 0\.00 … 0\.00;/);
  });
});
