// The property suite: node scripts/properties.mjs [--long] [--seed N|random] [arguments of vitest]
//
// `--long` makes 10,000 random programs in place of some hundred; `--seed` draws other cases than the fixed ones, and prints which.

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const usage = "usage: npm run test:properties -- [--long] [--seed N|random] [arguments of vitest]";
const { values, tokens } = parseArgs({
  options: { long: { type: "boolean" }, seed: { type: "string" }, help: { type: "boolean" } },
  strict: false,
  allowPositionals: true,
  tokens: true,
});
if (values.help) {
  process.stdout.write(`${usage}\n`);
  process.exit(0);
}
const seed = values.seed === "random" ? randomInt(2 ** 31) : values.seed === undefined ? undefined : Number(values.seed);
if (seed !== undefined && (values.seed === "" || !Number.isInteger(seed) || Math.abs(seed) >= 2 ** 31)) {
  process.stderr.write(`--seed must be random or a whole number below 2^31, found ${values.seed}\n${usage}\n`);
  process.exit(2);
}
const own = new Set(["long", "seed"]);
const others = tokens.flatMap((token) => {
  if (token.kind === "positional") return [token.value];
  if (token.kind !== "option" || own.has(token.name)) return [];
  return [token.value === undefined ? token.rawName : `${token.rawName}=${token.value}`];
});

const env = {
  ...process.env,
  // Mesa's software driver would spend most of the time on optimizing kernels that run once.
  GALLIVM_PERF: process.env.GALLIVM_PERF ?? "nopt",
  FUZZ_RUNS: values.long ? "10000" : (process.env.FUZZ_RUNS ?? "400"),
  ...(seed === undefined ? {} : { FUZZ_SEED: String(seed) }),
};
if (seed !== undefined) process.stdout.write(`seed ${seed}: npm run test:properties -- --seed ${seed} gives the same cases again\n`);
const vitest = fileURLToPath(new URL("../node_modules/vitest/vitest.mjs", import.meta.url));
const folder = others.some((each) => each.startsWith("test/")) ? [] : ["test/properties"];
const child = spawn(process.execPath, [vitest, "run", ...folder, ...others], { stdio: "inherit", env });
child.on("close", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
