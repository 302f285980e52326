import { readFile } from "node:fs/promises";
import { afterAll, describe, expect, it } from "vitest";
import * as dawngrad from "../../src/index.js";

const read = (path: string): Promise<string> => readFile(new URL(`../../${path}`, import.meta.url), "utf8");

/** What a program of the page prints. */
async function run(program: string): Promise<string[]> {
  const lines: string[] = [];
  const body = program
    .replace(/import (\{[\s\S]*?\}) from "dawngrad";/, "const $1 = dawngrad;")
    .replace("await init()", 'await init({ backend: "wasm", threads: 1 })');
  const AsyncFunction = (async () => undefined).constructor as new (...parts: string[]) => (...given: unknown[]) => Promise<void>;
  await new AsyncFunction("dawngrad", "console", body)(dawngrad, { log: (...parts: unknown[]) => lines.push(parts.join(" ")) });
  await dawngrad.useBackend(undefined)?.close();
  return lines;
}

describe("docs/seeing-inside.md", () => {
  afterAll(() => dawngrad.useBackend(undefined)?.close());

  it("has programs that print what their comments say", async () => {
    const page = await read("docs/seeing-inside.md");
    const programs = [...page.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, program]) => program as string);
    expect(programs).toHaveLength(4);
    for (const program of programs) {
      const said = [...program.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, comment]) => comment);
      expect(await run(program)).toEqual(said);
    }
  });

  it("has a picture that is what the program draws today", async () => {
    const script = await read("scripts/explain-figure.mjs");
    const loss = /const loss = (.*);/.exec(script)?.[1] ?? "";
    expect(await read("docs/seeing-inside.md")).toContain(loss);
    const backend = await dawngrad.init({ backend: "wasm", threads: 1 });
    const { softmax, zeros, explain, grad } = dawngrad;
    const f = new Function("softmax", `return ${loss}`)(softmax) as (at: { w: dawngrad.Tensor; x: dawngrad.Tensor }) => dawngrad.Tensor;
    const svg = explain.object(grad(f), { w: zeros([4, 3]), x: zeros([8, 4]) }).toSvg();
    const withoutPlaces = (text: string): string => text.replace(/<title>[\s\S]*?<\/title>/g, "");
    expect(withoutPlaces(await read("docs/figures/explain.svg"))).toBe(withoutPlaces(svg));
    await backend.close();
  });
});
