import type { AttentionKernel } from "../../../compiler/program.js";
import { call, type Expression, f32x4, i32, type Local, load, op } from "../assembler.js";
import { lowest, panelRow } from "./attention-loops.js";
import {
  ceilTo,
  isPlain,
  less,
  pairCost,
  plus,
  printScores,
  Rooms,
  storeFactors,
  storeRows,
  times,
  Visibility,
} from "./attention-parts.js";
import { larger, smaller } from "./epilogue.js";
import { type Gemm, reading } from "./gemm.js";
import { type Context, type KernelCode, KernelFunction, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";
import { bytesOf } from "./operations.js";

/** Queries up to which scores are products of rows: packing the keys would take longer than using them. */
const thin = 7;
/** Keys of a part: what one query has read is still in the second cache for the next that reads it. */
const mostKeys = 512;
const fewestKeys = 64;
/** Units that are enough for many threads. */
const enoughUnits = 16;

/**
 * Attention of few queries, as when text is generated from a cache of keys: every part of the keys gives each query a largest score, a sum
 * and an o of its own, and a second step combines these in order. Keys and values are read where they lie, once. Undefined where there are
 * more queries, or where neighbours in memory are not channels.
 */
export function attentionRowKernels(kernel: AttentionKernel, context: Context, gemm: Gemm): KernelCode[] | undefined {
  const { batch, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const byChannels = layoutOf(kernel.k, key.name, channel.name).column === bytesOf[kernel.k.dtype];
  const vByChannels = layoutOf(kernel.v, key.name, valueChannel.name).column === bytesOf[kernel.v.dtype];
  if (query.extent > thin || !byChannels || !vByChannels) return undefined;
  const pairs = batch.extent * keyHead.extent;
  const keys = Math.min(mostKeys, Math.max(fewestKeys, ceilTo(Math.ceil((key.extent * pairs) / enoughUnits), 4)));
  return [partKernel(kernel, context, gemm, keys), combineKernel(kernel, context, gemm, keys)];
}

/** Bytes of what a part of the keys gives a query: its largest score, its sum, and from byte 16 on its o. */
const partBytesOf = ({ loops }: AttentionKernel): number => 16 + 4 * ceilTo(loops.valueChannel.extent, 4);

const arenaBytesOf = (kernel: AttentionKernel, keys: number): number => {
  const { batch, head, query, key } = kernel.loops;
  return batch.extent * head.extent * query.extent * Math.ceil(key.extent / keys) * partBytesOf(kernel);
};

function partKernel(kernel: AttentionKernel, context: Context, gemm: Gemm, keys: number): KernelCode {
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const plain = isPlain(kernel);
  const parts = Math.ceil(key.extent / keys);
  const group = head.extent / keyHead.extent;
  const arena = f.arena();
  values.prepare([kernel.offset, kernel.scale], []);
  const visibility = new Visibility(f, kernel);
  const rooms = new Rooms(f);
  const factors = storeFactors(f, rooms, kernel.scale);
  const factor = plain ? factors.scaled : factors.one;
  const [q, k, v] = [
    layoutOf(kernel.q, query.name, channel.name),
    layoutOf(kernel.k, key.name, channel.name),
    layoutOf(kernel.v, key.name, valueChannel.name),
  ];
  const qAsItLies = kernel.q.dtype === "f32" && q.column === 4;
  const qRow = rooms.take(qAsItLies ? 0 : 4 * ceilTo(channel.extent, 4));
  const scores = rooms.take(4 * ceilTo(keys, 4));
  const block = rooms.take(4 * ceilTo(valueChannel.extent, 4));

  const number = (): Local => code.local("i32");
  const [unit, part, b, kh, h, headEnd] = [number(), number(), number(), number(), number(), number()];
  const [row, from, to, count, qFrom, state] = [number(), number(), number(), number(), number(), number()];
  const onRow = (): void => {
    const all = plus(times(plus(times(b.get, head.extent), h.get), query.extent), row.get);
    code.set(state, plus(arena.get, times(plus(times(all, parts), part.get), partBytesOf(kernel))));
    code.set(from, larger(times(part.get, keys), visibility.firstKey(row.get)));
    code.set(to, smaller(times(plus(part.get, i32(1)), keys), visibility.keyEnd(row.get)));
    code.set(count, less(to.get, from.get));
    code.if(
      op("i32.gt_s", count.get, i32(0)),
      () => {
        code.set(qFrom, addressOf(f, kernel.q, q.base, times(row.get, q.row)));
        if (!qAsItLies) {
          code.do(call(gemm[reading("gather", kernel.q.dtype)], qFrom.get, i32(q.column), qRow.get, i32(channel.extent)));
          code.set(qFrom, qRow.get);
        }
        const kFrom = addressOf(f, kernel.k, k.base, times(from.get, k.row));
        code.do(call(gemm[reading("rowByRows", kernel.k.dtype)], qFrom.get, kFrom, i32(k.row), scores.get, count.get, i32(channel.extent)));
        if (!plain) {
          const rowEnd = plus(row.get, i32(1));
          const pairs = { row: query, column: key, firstRow: row, rowEnd, firstColumn: from, columnEnd: to, ragged: true };
          printScores(f, kernel, pairs, scores.get, scores.get);
        }
        code.do(call(gemm.softmaxRow, scores.get, count.get, state.get, factor.get));
        const vFrom = addressOf(f, kernel.v, v.base, times(from.get, v.row));
        const o = plus(state.get, i32(16));
        const sizes = [i32(valueChannel.extent), count.get];
        code.do(call(gemm[reading("rowByColumns", kernel.v.dtype)], scores.get, vFrom, i32(v.row), o, ...sizes, block.get));
      },
      () => {
        code.clear(state.get, i32(partBytesOf(kernel)));
        code.storeLane("v128.store32_lane", 0, state.get, f32x4(lowest));
      },
    );
  };
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(part, op("i32.rem_u", unit.get, i32(parts)));
    code.set(kh, op("i32.div_u", unit.get, i32(parts)));
    code.set(b, op("i32.div_u", kh.get, i32(keyHead.extent)));
    code.set(kh, op("i32.rem_u", kh.get, i32(keyHead.extent)));
    code.set(headEnd, times(plus(kh.get, i32(1)), group));
    values.within(batch.name, b, () =>
      values.within(keyHead.name, kh, () =>
        code.for(h, times(kh.get, group), headEnd.get, 1, () =>
          values.within(head.name, h, () => {
            values.prepare(kernel.visible ? [kernel.score, kernel.visible] : [kernel.score], [query.name, key.name]);
            code.for(row, i32(0), i32(query.extent), 1, () => values.within(query.name, row, onRow));
          }),
        ),
      ),
    );
  });
  const units = batch.extent * keyHead.extent * parts;
  const cost = Math.min(keys, key.extent) * (0.1 * (channel.extent + valueChannel.extent) + group * query.extent * 2 * pairCost(kernel));
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: rooms.bytes,
    arenaBytes: arenaBytesOf(kernel, keys),
    cost: cost * units,
  });
}

