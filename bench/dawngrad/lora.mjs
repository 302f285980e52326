// One step of LoRA on a model of the shape of SmolLM2-135M in dawngrad: adapters of rank 8 beside all matrices of its layers, which are frozen.
import {
  adamw,
  applyLora,
  createTrainStep,
  key,
  Llama,
  languageBatch,
  languageLoss,
  llamaConfig,
  loraTrainable,
  mapTensors,
  modelFrequencies,
  plainPositions,
  realize,
  ropeTables,
  sync,
  tensor,
  trainablePart,
} from "dawngrad";
import { measureSteps, positiveInteger, report } from "../shared/case.mjs";
import { loraNumbers, loraShape, loraTokens } from "../shared/lora.mjs";
import { start, versions } from "./backend.mjs";

const { backend, threads, seconds, ...values } = await start({
  length: { type: "string", default: "256" },
  compared: { type: "string", default: "2" },
  checkpoint: { type: "boolean", default: false },
});
const [length, compared] = ["length", "compared"].map((name) => positiveInteger(name, values[name]));
const { rank, alpha, lr, ...sizes } = loraShape;

const config = llamaConfig(sizes);
const shapes = applyLora(new Llama(config, { key: key(0) }), { rank, alpha });
let place = 0;
let model = mapTensors(shapes, ({ shape, size }, path) => {
  if (path.includes("lora_B")) return tensor(new Float32Array(size), { shape });
  return tensor(shape.length === 1 ? new Float32Array(size).fill(1) : loraNumbers(place++, size, path.includes("lora_A")), { shape });
});
const optimizer = adamw({ weightDecay: 0 });
let state = optimizer.init(trainablePart(model, loraTrainable)[0]);
const { checkpoint } = values;
const step = createTrainStep({ optimizer, trainable: loraTrainable, loss: (at, batch) => languageLoss(at, batch, { checkpoint }) });
const tables = ropeTables(plainPositions({ length }), modelFrequencies(config));
const batches = Array.from({ length: compared }, (_, i) => languageBatch({ ...loraTokens(i, length), batch: 1, length }, tables));
await realize(model, state, batches);

const losses = [];
const processor = [];
let count = 0;
async function train() {
  const before = process.cpuUsage();
  let metrics;
  [model, state, metrics] = step(model, state, batches[count++ % batches.length], lr);
  losses.push(await metrics.loss.item());
  await sync();
  const { user, system } = process.cpuUsage(before);
  processor.push((user + system) / 1e3);
}

const { first, step: milliseconds } = await measureSteps(train, { seconds, compared });
await backend.close();
const cases = { step: milliseconds, processor: processor.slice(-milliseconds.length) };
report({ versions, adapter: backend.info.adapter, threads, length, cases, first, losses: losses.slice(0, compared) });
