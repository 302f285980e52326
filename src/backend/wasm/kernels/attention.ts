import type { AttentionKernel } from "../../../compiler/program.js";
import { isAttention } from "../../../ir/attention.js";
import type { CallNode } from "../../../ir/graph.js";
import { call, type Expression, f32x4, i32, type Local, load, op } from "../assembler.js";
import { lowest, panelRow } from "./attention-loops.js";
import {
  ceilTo,
  isPlain,
  less,
  liesReady,
  packedPanels,
  packedTiles,
  pairCost,
  pieceOf,
  plus,
  printProduct,
  printScores,
  Rooms,
  readyRows,
  storeFactors,
  storePanel,
  times,
  Visibility,
  visibleShare,
} from "./attention-parts.js";
import { attentionRowKernels } from "./attention-rows.js";
import { larger, smaller } from "./epilogue.js";
import { type Gemm, panelColumns, reading, tileRows } from "./gemm.js";
import { type Context, type KernelCode, KernelFunction, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";

/** Whether there is a kernel for a call, so that it need not be inlined. */
export function hasAttentionKernel(call: CallNode): boolean {
  return isAttention(call);
}

/** Keys of a block: its packed keys and values stay in the second cache while the queries of a unit pass. */
const mostKeys = 64;
/** Queries that one thread takes at once. */
const mostQueries = 64;
/** Packed keys and values that all threads share may take so many bytes. */
const largestArena = 1 << 26;

/** How attention is cut: blocks of keys, and units of queries. */
interface Blocks {
  readonly keys: number;
  readonly keyBlocks: number;
  readonly queries: number;
  readonly queryBlocks: number;
  /** Bytes of a packed block of keys, and of one with the values after it. */
  readonly keyBytes: number;
  readonly bytes: number;
  /** Whether keys and values are read where they lie. */
  readonly keysReady: boolean;
  readonly valuesReady: boolean;
}

function blocksOf({ loops, k, v }: AttentionKernel): Blocks {
  const { batch, head, query, key, channel, valueChannel } = loops;
  const keys = pieceOf(key.extent, mostKeys, panelColumns);
  let queries = pieceOf(query.extent, mostQueries, panelColumns);
  const units = (): number => batch.extent * head.extent * Math.ceil(query.extent / queries);
  while (units() < 16 && queries >= 2 * panelColumns) queries = ceilTo(queries / 2, panelColumns);
  const keysReady = liesReady(k, key.name, channel.name, keys);
  const keyBytes = keysReady ? 0 : 4 * keys * channel.extent;
  const valuesReady = liesReady(v, key.name, valueChannel.name, keys);
  return {
    keys,
    keyBlocks: Math.ceil(key.extent / keys),
    queries,
    queryBlocks: Math.ceil(query.extent / queries),
    keyBytes,
    bytes: keyBytes + (valuesReady ? 0 : 4 * keys * ceilTo(valueChannel.extent, tileRows)),
    keysReady,
    valuesReady,
  };
}

/**
 * Attention as one kernel or two: a unit is some queries of one head, for which one block of keys follows another. Where several units
 * need the same keys and values, these are packed once by a kernel of their own.
 *
 *   sᵀ = k·qᵀ      [key][8 queries]: keys in tiles of four rows, queries in panels of eight columns
 *   pᵀ = 2^(sᵀ − m)   in place, with the largest m so far
 *   oᵀ += vᵀ·pᵀ    values in tiles of four channels; pᵀ is a packed panel as it lies
 */
export function attentionKernels(kernel: AttentionKernel, context: Context, gemm: Gemm): KernelCode[] {
  const ofRows = attentionRowKernels(kernel, context, gemm);
  if (ofRows) return ofRows;
  const blocks = blocksOf(kernel);
  const { batch, head, keyHead } = kernel.loops;
  const uses = blocks.queryBlocks * (head.extent / keyHead.extent);
  const arenaBytes = batch.extent * keyHead.extent * blocks.keyBlocks * blocks.bytes;
  const ahead = uses > 1 && arenaBytes > 0 && arenaBytes <= largestArena;
  const main = forwardKernel(kernel, context, gemm, blocks, ahead ? arenaBytes : 0);
  return ahead ? [packKernel(kernel, context, gemm, blocks, arenaBytes), main] : [main];
}

/** Prints how a block of keys and values is packed, those of the batch and key head that have been entered. */
function packBlock(
  f: KernelFunction,
  kernel: AttentionKernel,
  gemm: Gemm,
  { keyBytes, keysReady, valuesReady }: Blocks,
  place: { readonly first: Local; readonly count: Local; readonly to: Expression },
): void {
  const { code } = f;
  const { k, v, loops } = kernel;
  const { key, channel, valueChannel } = loops;
  const { first, count, to } = place;
  if (!keysReady) {
    const kAt = layoutOf(k, key.name, channel.name);
    const kFrom = addressOf(f, k, kAt.base, times(first.get, kAt.row));
    code.do(call(gemm[reading("packTiles", k.dtype)], kFrom, i32(kAt.column), i32(kAt.row), to, i32(channel.extent), count.get));
  }
  if (valuesReady) return;
  const vAt = layoutOf(v, key.name, valueChannel.name);
  const vFrom = addressOf(f, v, vAt.base, times(first.get, vAt.row));
  const vTo = plus(to, i32(keyBytes));
  code.do(call(gemm[reading("packTiles", v.dtype)], vFrom, i32(vAt.row), i32(vAt.column), vTo, count.get, i32(valueChannel.extent)));
}

function packKernel(kernel: AttentionKernel, context: Context, gemm: Gemm, blocks: Blocks, arenaBytes: number): KernelCode {
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const { batch, keyHead, key, channel, valueChannel } = kernel.loops;
  const arena = f.arena();
  const [unit, b, h, first, count] = [0, 1, 2, 3, 4].map(() => code.local("i32")) as [Local, Local, Local, Local, Local];
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(first, times(op("i32.rem_u", unit.get, i32(blocks.keyBlocks)), blocks.keys));
    code.set(h, op("i32.div_u", unit.get, i32(blocks.keyBlocks)));
    code.set(b, op("i32.div_u", h.get, i32(keyHead.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(keyHead.extent)));
    code.set(count, smaller(i32(blocks.keys), less(i32(key.extent), first.get)));
    values.within(batch.name, b, () =>
      values.within(keyHead.name, h, () =>
        packBlock(f, kernel, gemm, blocks, { first, count, to: plus(arena.get, times(unit.get, blocks.bytes)) }),
      ),
    );
  });
  const cost = 0.25 * blocks.keys * (channel.extent + valueChannel.extent);
  const units = batch.extent * keyHead.extent * blocks.keyBlocks;
  return f.finish({
    label: `pack ${kernel.label}`,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: 0,
    arenaBytes,
    cost: cost * units,
  });
}

