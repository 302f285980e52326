// Square f32 matrix products in jax-js.

import { measure, readOptions, report } from "../../shared/case.mjs";
import { matmulSides, squareMatrix } from "../../shared/llama.mjs";
import { loadJax, versions } from "./setup.mjs";

const { threads, seconds } = readOptions();
const { blockUntilReady, jit, numpy: np } = await loadJax({ threads });
const matmul = jit((a, b) => np.matmul(a, b));

const cases = {};
for (const side of matmulSides) {
  const matrix = (seed) => np.array(squareMatrix(seed, side), { shape: [side, side] });
  const [a, b] = await blockUntilReady([matrix(1), matrix(2)]);
  cases[`matmul ${side}³`] = await measure(
    async () => {
      const c = matmul(a.ref, b.ref); // a call takes its arguments over unless it gets a further reference
      await blockUntilReady(c);
      c.dispose();
    },
    { seconds },
  );
}
report({ versions, threads, cases });
