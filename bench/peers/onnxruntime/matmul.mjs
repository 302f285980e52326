// Square f32 matrix products in onnxruntime-node on the CPU. Both operands are inputs of the model: a constant b would be
// packed once when the session is made, which no other library here can do.
import { createRequire } from "node:module";
import * as ort from "onnxruntime-node";
import { measure, readOptions, report } from "../../shared/case.mjs";
import { matmulSides, squareMatrix } from "../../shared/llama.mjs";
import { matmulModel } from "./onnx-model.mjs";

const { threads, seconds } = readOptions();
const cases = {};
for (const side of matmulSides) {
  const session = await ort.InferenceSession.create(matmulModel(side, side, side), {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const matrix = (data) => new ort.Tensor("float32", data, [side, side]);
  const [a, b] = [matrix(squareMatrix(1, side)), matrix(squareMatrix(2, side))];
  const y = matrix(new Float32Array(side * side)); // the result goes into memory that is there already
  cases[`matmul ${side}³`] = await measure(() => session.run({ a, b }, { y }), { seconds });
  await session.release();
}
report({ versions: { "onnxruntime-node": createRequire(import.meta.url)("onnxruntime-node/package.json").version }, threads, cases });
