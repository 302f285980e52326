import { attention } from "../../autograd/attention.js";
import { add, cast, maximum, sub } from "../../autograd/operations.js";
import type { Tensor } from "../../autograd/tensor.js";
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

/** softmax(q·kᵀ/√D + B)·v with a bias that kernels compute where they need it, so that memory grows with the length alone. */
export function attendBiased(queries: Tensor, { keys, values, offset }: AttentionContext, bias: PositionBias["bias"]): Tensor {
  return attention(queries, keys, values, {
    causal: true,
    offset,
    score: (score, { head, query, key }) => add(score, bias({ head, query: add(query, offset), key })),
  });
}
