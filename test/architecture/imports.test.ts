import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { cruise, type ICruiseResult } from "dependency-cruiser";
import extractConfig from "dependency-cruiser/config-utl/extract-depcruise-config";
import { afterAll, describe, expect, it } from "vitest";

/** Files that may not import each other: the rule, a file, and what it imports. */
const forbidden: readonly (readonly [rule: string, from: string, to: string])[] = [
  ["arrow from index.ts", "src/index.ts", "src/compiler/fuse.ts"],
  ["arrow from cli/", "src/cli/session.ts", "src/compiler/fuse.ts"],
  ["arrow from cli/", "src/cli/session.ts", "src/backend/webgpu/gpu-device.ts"],
  ["arrow from init.ts", "src/init.ts", "src/nn/llama.ts"],
  ["arrow from e2llm/", "src/e2llm/tables.ts", "src/cli/session.ts"],
  ["arrow from nn/", "src/nn/llama.ts", "src/e2llm/tables.ts"],
  ["arrow from nn/", "src/nn/llama.ts", "src/backend/backend.ts"],
  ["arrow from autograd/", "src/autograd/vjp.ts", "src/nn/llama.ts"],
  ["arrow from autograd/", "src/autograd/vjp.ts", "src/compiler/fuse.ts"],
  ["arrow from autograd/", "src/autograd/runtime.ts", "src/backend/host-data.ts"],
  ["arrow from autograd/", "src/autograd/runtime.ts", "src/backend/wasm/index.ts"],
  ["arrow from backend/webgpu/", "src/backend/webgpu/index.ts", "src/autograd/tensor.ts"],
  ["arrow from backend/webgpu/", "src/backend/webgpu/index.ts", "src/backend/wasm/index.ts"],
  ["arrow from backend/wasm/", "src/backend/wasm/kernels/map.ts", "src/autograd/tensor.ts"],
  ["arrow from backend/wasm/", "src/backend/wasm/kernels/map.ts", "src/backend/reference/index.ts"],
  ["arrow from backend/reference/", "src/backend/reference/index.ts", "src/compiler/fuse.ts"],
  ["arrow from backend/reference/", "src/backend/reference/index.ts", "src/backend/webgpu/index.ts"],
  ["arrow from backend/[^/]+.ts", "src/backend/host-data.ts", "src/compiler/fuse.ts"],
  ["arrow from backend/backend.ts", "src/backend/backend.ts", "src/errors.ts"],
  ["arrow from compiler/", "src/compiler/fuse.ts", "src/backend/backend.ts"],
  ["arrow from compiler/", "src/compiler/fuse.ts", "src/autograd/tensor.ts"],
  ["arrow from ir/", "src/ir/graph.ts", "src/compiler/fuse.ts"],
  ["arrow from ir/", "src/ir/graph.ts", "src/platform/node.ts"],
  ["arrow from platform/", "src/platform/node.ts", "src/ir/graph.ts"],
  ["arrow from arguments.ts", "src/arguments.ts", "src/ir/graph.ts"],
  ["arrow from errors.ts", "src/errors.ts", "src/arguments.ts"],
  ["unknown part", "src/tools/new.ts", "src/errors.ts"],
];

/** What the arrows of the design allow. */
const allowed: readonly (readonly [from: string, to: string])[] = [
  ["src/cli/session.ts", "src/e2llm/tables.ts"],
  ["src/e2llm/tables.ts", "src/nn/llama.ts"],
  ["src/nn/llama.ts", "src/autograd/tensor.ts"],
  ["src/autograd/tensor.ts", "src/ir/graph.ts"],
  ["src/autograd/runtime.ts", "src/backend/backend.ts"],
  ["src/backend/backend.ts", "src/ir/graph.ts"],
  ["src/backend/wasm/index.ts", "src/compiler/fuse.ts"],
  ["src/backend/webgpu/index.ts", "src/compiler/fuse.ts"],
  ["src/backend/reference/index.ts", "src/backend/host-data.ts"],
  ["src/compiler/fuse.ts", "src/ir/graph.ts"],
  ["src/ir/graph.ts", "src/errors.ts"],
  ["src/init.ts", "src/backend/wasm/index.ts"],
];

const rules = extractConfig(join(process.cwd(), ".dependency-cruiser.mjs"));

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** The rules that a tree of files breaks, each with the file where; every import is one of types alone. */
async function broken(imports: readonly (readonly [from: string, to: string])[]): Promise<string[]> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "dawngrad-imports-")));
  folders.push(folder);
  const texts = new Map<string, string[]>();
  for (const [from, to] of imports) {
    const path = relative(dirname(from), to).replace(/\.ts$/, ".js");
    texts.set(to, texts.get(to) ?? []);
    texts.set(from, [...(texts.get(from) ?? []), `export type * from "${path.startsWith(".") ? path : `./${path}`}";`]);
  }
  for (const [path, lines] of texts) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), `${lines.join("\n")}\nexport {};\n`);
  }
  const { options, ...ruleSet } = await rules;
  const { tsConfig: _, ...rest } = options ?? {};
  const { output } = await cruise(["src"], { ...rest, ruleSet, validate: true, baseDir: folder });
  return (output as ICruiseResult).summary.violations.map(({ rule, from }) => `${rule.name}: ${from}`);
}

describe("the rules of imports", () => {
  it("have an example each below", async () => {
    const names = (await rules).forbidden?.map(({ name }) => name);
    expect(new Set(names)).toEqual(new Set(["circle", ...forbidden.map(([rule]) => rule)]));
  });

  it("allow the arrows of the layers", async () => {
    expect(await broken(allowed)).toEqual([]);
  });

  it.each(forbidden)("%s: %s does not import %s", async (rule, from, to) => {
    expect(await broken([[from, to]])).toEqual([`${rule}: ${from}`]);
  });

  it("find files that import types of each other, at once or by way of others", async () => {
    const circle = [
      ["src/ir/graph.ts", "src/ir/shape.ts"],
      ["src/ir/shape.ts", "src/ir/dtype.ts"],
      ["src/ir/dtype.ts", "src/ir/graph.ts"],
    ] as const;
    expect(await broken(circle)).toEqual(["circle: src/ir/dtype.ts"]);
    expect(await broken(circle.slice(1))).toEqual([]);
  });
});
