import type { Tensor } from "../autograd/tensor.js";

/** What the queries of a layer look at, and how they find it. */

/** Cosines and sines of the angles that queries and keys are turned by: [B or 1, T, D/2]. */
export interface RopeTensors {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** All that the queries may look at, and where they stand in it. */
export interface AttentionContext {
  readonly keys: Tensor; // [B, Hkv, S, D], before RoPE
  readonly values: Tensor; // [B, Hkv, S, D]
  readonly keyTables: RopeTensors; // [B or 1, S, D/2]
  readonly queryTables: RopeTensors; // [B or 1, T, D/2]
  /** Position of the first query among the keys: an integer scalar. */
  readonly offset: Tensor | number;
}

/**
 * How the queries of a layer find their keys, in place of RoPE: a module, so that it may have parameters. It is handed queries
 * [B, H, T, D] and what they may look at, both before RoPE, and gives softmax(scores)·values [B, H, T, D].
 */
export interface PositionEncoding {
  attend(queries: Tensor, context: AttentionContext): Tensor;
}
