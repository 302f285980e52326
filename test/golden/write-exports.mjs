/**
 * Writes what make_ropes.py gives to Hugging Face's transformers: schedules.json, with the keys that `toHfRope` writes for schedules of every
 * type, and the folders g2 and g4, with the model of test/golden/llama exported at two scales of E²-LLM.
 *
 *     npm run build && node test/golden/write-exports.mjs FOLDER
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { init, loadModel, saveModel, toHfRope } from "../../dist/index.js";

const folder = process.argv[2];
if (folder === undefined) throw new Error("name a folder");
mkdirSync(folder, { recursive: true });

const ofShape = (headDim, theta, window) => {
  const half = headDim / 2;
  const W = { originalMaxPositions: window };
  const short = Array.from({ length: half }, (_, j) => 1 + j / headDim);
  const long = Array.from({ length: half }, (_, j) => 1 + (7 * j) / half);
  const yarn = { type: "yarn", factor: 8, ...W };
  return [
    { type: "default" },
    { type: "linear", factor: 8 },
    { type: "linear", factor: 2.5 },
    { type: "ntk", factor: 4 },
    { type: "dynamic", factor: 1, ...W, seqLen: 8 * window },
    { type: "dynamic", factor: 2, ...W, seqLen: 3 * window + 1 },
    { type: "dynamic", factor: 2, ...W, seqLen: window },
    { type: "ntk-mixed", factor: 8 },
    { type: "abf", theta: 50 * theta },
    { type: "ntk-by-parts", factor: 8, ...W },
    { type: "ntk-by-parts", factor: 4, ...W, ramp: "index", betaFast: 8 },
    { ...yarn, factor: 4 },
    yarn,
    { ...yarn, betaFast: 4, betaSlow: 0.5, truncate: false },
    { ...yarn, attentionFactor: 1.25 },
    { ...yarn, mscale: 1, mscaleAllDim: 0.5 },
    { ...yarn, ramp: "turns", betaFast: 4 },
    { type: "llama3", factor: 8, ...W },
    { type: "llama3", factor: 4, ...W, lowFreqFactor: 0.5, highFreqFactor: 6 },
    { type: "longrope", factor: 8, ...W, shortFactor: short, longFactor: long, seqLen: window },
    { type: "longrope", factor: 8, ...W, shortFactor: short, longFactor: long, seqLen: window + 1 },
    { type: "longrope", factor: 4, ...W, shortFactor: short, longFactor: long, seqLen: 4 * window, attentionFactor: 1 },
    { type: "proportional" },
    { type: "proportional", partialRotaryFactor: 0.5 },
    { type: "proportional", partialRotaryFactor: 0.3, factor: 4 },
    { type: "resonance" },
    { type: "resonance", on: yarn },
    { type: "power", exponent: 0.1, on: { type: "linear", factor: 4 } },
    { type: "truncated", ...W, zeroBeyond: 1e9, on: { type: "ntk", factor: 4 } },
  ].map((scaling) => {
    const options = { headDim, theta, window };
    return { options, scaling, length: scaling.seqLen ?? 2 * window, config: toHfRope(scaling, options) };
  });
};
const schedules = [ofShape(16, 10_000, 64), ofShape(64, 500_000, 512), ofShape(128, 10_000, 1024)].flat();
writeFileSync(`${folder}/schedules.json`, JSON.stringify(schedules));

await init({ backend: "reference" });
const model = await loadModel(fileURLToPath(new URL("llama/", import.meta.url)));
const { head_dim: headDim, rope_theta: theta, max_position_embeddings: window } = model.config;
for (const factor of [2, 4]) {
  // No token ends a text, so that greedy generation has its full length.
  const extraConfig = { ...toHfRope({ type: "linear", factor }, { headDim, theta, window }), bos_token_id: null, eos_token_id: null };
  await saveModel(`${folder}/g${factor}`, model, { extraConfig });
}
