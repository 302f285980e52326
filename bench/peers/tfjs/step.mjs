// One training step of the small Llama in TensorFlow.js. It has no AdamW, so matrices decay by hand between the gradients and
// its Adam, which comes to the same.

import { measureSteps, positiveInteger, readOptions, report } from "../../shared/case.mjs";
import { batchOf, comparedSteps, textOptions, tokens, training } from "../../shared/llama.mjs";
import { smallLlama } from "./llama.mjs";
import { loadTensorFlow, versions } from "./setup.mjs";

const { threads, seconds, ...values } = readOptions({ ...textOptions, compared: { type: "string", default: String(comparedSteps) } });
const length = positiveInteger("length", values.length);
const compared = positiveInteger("compared", values.compared);
const batch = batchOf(length, positiveInteger("tokens", values.tokens));
const tf = await loadTensorFlow({ threads });
const llama = smallLlama(tf, { batch, length });

const { lr, betas, eps, weightDecay } = training;
const adam = tf.train.adam(lr, ...betas, eps);
const matrices = [...llama.weights.values()].filter((variable) => variable.rank >= 2);
const batches = Array.from({ length: compared }, (_, i) => tokens(i, { batch, length }));
const losses = [];
let count = 0;

function train() {
  const texts = batches[count++ % batches.length];
  const value = tf.tidy(() => {
    const { value, grads } = adam.computeGradients(() => tf.mul(tf.sum(llama.losses(texts)), 1 / (batch * length)));
    for (const variable of matrices) variable.assign(tf.mul(variable, 1 - lr * weightDecay));
    adam.applyGradients(grads);
    return value;
  });
  losses.push(value.dataSync()[0]);
  value.dispose();
  tensorsAfter.push(tf.memory().numTensors);
}

/** Tensors that are there after each step: as many after all but the first, which makes the optimizer's. */
const tensorsAfter = [];
const { first, step } = await measureSteps(train, { seconds, compared });
if (tensorsAfter.at(-1) !== tensorsAfter[0]) throw new Error("the step leaks tensors");
report({ versions, threads, batch, length, cases: { step }, first, losses: losses.slice(0, compared) });
