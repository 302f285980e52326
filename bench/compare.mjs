// dawngrad beside its peers on this machine, each in a process of its own, in turn.
// usage: node bench/compare.mjs [--only matmul,step,…] [--peers dawngrad,jax-js,…] [--backend wasm|webgpu|reference]
//                               [--threads N] [--rounds N] [--seconds S] [--limit S]
//                               [--sides 512,1024 --calls N] [--lengths 128,512,16384c] [--contexts 1024,4096]
//                               [--weights f32,bf16 --fillings 64,512 --models FOLDER] [--json] [--save FOLDER]
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { elementwiseReport, shapesReport } from "./compare/alone.mjs";
import { decodingReport, decodingSizes, modelFolder } from "./compare/decoding.mjs";
import { drawFigure, lengthFigure } from "./compare/figure.mjs";
import { evaluationReport, lengthsReport } from "./compare/long.mjs";
import { loraReport } from "./compare/lora.mjs";
import { attentionReport, definitionReport, headReport } from "./compare/parts.mjs";
import { commandOf, contestants } from "./compare/peers.mjs";
import { overSizes } from "./compare/rounds.mjs";
import { longest } from "./compare/run-script.mjs";
import { matmulReport, stepReport } from "./compare/side-by-side.mjs";
import { onlySize, readingSizes, stepSizes } from "./compare/sizes.mjs";

const workloads = {
  matmul: { report: matmulReport },
  step: { report: stepReport },
  elementwise: { report: elementwiseReport },
  shapes: { report: shapesReport },
  lengths: { report: lengthsReport, sizes: stepSizes, figure: { what: "training step", letter: "T" } },
  evaluation: { report: evaluationReport, sizes: readingSizes, figure: { what: "reading", letter: "W" } },
  attention: { report: attentionReport },
  "attention-definition": { report: definitionReport },
  head: { report: headReport },
  lora: { report: loraReport },
  decoding: {
    report: decodingReport,
    sizes: (options) => decodingSizes(options, decodingModels().folder),
    prepare: (sizes) => decodingModels().make(sizes),
  },
};
let models;
/** The folder of the models that are decoded, once. */
function decodingModels() {
  models ??= modelFolder(options);
  return models;
}
/** What is measured unless one asks for something: what takes minutes and not hours. */
const short = ["matmul", "step", "elementwise", "shapes"];

function fail(message) {
  console.error(message);
  process.exit(2);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        threads: { type: "string", default: "2" },
        rounds: { type: "string", default: "3" },
        seconds: { type: "string", default: "2" },
        limit: { type: "string", default: String(longest / 1e3) },
        only: { type: "string", default: short.join() },
        peers: { type: "string" },
        backend: { type: "string", default: "wasm" },
        sides: { type: "string" },
        calls: { type: "string" },
        lengths: { type: "string" },
        contexts: { type: "string" },
        weights: { type: "string" },
        fillings: { type: "string" },
        models: { type: "string" },
        json: { type: "boolean", default: false },
        save: { type: "string" },
      },
    }).values;
  } catch (error) {
    return fail(error.message);
  }
}
const options = readOptions();
const [threads, rounds, seconds, limit] = ["threads", "rounds", "seconds", "limit"].map((name) => Number(options[name]));
if (!(Number.isInteger(threads) && threads > 0)) fail(`--threads ${options.threads} is not a positive integer`);
if (!(Number.isInteger(rounds) && rounds > 0)) fail(`--rounds ${options.rounds} is not a positive integer`);
if (!(seconds > 0)) fail(`--seconds ${options.seconds} is not a positive number`);
if (!(limit > 0)) fail(`--limit ${options.limit} is not a positive number of seconds`);
if (!["wasm", "webgpu", "reference"].includes(options.backend)) fail(`--backend ${options.backend}: there are wasm, webgpu, reference`);
const chosen = options.only.split(",");
for (const name of chosen) if (!workloads[name]) fail(`--only ${name}: workloads are ${Object.keys(workloads).join(", ")}`);

const everyone = contestants(options);
const wanted = options.peers?.split(",") ?? everyone.map(({ name }) => name);
for (const name of wanted) {
  if (!everyone.some((peer) => peer.name === name)) fail(`--peers ${name}: there are ${everyone.map((peer) => peer.name).join(", ")}`);
}
/** Those of the wanted ones that have a part in what is measured. */
const taking = everyone.filter(({ name, scripts }) => wanted.includes(name) && chosen.some((workload) => scripts[workload]));
const present = taking.filter((peer) => peer.installed());
const missing = taking.filter((peer) => !present.includes(peer));

