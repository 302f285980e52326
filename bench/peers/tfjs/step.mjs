// One training step of the small Llama in TensorFlow.js. It has no AdamW, so matrices decay by hand between the gradients and
// its Adam, which comes to the same. The WebAssembly backend cannot differentiate a gather, so tokens become one-hot rows.

import { measure, once, readOptions, report } from "../../shared/case.mjs";
import { batchSize, comparedSteps, config, initialWeights, length, ropeAngles, tokens, training } from "../../shared/llama.mjs";
import { loadTensorFlow, versions } from "./setup.mjs";

const { threads, seconds } = readOptions();
const tf = await loadTensorFlow({ threads });
const { hidden_size: C, num_attention_heads: H, head_dim: D, rms_norm_eps, num_hidden_layers, vocab_size: V } = config;
const rows = batchSize * length;

const weights = new Map([...initialWeights()].map(([name, { data, shape }]) => [name, tf.variable(tf.tensor(data, shape), true, name)]));
const weight = (name) => weights.get(`${name}.weight`);

/**
 * a·b of matrices. The fast product of the WebAssembly backend takes neither flags for transposed operands, which the built-in
 * gradient of matMul asks for, nor batches; all else goes to plain loops that are ten times slower. Transposing first avoids them.
 */
const product = tf.customGrad((a, b, save) => {
  save([a, b]);
  const gradFunc = (dy, [a, b]) => [tf.matMul(dy, tf.transpose(b)), tf.matMul(tf.transpose(a), dy)];
  return { value: tf.matMul(a, b), gradFunc };
});
const linear = (x, name) => product(x, tf.transpose(weight(name)));

const { cos: cosines, sin: sines, shape: tableShape } = ropeAngles();
const [cos, sin] = [tf.tensor(cosines, tableShape), tf.tensor(sines, tableShape)];
/** Added to the scores: nothing where the key is not later than the query. */
const mask = tf.tensor(
  Float32Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? -1e30 : 0)),
  [length, length],
);

function norm(x, name) {
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), rms_norm_eps));
  return tf.mul(tf.mul(x, scale), weight(name));
}

/** Split-half rotation of x [B, H, T, D]. */
function rope(x) {
  const [first, second] = tf.split(x, 2, -1);
  return tf.concat([tf.sub(tf.mul(first, cos), tf.mul(second, sin)), tf.add(tf.mul(second, cos), tf.mul(first, sin))], -1);
}

function attention(x, layer) {
  const heads = (name) => tf.transpose(tf.reshape(linear(x, `${layer}.self_attn.${name}`), [batchSize, length, H, D]), [0, 2, 1, 3]);
  const [q, k, v] = [rope(heads("q_proj")), rope(heads("k_proj")), heads("v_proj")];
  const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), D ** -0.5), mask);
  const y = tf.reshape(tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]), [rows, C]);
  return linear(y, `${layer}.self_attn.o_proj`);
}

function feedForward(x, layer) {
  const gate = linear(x, `${layer}.mlp.gate_proj`);
  return linear(tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(x, `${layer}.mlp.up_proj`)), `${layer}.mlp.down_proj`);
}

/** inputs, targets: one-hot rows [B·T, V] */
function loss({ inputs, targets }) {
  let x = product(inputs, weight("model.embed_tokens")); // [B·T, C]
  for (let i = 0; i < num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    x = tf.add(x, attention(norm(x, `${layer}.input_layernorm`), layer));
    x = tf.add(x, feedForward(norm(x, `${layer}.post_attention_layernorm`), layer));
  }
  const logits = linear(norm(x, "model.norm"), "lm_head"); // [B·T, V]
  return tf.mul(tf.sum(tf.mul(tf.logSoftmax(logits), targets)), -1 / rows);
}

const { lr, betas, eps, weightDecay } = training;
const adam = tf.train.adam(lr, ...betas, eps);
const matrices = [...weights.values()].filter((variable) => variable.rank >= 2);
const batches = Array.from({ length: comparedSteps }, (_, i) => tokens(i));
const losses = [];
let count = 0;

function train() {
  const { inputs, targets } = batches[count++ % batches.length];
  const value = tf.tidy(() => {
    const hot = (data) => tf.cast(tf.oneHot(tf.tensor1d(data, "int32"), V), "float32"); // asked for f32, oneHot writes integers
    const batch = { inputs: hot(inputs), targets: hot(targets) };
    const { value, grads } = adam.computeGradients(() => loss(batch));
    for (const variable of matrices) variable.assign(tf.mul(variable, 1 - lr * weightDecay));
    adam.applyGradients(grads);
    return value;
  });
  losses.push(value.dataSync()[0]);
  value.dispose();
}

const first = await once(train);
while (count < comparedSteps) train();
const { numTensors } = tf.memory();
const cases = { step: await measure(train, { seconds }) };
if (tf.memory().numTensors !== numTensors) throw new Error("the step leaks tensors");
report({ versions, threads, cases, first, losses: losses.slice(0, comparedSteps) });
