// Causal attention by itself in jax-js: forward, and forward with the gradients of q, k and v.

import { measureInTurn, positiveInteger, report } from "../../shared/case.mjs";
import { attentionShape, numbers } from "../../shared/llama.mjs";
import { start, versions } from "./setup.mjs";

const { jax, adapter, threads, seconds, ...values } = await start({
  length: { type: "string", default: String(attentionShape.length) },
});
const length = positiveInteger("length", values.length);
const { blockUntilReady, grad, jit, nn, numpy: np, tree } = jax;
const { heads, headDim } = attentionShape;
const shape = [1, length, heads, headDim];
const array = (seed) => np.array(numbers(seed, length * heads * headDim), { shape });
const [q, k, v, cotangent] = [1, 2, 3, 4].map(array);
await blockUntilReady([q, k, v, cotangent]);

const attend = (q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: true });
const forward = jit(attend);
const gradients = jit(
  grad((qkv, cotangent) =>
    attend(...qkv)
      .mul(cotangent)
      .sum(),
  ),
);

async function run(f, ...given) {
  const result = f(...given);
  await blockUntilReady(result);
  tree.dispose(result);
}
const cases = await measureInTurn(
  {
    forward: () => run(forward, q.ref, k.ref, v.ref),
    both: () => run(gradients, [q.ref, k.ref, v.ref], cotangent.ref),
  },
  { seconds },
);
report({ versions, adapter, threads, length, cases });
