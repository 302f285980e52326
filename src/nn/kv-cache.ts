import { checkArgument, checkOptions, flag, number, oneOf, optional } from "../arguments.js";
import { rope } from "../autograd/composites.js";
import { tensorKind } from "../autograd/kinds.js";
import { add, arange, cast, clip, div, gather, mul, neg, reshape, sub, unsqueeze, zeros } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { updateRows } from "../autograd/update-rows.js";
import { DtypeError, OptionError, ShapeError, UsageError } from "../errors.js";
import { sameShape, show } from "../ir/shape.js";
import { configKind, type LlamaConfig } from "./config.js";
import type { AttentionCache, AttentionContext, RopeTensors, Rotations } from "./llama.js";
import { checkTables, contextOf } from "./rotary.js";

export interface KeyValueCacheOptions {
  /** S: places for tokens. */
  readonly capacity: number;
  /** B: rows. Default 1. */
  readonly batch?: number;
  /**
   * Keeps keys as RoPE turns them, so that each is turned once and not whenever it is read. All tokens must then be read by the same
   * tables, without tables for far pairs and in layers without a position encoding of their own. Default false.
   */
  readonly turned?: boolean;
  /** What keys and values are kept in; "f16" and "bf16" take half the memory. Default "f32". */
  readonly dtype?: "f32" | "f16" | "bf16";
  /** Where the text of each row begins, i32 [B]: places before it are padding, which nobody sees, and positions count from it. Default: at 0. */
  readonly first?: Tensor;
}

/**
 * Keys and values of the tokens that a model has read, for generation: a tree, so that it can be an argument and a result of
 * a compiled function.
 *
 *      place        0   1   2   3   4   5   6   7         capacity S = 8
 *      keys        k0  k1  k2  k3   ·   ·   ·   ·         length = 4: the next token is written at place 4
 *
 * Its tensors have their final size from the start and `length` is data, so one program serves every step, and one that takes the cache
 * over (`donate`) writes the new rows alone. Keys are kept as they are before RoPE and turned when they are read: a change of scale or
 * schedule reaches the whole past. With `turned` they are kept as the tables turn them, and {@link turn} and {@link turnBack} change
 * between the two.
 */
export class KeyValueCache implements AttentionCache {
  keys: Tensor[]; // per layer [B, Hkv, S, D]
  values: Tensor[]; // per layer [B, Hkv, S, D]
  /** How many places are filled: an i32 scalar, on the device. */
  length: Tensor;
  /** Where the text of each row begins, i32 [B]; null where it is 0 for all. */
  first: Tensor | null;
  _turned: boolean;

  /** An empty cache. Throws OptionError for a capacity or batch that is no positive integer. */
  constructor(config: LlamaConfig, options: KeyValueCacheOptions) {
    checkArgument("KeyValueCache", "config", config, configKind);
    checkOptions("KeyValueCache", options, {
      capacity: number,
      batch: optional(number),
      turned: optional(flag),
      dtype: optional(oneOf("f32", "f16", "bf16")),
      first: optional(tensorKind),
    });
    const { capacity, batch = 1, turned = false, dtype = "f32", first = null } = options;
    for (const [name, value] of Object.entries({ capacity, batch })) {
      if (!Number.isInteger(value) || value < 1) throw new OptionError(`KeyValueCache: ${name} ${value} is no positive integer`);
    }
    if (first !== null && first.dtype !== "i32") throw new DtypeError(`KeyValueCache: first is i32, found ${first.dtype}`);
    if (first !== null && !sameShape(first.shape, [batch])) {
      throw new ShapeError(`KeyValueCache: first is ${show(first.shape)} for ${batch} rows`, { hint: "one place for each row" });
    }
    const shape = [batch, config.num_key_value_heads, capacity, config.head_dim];
    const empty = (): Tensor[] => Array.from({ length: config.num_hidden_layers }, () => zeros(shape, { dtype }));
    this.keys = empty();
    this.values = empty();
    this.length = zeros([], { dtype: "i32" });
    this.first = first;
    this._turned = turned;
  }

  get capacity(): number {
    return this.keys[0]?.shape[2] as number;
  }