/** What the scripts of a workload get beside their times: products on a GPU are larger, and many are waited for together. */
const given = (workload) =>
  workload === "matmul" ? ["sides", "calls"].flatMap((name) => (options[name] ? [`--${name}`, options[name]] : [])) : [];

/** Everybody who takes part in a workload, in each way that differs from the others. */
const jobsOf = (workload) =>
  present
    .filter((peer) => peer.scripts[workload] && (peer.sized || given(workload).length === 0))
    .flatMap((peer) =>
      peer.ways
        .filter((way, i) => way.workloads.includes(workload) && (i === 0 || way.threads !== threads))
        .map((way) => ({ name: way.name, command: commandOf(peer, way, workload, { threads, seconds, arguments: given(workload) }) })),
    );

function sizesOf({ sizes }) {
  try {
    return sizes?.(options) ?? [onlySize];
  } catch (error) {
    return fail(error.message);
  }
}
const plan = chosen
  .map((name) => ({ name, ...workloads[name], sizes: sizesOf(workloads[name]), jobs: jobsOf(name) }))
  .filter(({ jobs }) => jobs.length > 0);

/** Processes that wanted a processor before anything was started here: what makes the figures noisy. */
const load = loadavg()[0];
const [results, texts, failed, versions, adapters] = [{}, [], [], {}, {}];
const runs = plan.reduce((sum, { sizes, jobs }) => sum + sizes.length * jobs.length * rounds, 0);
let started = 0;
process.on("exit", () => models?.remove());
process.once("SIGINT", () => process.exit(130));
for (const { name: workload, sizes, jobs, report, prepare } of plan) {
  await prepare?.(sizes);
  const onStart = ({ name, round, size }) =>
    console.error(`[${++started} of at most ${runs}] ${workload}${size ? `, ${size}` : ""}, round ${round} of ${rounds}: ${name}`);
  const measured = await overSizes(sizes, jobs, { rounds, limit: limit * 1e3, onStart });
  for (const { size, outcomes } of measured) {
    for (const { name, failure, results: runs } of outcomes) {
      if (failure) failed.push({ workload, size: size.label, name, failure });
      for (const run of runs) Object.assign(versions, run.versions);
      if (runs[0]?.adapter) adapters[name] = runs[0].adapter;
    }
  }
  const { results: numbers, text } = report(measured);
  results[workload] = numbers;
  if (text) texts.push(text);
}

const processor = cpus()[0]?.model ?? "unknown processor";
const absent = missing.map(({ name, remedy }) => ({ name, remedy }));
const { backend } = options;
const document = { processor, load, threads, rounds, backend, versions, adapters, results, missing: absent, failed };
const words = [
  `${processor} × ${cpus().length}, load before ${load.toFixed(1)}, ${threads} threads`,
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", "),
  ...Object.entries(adapters).map(([name, adapter]) => `${name} on ${adapter}`),
  `ms: median of ${rounds} rounds (least–greatest; in tables of lengths: time/dawngrad); best: fastest of all calls; ratios are of medians\n`,
  ...texts.map((text) => `${text}\n`),
  ...missing.map(({ name, remedy }) => `missing: ${name}; to install it: ${remedy}`),
  ...failed.map(({ workload, size, name, failure }) => `failed: ${name} in ${workload}${size ? `, ${size}` : ""}: ${failure}`),
].join("\n");
console.log(options.json ? JSON.stringify(document, null, 2) : words);
if (options.save !== undefined) await save(options.save);

/** Numbers, tables and figures into a folder. */
async function save(folder) {
  mkdirSync(folder, { recursive: true });
  const put = (name, content) => {
    writeFileSync(join(folder, name), content);
    console.error(`written: ${join(folder, name)}`);
  };
  put("results.json", `${JSON.stringify(document, null, 2)}\n`);
  put("tables.txt", `${words}\n`);
  for (const { name, figure } of plan) if (figure) put(`${name}.svg`, await drawFigure(lengthFigure(results[name], figure)));
}

/** What a peer cannot do at some length is a result; elsewhere, and of dawngrad, it is a fault. */
const faults = failed.filter(({ workload, name }) => workloads[workload].figure === undefined || name.startsWith("dawngrad"));
process.exitCode = faults.length > 0 || Object.values(results).some(({ agree }) => agree === false) ? 1 : 0;
