import {
  concat,
  gather,
  less,
  logSumExp,
  matmul,
  scatterAdd,
  softmax,
  type Tensor,
  tensor,
  transpose,
  tril,
  where,
} from "../../src/index.js";
import type { FunctionRecipe } from "./arbitraries.js";
import { uniformSource } from "./samples.js";

/** A smooth function of two tensors of shape [m, n] with a result of that shape. */
export type RandomFunction = (x: Tensor, y: Tensor) => Tensor;

type Step = (a: Tensor, b: Tensor, index: Tensor) => Tensor;

/** Operations [m, n] × [m, n] → [m, n] with values of order 1 for operands of order 1; a step uses one of them. */
const steps: readonly Step[] = [
  (a) => a.tanh(),
  (a) => a.sin(),
  (a) => a.neg().exp().add(1).recip(),
  (a) => a.mul(a).add(1).sqrt(),
  (a) => a.mul(a).add(0.5).log(),
  (a) => a.erf().sub(a.cos()),
  (a, b) => a.add(b).mul(0.7),
  (a, b) => a.sub(b),
  (a, b) => a.mul(b).tanh(),
  (a, b) => a.div(b.mul(b).add(1)),
  (a) => softmax(a),
  (a, b) => a.sub(logSumExp(b, 0, true)).mul(0.5),
  (a) => a.sub(a.mean(1, true)),
  (a, b) => a.mul(b.sum(0, true).tanh()),
  (a, b) => matmul(matmul(a, transpose(b)), a).tanh(),
  (a) =>
    matmul(tril(matmul(a, transpose(a))), a)
      .mul(0.3)
      .sin(),
  (a, b) => concat([a, b], 0).slice([[1, (a.shape[0] as number) + 1]]),
  (a) =>
    a
      .pad(
        [
          [1, 0],
          [0, 2],
        ],
        0.25,
      )
      .slice([
        [0, a.shape[0] as number],
        [1, (a.shape[1] as number) + 1],
      ]),
  (a) => a.flip(1).mul(1.1),
  (a, b) => a.reshape([-1]).flip().reshape(a.shape).add(b).tanh(),
  (a, _, index) => gather(a, index),
  (a, b, index) =>
    scatterAdd(a.tanh(), index, a.shape[0] as number)
      .add(b)
      .tanh(),
  (a, b) => where(less(b, 10), a, b).mul(0.9),
  (a, b) => transpose(transpose(a).mul(transpose(b).sum(1, true))).tanh(),
  // A softmax taken apart, whose parts are used for themselves.
  (a, b) => {
    const weights = a.sub(a.max(1, true)).exp();
    const sum = weights.sum(1, true);
    return weights.div(sum).mul(b).sum(1, true).div(sum).add(b);
  },
  (a, b) => a.div(b.mul(b).sum(1, true).add(0.5).sqrt()),
  (a, b) => a.mul(softmax(b).max(1, true)),
  (a, b) => b.sub(a.mul(0.7).min(0, true)).tanh(),
];

/** The function that a recipe describes: every step takes earlier values, and the result is made of the last two. */
export function randomFunction({ rows, seed, steps: plan }: FunctionRecipe): RandomFunction {
  const uniform = uniformSource(seed);
  const places = plan.map(() => tensor(Int32Array.from({ length: rows }, () => Math.floor(uniform() * rows))));
  return (x, y) => {
    const values = [x, y];
    plan.forEach(({ operation, a, b }, i) => {
      const step = steps[operation % steps.length] as Step;
      values.push(step(values[a % values.length] as Tensor, values[b % values.length] as Tensor, places[i] as Tensor));
    });
    return (values[values.length - 1] as Tensor).add((values[values.length - 2] as Tensor).mul(0.5));
  };
}
