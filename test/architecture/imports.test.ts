import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

/** Imports that are refused: the rule, the file, and what it imports. */
const forbidden: readonly (readonly [rule: string, from: string, to: string])[] = [
  ["arrow from index.ts", "src/index.ts", "src/compiler/fuse.ts"],
  ["arrow from cli/", "src/cli/session.ts", "src/compiler/fuse.ts"],
  ["arrow from cli/", "src/cli/session.ts", "src/backend/webgpu/gpu-device.ts"],
  ["arrow from init.ts", "src/init.ts", "src/nn/llama.ts"],
  ["arrow from e2llm/", "src/e2llm/tables.ts", "src/cli/session.ts"],
  ["arrow from nn/", "src/nn/llama.ts", "src/e2llm/tables.ts"],
  ["arrow from nn/", "src/nn/llama.ts", "src/backend/backend.ts"],
  ["arrow from testing/", "src/testing/laws.ts", "src/backend/reference/index.ts"],
  ["arrow from autograd/", "src/autograd/vjp.ts", "src/nn/llama.ts"],
  ["arrow from autograd/", "src/autograd/vjp.ts", "src/testing/laws.ts"],
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

const config = resolve(".dependency-cruiser.mjs");
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

interface Violation {
  readonly rule: { readonly name: string };
  readonly from: string;
  readonly to: string;
}

/** What `npm run check` finds in a tree of files that import each other, for types alone. */
function violations(imports: readonly (readonly [from: string, to: string])[]): readonly Violation[] {
  const folder = mkdtempSync(join(tmpdir(), "dawngrad-imports-"));
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
  writeFileSync(join(folder, "tsconfig.json"), "{}");
  const program = resolve("node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
  const { stdout } = spawnSync(process.execPath, [program, "src", "--config", config, "--output-type", "json"], {
    cwd: folder,
    encoding: "utf8",
  });
  return (JSON.parse(stdout) as { summary: { violations: readonly Violation[] } }).summary.violations;
}

describe("the rules of imports", () => {
  it("allow the arrows of the layers", () => {
    expect(violations(allowed)).toEqual([]);
  });

  it("refuse everything else, each with an example", async () => {
    const found = violations(forbidden.map(([, from, to]) => [from, to] as const)).filter(({ rule }) => rule.name !== "circle");
    expect(found.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`).sort()).toEqual(
      forbidden.map(([rule, from, to]) => `${rule}: ${from} → ${to}`).sort(),
    );
    const rules = ((await import(config)) as { default: { forbidden: readonly { name: string }[] } }).default.forbidden;
    expect(new Set(rules.map(({ name }) => name))).toEqual(new Set(["circle", ...forbidden.map(([rule]) => rule)]));
  });

  it("refuse files that import types of each other, at once or by way of others", () => {
    const circle = [
      ["src/ir/graph.ts", "src/ir/shape.ts"],
      ["src/ir/shape.ts", "src/ir/dtype.ts"],
      ["src/ir/dtype.ts", "src/ir/graph.ts"],
    ] as const;
    expect(violations(circle).map(({ rule }) => rule.name)).toEqual(["circle"]);
  });
});
