// Square f32 matrix products in jax-js.

import { measure, positiveInteger, report } from "../../shared/case.mjs";
import { matmulOptions, squareMatrix } from "../../shared/llama.mjs";
import { start, versions } from "./setup.mjs";

const { jax, adapter, threads, seconds, ...values } = await start(matmulOptions);
const calls = positiveInteger("calls", values.calls);
const { blockUntilReady, jit, numpy: np } = jax;
const matmul = jit((a, b) => np.matmul(a, b));

const cases = {};
for (const side of values.sides.split(",").map((side) => positiveInteger("sides", side))) {
  const matrix = (seed) => np.array(squareMatrix(seed, side), { shape: [side, side] });
  const [a, b] = await blockUntilReady([matrix(1), matrix(2)]);
  const milliseconds = await measure(
    async () => {
      let c;
      for (let i = 0; i < calls; i++) {
        c?.dispose();
        c = matmul(a.ref, b.ref); // a call takes its arguments over unless it gets a further reference
      }
      await blockUntilReady(c);
      c.dispose();
    },
    { seconds },
  );
  cases[`matmul ${side}³`] = milliseconds.map((each) => each / calls);
}
report({ versions, adapter, threads, cases });
