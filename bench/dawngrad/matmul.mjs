// Square f32 matrix products in dawngrad.
import { compile, matmul, realize, sync, tensor } from "dawngrad";
import { measure, report } from "../shared/case.mjs";
import { matmulSides, squareMatrix } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";

const { backend, threads, seconds } = await start();
const product = compile(matmul);
const cases = {};
for (const side of matmulSides) {
  const matrix = (seed) => tensor(squareMatrix(seed, side), { shape: [side, side] });
  const [a, b] = [matrix(1), matrix(2)];
  await realize(a, b);
  cases[`matmul ${side}³`] = await measure(
    async () => {
      const c = product(a, b);
      await sync();
      c.dispose(); // its memory is free for the next product at once, not when the collector comes by
    },
    { seconds },
  );
}
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, cases });
