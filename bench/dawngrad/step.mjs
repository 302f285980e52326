// One training step of the small Llama in dawngrad: loss, gradients and AdamW as one compiled program.
import { adamw, compile, languageBatch, languageLoss, realize, sync, valueAndGrad } from "dawngrad";
import { measureSteps, positiveInteger, report } from "../shared/case.mjs";
import { batchOf, comparedSteps, textOptions, tokens, training } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";
import { smallLlama } from "./llama.mjs";

const { backend, threads, seconds, ...values } = await start({
  ...textOptions,
  compared: { type: "string", default: String(comparedSteps) },
  checkpoint: { type: "boolean", default: false },
});
const { checkpoint } = values;
const length = positiveInteger("length", values.length);
const compared = positiveInteger("compared", values.compared);
const batch = batchOf(length, positiveInteger("tokens", values.tokens));

const { lr, ...options } = training;
const optimizer = adamw(options);
const step = compile(
  (model, state, texts, rate) => {
    const [loss, grads] = valueAndGrad((at) => languageLoss(at, texts, { checkpoint }))(model);
    return [...optimizer.update(model, grads, state, { lr: rate }), loss];
  },
  { donate: [0, 1] },
);

const llama = smallLlama(length);
let { model } = llama;
let state = optimizer.init(model);
const batches = Array.from({ length: compared }, (_, i) => languageBatch({ ...tokens(i, { batch, length }), batch, length }, llama.tables));
await realize(model, state, batches);

const losses = [];
let count = 0;

async function train() {
  let loss;
  [model, state, loss] = step(model, state, batches[count++ % batches.length], lr);
  losses.push(await loss.item());
  await sync();
}

const { first, step: milliseconds } = await measureSteps(train, { seconds, compared });
await backend.close();
const cases = { step: milliseconds };
report({ versions, adapter: backend.info.adapter, threads, batch, length, cases, first, losses: losses.slice(0, compared) });
