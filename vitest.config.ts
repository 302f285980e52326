import { defineConfig } from "vitest/config";

const ofThePackage = ["test/package/**/*.test.ts", "test/bundlers/**/*.test.ts"];
/** Files that give their backends back and measure no process: they share modules, whose imports would take as long as many of them. */
const sharing = "arguments autograd composites conformance e2llm golden gradients halves inside nn properties testing wasm-math"
  .split(" ")
  .map((folder) => `test/${folder}/**/*.test.ts`);
const alone = ["test/nn/load-memory.test.ts"];

export default defineConfig({
  test: {
    // Dawn's handles do not work in worker threads of vitest, and a process of its own gives each file's devices back.
    pool: "forks",
    // Most tests compute in one thread, and without this two processors run one file at a time.
    maxWorkers: "100%",
    // Lavapipe compiles most kernels to run them once: without its optimizations and for the shorter vectors that takes a third of the time.
    env: {
      GALLIVM_PERF: process.env["GALLIVM_PERF"] ?? "nopt",
      LP_NATIVE_VECTOR_WIDTH: process.env["LP_NATIVE_VECTOR_WIDTH"] ?? "128",
    },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: "sources", include: ["test/**/*.test.ts"], exclude: [...ofThePackage, ...sharing] } },
      { extends: true, test: { name: "alone", include: alone } },
      { extends: true, test: { name: "sharing", include: sharing, exclude: alone, isolate: false } },
      // These tests use the library as it is packed and installed, which is done once for them.
      { extends: true, test: { name: "package", include: ofThePackage, globalSetup: "test/support/packed-setup.ts" } },
    ],
  },
});