function combineKernel(kernel: AttentionKernel, context: Context, gemm: Gemm, keys: number): KernelCode {
  const { batch, head, query, key, valueChannel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const parts = Math.ceil(key.extent / keys);
  const arena = f.arena();
  const rooms = new Rooms(f);
  const o = rooms.take(4 * ceilTo(valueChannel.extent, 4));
  const lse = rooms.take(panelRow);
  const number = (): Local => code.local("i32");
  const [unit, b, h, row, end] = [number(), number(), number(), number(), number()];
  const store = kernel.stores[kernel.results.indexOf(1)];
  const onRow = (): void => {
    const from: Expression = plus(arena.get, times(unit.get, parts * partBytesOf(kernel)));
    code.do(call(gemm.combineParts, from, i32(parts), i32(partBytesOf(kernel)), o.get, i32(valueChannel.extent), lse.get));
    storeRows(f, kernel, 0, { row: query, column: valueChannel, first: row, end, from: o.get, rowBytes: 0 });
    if (store === undefined) return;
    values.within(
      query.name,
      row,
      () => {
        const value = code.local("v128", load("v128.load", lse.get));
        values.store(store.buffer, store.index, value);
        code.release(value);
      },
      1,
    );
  };
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(row, op("i32.rem_u", unit.get, i32(query.extent)));
    code.set(end, plus(row.get, i32(1)));
    code.set(h, op("i32.div_u", unit.get, i32(query.extent)));
    code.set(b, op("i32.div_u", h.get, i32(head.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(head.extent)));
    values.within(batch.name, b, () => values.within(head.name, h, onRow));
  });
  const cost = 20 + parts * (10 + 0.3 * valueChannel.extent);
  const units = batch.extent * head.extent * query.extent;
  return f.finish({
    label: `combine ${kernel.label}`,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: rooms.bytes,
    arenaBytes: arenaBytesOf(kernel, keys),
    cost: cost * units,
  });
}
