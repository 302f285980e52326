import type { AttentionBackwardKernel } from "../../../compiler/program.js";
import { coefficient } from "../../../ir/index-expression.js";
import { ceilTo, liesReady, pieceOf } from "./attention-parts.js";
import { panelColumns, tileRows } from "./gemm.js";
import { layoutOf } from "./operand-layout.js";

/** Keys and queries of a tile of scores. */
const mostKeys = 64;
const mostQueries = 64;
/** Units that are enough for many threads. */
const enoughUnits = 16;
/** Bytes that the sums of q̄ may take for all parts of the keys, unless so few parts take more. */
const sumsMemory = 2 ** 26;
const fewParts = 4;

/** How the backward pass is cut, and where what its steps share lies in the arena. */
export interface Blocks {
  readonly keys: number;
  readonly keyTiles: number;
  readonly queries: number;
  readonly queryTiles: number;
  /** Parts that the key tiles are dealt to. */
  readonly parts: number;
  /** Whether queries, cotangents, keys and the numbers of queries are read where they lie. */
  readonly qReady: boolean;
  readonly cotangentReady: boolean;
  readonly keysReady: boolean;
  readonly lseReady: boolean;
  readonly deltaReady: boolean;
  /** Whether one tile has all keys, so that nothing needs to be kept for others. */
  readonly alone: boolean;
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

export function blocksOf({ loops, results, q, k, cotangent, lse, delta }: AttentionBackwardKernel): Blocks {
  const { batch, head, keyHead, query, key, channel, valueChannel } = loops;
  const pairs = batch.extent * keyHead.extent;
  let keys = pieceOf(key.extent, mostKeys, panelColumns);
  while (pairs * Math.ceil(key.extent / keys) < enoughUnits && keys >= 4 * panelColumns) keys = ceilTo(keys / 2, panelColumns);
  const keyTiles = Math.ceil(key.extent / keys);
  const sumRow = 4 * ceilTo(channel.extent, panelColumns);
  const partBytes = batch.extent * head.extent * query.extent * sumRow;
  const parts = Math.min(keyTiles, Math.ceil(enoughUnits / pairs), Math.max(fewParts, Math.floor(sumsMemory / partBytes)));
  const queries = pieceOf(query.extent, mostQueries, panelColumns);
  const queryTiles = Math.ceil(query.extent / queries);
  let bytes = 0;
  const place = (columns: number): number => {
    const at = bytes;
    bytes += 4 * queries * columns;
    return at;
  };
  const qReady = liesReady(q, query.name, channel.name, queries);
  const cotangentReady = liesReady(cotangent, query.name, valueChannel.name, queries);
  const isRow = ({ dtype, index }: AttentionBackwardKernel["lse"]): boolean => dtype === "f32" && coefficient(index, query.name) === 1;
  const [lseReady, deltaReady] = [isRow(lse), isRow(delta)];
  const places = {
    qReady,
    cotangentReady,
    // The end of a panel is found by its steps.
    keysReady: liesReady(k, key.name, channel.name, keys) && layoutOf(k, key.name, channel.name).row > 0,
    lseReady,
    deltaReady,
    q: qReady ? 0 : place(channel.extent),
    qTurned: qReady ? 0 : place(ceilTo(channel.extent, tileRows)),
    cotangent: cotangentReady ? 0 : place(valueChannel.extent),
    cotangentTurned: cotangentReady ? 0 : place(ceilTo(valueChannel.extent, tileRows)),
    lse: lseReady ? 0 : place(1),
    delta: deltaReady ? 0 : place(1),
  };
  const sums = ceilTo(batch.extent * head.extent * queryTiles * bytes, 64);
  const alone = keyTiles === 1;
  const arenaBytes = alone ? 0 : sums + (results.includes(0) ? parts * partBytes : 0);
  return { keys, keyTiles, alone, queries, queryTiles, parts, ...places, tileBytes: bytes, sumRow, sums, partBytes, arenaBytes };
}
