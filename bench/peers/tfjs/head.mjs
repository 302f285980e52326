// The head of a language model and its loss in TensorFlow.js, with the gradients of both operands.

import { measure, readOptions, report } from "../../shared/case.mjs";
import { headShape, headTargets, numbers } from "../../shared/llama.mjs";
import { fastProduct } from "./llama.mjs";
import { loadTensorFlow, versions } from "./setup.mjs";

const { threads, seconds } = readOptions();
const tf = await loadTensorFlow({ threads });
const { tokens: N, width: C, vocabulary: V } = headShape;
const x = tf.tensor(numbers(1, N * C), [N, C]);
const weight = tf.tensor(numbers(2, V * C), [V, C]);
const targets = headTargets();
const product = fastProduct(tf);

const lossAndGradients = tf.valueAndGrads((x, weight) => {
  const hot = tf.cast(tf.oneHot(tf.tensor1d(targets, "int32"), V), "float32");
  return tf.mul(tf.sum(tf.mul(tf.logSoftmax(product(x, tf.transpose(weight))), hot)), -1 / N);
});

let loss;
function run() {
  const { value, grads } = tf.tidy(() => lossAndGradients([x, weight]));
  [loss] = value.dataSync();
  tf.dispose([value, grads]);
}
const cases = { head: await measure(run, { seconds }) };
report({ versions, threads, cases, losses: [loss] });
