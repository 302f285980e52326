import type { Tensor } from "../autograd/tensor.js";
import type { PositionEncodingConfig } from "./encodings/encoding-config.js";

/** What the queries of a layer look at, and how they find it. */

/** Cosines and sines of the angles that queries or keys are turned by: [B or 1, T, D/2]. */
export interface Rotations {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/**
 * What places tokens: the angles of all places, for queries and keys alike, and where a method needs them other tables for queries, or for
 * pairs that are far apart. Whoever reads a model takes all of them.
 */
export interface RopeTensors extends Rotations {
  /** Tables of the queries, where they differ from those of the keys. */
  readonly query?: Rotations;
  readonly far?: FarTensors;
}

/** How queries find keys that are `near` or more tokens before them. */
export interface FarTensors {
  readonly query: Rotations;
  readonly key: Rotations;
  /** w: a query at place i finds the keys i − w + 1 … i by the tables of near pairs. An i32 scalar, at least 1. */
  readonly near: Tensor;
  /** How many keys, from the first on, are found from afar; the others are not seen. An i32 scalar. */
  readonly keys: Tensor;
}

/** Keys with their values, and the angles at which queries find them. */
export interface AttentionPart {
  readonly keys: Tensor; // [B, Hkv, S, D], before RoPE where there are tables for them
  readonly values: Tensor; // [B, Hkv, S, D]
  readonly keyTables?: Rotations; // [B or 1, S, D/2]; absent where the keys have been turned
  readonly queryTables: Rotations; // [B or 1, T, D/2]
}

/** All that the queries may look at, and where they stand in it. */
export interface AttentionContext extends AttentionPart {
  /** Position of the first query among the keys: an integer scalar. */
  readonly offset: Tensor | number;
  /** W: a query sees the last W keys, its own among them. Absent: all before it. */
  readonly window?: number;
  /** The first key of each row that counts, i32 [B]: those before it are padding. Absent: all count. */
  readonly first?: Tensor;
  /** What queries find beyond the nearest keys, where it is not found as they are. */
  readonly far?: FarPart;
}

/** Keys from the first on that are found `near` or more tokens before a query; see `FarTensors`. */
export interface FarPart extends AttentionPart {
  readonly near: Tensor; // i32 []
  readonly count: Tensor; // i32 []
  /** Where the near keys stand in the text, i32 [S], if not in order. */
  readonly places?: Tensor;
}

/**
 * How the queries of a layer find their keys, in place of RoPE: a module, so that it may have parameters. It is handed queries
 * [B, H, T, D] and what they may look at, both before RoPE, and gives softmax(scores)·values [B, H, T, D].
 */
export interface PositionEncoding {
  /** What `config.json` says of it; without it a model cannot be saved. */
  readonly config?: PositionEncodingConfig;
  attend(queries: Tensor, context: AttentionContext): Tensor;
}
