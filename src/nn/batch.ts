import { checkFields, integer, type Kind, numbers, type OptionKinds, optional, plainObject } from "../arguments.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import type { FarTensors, RopeTensors, Rotations, TokenBatch } from "./llama.js";

/** Tokens with the tables that place them. */
export interface LanguageBatch extends TokenBatch {
  readonly tables: RopeTensors;
  /** u32 [B, 2]: what dropout is drawn from, see {@link dropoutKeys}; `train` adds it for models that have any. Default: nothing is dropped. */
  readonly dropoutKeys?: Tensor;
}

/** Tokens and the tokens that follow them on the host, row-major [batch, length]. */
export interface HostTokens {
  readonly inputs: Int32Array;
  /** A target of −100 asks for nothing. */
  readonly targets: Int32Array;
  /** What each target counts, at least 0. Default: 1. */
  readonly weights?: Float32Array;
  readonly batch: number;
  readonly length: number;
}

/** Cosines and sines on the host, row-major [rows, length, half]. */
export interface HostRotations {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** RoPE tables on the host; see `RopeTensors`. All tables are of one size. */
export interface HostTables extends HostRotations {
  /** 1 or the batch size. */
  readonly rows: number;
  readonly length: number;
  /** Half of the head dimension. */
  readonly half: number;
  /** Tables of the queries, where they differ from those of the keys. */
  readonly query?: HostRotations;
  readonly far?: HostFar;
}

/** How queries find keys that are `near` or more tokens before them; see `FarTensors`. */
export interface HostFar {
  readonly query: HostRotations;
  readonly key: HostRotations;
  /** w, an integer of at least 1. */
  readonly near: number;
  /** How many keys, from the first on, are found from afar. Default: all. */
  readonly keys?: number;
}

const rotationKinds: OptionKinds<HostRotations> = { cos: numbers, sin: numbers };
const tableKinds: OptionKinds<HostTables> = {
  ...rotationKinds,
  rows: integer(1),
  length: integer(0),
  half: integer(1),
  query: optional(plainObject),
  far: optional(plainObject),
};
/** Places are i32, and differences of two of them too. */
const mostKeys = 2 ** 30;
const farKinds: OptionKinds<HostFar> = {
  query: plainObject,
  key: plainObject,
  near: integer(1, mostKeys),
  keys: optional(integer(0, mostKeys)),
};
/** NaN is none of them. */
const weightsKind: Kind = {
  wanted: "an array of finite numbers of at least 0",
  fits: (value) =>
    numbers.fits(value) && Array.prototype.every.call(value, (weight: number) => weight >= 0 && weight < Number.POSITIVE_INFINITY),
};
const tokenKinds: OptionKinds<HostTokens> = {
  inputs: numbers,
  targets: numbers,
  weights: optional(weightsKind),
  batch: integer(1),
  length: integer(0),
};

/** RoPE tables as tensors [rows, length, half]. Throws ShapeError where the arrays do not fill that shape. */
export function ropeTensors(tables: HostTables): RopeTensors {
  checkFields("ropeTensors", "tables", tables, tableKinds);
  const { rows, length, half, query, far } = tables;
  const shape = [rows, length, half];
  const rotations = (name: string, found: HostRotations): Rotations => {
    checkFields("ropeTensors", name, found, rotationKinds);
    return { cos: tensor(found.cos, { shape }), sin: tensor(found.sin, { shape }) };
  };
  return {
    ...rotations("tables", tables),
    ...(query === undefined ? {} : { query: rotations("query", query) }),
    ...(far === undefined ? {} : { far: farTensors(far, rotations) }),
  };
}

function farTensors(far: HostFar, rotations: (name: string, found: HostRotations) => Rotations): FarTensors {
  checkFields("ropeTensors", "far", far, farKinds);
  const { query, key, near, keys = mostKeys } = far;
  const count = (value: number): Tensor => tensor(value, { dtype: "i32" });
  return { query: rotations("far.query", query), key: rotations("far.key", key), near: count(near), keys: count(keys) };
}

/** A batch for the training loop from what a sampler and a table maker give. Throws ShapeError for arrays of another size, OptionError for weights below 0. */
export function languageBatch(tokens: HostTokens, tables: HostTables): LanguageBatch {
  checkFields("languageBatch", "tokens", tokens, tokenKinds);
  checkFields("languageBatch", "tables", tables, tableKinds);
  const { inputs, targets, weights, batch, length } = tokens;
  const shape = [batch, length];
  return {
    inputs: tensor(inputs, { shape }),
    targets: tensor(targets, { shape }),
    ...(weights === undefined ? {} : { weights: tensor(weights, { shape }) }),
    tables: ropeTensors(tables),
  };
}
