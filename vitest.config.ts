import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Dawn's handles do not work in worker threads of vitest, and a process of its own gives each file's devices back.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
