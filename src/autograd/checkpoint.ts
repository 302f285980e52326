import { callable, checkArgument } from "../arguments.js";
import { pullThrough } from "./pullback.js";
import { barrier, callOf, evaluate } from "./region.js";
import { type TensorsOfTree, tensorArguments, tensorResults } from "./region-trees.js";
import type { CallPullback, Tensor } from "./tensor.js";

/** Computes the call anew from its inputs, once the cotangents are there, and pulls them back through that. */
const recompute: CallPullback = ({ body, inputs }, cts, needs) => {
  const after = cts.filter((ct): ct is Tensor => ct !== null);
  const again = inputs.map((input) => barrier(input, after));
  return pullThrough(evaluate(body, again), again, cts, needs);
};

/**
 * f, with the same value and the same derivatives, whose intermediate values are not kept for the backward pass but computed a second
 * time when it needs them (rematerialization; Griewank & Walther 2008, ch. 12; Chen et al. 2016): the memory of f's inputs instead of
 * that of everything inside, for the time of one more forward pass. Arguments and value are trees of tensors; other leaves, and what
 * f closes over, are what they are. Composes with `grad` of any order, `compile`, `scan` and itself. Throws UsageError where f returns no
 * tensor.
 *
 *   const h = blocks.reduce((x, block) => checkpoint((b, x) => b.forward(x))(block, x), x);
 */
export function checkpoint<A extends readonly unknown[], R>(f: (...args: A) => R): (...args: A) => R {
  checkArgument("checkpoint", "f", f, callable);
  return (...args) => {
    const { tensors, rebuild } = tensorArguments(args, "checkpoint: the list of arguments");
    let value: TensorsOfTree<R> | undefined;
    const { results } = callOf(
      "checkpoint",
      {},
      tensors,
      (placeholders) => {
        value = tensorResults(f(...rebuild(placeholders)), "checkpoint");
        return value.tensors;
      },
      recompute,
    );
    return (value as TensorsOfTree<R>).rebuild(results);
  };
}
