// One training step of the small Llama in jax-js: loss, gradients and AdamW under one jit.
//
// A function of jax-js takes its arguments over, so a value that is used n times needs `.ref` at n − 1 of them.

import { measure, once, readOptions, report } from "../../shared/case.mjs";
import { batchSize, comparedSteps, config, initialWeights, length, ropeAngles, tokens, training } from "../../shared/llama.mjs";
import { loadJax, versions } from "./setup.mjs";

const { threads, seconds } = readOptions();
const { blockUntilReady, jit, nn, numpy: np, tree, valueAndGrad } = await loadJax({ threads });
const { hidden_size: C, num_attention_heads: H, head_dim: D, rms_norm_eps, num_hidden_layers, vocab_size: V } = config;
const rows = batchSize * length;

const linear = (x, weight) => np.matmul(x, weight.transpose());

function norm(x, weight) {
  const meanSquare = np.mean(np.square(x.ref), -1, { keepdims: true });
  return x.div(np.sqrt(meanSquare.add(rms_norm_eps))).mul(weight);
}

/** Split-half rotation of x [B, T, H, D] by tables [T, 1, D/2]. */
function rope(x, cos, sin) {
  const first = x.ref.slice([], [], [], [0, D / 2]);
  const second = x.slice([], [], [], [D / 2, D]);
  return np.concatenate([first.ref.mul(cos.ref).sub(second.ref.mul(sin.ref)), second.mul(cos).add(first.mul(sin))], -1);
}

function attention(x, weights, { cos, sin }) {
  const heads = (weight) => linear(x.ref, weight).reshape([batchSize, length, H, D]);
  const q = rope(heads(weights.q), cos.ref, sin.ref);
  const k = rope(heads(weights.k), cos, sin);
  const v = heads(weights.v);
  x.dispose();
  return linear(nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([rows, C]), weights.o);
}

function feedForward(x, { gate, up, down }) {
  const gated = nn.silu(linear(x.ref, gate)).mul(linear(x, up));
  return linear(gated, down);
}

/** Takes everything over: weights, inputs and targets [B·T], tables. */
function loss(weights, { inputs, targets }, tables) {
  let x = np.take(weights.embedding, inputs, 0); // [B·T, C]
  for (const layer of weights.layers) {
    const shared = { cos: tables.cos.ref, sin: tables.sin.ref };
    x = x.ref.add(attention(norm(x, layer.attentionNorm), layer, shared));
    x = x.ref.add(feedForward(norm(x, layer.feedForwardNorm), layer));
  }
  tree.dispose(tables);
  const logits = linear(norm(x, weights.norm), weights.head); // [B·T, V]
  return nn
    .logSoftmax(logits, -1)
    .mul(nn.oneHot(targets, V))
    .sum()
    .mul(-1 / rows);
}

/** Decay applies to matrices alone. The corrections 1 − βᵗ are data, or each step would be compiled anew. */
function adamw(weight, gradient, m, v, correction1, correction2) {
  const { lr, betas, eps, weightDecay } = training;
  const decay = weight.ndim >= 2 ? weightDecay : 0;
  const newM = m.mul(betas[0]).add(gradient.ref.mul(1 - betas[0]));
  const newV = v.mul(betas[1]).add(np.square(gradient).mul(1 - betas[1]));
  const change = newM.ref.div(correction1).div(np.sqrt(newV.ref.div(correction2)).add(eps));
  return [weight.ref.sub(change.add(weight.mul(decay)).mul(lr)), newM, newV];
}

const step = jit((weights, m, v, correction1, correction2, batch, tables) => {
  const [value, gradients] = valueAndGrad(loss)(tree.ref(weights), batch, tables);
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

const named = new Map([...initialWeights()].map(([name, { data, shape }]) => [name, np.array(data, { shape })]));
let weights = {
  embedding: named.get("model.embed_tokens.weight"),
  layers: Array.from({ length: num_hidden_layers }, (_, i) => {
    const at = (name) => named.get(`model.layers.${i}.${name}.weight`);
    return {
      attentionNorm: at("input_layernorm"),
      q: at("self_attn.q_proj"),
      k: at("self_attn.k_proj"),
      v: at("self_attn.v_proj"),
      o: at("self_attn.o_proj"),
      feedForwardNorm: at("post_attention_layernorm"),
      gate: at("mlp.gate_proj"),
      up: at("mlp.up_proj"),
      down: at("mlp.down_proj"),
    };
  }),
  norm: named.get("model.norm.weight"),
  head: named.get("lm_head.weight"),
};
let m = tree.map((weight) => np.zeros(weight.shape), weights);
let v = tree.map((weight) => np.zeros(weight.shape), weights);

const { cos, sin } = ropeAngles();
const tables = { cos: np.array(cos, { shape: [length, 1, D / 2] }), sin: np.array(sin, { shape: [length, 1, D / 2] }) };
const batches = Array.from({ length: comparedSteps }, (_, i) => {
  const { inputs, targets } = tokens(i);
  return { inputs: np.array(inputs), targets: np.array(targets) };
});
await blockUntilReady([weights, m, v, tables, batches]);

const losses = [];
let count = 0;

async function train() {
  const batch = batches[count % batches.length];
  count++;
  const corrections = training.betas.map((beta) => np.array([1 - beta ** count]));
  const result = step(weights, m, v, ...corrections, tree.ref(batch), tree.ref(tables));
  ({ weights, m, v } = result);
  losses.push((await result.loss.data())[0]);
  await blockUntilReady([weights, m, v]);
}

const first = await once(train);
while (count < comparedSteps) await train();
const cases = { step: await measure(train, { seconds }) };
report({ versions, threads, cases, first, losses: losses.slice(0, comparedSteps) });
