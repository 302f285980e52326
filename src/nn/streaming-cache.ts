import { checkArgument, checkOptions, integer, type OptionKinds, optional } from "../arguments.js";
import {
  add,
  and,
  arange,
  clip,
  concat,
  gather,
  greaterEqual,
  less,
  maximum,
  mod,
  reshape,
  sub,
  where,
  zeros,
} from "../autograd/operations.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import { ShapeError, UsageError } from "../errors.js";
import { show } from "../ir/shape.js";
import { configKind, type LlamaConfig } from "./config.js";
import type { AttentionCache, AttentionContext, RopeTensors, Rotations } from "./llama.js";

/** What a rolling cache keeps. */
export interface StreamingSizes {
  /** w: how many of the last tokens are seen, the newest among them. */
  readonly window: number;
  /** s: how many of the first tokens are seen for ever. Default 4, as in the paper. */
  readonly sinks?: number;
}

export interface StreamingCacheOptions extends StreamingSizes {
  readonly batch?: number;
}

/** Behind every query, so that no query sees what is there. */
const nowhere = 2 ** 30;

export const streamingKinds: OptionKinds<StreamingSizes> = { window: integer(1, nowhere), sinks: optional(integer(0, nowhere)) };

/**
 * The rolling cache of StreamingLLM (Xiao et al. 2023, arXiv 2309.17453, section 3.2): keys and values of the s first tokens, the attention
 * sinks, and of the last w, in memory that does not grow with the text. A tree, so that it can be an argument and a result of a compiled
 * function.
 *
 *      s = 2, w = 4, after 9 tokens    0   1 │ 6   7   8   5        token m ≥ s is kept in slot s + (m − s) mod w
 *      the next token, 9, takes the slot of 5, the oldest
 *
 * Positions are those within the cache, not those in the text: the newest token i is at min(i, s + w − 1), the last ones at its side, the
 * sinks at 0 … s − 1. Keys are kept as they are before RoPE and turned when they are read. What is where follows from the number of tokens,
 * which is data: one program serves every step. The logits are those of a reading of the whole text with `streamingTables`.
 */
export class StreamingCache implements AttentionCache {
  keys: Tensor[]; // per layer [B, Hkv, s + w, D], before RoPE
  values: Tensor[]; // per layer [B, Hkv, s + w, D]
  /** How many tokens were read: an i32 scalar, on the device. */
  length: Tensor;
  /** Per layer what `extend` was handed, until `advance` tells how many of these tokens count. */
  fresh: { keys: Tensor; values: Tensor }[];
  readonly _sinks: number;

  /** An empty cache. Throws OptionError for sizes that are no integers in range. */
  constructor(config: LlamaConfig, options: StreamingCacheOptions) {
    checkArgument("StreamingCache", "config", config, configKind);
    checkOptions("StreamingCache", options, { ...streamingKinds, batch: optional(integer(1)) });
    const { window, sinks = 4, batch = 1 } = options;
    const shape = [batch, config.num_key_value_heads, sinks + window, config.head_dim];
    const empty = (): Tensor[] => Array.from({ length: config.num_hidden_layers }, () => zeros(shape));
    this.keys = empty();
    this.values = empty();
    this.length = zeros([], { dtype: "i32" });
    this.fresh = [];
    this._sinks = sinks;
  }

  /** s + w: the most tokens that a query sees. */
  get capacity(): number {
    return this.keys[0]?.shape[2] as number;
  }

  private get window(): number {
    return this.capacity - this._sinks;
  }

  /** How many places the RoPE tables must have for reading so many tokens at once. */
  tableLength(tokens: number): number {
    return this.window + Math.max(tokens, this._sinks);
  }

