// One training step of the small Llama in dawngrad: loss, gradients and AdamW as one compiled program.
import {
  adamw,
  compile,
  key,
  Llama,
  languageBatch,
  languageLoss,
  llamaConfig,
  mapTensors,
  realize,
  sync,
  tensor,
  valueAndGrad,
} from "dawngrad";
import { measure, once, report } from "../shared/case.mjs";
import { batchSize, comparedSteps, config, initialWeights, length, ropeAngles, tokens, training } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";

const { backend, threads, seconds } = await start();
const { lr, ...options } = training;
const optimizer = adamw(options);
const step = compile(
  (model, state, batch, rate) => {
    const [loss, grads] = valueAndGrad((at) => languageLoss(at, batch))(model);
    return [...optimizer.update(model, grads, state, { lr: rate }), loss];
  },
  { donate: [0, 1] },
);

const given = initialWeights();
const place = ({ data, shape }) => tensor(data, { shape });
let model = mapTensors(new Llama(llamaConfig(config), { key: key(0) }), (_, path) => place(given.get(path)));
let state = optimizer.init(model);

const { cos, sin } = ropeAngles();
const tables = { cos, sin, rows: 1, length, half: config.head_dim / 2 };
const batches = Array.from({ length: comparedSteps }, (_, i) => languageBatch({ ...tokens(i), batch: batchSize, length }, tables));
await realize(model, state, batches);

const losses = [];
let count = 0;

async function train() {
  let loss;
  [model, state, loss] = step(model, state, batches[count++ % batches.length], lr);
  losses.push(await loss.item());
  await sync();
}

const first = await once(train);
while (count < comparedSteps) await train();
const cases = { step: await measure(train, { seconds }) };
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, cases, first, losses: losses.slice(0, comparedSteps) });
