// The head of a language model and its loss in dawngrad, with the gradients of both operands: in blocks of rows, or with --logits by way
// of all logits at once; in turn with the product 1024³.
import { compile, crossEntropy, linearCrossEntropy, matmul, memory, realize, sync, tensor, transpose, valueAndGrad } from "dawngrad";
import { measureInTurn, report } from "../shared/case.mjs";
import { headShape, headTargets, numbers } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";
import { squareOperations, squareProduct } from "./square.mjs";

const { backend, threads, seconds, logits } = await start({ logits: { type: "boolean", default: false } });
const { tokens: N, width: C, vocabulary: V } = headShape;
const x = tensor(numbers(1, N * C), { shape: [N, C] });
const weight = tensor(numbers(2, V * C), { shape: [V, C] });
const targets = tensor(headTargets());
await realize(x, weight, targets);

const loss = logits
  ? (x, weight, targets) => crossEntropy(matmul(x, transpose(weight)), targets)
  : (x, weight, targets) => linearCrossEntropy(x, weight, targets);
const lossAndGradients = compile((operands, targets) => valueAndGrad(([x, weight]) => loss(x, weight, targets))(operands));

let value;
async function head() {
  const [loss, gradients] = lossAndGradients([x, weight], targets);
  value = await loss.item();
  await sync();
  for (const result of [loss, ...gradients]) result.dispose();
}

await head();
/** Beyond the operands and their gradients, by the backend's own count. */
const extraBytes = memory().peakBytes - 2 * 4 * (N * C + V * C) - 4 * N;
const square = await squareProduct();
const cases = await measureInTurn({ head, square }, { seconds, warmUp: 1 });
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, cases, squareOperations, extraBytes, losses: [value] });
