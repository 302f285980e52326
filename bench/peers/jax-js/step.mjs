// One training step of the small Llama in jax-js: loss, gradients and AdamW under one jit.

import { measureSteps, positiveInteger, report } from "../../shared/case.mjs";
import { batchOf, comparedSteps, textOptions, tokens, training } from "../../shared/llama.mjs";
import { smallLlama } from "./llama.mjs";
import { start, versions } from "./setup.mjs";

const { jax, adapter, threads, seconds, ...values } = await start({
  ...textOptions,
  compared: { type: "string", default: String(comparedSteps) },
});
const length = positiveInteger("length", values.length);
const compared = positiveInteger("compared", values.compared);
const batch = batchOf(length, positiveInteger("tokens", values.tokens));
const { blockUntilReady, jit, numpy: np, tree, valueAndGrad } = jax;
const llama = smallLlama(jax, { batch, length });

const loss = (...given) =>
  llama
    .losses(...given)
    .sum()
    .mul(1 / (batch * length));

/** Decay applies to matrices alone. The corrections 1 − βᵗ are data, or each step would be compiled anew. */
function adamw(weight, gradient, m, v, correction1, correction2) {
  const { lr, betas, eps, weightDecay } = training;
  const decay = weight.ndim >= 2 ? weightDecay : 0;
  const newM = m.mul(betas[0]).add(gradient.ref.mul(1 - betas[0]));
  const newV = v.mul(betas[1]).add(np.square(gradient).mul(1 - betas[1]));
  const change = newM.ref.div(correction1).div(np.sqrt(newV.ref.div(correction2)).add(eps));
  return [weight.ref.sub(change.add(weight.mul(decay)).mul(lr)), newM, newV];
}

const step = jit((weights, m, v, correction1, correction2, texts, tables) => {
  const [value, gradients] = valueAndGrad(loss)(tree.ref(weights), texts, tables);
  const [leaves, structure] = tree.flatten(weights);
  const [g, oldM, oldV] = [gradients, m, v].map(tree.leaves);
  const updated = leaves.map((leaf, i) => adamw(leaf, g[i], oldM[i], oldV[i], correction1.ref, correction2.ref));
  tree.dispose([correction1, correction2]);
  const column = (which) =>
    tree.unflatten(
      structure,
      updated.map((parts) => parts[which]),
    );
  return { loss: value, weights: column(0), m: column(1), v: column(2) };
});

let { weights } = llama;
let m = tree.map((weight) => np.zeros(weight.shape), weights);
let v = tree.map((weight) => np.zeros(weight.shape), weights);
const batches = Array.from({ length: compared }, (_, i) => {
  const { inputs, targets } = tokens(i, { batch, length });
  return { inputs: np.array(inputs), targets: np.array(targets) };
});
await blockUntilReady([weights, m, v, llama.tables, batches]);

const losses = [];
let count = 0;

async function train() {
  const texts = batches[count % batches.length];
  count++;
  const corrections = training.betas.map((beta) => np.array([1 - beta ** count]));
  const result = step(weights, m, v, ...corrections, tree.ref(texts), tree.ref(llama.tables));
  ({ weights, m, v } = result);
  losses.push((await result.loss.data())[0]);
  await blockUntilReady([weights, m, v]);
}

const { first, step: milliseconds } = await measureSteps(train, { seconds, compared });
report({ versions, adapter, threads, batch, length, cases: { step: milliseconds }, first, losses: losses.slice(0, compared) });
