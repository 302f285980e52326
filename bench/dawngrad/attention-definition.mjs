// What kernels of attention are worth: causal attention beside the same written out in products and a softmax, which run in kernels of
// their own and keep T × T scores, forward and with the gradients of q, k and v, for growing T. They take turns.
import { attention, compile, grad, iota, lessEqual, matmul, mul, realize, softmax, sum, sync, tensor, transpose, where } from "dawngrad";
import { measureInTurn, positiveInteger, report } from "../shared/case.mjs";
import { attentionShape, numbers } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";

const { backend, threads, seconds, ...values } = await start({ lengths: { type: "string", default: "32,64,128,256,512,1024,2048" } });
const lengths = values.lengths.split(",").map((length) => positiveInteger("lengths", length));
const { heads, headDim } = attentionShape;

const call = (q, k, v) => attention(q, k, v, { causal: true });

function written(q, k, v) {
  const scores = mul(matmul(q, transpose(k)), headDim ** -0.5); // [1, H, T, T]
  const places = scores.shape.slice(-2);
  return matmul(softmax(where(lessEqual(iota(places, 1), iota(places, 0)), scores, -1e30)), v);
}

async function run(f, ...given) {
  const results = [f(...given)].flat();
  await sync();
  for (const result of results) result.dispose();
}

const results = [];
for (const length of lengths) {
  const operand = (seed) => tensor(numbers(seed, heads * length * headDim), { shape: [1, heads, length, headDim] });
  const [q, k, v, cotangent] = [1, 2, 3, 4].map(operand);
  await realize(q, k, v, cotangent);
  const runs = {};
  for (const [name, f] of Object.entries({ call, written })) {
    const forward = compile(f);
    const gradients = compile((qkv, cotangent) => grad((qkv) => sum(mul(f(...qkv), cotangent)))(qkv));
    runs[`${name} forward`] = () => run(forward, q, k, v);
    runs[`${name} both`] = () => run(gradients, [q, k, v], cotangent);
  }
  results.push({ length, milliseconds: await measureInTurn(runs, { seconds: seconds / 4 }) });
  for (const operand of [q, k, v, cotangent]) operand.dispose();
}
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, lengths: results });
