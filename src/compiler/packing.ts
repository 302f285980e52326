import type { Lifetime } from "./liveness.js";

/**
 * Places in memory for buffers of known lifetimes, so that none overlaps another that lives at the same time.
 */

/** A buffer to be placed. */
export interface Item extends Lifetime {
  readonly bytes: number;
}

/** Where each buffer begins, in a block of `bytes` bytes. */
export interface Packing {
  readonly offsets: ReadonlyMap<number, number>;
  readonly bytes: number;
}

/** A packing within this factor of the most live bytes is good enough. */
const goodEnough = 1.02;
/** Buffers that are packed by size at most, which takes quadratic time. */
const mostBySize = 4096;

/**
 * Offsets in one block: those that a heap would give, which puts each buffer into the smallest free piece that holds it when its life
 * begins, in the order of time or against it; where that wastes much, by size instead, the largest first ("greedy by size for offset
 * calculation", Pisarchyk & Lee 2020). The best of them:
 *
 *   a 0–1  b 1–2  c 2–3, a and c of 4 bytes, b of 8      →      b at 0, a and c at 8
 *
 * Where that takes more than `blockBytes`, they are packed by size so that none reaches over a multiple of it: each such part can be a
 * block of its own. None may be larger.
 */
export function packBlock(items: readonly Item[], mostLive: number, blockBytes = Number.POSITIVE_INFINITY): Packing {
  const end = items.reduce((most, { last }) => Math.max(most, last), 0);
  let best = packInTime(items);
  const better = (pack: () => Packing): void => {
    if (best.bytes <= goodEnough * mostLive) return;
    const other = pack();
    if (other.bytes < best.bytes) best = other;
  };
  better(() => packInTime(items.map((item) => ({ ...item, first: end - item.last, last: end - item.first }))));
  if (items.length <= mostBySize) better(() => packBySize(items));
  if (best.bytes > blockBytes && items.every(({ bytes }) => bytes <= blockBytes)) return packBySize(items, blockBytes);
  return best;
}

interface Piece {
  at: number;
  bytes: number;
}

function packInTime(items: readonly Item[]): Packing {
  const offsets = new Map<number, number>();
  /** By address; none reaches up to `top`, and none touches the next. */
  const free: Piece[] = [];
  let [top, bytes] = [0, 0];
  const take = (size: number): number => {
    let best: Piece | undefined;
    for (const piece of free) if (piece.bytes >= size && (best === undefined || piece.bytes < best.bytes)) best = piece;
    if (best === undefined) {
      top += size;
      bytes = Math.max(bytes, top);
      return top - size;
    }
    const { at } = best;
    best.at += size;
    best.bytes -= size;
    if (best.bytes === 0) free.splice(free.indexOf(best), 1);
    return at;
  };
  const give = (at: number, size: number): void => {
    let next = free.findIndex((piece) => piece.at > at);
    if (next < 0) next = free.length;
    const piece = { at, bytes: size };
    const [before, after] = [free[next - 1], free[next]];
    const joinsBefore = before !== undefined && before.at + before.bytes === at;
    const joinsAfter = after !== undefined && at + size === after.at;
    if (joinsBefore) {
      piece.at = before.at;
      piece.bytes += before.bytes;
    }
    if (joinsAfter) piece.bytes += after.bytes;
    const [from, count] = [joinsBefore ? next - 1 : next, (joinsBefore ? 1 : 0) + (joinsAfter ? 1 : 0)];
    if (piece.at + piece.bytes === top) {
      top = piece.at;
      free.splice(from, count);
    } else free.splice(from, count, piece);
  };
  const ends = [...items].sort((a, b) => a.last - b.last);
  let ended = 0;
  for (const { buffer, first, bytes: size } of [...items].sort((a, b) => a.first - b.first || b.bytes - a.bytes)) {
    for (let item = ends[ended]; item !== undefined && item.last < first; item = ends[++ended]) {
      give(offsets.get(item.buffer) as number, item.bytes);
    }
    offsets.set(buffer, take(size));
  }
  return { offsets, bytes };
}

