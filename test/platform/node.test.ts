import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/index.js";
import { nodeModule, nodePackage, nodePackageEntry, nodeProcess } from "../../src/platform/node.js";

const source = fileURLToPath(new URL("../../src", import.meta.url));
const place = "platform/node.ts";
const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .map((name) => name.replaceAll("\\", "/"))
  .filter((name) => name.endsWith(".ts") && !name.startsWith("cli/"));

/** Whether a module is one of the library's own, or of a package that comes with it and runs in pages too. */
const isPortable = (specifier: string): boolean => specifier.startsWith(".") || specifier === "@huggingface/jinja";

/** What a text takes from Node: modules, `require`, and the globals that only Node has. */
function nodeUses(text: string, name: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) && /^node:/.test(node.text) && !ts.isLiteralTypeNode(node.parent)) found.push(node.text);
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [specifier] = node.arguments;
      const known = specifier !== undefined && ts.isStringLiteralLike(specifier) && isPortable(specifier.text);
      if (!known) found.push(node.getText());
    }
    if (ts.isIdentifier(node) && ["process", "Buffer", "require", "__dirname", "createRequire"].includes(node.text)) {
      const field = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node;
      if (!field) found.push(node.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true));
  if (/\brequire\(/.test(text)) found.push("require(");
  return found;
}

describe("what comes from Node", () => {
  it("comes through one module: no other file of the library names a module of Node, imports by a variable, or reads its globals", () => {
    expect(files.length).toBeGreaterThan(100);
    const elsewhere = files
      .filter((name) => name !== place)
      .flatMap((name) => nodeUses(readFileSync(join(source, name), "utf8"), name).map((use) => `${relative(".", name)}: ${use}`));
    expect(elsewhere).toEqual([]);
  });

  it("is noticed by that look wherever it stands", () => {
    const uses = [
      'import fs from "node:fs";',
      'const { open } = await import("node:fs/promises");',
      'const os = require("os");',
      'const text = `require("node:worker_threads").workerData`;',
      "await import(name);",
      "const { platform } = process;",
      "const bytes = Buffer.from([1]);",
      "const here = __dirname;",
    ];
    for (const use of uses) expect(nodeUses(use, "x.ts"), use).not.toEqual([]);
    for (const fine of ['import { a } from "./a.js";', 'await import("./a.js");', "pool.process(1);"]) {
      expect(nodeUses(fine, "x.ts"), fine).toEqual([]);
    }
  });

  it("names no module there in a way that a bundler would follow", () => {
    const text = readFileSync(join(source, place), "utf8");
    expect([...text.matchAll(/^import .* from "(.*)";$/gm)].map(([, from]) => from)).toEqual(["../errors.js"]);
    expect(text.match(/\bimport\((?!")/g)).toHaveLength(1);
    expect(text.match(/import\("/g)?.length).toBe(text.match(/: typeof import\("|=> import\("node:worker_threads"\)\.Worker/g)?.length);
  });

  it("is the module itself, with or without process.getBuiltinModule", async () => {
    const fs = await import("node:fs");
    expect((await nodeModule("fs")).readFileSync).toBe(fs.readFileSync);
    const { getBuiltinModule } = process;
    try {
      Object.defineProperty(process, "getBuiltinModule", { value: undefined, configurable: true, writable: true });
      expect((await nodeModule("fs")).readFileSync).toBe(fs.readFileSync);
      expect((await nodeModule("os")).tmpdir()).not.toBe("");
    } finally {
      Object.defineProperty(process, "getBuiltinModule", { value: getBuiltinModule, configurable: true, writable: true });
    }
    await expect(nodePackage("no-such-package")).rejects.toThrow();
    await expect(nodePackageEntry("no-such-package")).rejects.toThrow();
  });

  it("is refused in words where there is no Node", async () => {
    const { process: real } = globalThis;
    try {
      Object.defineProperty(globalThis, "process", { value: undefined, configurable: true, writable: true });
      expect(() => nodeProcess()).toThrow(UsageError);
      await expect(nodeModule("fs")).rejects.toThrow(UsageError);
      await expect(nodePackage("webgpu")).rejects.toThrow(UsageError);
    } finally {
      Object.defineProperty(globalThis, "process", { value: real, configurable: true, writable: true });
    }
  });
});
