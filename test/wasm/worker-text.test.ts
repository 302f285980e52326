import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { runModule } from "../support/compiled.js";

const entry = fileURLToPath(new URL("../../src/index.ts", import.meta.url));

describe("the text that worker threads run", { timeout: 60_000 }, () => {
  it.each([{ keepNames: true }, { minify: true }, { keepNames: true, minify: true, target: "es2022" }])(
    "stands by itself in a program that was bundled with %j",
    async (options) => {
      const folder = await mkdtemp(join(tmpdir(), "dawngrad-worker-"));
      try {
        const outfile = join(folder, "bundle.mjs");
        await build({ entryPoints: [entry], bundle: true, format: "esm", outfile, logLevel: "silent", ...options });
        const script = `
        import { init, key, matmul, randn, realize } from ${JSON.stringify(pathToFileURL(outfile).href)};
        const backend = await init({ threads: 3 });
        const x = randn(key(1), [256, 256]);
        for (let i = 0; i < 20; i++) {
          await realize(matmul(x, randn(key(i), [256, 256])));
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        await backend.close();
        console.log(backend.info.threads);`;
        const { code, stdout, stderr } = await runModule({ folder, remove: async () => undefined }, script);
        expect(stderr).toBe("");
        expect(stdout).toBe("3\n");
        expect(code).toBe(0);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  );
});
