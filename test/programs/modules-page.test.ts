import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as dawngrad from "../../src/index.js";

/** Runs a program within this process, with the library for its imports. */
async function run(program: string, backend: string, ...argv: string[]): Promise<string[]> {
  const lines: string[] = [];
  const body = program
    .replace(/import (\{[\s\S]*?\}) from "dawngrad";/, "const $1 = dawngrad;")
    .replace("await init()", `await init({ backend: "${backend}" })`);
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...given: unknown[]) => Promise<void>;
  const log = { log: (...parts: unknown[]) => lines.push(parts.join(" ")) };
  await new AsyncFunction("dawngrad", "console", "process", body)(dawngrad, log, { argv: ["node", "example", ...argv] });
  dawngrad.useBackend(undefined)?.close();
  return lines;
}

describe("docs/modules.md", { timeout: 120_000 }, () => {
  let page: string;
  let programs: string[];
  beforeAll(async () => {
    page = await readFile(new URL("../../docs/modules.md", import.meta.url), "utf8");
    programs = [...page.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, program]) => program as string);
  });
  afterAll(() => dawngrad.useBackend(undefined)?.close());

  it("names layers, optimizers and functions that there are", () => {
    const cells = [...page.matchAll(/^\| (`[^|]*) \|/gm)].map(([, cell]) => cell as string);
    const lists = page.split("\n\n").filter((paragraph) => /^(As functions|Initialisers|Each is a pair)/.test(paragraph));
    const names = [...cells, ...lists].flatMap((text) => [...text.matchAll(/`(\w+)`/g)].map(([, name]) => name as string));
    const options = ["createTrainStep", "train", "mode", "nonlinearity", "decayMask"];
    expect(names.length).toBeGreaterThan(45);
    for (const name of names) if (!options.includes(name)) expect(dawngrad, name).toHaveProperty(name);
  });

  it("shows what its comments say", async () => {
    for (const program of programs) {
      const comments = [...program.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, comment]) => comment);
      expect(comments.length).toBeGreaterThan(0);
      expect(await run(program, "reference")).toEqual(comments);
    }
    expect(programs).toHaveLength(5);
  });

  it("has an example that begins to tell two spirals apart with each of its optimizers", async () => {
    const example = await readFile(new URL("../../examples/two-spirals.mjs", import.meta.url), "utf8");
    const lines = await run(example, "wasm", "60");
    expect(lines.map((line) => line.split(" ")[0])).toEqual(["sgd", "adamw", "lion", "muon"]);
    // Of the 500 steps that separate the arms, 60 are enough to be better than a guess.
    for (const line of lines) expect(Number(/([\d.]+) % right$/.exec(line)?.[1])).toBeGreaterThan(50);
  });
});
