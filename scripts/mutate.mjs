// How much the suite notices: node scripts/mutate.mjs [--only TEXT] [--jobs N] [--list]
//
// Breaks one rule, pass or kernel at a time (test/mutations/mutations.json) in a copy of the repository, runs the tests that should
// notice, and says which mutations survive. `--only` takes those whose name or file contains a text.

import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { transformSync } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values } = parseArgs({
  options: { only: { type: "string" }, jobs: { type: "string", default: "1" }, list: { type: "boolean" } },
});
const jobs = Number(values.jobs);
if (!Number.isInteger(jobs) || jobs < 1) {
  process.stderr.write(`--jobs must be a positive integer, found ${values.jobs}\n`);
  process.exit(2);
}
const all = JSON.parse(readFileSync(join(root, "test/mutations/mutations.json"), "utf8"));
const chosen = all.filter(({ name, file }) => values.only === undefined || `${name} ${file}`.includes(values.only));
if (values.list || chosen.length === 0) {
  for (const { name, file } of chosen) process.stdout.write(`${name} (${file})\n`);
  process.exit(chosen.length === 0 ? 2 : 0);
}

/** Longer than any of these tests takes, so that one which does not end was stopped by its mutation. */
const mostSeconds = 600;

/** A copy of all that tests read. */
function copy() {
  const folder = mkdtempSync(join(tmpdir(), "dawngrad-mutations-"));
  const parts = ["src", "test", "docs", "examples", "scripts", "package.json", "tsconfig.json", "tsconfig.build.json", "vitest.config.ts"];
  for (const part of parts) cpSync(join(root, part), join(folder, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "junction");
  return folder;
}

/** Runs tests in a folder: whether they passed, and what they printed. */
function run(folder, tests, only) {
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const args = [
    vitest,
    "run",
    ...tests,
    ...["sources", "sharing", "alone"].flatMap((name) => ["--project", name]),
    "--bail",
    "1",
    ...(only === undefined ? [] : ["-t", only]),
  ];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: folder, timeout: mostSeconds * 1000, killSignal: "SIGKILL" });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (text += chunk));
    child.on("close", (code) => resolve({ passed: code === 0, text }));
  });
}

const folders = Array.from({ length: Math.min(jobs, chosen.length) }, copy);
const survivors = [];
const remove = () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
};
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    remove();
    process.exit(130);
  });
}
try {
  // What fails without a mutation would notice all of them.
  const { passed: sound, text } = await run(folders[0], [...new Set(chosen.flatMap(({ tests }) => tests))]);
  if (!sound) {
    process.stderr.write(text);
    throw new Error("these tests fail without a mutation");
  }
  let next = 0;
  const worker = async (folder) => {
    for (let mutation = chosen[next++]; mutation !== undefined; mutation = chosen[next++]) {
      const { name, file, find, put, tests, only } = mutation;
      const path = join(folder, file);
      const before = readFileSync(path, "utf8");
      if (before.split(find).length !== 2) throw new Error(`${name}: ${file} does not have its text once`);
      const after = before.replace(find, () => put);
      // What is no TypeScript any more would be noticed by anything.
      transformSync(after, { loader: "ts" });
      writeFileSync(path, after);
      const began = performance.now();
      const { passed } = await run(folder, tests, only);
      writeFileSync(path, before);
      if (passed) survivors.push(mutation);
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      process.stdout.write(`${passed ? "SURVIVES" : "caught  "}  ${name} (${file}, ${seconds} s)\n`);
    }
  };
  await Promise.all(folders.map(worker));
} finally {
  remove();
}
process.stdout.write(`\n${chosen.length - survivors.length} of ${chosen.length} mutations are caught\n`);
for (const { name, file } of survivors) process.stdout.write(`survives: ${name} (${file})\n`);
process.exitCode = survivors.length === 0 ? 0 : 1;
