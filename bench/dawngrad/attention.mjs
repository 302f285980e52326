// Causal attention by itself in dawngrad: forward, and forward with the gradients of q, k and v; in turn with the product 1024³.
import { attention, compile, grad, mul, realize, sum, sync, tensor } from "dawngrad";
import { measureInTurn, positiveInteger, report } from "../shared/case.mjs";
import { attentionShape, numbers } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";
import { squareOperations, squareProduct } from "./square.mjs";

const { backend, threads, seconds, ...values } = await start({
  length: { type: "string", default: String(attentionShape.length) },
});
const length = positiveInteger("length", values.length);
const { heads, headDim } = attentionShape;
const operand = (seed) => tensor(numbers(seed, heads * length * headDim), { shape: [1, heads, length, headDim] });
const [q, k, v, cotangent] = [1, 2, 3, 4].map(operand);
await realize(q, k, v, cotangent);

const attend = (q, k, v) => attention(q, k, v, { causal: true });
const forward = compile(attend);
const gradients = compile((qkv, cotangent) => grad((qkv) => sum(mul(attend(...qkv), cotangent)))(qkv));

async function run(f, ...given) {
  const results = [f(...given)].flat();
  await sync();
  for (const result of results) result.dispose();
}
const square = await squareProduct();
const cases = await measureInTurn(
  { forward: () => run(forward, q, k, v), both: () => run(gradients, [q, k, v], cotangent), square },
  { seconds },
);
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, length, cases, squareOperations });
