// Square f32 matrix products in dawngrad.
import { compile, matmul, realize, sync, tensor } from "dawngrad";
import { measure, positiveInteger, report } from "../shared/case.mjs";
import { matmulOptions, squareMatrix } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";

const { backend, threads, seconds, ...values } = await start(matmulOptions);
const calls = positiveInteger("calls", values.calls);
const product = compile(matmul);
const cases = {};
for (const side of values.sides.split(",").map((side) => positiveInteger("sides", side))) {
  const matrix = (seed) => tensor(squareMatrix(seed, side), { shape: [side, side] });
  const [a, b] = [matrix(1), matrix(2)];
  await realize(a, b);
  const milliseconds = await measure(
    async () => {
      const results = Array.from({ length: calls }, () => product(a, b));
      await sync();
      for (const c of results) c.dispose(); // their memory is free for the next products at once, not when the collector comes by
    },
    { seconds },
  );
  cases[`matmul ${side}³`] = milliseconds.map((each) => each / calls);
}
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, cases });
