// The head of a language model and its loss in jax-js, with the gradients of both operands.

import { measure, report } from "../../shared/case.mjs";
import { headShape, headTargets, numbers } from "../../shared/llama.mjs";
import { start, versions } from "./setup.mjs";

const { jax, adapter, threads, seconds } = await start();
const { blockUntilReady, jit, nn, numpy: np, tree, valueAndGrad } = jax;
const { tokens: N, width: C, vocabulary: V } = headShape;
const x = np.array(numbers(1, N * C), { shape: [N, C] });
const weight = np.array(numbers(2, V * C), { shape: [V, C] });
const targets = np.array(headTargets());
await blockUntilReady([x, weight, targets]);

const loss = ({ x, weight }, targets) =>
  nn
    .logSoftmax(np.matmul(x, weight.transpose()), -1)
    .mul(nn.oneHot(targets, V))
    .sum()
    .mul(-1 / N);
const lossAndGradients = jit(valueAndGrad(loss));

let value;
async function run() {
  const [loss, gradients] = lossAndGradients({ x: x.ref, weight: weight.ref }, targets.ref);
  [value] = await loss.data();
  await blockUntilReady(gradients);
  tree.dispose(gradients);
}
const cases = { head: await measure(run, { seconds }) };
report({ versions, adapter, threads, cases, losses: [value] });