  /** Whether keys are kept as RoPE turns them. */
  get turned(): boolean {
    return this._turned;
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
    if (this._turned && tables.far !== undefined) {
      throw new UsageError("a cache of turned keys holds them for one table, and these tables turn them a second time for far pairs", {
        hint: "make the cache without turned",
      });
    }

    const at = this.positions(add(arange(T), this.length));
    const fresh = this._turned ? rope(keys, rowsOf(tables.cos, at), rowsOf(tables.sin, at)) : keys;
    const allKeys = this.write(this.keys[layer] as Tensor, fresh);
    const allValues = this.write(this.values[layer] as Tensor, values);
    this.keys[layer] = allKeys;
    this.values[layer] = allValues;
    const { keyTables, ...context } = contextOf(allKeys, allValues, tables, {
      offset: this.length,
      rowsOf: ({ cos, sin }) => ({ cos: rowsOf(cos, at), sin: rowsOf(sin, at) }),
    });
    return {
      ...context,
      ...(this._turned ? {} : { keyTables: this.first === null ? tables : this.tablesOfPlaces(tables) }),
      ...(this.first === null ? {} : { first: this.first }),
    };
  }

  /** Counts `tokens` of the places that were written as filled; what was written behind them will be overwritten. */
  advance(tokens: Tensor | number): void {
    this.length = add(this.length, tokens);
  }

  /** Turns all keys by the tables of their places, from where on it keeps them so. Throws UsageError where they have been turned. */
  turn(tables: Rotations): void {
    if (this._turned) throw new UsageError("the keys of this cache have been turned", { hint: "turn them back by their own tables first" });
    this.rotate(this.tablesOfPlaces(tables));
    this._turned = true;
  }

  /**
   * Turns all keys back by the tables that they were turned by: (x, y) ↦ (x·c + y·s, y·c − x·s)/(c² + s²), exact but for two roundings
   * (one to the dtype of the cache). Throws UsageError where they have not been turned.
   */
  turnBack(tables: Rotations): void {
    if (!this._turned) throw new UsageError("the keys of this cache are as they were before RoPE");
    const { cos, sin } = this.tablesOfPlaces(tables);
    const square = add(mul(cos, cos), mul(sin, sin)); // not 1 where tables scale as YaRN's do
    this.rotate({ cos: div(cos, square), sin: neg(div(sin, square)) });
    this._turned = false;
  }

  /** Frees its memory at once. */
  dispose(): void {
    for (const held of [...this.keys, ...this.values, this.length]) held.dispose();
    this.first?.dispose();
  }

  private write(places: Tensor, rows: Tensor): Tensor {
    return updateRows(places, cast(rows, places.dtype), this.length);
  }

  private rotate({ cos, sin }: Rotations): void {
    this.keys = this.keys.map((keys) => cast(rope(cast(keys, cos.dtype), cos, sin), keys.dtype));
  }

  /** The position of each place in the text of its row: [T], or [B, T] where rows begin at places of their own. */
  private positions(places: Tensor): Tensor {
    const own = this.first === null ? places : sub(unsqueeze(places, 0), unsqueeze(this.first, 1));
    return clip(own, 0, this.capacity - 1);
  }

  /** The rows of tables that belong to all S places: [B or 1, S, D/2]. */
  private tablesOfPlaces({ cos, sin }: Rotations): Rotations {
    if (this.first === null) return { cos, sin };
    const at = this.positions(arange(this.capacity));
    return { cos: rowsOf(cos, at), sin: rowsOf(sin, at) };
  }
}

/** Rows of a table [B or 1, S, D/2]: the same ones of each sample, [T], or those of each sample, [B, T], for which there is one table. */
function rowsOf(table: Tensor, at: Tensor): Tensor {
  if (at.rank === 1) return gather(table, at, 1);
  if (table.shape[0] !== 1) {
    throw new ShapeError(`rows with padding share one RoPE table, and this one is ${show(table.shape)}`, {
      hint: "give a table of [1, S, D/2]",
    });
  }
  return gather(reshape(table, table.shape.slice(1)), at);
}
