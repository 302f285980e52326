/** Logarithms of sums of exponentials, whose derivatives have a value where ∞ − ∞ has none. */
import * as ops from "./operations.js";
import { callOf } from "./region.js";
import type { CallPullback, Tensor } from "./tensor.js";

/** Which of the terms count, as a mask that broadcasts with them; all of them by default. */
type Counting = () => Tensor;

/** ln Σ eˣ over axes, which stay, of the elements that count. It is a call because ∞ − ∞ has no value and the derivative has. */
export function logTotal(x: Tensor, axes: readonly number[], counting?: Counting): Tensor {
  const value = ([t]: readonly Tensor[]): Tensor[] => {
    const { shifted, largest } = exponentials(t as Tensor, axes, counting);
    return [ops.add(ops.log(ops.sum(shifted, axes, true)), largest)];
  };
  const pullback: CallPullback = ({ inputs }, [ct]) => [ops.mul(ct as Tensor, shares(inputs[0] as Tensor, axes, counting))];
  return callOf("logSumExp", { axes }, [x], value, pullback).results[0] as Tensor;
}

/** eˣ / Σ eˣ of the elements that count. */
function shares(x: Tensor, axes: readonly number[], counting?: Counting): Tensor {
  const value = ([t]: readonly Tensor[]): Tensor[] => {
    const { shifted } = exponentials(t as Tensor, axes, counting);
    return [ops.mul(shifted, ops.recip(ops.sum(shifted, axes, true)))];
  };
  // x̄ = p·(p̄ − Σ p·p̄)
  const pullback: CallPullback = ({ results }, [ct]) => {
    const [p, cotangent] = [results[0] as Tensor, ct as Tensor];
    return [ops.mul(p, ops.sub(cotangent, ops.sum(ops.mul(p, cotangent), axes, true)))];
  };
  return callOf("softmax", { axes }, [x], value, pullback).results[0] as Tensor;
}

/** e^(x − max x), 1 for what is as large as the largest, infinite or not, and 0 for what does not count. */
function exponentials(x: Tensor, axes: readonly number[], counting?: Counting): { shifted: Tensor; largest: Tensor } {
  const largest = ops.max(x, axes, true);
  const shifted = ops.exp(ops.where(ops.equal(x, largest), 0, ops.sub(x, largest)));
  return { shifted: counting === undefined ? shifted : ops.where(counting(), shifted, 0), largest };
}