function packBySize(items: readonly Item[], blockBytes = Number.POSITIVE_INFINITY): Packing {
  const offsets = new Map<number, number>();
  /** By offset. */
  const placed: (Item & { readonly at: number })[] = [];
  let bytes = 0;
  for (const item of [...items].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    let [end, at, smallest] = [0, -1, Number.POSITIVE_INFINITY];
    for (const other of placed) {
      if (other.last < item.first || other.first > item.last) continue;
      const from = within(end, item.bytes, blockBytes);
      const gap = other.at - from;
      if (gap >= item.bytes && gap < smallest) [at, smallest] = [from, gap];
      end = Math.max(end, other.at + other.bytes);
    }
    if (at < 0) at = within(end, item.bytes, blockBytes);
    bytes = Math.max(bytes, at + item.bytes);
    offsets.set(item.buffer, at);
    let [low, high] = [0, placed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((placed[middle] as { at: number }).at < at) low = middle + 1;
      else high = middle;
    }
    placed.splice(low, 0, { ...item, at });
  }
  return { offsets, bytes };
}

/** The first place from `at` on where so many bytes are in one block. */
const within = (at: number, bytes: number, blockBytes: number): number =>
  at % blockBytes <= blockBytes - bytes ? at : Math.ceil(at / blockBytes) * blockBytes;

/** Pieces of memory that are shared, and the one of each buffer. */
export interface Sharing {
  readonly pieces: readonly { readonly bytes: number }[];
  readonly pieceOf: ReadonlyMap<number, number>;
}

/**
 * Whole pieces of memory, each for one buffer at a time: the largest buffers first, each in the smallest piece that is free for as long
 * as it lives ("greedy by size for shared objects", Pisarchyk & Lee 2020).
 *
 *   a 0–1  b 1–2  c 2–3, a and c of 4 bytes, b of 8      →      b in piece 0; a and c in piece 1, 12 bytes in all
 */
export function sharePieces(items: readonly Item[]): Sharing {
  const pieceOf = new Map<number, number>();
  const pieces: Shared[] = [];
  const end = items.reduce((most, { last }) => Math.max(most, last), 0);
  const bucketOf = (kernel: number): number => Math.floor((32 * kernel) / (end + 1));
  for (const { buffer, bytes, first, last } of [...items].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const touched = bits(bucketOf(first), bucketOf(last));
    // Pieces are made for ever smaller buffers, so each is large enough, and the last is the smallest.
    let chosen = pieces.length - 1;
    while (chosen >= 0 && (((pieces[chosen] as Shared).full & touched) !== 0 || !(pieces[chosen] as Shared).isFree(first, last))) chosen--;
    if (chosen < 0) chosen = pieces.push(new Shared(bytes)) - 1;
    const whole = bits(bucketOf(first - 1) + 1, bucketOf(last + 1) - 1);
    (pieces[chosen] as Shared).take(first, last, whole);
    pieceOf.set(buffer, chosen);
  }
  return { pieces, pieceOf };
}

/** A number with the bits from one place to another set, both included. */
function bits(from: number, to: number): number {
  if (to < from) return 0;
  return (0xffffffff >>> (31 - to + from)) << from;
}

/** One piece of memory and when it is taken. */
class Shared {
  /** A bit for each 32nd part of the program through all of which the piece is taken by one buffer. */
  full = 0;
  /** When each buffer begins and ends, in order; they do not overlap. */
  private readonly firsts: number[] = [];
  private readonly lasts: number[] = [];

  constructor(readonly bytes: number) {}

  /** The place of the first buffer that ends at `kernel` or later. */
  private find(kernel: number): number {
    let [low, high] = [0, this.lasts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.lasts[middle] as number) < kernel) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  isFree(first: number, last: number): boolean {
    const next = this.firsts[this.find(first)];
    return next === undefined || next > last;
  }

  take(first: number, last: number, whole: number): void {
    const place = this.find(first);
    this.firsts.splice(place, 0, first);
    this.lasts.splice(place, 0, last);
    this.full |= whole;
  }
}
