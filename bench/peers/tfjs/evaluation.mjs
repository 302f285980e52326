// TensorFlow.js reads one text of W tokens: the loss of each, by one forward pass.

import { measure, positiveInteger, readOptions, report } from "../../shared/case.mjs";
import { textOptions, tokens } from "../../shared/llama.mjs";
import { smallLlama } from "./llama.mjs";
import { loadTensorFlow, versions } from "./setup.mjs";

const { threads, seconds, ...values } = readOptions({ length: textOptions.length });
const length = positiveInteger("length", values.length);
const tf = await loadTensorFlow({ threads });
const { losses } = smallLlama(tf, { batch: 1, length });
const text = tokens(0, { batch: 1, length });

let nats;
function read() {
  const found = tf.tidy(() => losses(text));
  nats = found.dataSync().reduce((sum, loss) => sum + loss, 0) / length;
  found.dispose();
}

const cases = { read: await measure(read, { seconds }) };
report({ versions, threads, length, cases, losses: [nats] });
