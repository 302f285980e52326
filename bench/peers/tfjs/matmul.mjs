// Square f32 matrix products in TensorFlow.js. Its WebAssembly backend computes at once, so there is nothing to wait for.

import { measure, readOptions, report } from "../../shared/case.mjs";
import { matmulSides, squareMatrix } from "../../shared/llama.mjs";
import { loadTensorFlow, versions } from "./setup.mjs";

const { threads, seconds } = readOptions();
const tf = await loadTensorFlow({ threads });
const cases = {};
for (const side of matmulSides) {
  const matrix = (seed) => tf.tensor(squareMatrix(seed, side), [side, side]);
  const [a, b] = [matrix(1), matrix(2)];
  cases[`matmul ${side}³`] = await measure(() => tf.matMul(a, b).dispose(), { seconds });
}
report({ versions, threads, cases });
