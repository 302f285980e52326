// Causal attention by itself in TensorFlow.js, written out: forward, and forward with the gradients of q, k and v.

import { measureInTurn, positiveInteger, readOptions, report } from "../../shared/case.mjs";
import { attentionShape, numbers } from "../../shared/llama.mjs";
import { attention, causalMask } from "./llama.mjs";
import { loadTensorFlow, versions } from "./setup.mjs";

const { threads, seconds, ...values } = readOptions({ length: { type: "string", default: String(attentionShape.length) } });
const length = positiveInteger("length", values.length);
const tf = await loadTensorFlow({ threads });
const { heads, headDim } = attentionShape;
const array = (seed) => tf.tensor(numbers(seed, heads * length * headDim), [1, heads, length, headDim]);
const [q, k, v, cotangent] = [1, 2, 3, 4].map(array);
const mask = causalMask(tf, length);
const attend = (q, k, v) => attention(tf, q, k, v, mask);
const gradients = tf.grads(attend);

const cases = await measureInTurn(
  { forward: () => tf.tidy(() => attend(q, k, v)).dispose(), both: () => tf.dispose(tf.tidy(() => gradients([q, k, v], cotangent))) },
  { seconds },
);
report({ versions, threads, length, cases });
