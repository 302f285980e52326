// Square f32 matrix products in jax-js.

import { measure, report } from "../../shared/case.mjs";
import { matmulSides, squareMatrix } from "../../shared/llama.mjs";
import { start, versions } from "./setup.mjs";

const { jax, adapter, threads, seconds } = await start();
const { blockUntilReady, jit, numpy: np } = jax;
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
report({ versions, adapter, threads, cases });
