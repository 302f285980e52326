// Rates of the engine's main kernels on this machine's best backend, and of one training step of a small Llama.
// usage: npm run bench -- [--backend NAME] [--adapter NAME] [--threads N] [--seconds S] [--json]
import { parseArgs } from "node:util";
import Benchmark from "benchmark";
import {
  adamw,
  compile,
  createTrainStep,
  init,
  key,
  Llama,
  languageBatch,
  languageLoss,
  llamaConfig,
  matmul,
  plainPositions,
  randn,
  realize,
  rmsNorm,
  ropeFrequencies,
  ropeTables,
  sync,
} from "dawngrad";

const { values: options } = parseArgs({
  options: {
    backend: { type: "string" },
    adapter: { type: "string" },
    threads: { type: "string" },
    seconds: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const { backend: name, adapter, threads } = options;
const backend = await init({ backend: name, adapter, ...(threads === undefined ? {} : { threads: Number(threads) }) });
const cases = [];

/** A compiled function of realised tensors, with the work that one call does. */
async function add(name, unit, work, f, ...args) {
  await realize(...args);
  const compiled = compile(f);
  cases.push({ name, unit, work, run: () => compiled(...args) });
}

const matrix = (seed, ...shape) => randn(key(seed), shape);
for (const n of [128, 256, 512, 1024]) await add(`matmul ${n}³`, "GFLOP/s", (2 * n ** 3) / 1e9, matmul, matrix(1, n, n), matrix(2, n, n));
await add(
  "matmul 2048×64 · (256×64)ᵀ",
  "GFLOP/s",
  (2 * 2048 * 64 * 256) / 1e9,
  (a, b) => matmul(a, b.transpose()),
  matrix(1, 2048, 64),
  matrix(2, 256, 64),
);
await add(
  "one row: 1×1024 · (1024×1024)ᵀ",
  "GFLOP/s",
  (2 * 1024 * 1024) / 1e9,
  (a, b) => matmul(a, b.transpose()),
  matrix(1, 1, 1024),
  matrix(2, 1024, 1024),
);
await add("softmax 2048×256", "GB/s", (2 * 4 * 2048 * 256) / 1e9, (x) => x.softmax(), matrix(1, 2048, 256));
await add("rmsNorm 2048×256", "GB/s", (2 * 4 * 2048 * 256) / 1e9, (x, w) => rmsNorm(x, w), matrix(1, 2048, 256), matrix(2, 256));

{
  const [T, B] = [64, 8];
  const config = llamaConfig({ vocab_size: 256, hidden_size: 64, intermediate_size: 176, num_hidden_layers: 2, num_attention_heads: 2 });
  const optimizer = adamw();
  const step = createTrainStep({ optimizer, loss: languageLoss, maxNorm: 1 });
  let model = new Llama(config, { key: key(1) });
  await realize(model);
  let state = optimizer.init(model);
  const tables = ropeTables(plainPositions({ length: T }), ropeFrequencies({ type: "default" }, { headDim: 32, theta: 10000 }));
  const tokens = () => Int32Array.from({ length: B * T }, (_, i) => (i * 7919) % 256);
  const batch = languageBatch({ inputs: tokens(), targets: tokens(), batch: B, length: T }, tables);
  cases.push({
    name: `Llama training step (2 layers, width 64, ${B}×${T} tokens)`,
    unit: "ktokens/s",
    work: (B * T) / 1e3,
    run: () => {
      [model, state] = step(model, state, batch, 1e-3);
    },
  });
}

const results = [];
for (const { name, unit, work, run } of cases) {
  run();
  await sync(); // compilation is no part of a rate
  const stats = await new Promise((resolve, reject) => {
    new Benchmark(name, {
      defer: true,
      maxTime: Number(options.seconds),
      minSamples: 5,
      fn: (deferred) => {
        run();
        sync().then(() => deferred.resolve(), reject);
      },
      onComplete: (event) => resolve(event.target.stats),
    }).run({ async: true });
  });
  const sorted = [...stats.sample].sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  results.push({ name, unit, rate: work / median, milliseconds: median * 1e3, samples: sorted.length });
  if (!options.json)
    console.log(
      `${name.padEnd(52)} ${(work / median).toFixed(2).padStart(9)} ${unit.padEnd(10)} ${(median * 1e3).toFixed(2).padStart(9)} ms, ${sorted.length} samples`,
    );
}
if (options.json) console.log(JSON.stringify({ adapter: backend.info.adapter, results }, null, 2));
else console.log(`on ${backend.info.adapter}`);
await backend.close();
