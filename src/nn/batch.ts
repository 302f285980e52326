import { checkFields, integer, numbers, type OptionKinds, optional } from "../arguments.js";
import { tensor } from "../autograd/tensor.js";
import type { RopeTensors, TokenBatch } from "./llama.js";

/** Tokens with the tables that place them. */
export interface LanguageBatch extends TokenBatch {
  readonly tables: RopeTensors;
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

/** RoPE tables on the host, row-major [rows, length, half]. */
export interface HostTables {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
  /** 1 or the batch size. */
  readonly rows: number;
  readonly length: number;
  /** Half of the head dimension. */
  readonly half: number;
}

const tableKinds: OptionKinds<HostTables> = { cos: numbers, sin: numbers, rows: integer(1), length: integer(0), half: integer(1) };
const tokenKinds: OptionKinds<HostTokens> = {
  inputs: numbers,
  targets: numbers,
  weights: optional(numbers),
  batch: integer(1),
  length: integer(0),
};

/** RoPE tables as tensors [rows, length, half]. Throws ShapeError where the arrays do not fill that shape. */
export function ropeTensors(tables: HostTables): RopeTensors {
  checkFields("ropeTensors", "tables", tables, tableKinds);
  const { cos, sin, rows, length, half } = tables;
  const shape = [rows, length, half];
  return { cos: tensor(cos, { shape }), sin: tensor(sin, { shape }) };
}

/** A batch for the training loop from what a sampler and a table maker give. Throws ShapeError for arrays of another size. */
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