  /**
   * What the queries of T new tokens of one layer look at, [B, Hkv, T, D] their keys and values: all that is kept, and these. They take the
   * places of older ones by {@link advance}, once all layers have been read: a query may still need what a later one of them drops.
   * `tables` are plain, for at least `tableLength(T)` places. Throws ShapeError for shorter ones, UsageError for tables with places of
   * their own for queries or far pairs.
   */
  extend(layer: number, keys: Tensor, values: Tensor, tables: RopeTensors): AttentionContext {
    const { _sinks: s, window: w, length } = this;
    const T = keys.shape[2] as number;
    const P = tables.cos.shape[1] as number;
    if (tables.query !== undefined || tables.far !== undefined) {
      throw new UsageError("a streaming cache gives tokens their places itself, so it takes plain RoPE tables", {
        hint: "to read with the tables of another method, keep all keys in a KeyValueCache",
      });
    }
    if (tables.cos.rank !== 3 || P < this.tableLength(T)) {
      throw new ShapeError(
        `a streaming cache of ${s} + ${w} keys needs RoPE tables for ${this.tableLength(T)} places to read ${T} tokens, not ${show(tables.cos.shape)}`,
        { hint: "make the tables for cache.tableLength(tokens) places, [B or 1, places, D/2]" },
      );
    }
    this.fresh[layer] = { keys, values };
    const allKeys = concat([this.keys[layer] as Tensor, keys], 2); // [B, Hkv, s + w + T, D]
    const allValues = concat([this.values[layer] as Tensor, values], 2);

    const queries = add(arange(T, { dtype: "i32" }), length); // places in the text
    const places = concat([this.placesAfter(length), queries]);
    // Near pairs are placed from the oldest token on that a query sees; what lies before it is hidden from them.
    const oldest = maximum(sub(length, w), 0);
    const at = (rows: Tensor): Rotations => {
      const within = clip(rows, 0, P - 1);
      return { cos: gather(tables.cos, within, 1), sin: gather(tables.sin, within, 1) };
    };
    // The sinks, those among the new tokens too. One at least is read, for no tensor is empty; `count` says how many count.
    const sinks = arange(Math.max(1, s), { dtype: "i32" });
    const slots = clip(where(less(sinks, length), sinks, add(sub(sinks, length), s + w)), 0, s + w + T - 1);
    const count = (value: number): Tensor => tensor(value, { dtype: "i32" });
    return {
      keys: allKeys,
      values: allValues,
      keyTables: at(sub(places, oldest)),
      queryTables: at(sub(queries, oldest)),
      offset: length,
      far: {
        keys: gather(allKeys, slots, 2),
        values: gather(allValues, slots, 2),
        keyTables: at(sinks),
        queryTables: at(clip(queries, 0, s + w - 1)),
        near: count(w),
        count: count(s),
        places,
      },
    };
  }

  /** Counts the first `tokens` of those that were read as text: they take the places of the oldest. The others are forgotten. */
  advance(tokens: Tensor | number): void {
    const total = add(this.length, tokens);
    const places = this.placesAfter(total);
    const isNew = and(greaterEqual(places, this.length), less(places, total));
    const written = (kept: Tensor, fresh: Tensor): Tensor => {
      const T = fresh.shape[2] as number;
      const moved = gather(fresh, clip(sub(places, this.length), 0, T - 1), 2);
      return where(reshape(isNew, [1, 1, this.capacity, 1]), moved, kept);
    };
    this.fresh.forEach(({ keys, values }, layer) => {
      this.keys[layer] = written(this.keys[layer] as Tensor, keys);
      this.values[layer] = written(this.values[layer] as Tensor, values);
    });
    this.fresh = [];
    this.length = total;
  }

  /** Frees its memory at once. */
  dispose(): void {
    const fresh = this.fresh.flatMap(({ keys, values }) => [keys, values]);
    for (const held of [...this.keys, ...this.values, ...fresh, this.length]) held.dispose();
  }

  /** Which token each slot holds after `total` of them, i32 [s + w]; `nowhere` where there is none yet. */
  private placesAfter(total: Tensor): Tensor {
    const { _sinks: s, window: w } = this;
    const slot = arange(s + w, { dtype: "i32" });
    const last = sub(total, 1);
    // The last m ≤ total − 1 with m ≡ slot (mod w); what is taken modulo w is made positive by a multiple of it.
    const rolling = sub(last, mod(add(sub(last, slot), w * Math.ceil((s + w + 1) / w)), w));
    const isFilled = where(less(slot, s), less(slot, total), greaterEqual(rolling, s));
    return where(isFilled, where(less(slot, s), slot, rolling), nowhere);
  }
}
