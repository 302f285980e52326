import type { AttentionBackwardKernel } from "../../../compiler/program.js";
import { call, type Expression, f32x4, i32, type Local, load, op } from "../assembler.js";
import { panelRow } from "./attention-loops.js";
import {
  ceilTo,
  isPlain,
  less,
  pairCost,
  pieceOf,
  plus,
  printPulled,
  printScores,
  Rooms,
  storeFactors,
  storeRows,
  times,
  Visibility,
  visibleShare,
} from "./attention-parts.js";
import { larger, smaller } from "./epilogue.js";
import { type Gemm, panelColumns, reading, tileRows } from "./gemm.js";
import { type Context, type KernelCode, KernelFunction, tableHeader, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";

/** Keys and queries of a tile of scores. */
const mostKeys = 64;
const mostQueries = 64;
/** Units that are enough for many threads. */
const enoughUnits = 16;

/** How the backward pass is cut, and where what its steps share lies in the arena. */
interface Blocks {
  readonly keys: number;
  readonly keyTiles: number;
  readonly queries: number;
  readonly queryTiles: number;
  /** Parts that the key tiles are dealt to. */
  readonly parts: number;
  /** Bytes of the packed forms of a tile of queries and of what belongs to them, and where each begins. */
  readonly q: number;
  readonly qTurned: number;
  readonly cotangent: number;
  readonly cotangentTurned: number;
  readonly lse: number;
  readonly delta: number;
  readonly tileBytes: number;
  /** Bytes of a row of the sums of q̄, and of all that one part of the keys adds up, which begin at `sums`. */
  readonly sumRow: number;
  readonly sums: number;
  readonly partBytes: number;
  readonly arenaBytes: number;
}

function blocksOf({ loops, results }: AttentionBackwardKernel): Blocks {
  const { batch, head, keyHead, query, key, channel, valueChannel } = loops;
  const pairs = batch.extent * keyHead.extent;
  let keys = pieceOf(key.extent, mostKeys, panelColumns);
  while (pairs * Math.ceil(key.extent / keys) < enoughUnits && keys >= 4 * panelColumns) keys = ceilTo(keys / 2, panelColumns);
  const keyTiles = Math.ceil(key.extent / keys);
  const parts = Math.min(keyTiles, Math.ceil(enoughUnits / pairs));
  const queries = pieceOf(query.extent, mostQueries, panelColumns);
  const queryTiles = Math.ceil(query.extent / queries);
  let bytes = 0;
  const place = (columns: number): number => {
    const at = bytes;
    bytes += 4 * queries * columns;
    return at;
  };
  const [qColumns, vColumns] = [ceilTo(channel.extent, tileRows), ceilTo(valueChannel.extent, tileRows)];
  const places = {
    q: place(channel.extent),
    qTurned: place(qColumns),
    cotangent: place(valueChannel.extent),
    cotangentTurned: place(vColumns),
    lse: place(1),
    delta: place(1),
  };
  const sumRow = 4 * ceilTo(channel.extent, panelColumns);
  const sums = ceilTo(batch.extent * head.extent * queryTiles * bytes, 64);
  const partBytes = batch.extent * head.extent * query.extent * sumRow;
  const arenaBytes = sums + (results.includes(0) ? parts * partBytes : 0);
  return { keys, keyTiles, queries, queryTiles, parts, ...places, tileBytes: bytes, sumRow, sums, partBytes, arenaBytes };
}

/**
 * The backward pass of attention in three steps. The first packs what belongs to the queries. A unit of the second is a key head and every
 * so many of its tiles of keys, for which one tile of queries follows another; with panels of eight keys,
 *
 *   s = q·kᵀ    p̄ = ō·vᵀ        [query][8 keys]: queries in tiles of four rows, keys in panels of eight columns
 *   p = 2^(s − lse)    s̄ = p·(p̄ − delta)        in place; packed panels as they lie
 *   v̄ᵀ += ōᵀ·p    k̄ᵀ += qᵀ·s̄        channels in tiles of four
 *   q̄ += s̄·k        s̄ turned into tiles of four queries
 *
 * Each part of the keys adds up a q̄ of its own; the third step adds these in order, so that no result depends on the threads.
 */
export function attentionBackwardKernels(kernel: AttentionBackwardKernel, context: Context, gemm: Gemm): KernelCode[] {
  const blocks = blocksOf(kernel);
  const codes = [packKernel(kernel, context, gemm, blocks), mainKernel(kernel, context, gemm, blocks)];
  return kernel.results.includes(0) ? [...codes, sumKernel(kernel, context, blocks)] : codes;
}

function packKernel(kernel: AttentionBackwardKernel, context: Context, gemm: Gemm, blocks: Blocks): KernelCode {
  const { batch, head, query, channel, valueChannel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const arena = f.word(tableHeader.arena);
  const number = (): Local => code.local("i32");
  const [unit, b, h, first, count, to] = [number(), number(), number(), number(), number(), number()];
  const pack = (
    operand: AttentionBackwardKernel["q"],
    column: { readonly name: string; readonly extent: number },
    rowsAt: number,
    turnedAt: number,
  ): void => {
    const { base, row, column: step } = layoutOf(operand, query.name, column.name);
    const from = code.local("i32", addressOf(f, operand, base, times(first.get, row)));
    const packTiles = gemm[reading("packTiles", operand.dtype)];
    code.do(call(packTiles, from.get, i32(step), i32(row), plus(to.get, i32(rowsAt)), i32(column.extent), count.get));
    code.do(call(packTiles, from.get, i32(row), i32(step), plus(to.get, i32(turnedAt)), count.get, i32(column.extent)));
    code.release(from);
  };
  /** A number for each query, times a factor. */
  const copy = (operand: AttentionBackwardKernel["lse"], at: number, factor: number): void => {
    const base = code.local("i32", less(plus(to.get, i32(at)), times(first.get, 4)));
    const end = plus(first.get, count.get);
    values.prepare([operand], [query.name], query.name);
    f.vectorLoop({ from: first.get, to: end, extent: query.extent }, (width, [counter]) => {
      const c = counter as Local;
      values.within(
        query.name,
        c,
        () => {
          const scaled = code.local("v128", op("f32x4.mul", values.get(operand).get, f32x4(factor)));
          const place = plus(base.get, times(c.get, 4));
          if (width === 4) code.store("v128.store", place, scaled.get);
          else code.storeLane("v128.store32_lane", 0, place, scaled.get);
          code.release(scaled);
        },
        width,
      );
    });
    code.release(base);
  };
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(first, times(op("i32.rem_u", unit.get, i32(blocks.queryTiles)), blocks.queries));
    code.set(count, smaller(i32(blocks.queries), less(i32(query.extent), first.get)));
    code.set(h, op("i32.div_u", unit.get, i32(blocks.queryTiles)));
    code.set(b, op("i32.div_u", h.get, i32(head.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(head.extent)));
    code.set(to, plus(arena.get, times(unit.get, blocks.tileBytes)));
    values.within(batch.name, b, () =>
      values.within(head.name, h, () => {
        pack(kernel.q, channel, blocks.q, blocks.qTurned);
        pack(kernel.cotangent, valueChannel, blocks.cotangent, blocks.cotangentTurned);
        copy(kernel.lse, blocks.lse, Math.LOG2E);
        copy(kernel.delta, blocks.delta, 1);
      }),
    );
  });
  const cost = 0.5 * blocks.queries * (channel.extent + valueChannel.extent);
  const units = batch.extent * head.extent * blocks.queryTiles;
  return f.finish({
    label: `pack ${kernel.label}`,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: 0,
    arenaBytes: blocks.arenaBytes,
    cost: cost * units,
  });
}

function mainKernel(kernel: AttentionBackwardKernel, context: Context, gemm: Gemm, blocks: Blocks): KernelCode {
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const [needsQ, needsK, needsV] = [0, 1, 2].map((result) => kernel.results.includes(result)) as [boolean, boolean, boolean];
  const plain = isPlain(kernel);
  const pulled = kernel.pulled.id !== kernel.scoreCotangent.id;
  const group = head.extent / keyHead.extent;
  const panels = blocks.keys / panelColumns;
  values.prepare([kernel.offset, kernel.scale], []);
  const visibility = new Visibility(f, kernel);

  const arena = f.word(tableHeader.arena);
  const rooms = new Rooms(f);
  const factors = storeFactors(f, rooms, kernel.scale);
  const [kPanelBytes, vPanelBytes] = [panelRow * channel.extent, panelRow * valueChannel.extent];
  // Sums are turned by fours of channels.
  const [kSumBytes, vSumBytes] = [panelRow * ceilTo(channel.extent, 4), panelRow * ceilTo(valueChannel.extent, 4)];
  const kPanels = rooms.take(panels * kPanelBytes);
  const vPanels = rooms.take(panels * vPanelBytes);
  const kChannels = rooms.take(blocks.keys * blocks.sumRow);
  const kSums = rooms.take(panels * kSumBytes);
  const vSums = rooms.take(panels * vSumBytes);
  const raws = rooms.take(blocks.queries * panelRow);
  const weights = pulled ? rooms.take(blocks.queries * panelRow) : raws;
  const pulls = rooms.take(blocks.queries * panelRow);
  const tiles = rooms.take(4 * blocks.keys * blocks.queries);
  const tileBytes = 4 * tileRows * blocks.keys;
  const rowBytes = 4 * ceilTo(Math.max(channel.extent, valueChannel.extent), 4);
  const rows = rooms.take(panelColumns * rowBytes);

  const number = (): Local => code.local("i32");
  const [unit, part, b, h, headEnd, kh] = [number(), number(), number(), number(), number(), number()];
  const [tile, first, keys, end] = [number(), number(), number(), number()];
  const [block, blockEnd, top, queries, packed] = [number(), number(), number(), number(), number()];
  const [panel, panelEnd, from, count, skipped, factor] = [number(), number(), number(), number(), number(), number()];

  const packKeys = (): void => {
    const at = layoutOf(kernel.k, key.name, channel.name);
    const vAt = layoutOf(kernel.v, key.name, valueChannel.name);
    const [kPack, vPack] = [gemm[reading("packPanels", kernel.k.dtype)], gemm[reading("packPanels", kernel.v.dtype)]];
    const kFrom = code.local("i32", addressOf(f, kernel.k, at.base, times(first.get, at.row)));
    const vFrom = addressOf(f, kernel.v, vAt.base, times(first.get, vAt.row));
    code.do(call(kPack, kFrom.get, i32(at.column), i32(at.row), kPanels.get, i32(channel.extent), keys.get));
    code.do(call(vPack, vFrom, i32(vAt.column), i32(vAt.row), vPanels.get, i32(valueChannel.extent), keys.get));
    if (needsQ) code.do(call(kPack, kFrom.get, i32(at.row), i32(at.column), kChannels.get, keys.get, i32(channel.extent)));
    code.release(kFrom);
    code.do(op("memory.fill", kSums.get, i32(0), i32(panels * kSumBytes)));
    code.do(op("memory.fill", vSums.get, i32(0), i32(panels * vSumBytes)));
  };

  /** The number of the panel of keys at hand, times something. */
  const inPanel = (bytes: number): Expression => times(op("i32.div_u", less(panel.get, first.get), i32(panelColumns)), bytes);
  /** Prints what happens to each eight keys of the tile. */
  const eachPanel = (body: () => void): void =>
    code.for(panel, first.get, end.get, panelColumns, () => {
      code.set(panelEnd, smaller(end.get, plus(panel.get, i32(panelColumns))));
      body();
    });

  /** Eight keys against the queries of a tile that see them. */
  const onPanel = (): void => {
    // Rows are done by fours, from the first that sees the first key to the last that sees the last.
    code.set(skipped, op("i32.and", larger(i32(0), less(visibility.firstQuery(panel.get), top.get)), i32(-tileRows)));
    const seen = less(visibility.queryEnd(less(panelEnd.get, i32(1))), top.get);
    code.set(count, smaller(queries.get, op("i32.and", plus(seen, i32(tileRows - 1)), i32(-tileRows))));
    code.increase(count, less(i32(0), skipped.get));
    code.if(op("i32.gt_s", count.get, i32(0)), () => {
      code.set(from, plus(top.get, skipped.get));
      const inTile = (bytes: number): Expression => times(skipped.get, bytes);
      const rowsOf = (place: Local): Expression => plus(place.get, inTile(panelRow));
      const scores = (a: number, channels: number, bPanel: Expression, c: Local): void => {
        const aTiles = plus(plus(packed.get, i32(a)), inTile(4 * channels));
        const tileStride = i32(4 * tileRows * channels);
        code.do(
          call(gemm.multiplyPart, aTiles, tileStride, bPanel, i32(0), rowsOf(c), i32(panelRow), count.get, i32(1), i32(channels), i32(0)),
        );
      };
      scores(blocks.q, channel.extent, plus(kPanels.get, inPanel(kPanelBytes)), raws);
      scores(blocks.cotangent, valueChannel.extent, plus(vPanels.get, inPanel(vPanelBytes)), pulls);
      code.set(factor, (plain ? factors.scaled : factors.one).get);
      const panelPart = {
        row: query,
        column: key,
        firstRow: from,
        rowEnd: plus(from.get, count.get),
        firstColumn: panel,
        columnEnd: panelEnd,
      };
      if (!plain) printScores(f, kernel, panelPart, rowsOf(raws), rowsOf(weights));
      visibility.whereCut(from.get, plus(from.get, count.get), panel.get, panelEnd.get, () => {
        visibility.hide(gemm, rowsOf(weights), count.get, factor.get, from.get, panel.get, "queries");
        code.set(factor, factors.one.get);
      });
      const place = (at: number): Expression => plus(plus(packed.get, i32(at)), inTile(4));
      const turned = plus(plus(tiles.get, inPanel(4 * tileRows * panelColumns)), inTile(tileBytes / tileRows));
      code.do(
        call(
          gemm.probabilities,
          rowsOf(weights),
          rowsOf(pulls),
          count.get,
          place(blocks.lse),
          place(blocks.delta),
          factor.get,
          turned,
          i32(tileBytes),
        ),
      );
      if (pulled) {
        printPulled(f, kernel, panelPart, { products: rowsOf(raws), weights: rowsOf(weights), cotangents: rowsOf(pulls) });
        code.do(call(gemm.turnTiles, rowsOf(pulls), count.get, turned, i32(tileBytes)));
      }
      const sum = (a: number, channels: number, bPanel: Expression, c: Expression): void => {
        const aTiles = plus(plus(packed.get, i32(a)), inTile(4 * tileRows));
        const tileStride = times(queries.get, 4 * tileRows);
        code.do(call(gemm.multiplyPart, aTiles, tileStride, bPanel, i32(0), c, i32(panelRow), i32(channels), i32(1), count.get, i32(1)));
      };
      if (needsV) sum(blocks.cotangentTurned, valueChannel.extent, rowsOf(weights), plus(vSums.get, inPanel(vSumBytes)));
      if (needsK) sum(blocks.qTurned, channel.extent, rowsOf(pulls), plus(kSums.get, inPanel(kSumBytes)));
    });
  };

  const sumsOf = (row: Expression): Expression => {
    const all = plus(times(plus(times(b.get, head.extent), h.get), query.extent), row);
    return plus(plus(arena.get, i32(blocks.sums)), plus(times(part.get, blocks.partBytes), times(all, blocks.sumRow)));
  };

  const onQueries = (): void => {
    code.set(top, times(block.get, blocks.queries));
    code.set(queries, smaller(i32(blocks.queries), less(i32(query.extent), top.get)));
    const at = plus(times(plus(times(b.get, head.extent), h.get), blocks.queryTiles), block.get);
    code.set(packed, plus(arena.get, times(at, blocks.tileBytes)));
    if (needsQ) {
      visibility.whereCut(top.get, plus(top.get, queries.get), first.get, end.get, () =>
        code.do(op("memory.fill", tiles.get, i32(0), i32(4 * blocks.keys * blocks.queries))),
      );
    }
    eachPanel(onPanel);
    if (!needsQ) return;
    code.do(
      call(
        gemm.multiplyPart,
        tiles.get,
        i32(tileBytes),
        kChannels.get,
        times(keys.get, panelRow),
        sumsOf(top.get),
        i32(blocks.sumRow),
        queries.get,
        i32(blocks.sumRow / panelRow),
        keys.get,
        i32(1),
      ),
    );
  };

  const onTile = (): void => {
    code.set(first, times(tile.get, blocks.keys));
    code.set(keys, smaller(i32(blocks.keys), less(i32(key.extent), first.get)));
    code.set(end, plus(first.get, keys.get));
    packKeys();
    code.set(headEnd, times(plus(kh.get, i32(1)), group));
    code.for(h, times(kh.get, group), headEnd.get, 1, () =>
      values.within(head.name, h, () => {
        values.prepare([kernel.score, kernel.pulled, ...(kernel.visible ? [kernel.visible] : [])], [query.name, key.name]);
        const afterLast = larger(i32(0), visibility.queryEnd(less(end.get, i32(1))));
        code.set(blockEnd, op("i32.div_u", plus(afterLast, i32(blocks.queries - 1)), i32(blocks.queries)));
        code.for(block, op("i32.div_u", visibility.firstQuery(first.get), i32(blocks.queries)), blockEnd.get, 1, onQueries);
      }),
    );
    const store = (
      result: number,
      sums: Local,
      bytes: number,
      factorOf: Local,
      column: { readonly name: string; readonly extent: number },
    ): void => {
      code.do(call(gemm.turnPanel, plus(sums.get, inPanel(bytes)), factorOf.get, rows.get, i32(rowBytes), i32(column.extent)));
      storeRows(f, kernel, result, { row: key.name, column, first: panel, end: panelEnd, from: rows.get, rowBytes });
    };
    eachPanel(() => {
      if (needsK) store(1, kSums, kSumBytes, factors.scale, channel);
      if (needsV) store(2, vSums, vSumBytes, factors.one, valueChannel);
    });
  };

  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(part, op("i32.rem_u", unit.get, i32(blocks.parts)));
    code.set(kh, op("i32.div_u", unit.get, i32(blocks.parts)));
    code.set(b, op("i32.div_u", kh.get, i32(keyHead.extent)));
    code.set(kh, op("i32.rem_u", kh.get, i32(keyHead.extent)));
    if (needsQ) {
      code.set(h, times(kh.get, group));
      code.do(op("memory.fill", sumsOf(i32(0)), i32(0), i32(group * query.extent * blocks.sumRow)));
    }
    values.within(batch.name, b, () =>
      values.within(keyHead.name, kh, () => code.for(tile, part.get, i32(blocks.keyTiles), blocks.parts, onTile)),
    );
  });

  const pairs = query.extent * key.extent * visibleShare(kernel) * group;
  const units = batch.extent * keyHead.extent * blocks.parts;
  const cost = (pairs * 2.5 * pairCost(kernel)) / blocks.parts;
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: rooms.bytes,
    arenaBytes: blocks.arenaBytes,
    cost: cost * units,
  });
}

