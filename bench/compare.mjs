// dawngrad beside its peers on this machine, each in a process of its own, in turn.
// usage: node bench/compare.mjs [--threads N] [--rounds N] [--seconds S] [--only matmul,step,elementwise,shapes]
//                               [--peers dawngrad,jax-js,…] [--backend wasm|webgpu|reference] [--json]
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { elementwiseReport, shapesReport } from "./compare/alone.mjs";
import { contestants } from "./compare/peers.mjs";
import { inTurn } from "./compare/rounds.mjs";
import { matmulReport, stepReport } from "./compare/side-by-side.mjs";

const workloads = ["matmul", "step", "elementwise", "shapes"];
const { values: options } = parseArgs({
  options: {
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "2" },
    only: { type: "string", default: workloads.join() },
    peers: { type: "string" },
    backend: { type: "string", default: "wasm" },
    json: { type: "boolean", default: false },
  },
});

function fail(message) {
  console.error(message);
  process.exit(2);
}
const [threads, rounds, seconds] = [Number(options.threads), Number(options.rounds), Number(options.seconds)];
if (!(Number.isInteger(threads) && threads > 0)) fail(`--threads ${options.threads} is not a positive integer`);
if (!(Number.isInteger(rounds) && rounds > 0)) fail(`--rounds ${options.rounds} is not a positive integer`);
if (!(seconds > 0)) fail(`--seconds ${options.seconds} is not a positive number`);
const chosen = options.only.split(",");
for (const name of chosen) if (!workloads.includes(name)) fail(`--only ${name}: workloads are ${workloads.join(", ")}`);

const everyone = contestants(options);
const wanted = options.peers?.split(",") ?? everyone.map(({ name }) => name);
for (const name of wanted) {
  if (!everyone.some((peer) => peer.name === name)) fail(`--peers ${name}: there are ${everyone.map((peer) => peer.name).join(", ")}`);
}
/** Those of the wanted ones that have a part in what is measured; dawngrad has one in everything. */
const taking = everyone.filter(
  ({ name, scripts }) => wanted.includes(name) && (name === "dawngrad" || chosen.some((workload) => scripts[workload])),
);
const present = taking.filter((peer) => peer.installed());
const missing = taking.filter((peer) => !present.includes(peer));

const timing = (count) => ["--threads", String(count), "--seconds", String(seconds)];
/** The command of a script with options for Node before it. */
const withNodeOptions = ([program, ...rest], nodeOptions = []) => [program, ...nodeOptions, ...rest];

/** Everybody who takes part in a workload, and the other ways to run them that differ from the first. */
const jobsOf = (workload) =>
  present
    .filter((peer) => peer.scripts[workload])
    .flatMap(({ name, scripts, start, variants = [] }) => {
      const own = variants.filter((variant) => variant.workloads.includes(workload) && (variant.threads ?? 0) !== threads);
      return [{ name, threads }, ...own].map((way) => ({
        name: way.name,
        command: [...withNodeOptions(start(scripts[workload]), way.nodeOptions), ...timing(way.threads ?? threads)],
      }));
    });

function ownJob(script) {
  const own = present.find((peer) => peer.name === "dawngrad");
  return own ? [{ name: "dawngrad", command: [...own.start(script), ...timing(threads)] }] : [];
}

const plan = {
  matmul: { jobs: jobsOf("matmul"), describe: matmulReport },
  step: { jobs: jobsOf("step"), describe: stepReport },
  elementwise: { jobs: ownJob("dawngrad/elementwise.mjs"), describe: elementwiseReport },
  shapes: { jobs: ownJob("dawngrad/shapes.mjs"), describe: shapesReport },
};

/** Processes that wanted a processor before anything was started here: what makes the figures noisy. */
const load = loadavg()[0];
const [results, texts, failed, versions] = [{}, [], [], {}];
for (const workload of chosen) {
  const { jobs, describe } = plan[workload];
  if (jobs.length === 0) continue;
  const outcomes = await inTurn(jobs, { rounds, label: workload });
  for (const { name, failure, results: runs } of outcomes) {
    if (failure) failed.push({ workload, name, failure });
    for (const run of runs) Object.assign(versions, run.versions);
  }
  const { results: numbers, text } = describe(outcomes);
  results[workload] = numbers;
  if (text) texts.push(text);
}

const processor = cpus()[0]?.model ?? "unknown processor";
if (options.json) {
  const absent = missing.map(({ name, remedy }) => ({ name, remedy }));
  console.log(
    JSON.stringify({ processor, load, threads, rounds, backend: options.backend, versions, results, missing: absent, failed }, null, 2),
  );
} else {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  console.log(`${processor} × ${cpus().length}, load before ${load.toFixed(1)}, ${threads} threads`);
  console.log(`${list.join(", ")}\nms: median of ${rounds} rounds (least–greatest); best: fastest of all calls; ratios are of medians\n`);
  for (const text of texts) console.log(`${text}\n`);
  for (const { name, remedy } of missing) console.log(`missing: ${name}; to install it: ${remedy}`);
  for (const { workload, name, failure } of failed) console.log(`failed: ${name} in ${workload}: ${failure}`);
}
process.exitCode = failed.length > 0 || results.step?.agree === false ? 1 : 0;
