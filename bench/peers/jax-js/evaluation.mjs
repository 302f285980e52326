// jax-js reads one text of W tokens: the loss of each, by one jitted forward pass.

import { measure, positiveInteger, report } from "../../shared/case.mjs";
import { textOptions, tokens } from "../../shared/llama.mjs";
import { smallLlama } from "./llama.mjs";
import { start, versions } from "./setup.mjs";

const { jax, adapter, threads, seconds, ...values } = await start({ length: textOptions.length });
const length = positiveInteger("length", values.length);
const { blockUntilReady, jit, numpy: np, tree } = jax;
const { losses, weights, tables } = smallLlama(jax, { batch: 1, length });
const score = jit(losses);
const { inputs, targets } = tokens(0, { batch: 1, length });
const text = { inputs: np.array(inputs), targets: np.array(targets) };
await blockUntilReady([weights, tables, text]);

let nats;
async function read() {
  const found = await score(tree.ref(weights), tree.ref(text), tree.ref(tables)).data();
  nats = found.reduce((sum, loss) => sum + loss, 0) / length;
}

const cases = { read: await measure(read, { seconds }) };
report({ versions, adapter, threads, length, cases, losses: [nats] });
