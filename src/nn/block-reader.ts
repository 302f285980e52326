/** Reading rows of tokens in blocks, so that what is alive at a time grows with W and not with W². */
import { type Compiled, compile, type ProgramMemory } from "../autograd/compile.js";
import { zeros } from "../autograd/operations.js";
import { type Tensor, tensor } from "../autograd/tensor.js";
import type { HostTables } from "./batch.js";
import type { LlamaConfig } from "./config.js";
import { yieldToEvents } from "./events.js";
import { canTurnKeys } from "./generation-cache.js";
import { KeyValueCache } from "./kv-cache.js";
import type { Llama, RopeTensors, Rotations } from "./llama.js";

/** W tokens as `count` blocks of `length`, as equal as they can be. Less than `count` places of the last one lie behind the tokens. */
export interface BlockPlan {
  /** W */
  readonly context: number;
  readonly count: number;
  readonly length: number;
}

/** Blocks of at most `longest` tokens. */
export function planBlocks(context: number, longest: number): BlockPlan {
  const count = Math.ceil(context / longest);
  return { context, count, length: Math.ceil(context / count) };
}

/** Where block `index` begins and where the tokens in it end. */
export function blockRange({ context, length }: BlockPlan, index: number): { readonly from: number; readonly to: number } {
  const from = index * length;
  return { from, to: Math.min(from + length, context) };
}

/** Numbers that are kept of a row while its blocks are read: keys and values of all layers, and the turned keys of one. */
function keptPerRow(
  { num_hidden_layers: layers, num_key_value_heads: Hkv, head_dim: D }: LlamaConfig,
  { context, count }: BlockPlan,
): number {
  return count === 1 ? 0 : (2 * layers + 1) * Hkv * D * context;
}

/** Bytes on the device for each row that is read: what is kept of it, which grows with W, and what a block is computed through. */
export function bytesPerRow(config: LlamaConfig, plan: BlockPlan): number {
  // The heads of some models are wider together than the residual stream.
  const width = Math.max(config.hidden_size, config.num_attention_heads * config.head_dim);
  return 4 * (keptPerRow(config, plan) + plan.length * (6 * width + 3 * config.intermediate_size));
}

/** Reads the tokens [B, b] of one block, and gives what the head reads [B, b, C] and the longer cache. */
export const readBlock: Compiled<
  [model: Llama, tokens: Tensor, tables: RopeTensors, cache: KeyValueCache | undefined],
  [hidden: Tensor, cache: KeyValueCache | undefined]
> = compile(
  (model, tokens, tables, cache) => {
    const hidden = model.hidden(tokens, tables, cache);
    cache?.advance(tokens.shape[1] as number);
    return [hidden, cache];
  },
  { donate: [3], name: "read" },
);

/** What the head reads of one block, and the places of the rows that it is for. */
export interface HiddenBlock {
  /** [B, b, C]. It belongs to the one who asked for it; places from `to` on hold nothing of use. */
  readonly hidden: Tensor;
  readonly from: number;
  readonly to: number;
}

/**
 * Reads rows of W tokens block by block: one program for all of them, with a {@link KeyValueCache} of W places that is written in place.
 * A row of one block is read without a cache. Whoever asks for the next block gives signals and timers their turn before it is read;
 * `shouldStop` is asked then, and ends the reading.
 *
 * @param rows B rows of W tokens, row-major
 * @param options.tables of all W places, [B or 1, W, D/2]
 */
export async function* readInBlocks(
  model: Llama,
  rows: Int32Array,
  options: { readonly plan: BlockPlan; readonly tables: RopeTensors; readonly shouldStop?: (() => boolean) | undefined },
): AsyncGenerator<HiddenBlock, void, void> {
  const { plan, tables, shouldStop } = options;
  const { context, count, length } = plan;
  const batch = rows.length / context;
  let cache = count === 1 ? undefined : new KeyValueCache(model.config, { capacity: context, batch, turned: canTurnKeys(model, tables) });
  try {
    for (let block = 0; block < count && !shouldStop?.(); block++) {
      const { from, to } = blockRange(plan, block);
      const values = new Int32Array(batch * length);
      for (let row = 0; row < batch; row++) values.set(rows.subarray(row * context + from, row * context + to), row * length);
      const tokens = tensor(values, { shape: [batch, length] });
      let hidden: Tensor;
      [hidden, cache] = readBlock(model, tokens, tables, cache);
      tokens.dispose();
      yield { hidden, from, to };
      await yieldToEvents(); // signals are heard here
    }
  } finally {
    cache?.dispose();
  }
}

/**
 * What a block of so many rows takes on the current backend: weights, tables and the cache as inputs. Nothing is read and nothing allocated.
 *
 * @param tables those of all W places, of which the form alone matters: methods that look near and far read by three pairs, in two passes of attention.
 *   Default: one pair for all rows
 */
export function blockMemory(model: Llama, plan: BlockPlan, rows: number, tables?: TableForm): ProgramMemory {
  const { context, count, length } = plan;
  const cache =
    count === 1 ? undefined : new KeyValueCache(model.config, { capacity: context, batch: rows, turned: canTurnKeys(model, tables ?? {}) });
  const form = tables ?? { rows: 1, length: context, half: model.config.head_dim / 2 };
  return readBlock.memory(model, zeros([rows, length], { dtype: "i32" }), tablesOf(form), cache);
}

/** Sizes of tables, and which of their parts are there. */
export type TableForm = Pick<HostTables, "rows" | "length" | "half"> & { readonly query?: unknown; readonly far?: unknown };

/** Tables of a form, which nobody computes. */
function tablesOf({ rows, length, half, query, far }: TableForm): RopeTensors {
  const rotations = (): Rotations => ({ cos: zeros([rows, length, half]), sin: zeros([rows, length, half]) });
  const count = (): Tensor => zeros([], { dtype: "i32" });
  return {
    ...rotations(),
    ...(query === undefined ? {} : { query: rotations() }),
    ...(far === undefined ? {} : { far: { query: rotations(), key: rotations(), near: count(), keys: count() } }),
  };
}
