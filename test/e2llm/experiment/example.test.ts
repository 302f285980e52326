import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { expect, it } from "vitest";

const file = fileURLToPath(new URL("../../../examples/own-position-source.ts", import.meta.url));

it("the example compares a source and a task of its own in fewer than 60 lines", async () => {
  expect((await readFile(file, "utf8")).trimEnd().split("\n").length).toBeLessThan(60);
  const folder = await mkdtemp(join(tmpdir(), "example-"));
  try {
    const outfile = join(folder, "own.mjs");
    await build({ entryPoints: [file], bundle: true, packages: "external", platform: "node", format: "esm", outfile, logLevel: "silent" });
    const { stdout } = await promisify(execFile)(process.execPath, [outfile, "4", "3"], { cwd: folder });
    expect(stdout).toContain("successor: successor, share of right answers, 0.04 by chance");
    for (const row of ["base, none", "e2, PI", "jumps, PI"]) expect(stdout).toMatch(new RegExp(`^${row} +0\\.\\d{3} ±`, "m"));
    expect(stdout).toContain("seeds 1, 2, 3");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
