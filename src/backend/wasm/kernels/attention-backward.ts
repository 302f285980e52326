import type { AttentionBackwardKernel, Loop } from "../../../compiler/program.js";
import { call, type Expression, i32, type Local, op } from "../assembler.js";
import { type Blocks, blocksOf } from "./attention-backward-blocks.js";
import { packKernel, packQueries, sumKernel } from "./attention-backward-ends.js";
import { panelRow } from "./attention-loops.js";
import {
  ceilTo,
  isPlain,
  less,
  type ProductOperand,
  packedPanels,
  packedTiles,
  pairCost,
  plus,
  printProduct,
  printPulled,
  printScores,
  Rooms,
  readyRows,
  storeFactors,
  storePanel,
  storeRows,
  times,
  Visibility,
  visibleShare,
} from "./attention-parts.js";
import { larger, smaller } from "./epilogue.js";
import { type Gemm, panelColumns, reading, tileRows } from "./gemm.js";
import { type Context, type KernelCode, KernelFunction, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";

/**
 * The backward pass of attention in three steps. The first packs what belongs to the queries and does not lie ready. A unit of the second is a key head and every
 * so many of its tiles of keys, for which one tile of queries follows another; with panels of eight keys,
 *
 *   s = q·kᵀ    p̄ = ō·vᵀ        [query][8 keys]: queries in tiles of four rows, keys in panels of eight columns
 *   p = 2^(s − lse)    s̄ = p·(p̄ − delta)        in place; packed panels as they lie
 *   v̄ᵀ += ōᵀ·p    k̄ᵀ += qᵀ·s̄        channels in tiles of four
 *   q̄ += s̄·k        s̄ turned into tiles of four queries
 *
 * Each part of the keys adds up a q̄ of its own; the third step adds these in order, so that no result depends on the threads. Where one tile
 * has all the keys, the second step is the only one.
 */
export function attentionBackwardKernels(kernel: AttentionBackwardKernel, context: Context, gemm: Gemm): KernelCode[] {
  const blocks = blocksOf(kernel);
  const main = mainKernel(kernel, context, gemm, blocks);
  if (blocks.alone) return [main];
  const codes = blocks.tileBytes > 0 ? [packKernel(kernel, context, gemm, blocks), main] : [main];
  return kernel.results.includes(0) ? [...codes, sumKernel(kernel, context, blocks)] : codes;
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

  const arena = f.arena();
  const rooms = new Rooms(f);
  const factors = storeFactors(f, rooms, kernel.scale);
  const [kPanelBytes, vPanelBytes] = [panelRow * channel.extent, panelRow * valueChannel.extent];
  // Sums are turned by fours of channels.
  const [kSumBytes, vSumBytes] = [panelRow * ceilTo(channel.extent, 4), panelRow * ceilTo(valueChannel.extent, 4)];
  const kPanels = rooms.take(panels * kPanelBytes);
  const vPanels = rooms.take(panels * vPanelBytes);
  const kChannels = rooms.take(blocks.keysReady ? 0 : blocks.keys * blocks.sumRow);
  const kSums = rooms.take(panels * kSumBytes);
  const vSums = rooms.take(panels * vSumBytes);
  const raws = rooms.take(blocks.queries * panelRow);
  const weights = pulled ? rooms.take(blocks.queries * panelRow) : raws;
  const pulls = rooms.take(blocks.queries * panelRow);
  const tiles = rooms.take(4 * blocks.keys * blocks.queries);
  const tileBytes = 4 * tileRows * blocks.keys;
  const rows = rooms.take(panelColumns * 4 * ceilTo(Math.max(channel.extent, valueChannel.extent), 4));

  const number = (): Local => code.local("i32");
  const [unit, part, b, h, headEnd, kh] = [number(), number(), number(), number(), number(), number()];
  const [tile, first, keys, end] = [number(), number(), number(), number()];
  const [block, blockEnd, top, bottom, queries] = [number(), number(), number(), number(), number()];
  const packed = blocks.alone ? rooms.take(blocks.tileBytes) : number();
  const qSums = rooms.take(blocks.alone && needsQ ? blocks.queries * blocks.sumRow : 0);
  const [panel, panelEnd, from, count, skipped, factor] = [number(), number(), number(), number(), number(), number()];
  const [rowStep, depth] = [number(), number()];

  const packKeys = (): void => {
    const at = layoutOf(kernel.k, key.name, channel.name);
    const vAt = layoutOf(kernel.v, key.name, valueChannel.name);
    const [kPack, vPack] = [gemm[reading("packPanels", kernel.k.dtype)], gemm[reading("packPanels", kernel.v.dtype)]];
    const kFrom = code.local("i32", addressOf(f, kernel.k, at.base, times(first.get, at.row)));
    const vFrom = addressOf(f, kernel.v, vAt.base, times(first.get, vAt.row));
    code.do(call(kPack, kFrom.get, i32(at.column), i32(at.row), kPanels.get, i32(channel.extent), keys.get));
    code.do(call(vPack, vFrom, i32(vAt.column), i32(vAt.row), vPanels.get, i32(valueChannel.extent), keys.get));
    if (needsQ && !blocks.keysReady)
      code.do(call(kPack, kFrom.get, i32(at.row), i32(at.column), kChannels.get, keys.get, i32(channel.extent)));
    code.release(kFrom);
    code.clear(kSums.get, i32(panels * kSumBytes));
    code.clear(vSums.get, i32(panels * vSumBytes));
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
      type Rows = AttentionBackwardKernel["q"];
      /** Where an operand that lies ready has the first query at hand. */
      const readyAt = (operand: Rows, column: Loop): { readonly from: Expression; readonly row: number } => {
        const { base, row } = layoutOf(operand, query.name, column.name);
        return { from: addressOf(f, operand, base, times(from.get, row)), row };
      };
      const inPacked = (at: number, bytes: number): Expression => plus(plus(packed.get, i32(at)), inTile(bytes));
      const scores = (operand: Rows, column: Loop, isReady: boolean, at: number, panels: Expression, to: Local): void => {
        const ready = readyAt(operand, column);
        printProduct(f, gemm, {
          a: isReady ? readyRows(ready.from, ready.row) : packedTiles(inPacked(at, 4 * column.extent), i32(column.extent)),
          b: packedPanels(panels, i32(0)),
          to: rowsOf(to),
          toRow: panelRow,
          rows: count.get,
          panels: 1,
          depth: i32(column.extent),
          adds: false,
        });
      };
      scores(kernel.q, channel, blocks.qReady, blocks.q, plus(kPanels.get, inPanel(kPanelBytes)), raws);
      scores(kernel.cotangent, valueChannel, blocks.cotangentReady, blocks.cotangent, plus(vPanels.get, inPanel(vPanelBytes)), pulls);
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
      const perRow = (operand: Rows, isReady: boolean, at: number): Expression =>
        isReady ? readyAt(operand, channel).from : inPacked(at, 4);
      const turned = plus(plus(tiles.get, inPanel(4 * tileRows * panelColumns)), inTile(tileBytes / tileRows));
      code.do(
        call(
          gemm.probabilities,
          rowsOf(weights),
          rowsOf(pulls),
          count.get,
          perRow(kernel.lse, blocks.lseReady, blocks.lse),
          perRow(kernel.delta, blocks.deltaReady, blocks.delta),
          factor.get,
          turned,
          i32(tileBytes),
        ),
      );
      if (pulled) {
        printPulled(f, kernel, panelPart, { products: rowsOf(raws), weights: rowsOf(weights), cotangents: rowsOf(pulls) });
        code.do(call(gemm.turnTiles, rowsOf(pulls), count.get, turned, i32(tileBytes)));
      }
      const sum = (a: ProductOperand, channels: number, panel: Local, to: Expression): void =>
        printProduct(f, gemm, {
          a,
          b: packedPanels(rowsOf(panel), i32(0)),
          to,
          toRow: panelRow,
          rows: i32(channels),
          panels: 1,
          depth: count.get,
          adds: true,
        });
      /** Queries or cotangents whose channels are rows, from the first query at hand on. */
      const turnedOperand = (operand: Rows, column: Loop, isReady: boolean, at: number): ProductOperand => {
        if (!isReady) return packedTiles(inPacked(at, 4 * tileRows), queries.get);
        const ready = readyAt(operand, column);
        return { from: ready.from, next: i32(4 * tileRows), step: ready.row };
      };
      if (needsV) {
        const a = turnedOperand(kernel.cotangent, valueChannel, blocks.cotangentReady, blocks.cotangentTurned);
        sum(a, valueChannel.extent, weights, plus(vSums.get, inPanel(vSumBytes)));
      }
      if (needsK) {
        const a = turnedOperand(kernel.q, channel, blocks.qReady, blocks.qTurned);
        sum(a, channel.extent, pulls, plus(kSums.get, inPanel(kSumBytes)));
      }
    });
  };

  const sumsOf = (row: Expression): Expression => {
    if (blocks.alone) return plus(qSums.get, times(less(row, top.get), blocks.sumRow));
    const all = plus(times(plus(times(b.get, head.extent), h.get), query.extent), row);
    return plus(plus(arena.get, i32(blocks.sums)), plus(times(part.get, blocks.partBytes), times(all, blocks.sumRow)));
  };

  const onQueries = (): void => {
    code.set(top, times(block.get, blocks.queries));
    code.set(queries, smaller(i32(blocks.queries), less(i32(query.extent), top.get)));
    code.set(bottom, plus(top.get, queries.get));
    if (blocks.alone) packQueries(f, kernel, gemm, blocks, { first: top, count: queries, to: packed });
    else {
      const at = plus(times(plus(times(b.get, head.extent), h.get), blocks.queryTiles), block.get);
      code.set(packed, plus(arena.get, times(at, blocks.tileBytes)));
    }
    if (!needsQ) {
      eachPanel(onPanel);
      return;
    }
    // Where not all is visible, what is not stays 0, and eight queries at a time take the keys that they see.
    code.set(rowStep, queries.get);
    visibility.whereCut(top.get, bottom.get, first.get, end.get, () => {
      code.set(rowStep, i32(panelColumns));
      code.clear(tiles.get, i32(4 * blocks.keys * blocks.queries));
    });
    eachPanel(onPanel);
    if (blocks.alone) code.clear(qSums.get, i32(blocks.queries * blocks.sumRow));
    code.set(from, top.get);
    code.while(op("i32.lt_s", from.get, bottom.get), () => {
      code.set(count, smaller(rowStep.get, less(bottom.get, from.get)));
      code.set(skipped, larger(i32(0), less(visibility.firstKey(from.get), first.get)));
      const last = less(plus(from.get, count.get), i32(1));
      code.set(depth, less(smaller(keys.get, less(visibility.keyEnd(last), first.get)), skipped.get));
      code.if(op("i32.gt_s", depth.get, i32(0)), () => {
        const { base, row } = layoutOf(kernel.k, key.name, channel.name);
        const kFrom = (): Expression => addressOf(f, kernel.k, base, times(plus(first.get, skipped.get), row));
        printProduct(f, gemm, {
          a: packedTiles(
            plus(tiles.get, plus(times(less(from.get, top.get), tileBytes / tileRows), times(skipped.get, 4 * tileRows))),
            i32(blocks.keys),
          ),
          b: blocks.keysReady
            ? { from: kFrom(), next: i32(panelRow), step: row }
            : packedPanels(plus(kChannels.get, times(skipped.get, panelRow)), keys.get),
          to: sumsOf(from.get),
          toRow: blocks.sumRow,
          rows: count.get,
          panels: blocks.sumRow / panelRow,
          depth: depth.get,
          adds: true,
        });
      });
      code.increase(from, count.get);
    });
    if (!blocks.alone) return;
    const factor = values.get(kernel.scale);
    storeRows(f, kernel, 0, { row: query, column: channel, first: top, end: bottom, from: qSums.get, rowBytes: blocks.sumRow, factor });
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
        const seenEnd = op("i32.div_u", plus(afterLast, i32(blocks.queries - 1)), i32(blocks.queries));
        code.set(blockEnd, blocks.alone ? i32(blocks.queryTiles) : seenEnd);
        const seen = op("i32.div_u", visibility.firstQuery(first.get), i32(blocks.queries));
        code.for(block, blocks.alone ? i32(0) : seen, blockEnd.get, 1, onQueries);
      }),
    );
    const store = (result: number, sums: Local, bytes: number, factor: Local, column: Loop): void =>
      storePanel(f, kernel, gemm, result, {
        panel: plus(sums.get, inPanel(bytes)),
        factors: factor,
        room: rows,
        row: key,
        column,
        first: panel,
        end: panelEnd,
      });
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
    if (needsQ && !blocks.alone) {
      code.set(h, times(kh.get, group));
      code.clear(sumsOf(i32(0)), i32(group * query.extent * blocks.sumRow));
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
