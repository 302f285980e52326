import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly tests: readonly string[];
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const mutations = JSON.parse(readFileSync(join(root, "test/mutations/mutations.json"), "utf8")) as readonly Mutation[];

describe("the mutations of scripts/mutate.mjs", () => {
  it("still apply, one by one, and name tests that are there", () => {
    for (const { name, file, find, tests } of mutations) {
      const text = readFileSync(join(root, file), "utf8");
      expect(text.split(find).length - 1, `${name}: how often ${file} has its text`).toBe(1);
      for (const test of tests) expect(existsSync(join(root, test)), `${name}: ${test}`).toBe(true);
    }
    expect(new Set(mutations.map(({ name }) => name)).size).toBe(mutations.length);
  });

  it("are at least sixty, of every kind", () => {
    expect(mutations.length).toBeGreaterThanOrEqual(60);
    const files = mutations.map(({ file }) => file);
    for (const part of [
      "autograd/vjp",
      "autograd/batching",
      "compiler/fuse",
      "compiler/schedule",
      "compiler/packing",
      "backend/wasm",
      "backend/webgpu",
      "nn/sampling",
    ])
      expect(files.filter((file) => file.startsWith(`src/${part}`)).length, part).toBeGreaterThanOrEqual(2);
  });
});