function forwardKernel(kernel: AttentionKernel, context: Context, gemm: Gemm, blocks: Blocks, arenaBytes: number): KernelCode {
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const ahead = arenaBytes > 0;
  const plain = isPlain(kernel);
  const arena = f.arena();
  values.prepare([kernel.offset, kernel.scale], []);
  const visibility = new Visibility(f, kernel);
  const panels = blocks.queries / panelColumns;

  const rooms = new Rooms(f);
  const panelBytes = panelRow * channel.extent;
  const sumBytes = panelRow * ceilTo(valueChannel.extent, 4);
  const factors = storeFactors(f, rooms, kernel.scale);
  const qPanels = rooms.take(panels * panelBytes);
  const scores = rooms.take(blocks.keys * panelRow);
  const sums = rooms.take(panels * sumBytes);
  const states = rooms.take(panels * 2 * panelRow);
  const ends = rooms.take(2 * panelRow);
  const rows = rooms.take(panelColumns * 4 * ceilTo(valueChannel.extent, 4));
  const packed = ahead ? code.local("i32") : rooms.take(blocks.bytes);

  const number = (): Local => code.local("i32");
  const [unit, b, h, kh, top, bottom] = [number(), number(), number(), number(), number(), number()];
  const vAt = layoutOf(kernel.v, key.name, valueChannel.name);
  const kAt = layoutOf(kernel.k, key.name, channel.name);
  const [keysFrom, valuesFrom] = [number(), number()];
  const [block, blockEnd, blockFirst, blockKeys] = [number(), number(), number(), number()];
  const [panel, end, from, to, count, qPanel, o, state] = [0, 1, 2, 3, 4, 5, 6, 7].map(number) as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  /** Prints what happens to each eight queries of the unit. */
  const eachPanel = (body: () => void): void => {
    code.set(qPanel, qPanels.get);
    code.set(o, sums.get);
    code.set(state, states.get);
    code.for(panel, top.get, bottom.get, panelColumns, () => {
      code.set(end, smaller(bottom.get, plus(panel.get, i32(panelColumns))));
      body();
      code.increase(qPanel, i32(panelBytes));
      code.increase(o, i32(sumBytes));
      code.increase(state, i32(2 * panelRow));
    });
  };

  const onBlock = (): void =>
    eachPanel(() => {
      // Keys are packed by fours.
      const start = op("i32.and", visibility.firstKey(panel.get), i32(-tileRows));
      code.set(from, larger(start, blockFirst.get));
      code.set(to, smaller(visibility.keyEnd(less(end.get, i32(1))), plus(blockFirst.get, blockKeys.get)));
      code.set(count, less(to.get, from.get));
      code.if(op("i32.gt_s", count.get, i32(0)), () => {
        const skipped = (): Expression => less(from.get, blockFirst.get);
        printProduct(f, gemm, {
          a: blocks.keysReady
            ? readyRows(plus(keysFrom.get, times(from.get, kAt.row)), kAt.row)
            : packedTiles(plus(packed.get, times(skipped(), 4 * channel.extent)), i32(channel.extent)),
          b: packedPanels(qPanel.get, i32(0)),
          to: scores.get,
          toRow: panelRow,
          rows: count.get,
          panels: 1,
          depth: i32(channel.extent),
          adds: false,
        });
        const factor = code.local("i32", (plain ? factors.scaled : factors.one).get);
        if (!plain) {
          const part = { row: key, column: query, firstRow: from, rowEnd: to.get, firstColumn: panel, columnEnd: end };
          printScores(f, kernel, part, scores.get, scores.get);
        }
        visibility.whereCut(panel.get, end.get, from.get, to.get, () => {
          visibility.hide(gemm, scores.get, count.get, factor.get, panel.get, from.get, "keys");
          code.set(factor, factors.one.get);
        });
        code.do(call(gemm.softmaxPanel, scores.get, count.get, state.get, factor.get, o.get, i32(valueChannel.extent)));
        code.release(factor);
        const vPacked = plus(plus(packed.get, i32(blocks.keyBytes)), times(skipped(), 4 * tileRows));
        printProduct(f, gemm, {
          a: blocks.valuesReady
            ? { from: plus(valuesFrom.get, times(from.get, vAt.row)), next: i32(4 * tileRows), step: vAt.row }
            : packedTiles(vPacked, blockKeys.get),
          b: packedPanels(scores.get, i32(0)),
          to: o.get,
          toRow: panelRow,
          rows: i32(valueChannel.extent),
          panels: 1,
          depth: count.get,
          adds: true,
        });
      });
    });

  const onUnit = (): void => {
    const q = layoutOf(kernel.q, query.name, channel.name);
    if (blocks.keysReady) code.set(keysFrom, addressOf(f, kernel.k, kAt.base, i32(0)));
    if (blocks.valuesReady) code.set(valuesFrom, addressOf(f, kernel.v, vAt.base, i32(0)));
    const qFrom = addressOf(f, kernel.q, q.base, times(top.get, q.row));
    const queries = (): Expression => less(bottom.get, top.get);
    code.do(
      call(gemm[reading("packPanels", kernel.q.dtype)], qFrom, i32(q.column), i32(q.row), qPanels.get, i32(channel.extent), queries()),
    );
    eachPanel(() => {
      for (const at of [0, 16]) {
        code.store("v128.store", state.get, f32x4(lowest), at);
        code.store("v128.store", state.get, f32x4(0), 32 + at);
      }
      code.clear(o.get, i32(sumBytes));
    });
    code.set(block, op("i32.div_u", visibility.firstKey(top.get), i32(blocks.keys)));
    // Ends before the first key are negative.
    const keyEnd = larger(i32(0), visibility.keyEnd(less(bottom.get, i32(1))));
    code.set(blockEnd, op("i32.div_u", plus(keyEnd, i32(blocks.keys - 1)), i32(blocks.keys)));
    code.for(block, block.get, blockEnd.get, 1, () => {
      code.set(blockFirst, times(block.get, blocks.keys));
      code.set(blockKeys, smaller(i32(blocks.keys), less(i32(key.extent), blockFirst.get)));
      if (ahead) {
        const place = plus(times(plus(times(b.get, keyHead.extent), kh.get), blocks.keyBlocks), block.get);
        code.set(packed, plus(arena.get, times(place, blocks.bytes)));
      } else packBlock(f, kernel, gemm, blocks, { first: blockFirst, count: blockKeys, to: packed.get });
      onBlock();
    });
    eachPanel(() => {
      const lse = plus(ends.get, i32(panelRow));
      code.do(call(gemm.endSoftmax, state.get, ends.get, lse));
      storePanel(f, kernel, gemm, 0, { panel: o.get, factors: ends, room: rows, row: query, column: valueChannel, first: panel, end });
      storeLse(lse);
    });
  };

  const storeLse = (from: Expression): void => {
    const store = kernel.stores[kernel.results.indexOf(1)];
    if (store === undefined) return;
    const base = code.local("i32", less(from, times(panel.get, 4)));
    values.prepareStore(store.buffer, store.index, query.name);
    f.vectorLoop({ from: panel.get, to: end.get, extent: query.extent }, (width, [counter]) => {
      const c = counter as Local;
      values.within(
        query.name,
        c,
        () => {
          const value = code.local("v128", load(width === 4 ? "v128.load" : "v128.load32_splat", plus(base.get, times(c.get, 4))));
          values.store(store.buffer, store.index, value);
          code.release(value);
        },
        width,
      );
    });
    code.release(base);
  };

  code.for(unit, f.begin.get, f.end.get, 1, () => {
    // The last queries see the most keys, and what takes long is begun first.
    const fromEnd = op("i32.rem_u", unit.get, i32(blocks.queryBlocks));
    code.set(top, times(less(i32(blocks.queryBlocks - 1), fromEnd), blocks.queries));
    code.set(bottom, smaller(i32(query.extent), plus(top.get, i32(blocks.queries))));
    code.set(h, op("i32.div_u", unit.get, i32(blocks.queryBlocks)));
    code.set(b, op("i32.div_u", h.get, i32(head.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(head.extent)));
    code.set(kh, op("i32.div_u", times(h.get, keyHead.extent), i32(head.extent)));
    values.within(batch.name, b, () =>
      values.within(head.name, h, () => {
        values.prepare(kernel.visible ? [kernel.score, kernel.visible] : [kernel.score], [query.name, key.name]);
        values.within(keyHead.name, kh, onUnit);
      }),
    );
  });

  const cost = Math.min(blocks.queries, query.extent) * key.extent * visibleShare(kernel) * pairCost(kernel);
  const units = batch.extent * head.extent * blocks.queryBlocks;
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: rooms.bytes,
    arenaBytes,
    cost: cost * units,
  });
}
