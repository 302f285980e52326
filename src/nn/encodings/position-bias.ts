import { attention } from "../../autograd/attention.js";
import { add, cast, maximum, sub } from "../../autograd/operations.js";
import type { Tensor } from "../../autograd/tensor.js";
import { UsageError } from "../../errors.js";
import type { AttentionContext, PositionEncoding } from "../attention-context.js";

/** Where pairs of queries and keys stand: i32 tensors that broadcast to [1, H, R, S]. */
export interface PairCoordinates {
  readonly head: Tensor; // [1, H, 1, 1]
  /** m: the positions of R queries among the keys. */
  readonly query: Tensor; // [1, 1, R, 1]
  /** n */
  readonly key: Tensor; // [1, 1, 1, S]
}

/** A static bias B: what is added to the score of a pair because of where it stands. */
export interface PositionBias extends PositionEncoding {
  /** B of some pairs, broadcastable to [1, H, R, S]. Keys after their query, which it does not see, may get anything finite. */
  bias(at: PairCoordinates): Tensor;
}

/** max(0, m − n), the distance to a key that the query sees, f32. */
export const distanceOf = ({ query, key }: PairCoordinates): Tensor => cast(maximum(sub(query, key), 0), "f32");

/** Throws UsageError where keys do not stand in the order of the text, or some are to be found by other tables: those place by RoPE. */
export function requireOrder({ far, first }: AttentionContext): void {
  if (first !== undefined) {
    throw new UsageError("layers with a position encoding of their own read rows without padding", { hint: "read one prompt at a time" });
  }
  if (far === undefined) return;
  throw new UsageError("tables with far pairs are for models with RoPE; the layers of this one have a position encoding of their own", {
    hint: "read it by plain tables: its positions are the places of tokens, whatever the tables say",
  });
}

/** softmax(q·kᵀ/√D + B)·v with a bias that kernels compute where they need it, so that memory grows with the length alone. */
export function attendBiased(queries: Tensor, context: AttentionContext, bias: PositionBias["bias"]): Tensor {
  requireOrder(context);
  const { keys, values, offset, window } = context;
  return attention(queries, keys, values, {
    causal: true,
    offset,
    ...(window === undefined ? {} : { window }),
    score: (score, { head, query, key }) => add(score, bias({ head, query: add(query, offset), key })),
  });
}
