import { defineConfig } from "vitest/config";

const ofThePackage = ["test/package/**/*.test.ts", "test/bundlers/**/*.test.ts"];

export default defineConfig({
  test: {
    // Dawn's handles do not work in worker threads of vitest, and a process of its own gives each file's devices back.
    pool: "forks",
    // Most tests compute in one thread, and without this two processors run one file at a time.
    maxWorkers: "100%",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: "sources", include: ["test/**/*.test.ts"], exclude: ofThePackage } },
      // These tests use the library as it is packed and installed, which is done once for them.
      { extends: true, test: { name: "package", include: ofThePackage, globalSetup: "test/support/packed-setup.ts" } },
    ],
  },
});
