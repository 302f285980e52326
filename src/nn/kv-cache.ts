import { checkArgument, checkOptions, number, optional } from "../arguments.js";
import { add, arange, clip, gather, zeros } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { updateRows } from "../autograd/update-rows.js";
import { OptionError, ShapeError } from "../errors.js";
import { configKind, type LlamaConfig } from "./config.js";
import type { AttentionCache, AttentionContext, RopeTensors, Rotations } from "./llama.js";
import { checkTables, contextOf } from "./rotary.js";

/**
 * Keys and values of the tokens that a model has read, for generation: a tree, so that it can be an argument and a result of
 * a compiled function.
 *
 *      place        0   1   2   3   4   5   6   7         capacity S = 8
 *      keys        k0  k1  k2  k3   ·   ·   ·   ·         length = 4: the next token is written at place 4
 *
 * Its tensors have their final size from the start and `length` is data, so one program serves every step. Keys are kept as
 * they are before RoPE and turned when they are read: a change of scale or schedule reaches the whole past.
 */
export class KeyValueCache implements AttentionCache {
  keys: Tensor[]; // per layer [B, Hkv, S, D], before RoPE
  values: Tensor[]; // per layer [B, Hkv, S, D]
  /** How many places are filled: an i32 scalar, on the device. */
  length: Tensor;

  /** An empty cache. Throws OptionError for a capacity or batch that is no positive integer. */
  constructor(config: LlamaConfig, options: { readonly capacity: number; readonly batch?: number }) {
    checkArgument("KeyValueCache", "config", config, configKind);
    checkOptions("KeyValueCache", options, { capacity: number, batch: optional(number) });
    const { capacity, batch = 1 } = options;
    for (const [name, value] of Object.entries({ capacity, batch })) {
      if (!Number.isInteger(value) || value < 1) throw new OptionError(`KeyValueCache: ${name} ${value} is no positive integer`);
    }
    const shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
    const empty = (): Tensor[] => Array.from({ length: config.num_hidden_layers }, () => zeros(shape));
    this.keys = empty();
    this.values = empty();
    this.length = zeros([], { dtype: "i32" });
  }

  get capacity(): number {
    return this.keys[0]?.shape[2] as number;
  }

  /**
   * Writes the keys and values [B, Hkv, T, D] of T new tokens of one layer behind those that are there, and returns what their
   * queries look at. Places that are not yet filled lie behind every query and are hidden by the causal mask.
   * `tables` covers all S places. The length moves on by {@link advance}, once all layers have been written.
   */
  extend(layer: number, keys: Tensor, values: Tensor, tables: RopeTensors): AttentionContext {
    const S = this.capacity;
    checkTables(`a cache of ${S} places`, tables, { T: S, D: keys.shape[3] as number });
    const T = keys.shape[2] as number;
    if (T > S) throw new ShapeError(`${T} tokens do not fit into a cache of ${S} places`);

    const allKeys = updateRows(this.keys[layer] as Tensor, keys, this.length);
    const allValues = updateRows(this.values[layer] as Tensor, values, this.length);
    this.keys[layer] = allKeys;
    this.values[layer] = allValues;
    const rows = clip(add(arange(T), this.length), 0, S - 1);
    const rowsOf = ({ cos, sin }: Rotations): Rotations => ({ cos: gather(cos, rows, 1), sin: gather(sin, rows, 1) });
    return contextOf(allKeys, allValues, tables, { offset: this.length, rowsOf });
  }

  /** Counts `tokens` of the places that were written as filled; what was written behind them will be overwritten. */
  advance(tokens: Tensor | number): void {
    this.length = add(this.length, tokens);
  }

  /** Frees its memory at once. */
  dispose(): void {
    for (const held of [...this.keys, ...this.values, this.length]) held.dispose();
  }
}
