// Rates of the matrix products in the training step of the small Llama and of its neighbours, with M = 2048 tokens:
//
//   NN   a [M, K] · b [K, N]      a layer whose weight is stored as it is multiplied
//   NT   a [M, K] · b [N, K]ᵀ     a layer of a checkpoint, which stores [out, in]
//   TN   a [K, M]ᵀ · b [K, N]     the gradient of a weight: here the tokens are K = 2048
import { compile, key, matmul, randn, realize, sync } from "dawngrad";
import { measure, report } from "../shared/case.mjs";
import { start, versions } from "./backend.mjs";

const tokens = 2048;
const widths = [64, 128, 256, 352, 512, 1024];
const { backend, threads, seconds } = await start();

const kinds = {
  NN: {
    f: (a, b) => matmul(a, b),
    shapes: (K, N) => [
      [tokens, K],
      [K, N],
    ],
  },
  NT: {
    f: (a, b) => matmul(a, b.transpose()),
    shapes: (K, N) => [
      [tokens, K],
      [N, K],
    ],
  },
  TN: {
    f: (a, b) => matmul(a.transpose(), b),
    shapes: (M, N) => [
      [tokens, M],
      [tokens, N],
    ],
  },
};

/** GFLOP/s of each call. */
async function rates(f, shapes, floatingPointOperations) {
  const operands = shapes.map((shape, i) => randn(key(i), shape));
  await realize(operands);
  const product = compile(f);
  const run = async () => {
    const result = product(...operands);
    await sync();
    result.dispose();
  };
  const milliseconds = await measure(run, { seconds: seconds / 4 });
  for (const operand of operands) operand.dispose();
  return milliseconds.map((ms) => floatingPointOperations / ms / 1e6);
}

const side = 1024;
const reference = () =>
  rates(
    matmul,
    [
      [side, side],
      [side, side],
    ],
    2 * side ** 3,
  );
const square = await reference();
const products = [];
for (const [kind, { f, shapes }] of Object.entries(kinds)) {
  for (const first of widths) {
    for (const second of widths) {
      products.push({ kind, first, second, rates: await rates(f, shapes(first, second), 2 * tokens * first * second) });
    }
  }
}
square.push(...(await reference())); // before and after, since the machine may have become busier meanwhile
await backend.close();
report({ versions, adapter: backend.info.adapter, threads, square, products });