/** q̄ from what the parts of the keys added up. */
function sumKernel(kernel: AttentionBackwardKernel, context: Context, blocks: Blocks): KernelCode {
  const { batch, head, query, channel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const arena = f.word(tableHeader.arena);
  const store = kernel.stores[kernel.results.indexOf(0)] as AttentionBackwardKernel["stores"][number];
  values.prepare([kernel.scale], []);
  const scale = values.get(kernel.scale);
  const [unit, b, h, row, from] = [0, 1, 2, 3, 4].map(() => code.local("i32")) as [Local, Local, Local, Local, Local];
  const parts = Array.from({ length: blocks.parts - 1 }, () => code.local("i32"));
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(row, op("i32.rem_u", unit.get, i32(query.extent)));
    code.set(h, op("i32.div_u", unit.get, i32(query.extent)));
    code.set(b, op("i32.div_u", h.get, i32(head.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(head.extent)));
    code.set(from, plus(plus(arena.get, i32(blocks.sums)), times(unit.get, blocks.sumRow)));
    parts.forEach((each, i) => code.set(each, plus((i === 0 ? from : (parts[i - 1] as Local)).get, i32(blocks.partBytes))));
    values.within(batch.name, b, () =>
      values.within(head.name, h, () =>
        values.within(query.name, row, () => {
          values.prepareStore(store.buffer, store.index, channel.name);
          f.vectorLoop({ from: i32(0), to: i32(channel.extent), extent: channel.extent }, (width, [counter]) => {
            const c = counter as Local;
            const read = (place: Local): Expression =>
              load(width === 4 ? "v128.load" : "v128.load32_splat", plus(place.get, times(c.get, 4)));
            values.within(
              channel.name,
              c,
              () => {
                const sum = parts.reduce((left, part) => op("f32x4.add", left, read(part)), read(from));
                const value = code.local("v128", op("f32x4.mul", sum, scale.get));
                values.store(store.buffer, store.index, value);
                code.release(value);
              },
              width,
            );
          });
        }),
      ),
    );
  });
  const cost = 5 + 0.15 * channel.extent * (1 + blocks.parts);
  const units = batch.extent * head.extent * query.extent;
  return f.finish({
    label: `sum ${kernel.label}`,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost, 16),
    scratchBytes: 0,
    arenaBytes: blocks.arenaBytes,
    cost: cost * units,
  });
}
