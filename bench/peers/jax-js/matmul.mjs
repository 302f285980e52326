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
      // A call takes its arguments over unless it gets a further reference, and what nobody waits for is not computed.
      const results = Array.from({ length: calls }, () => matmul(a.ref, b.ref));
      await blockUntilReady(results);
      for (const c of results) c.dispose();
    },
    { seconds },
  );
  cases[`matmul ${side}³`] = milliseconds.map((each) => each / calls);
}
report({ versions, adapter, threads, cases });
