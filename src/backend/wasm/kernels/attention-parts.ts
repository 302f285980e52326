import type { AttentionBackwardKernel, AttentionKernel, Loop, Value } from "../../../compiler/program.js";
import { call, type Expression, f32x4, i32, type Local, lane, load, op } from "../assembler.js";
import { panelRow } from "./attention-loops.js";
import { larger, smaller } from "./epilogue.js";
import { type Gemm, panelColumns, tileRows } from "./gemm.js";
import { costOf, type KernelFunction } from "./kernel.js";
import { addressOf, layoutOf, type Operand } from "./operand-layout.js";
import type { Width } from "./places.js";

/** What the kernels of attention's forward and backward pass have in common. */

type AttentionAny = AttentionKernel | AttentionBackwardKernel;

export const plus = (a: Expression, b: Expression): Expression => op("i32.add", a, b);
export const less = (a: Expression, b: Expression): Expression => op("i32.sub", a, b);
export const times = (a: Expression, n: number): Expression => (n === 1 ? a : op("i32.mul", a, i32(n)));
export const ceilTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

/** The size of equal pieces of an extent, none longer than `most`. */
export const pieceOf = (extent: number, most: number, multiple: number): number =>
  ceilTo(Math.ceil(extent / Math.ceil(extent / most)), multiple);

/** Unsigned distances below this are those that are not negative. */
const halfOfAll = 2 ** 31;

/**
 * Which pairs `causal` and `window` let through. With d = query + offset − key, a pair is visible where `least` ≤ d ≤ `most`; an end that
 * is undefined is open.
 */
export class Visibility {
  readonly least: number | undefined;
  readonly most: number | undefined;
  /** The offset, near enough that sums with it stay in range. */
  private readonly offset: Local | undefined;

  constructor(
    private readonly f: KernelFunction,
    private readonly kernel: AttentionAny,
  ) {
    const { causal, offset, loops } = kernel;
    const window = Math.min(kernel.window, 2 ** 29);
    this.most = window > 0 ? window - 1 : undefined;
    this.least = causal ? 0 : window > 0 ? 1 - window : undefined;
    if (this.least === undefined) return;
    const { code, values } = f;
    this.offset = code.local("i32", lane("i32x4.extract_lane", 0, values.get(offset).get));
    code.set(this.offset, larger(this.offset.get, i32(-(loops.query.extent + window))));
    code.set(this.offset, smaller(this.offset.get, i32(loops.key.extent + window)));
  }

  private shifted(query: Expression): Expression {
    return plus(query, (this.offset as Local).get);
  }

  /** The first key that a query sees, or that is seen from it on. */
  firstKey(query: Expression): Expression {
    if (this.most === undefined) return i32(0);
    return larger(i32(0), less(this.shifted(query), i32(this.most)));
  }

  /** The key after the last that a query sees, or that is seen up to it. */
  keyEnd(query: Expression): Expression {
    const { extent } = this.kernel.loops.key;
    if (this.least === undefined) return i32(extent);
    return smaller(i32(extent), plus(this.shifted(query), i32(1 - this.least)));
  }

  /** The first query that sees a key, or a later key. */
  firstQuery(key: Expression): Expression {
    if (this.least === undefined) return i32(0);
    return larger(i32(0), less(plus(key, i32(this.least)), (this.offset as Local).get));
  }

  /** The query after the last that sees a key, or an earlier key. */
  queryEnd(key: Expression): Expression {
    const { extent } = this.kernel.loops.query;
    if (this.most === undefined) return i32(extent);
    return smaller(i32(extent), less(plus(key, i32(this.most + 1)), (this.offset as Local).get));
  }

  /** Prints what happens where not every pair of two ranges is visible. The ranges end before their ends. */
  whereCut(query: Expression, queryEnd: Expression, key: Expression, keyEnd: Expression, body: () => void, whole?: () => void): void {
    const conditions: Expression[] = [];
    // The shortest distance is that of the first query from the last key, the longest the other way round.
    if (this.least !== undefined) conditions.push(op("i32.lt_s", less(this.shifted(query), keyEnd), i32(this.least - 1)));
    if (this.most !== undefined) conditions.push(op("i32.gt_s", less(this.shifted(queryEnd), key), i32(this.most + 1)));
    const [first, ...rest] = conditions;
    if (first === undefined) whole?.();
    else
      this.f.code.if(
        rest.reduce((a, b) => op("i32.or", a, b), first),
        body,
        whole,
      );
  }

  /** Hides what is not visible of a panel whose rows start at `row` and whose columns at `column`; the other scores are multiplied by a vector. */
  hide(
    gemm: Gemm,
    panel: Expression,
    rows: Expression,
    factor: Expression,
    query: Expression,
    key: Expression,
    rowsAre: "keys" | "queries",
  ): void {
    const { least, most } = this;
    if (least === undefined) throw new Error("every pair is visible");
    const first = less(less(this.shifted(query), key), i32(least));
    const limit = most === undefined ? halfOfAll : most - least + 1;
    this.f.code.do(call(gemm.hideScores, panel, rows, factor, first, i32(rowsAre === "keys" ? -1 : 1), i32(limit)));
  }
}

/** Bytes after which addresses share a set of the first cache, and lines that a set holds for sure. */
const cacheWay = 4096;
const cacheLines = 8;

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/**
 * Whether products read an operand where it lies: its channels are neighbours, so that it is rows of A as it is, and read four or eight at
 * a time where channels are rows of A or columns of B. Others are packed first, and so are those of whose `count` rows too many would
 * fight over one set of the cache.
 */
export function liesReady(operand: Operand, row: string, column: string, count: number): boolean {
  const at = layoutOf(operand, row, column);
  const sets = cacheWay / gcd(cacheWay, at.row);
  return operand.dtype === "f32" && at.column === 4 && count <= cacheLines * sets;
}

/** One operand of a product: where it begins, and the bytes from tile to tile, or from panel to panel, and from step to step of k. */
export interface ProductOperand {
  readonly from: Expression;
  readonly next: Expression;
  readonly step: number;
  /** Bytes from row to row, where A is not packed and k contiguous. */
  readonly row?: number;
}

/** Rows of A that lie ready. */
export const readyRows = (from: Expression, row: number): ProductOperand => ({ from, next: i32(tileRows * row), step: 4, row });

/** Tiles of four rows or panels of eight columns that were packed with so many steps of k each. */
export const packedTiles = (from: Expression, depth: Expression): ProductOperand => ({
  from,
  next: times(depth, 4 * tileRows),
  step: 4 * tileRows,
});
export const packedPanels = (from: Expression, depth: Expression): ProductOperand => ({
  from,
  next: times(depth, 4 * panelColumns),
  step: 4 * panelColumns,
});

/** Prints C (+)= A·B. Where A is not packed, all of B is. */
export function printProduct(
  f: KernelFunction,
  gemm: Gemm,
  {
    a,
    b,
    ...c
  }: { readonly a: ProductOperand; readonly b: ProductOperand } & {
    readonly to: Expression;
    readonly toRow: number;
    readonly rows: Expression;
    readonly panels: number;
    readonly depth: Expression;
    readonly adds: boolean;
  },
): void {
  const result = [c.to, i32(c.toRow), c.rows, i32(c.panels), c.depth, i32(c.adds ? 1 : 0)];
  if (a.row !== undefined) f.code.do(call(gemm.multiplyRows, a.from, i32(a.row), b.from, ...result));
  else {
    const operands = [a, b].flatMap(({ from, next, step }) => [from, next, i32(step)]);
    f.code.do(call(gemm.multiplyPart, ...operands, ...result));
  }
}

/** Whether the raw score is what counts. */
export const isPlain = ({ score, raw, visible }: AttentionAny): boolean => score.id === raw.id && visible === undefined;

/** Hands out parts of a thread's own memory. */
export class Rooms {
  bytes = 0;

  constructor(private readonly f: KernelFunction) {}

  take(bytes: number): Local {
    const place = this.f.code.local("i32", plus(this.f.scratch.get, i32(this.bytes)));
    this.bytes += ceilTo(bytes, 64);
    return place;
  }
}

/** Rows of eight numbers to multiply with: the kernel's scale, the same times log₂ e, and 1. */
export interface Factors {
  readonly scale: Local;
  readonly scaled: Local;
  readonly one: Local;
}

export function storeFactors(f: KernelFunction, rooms: Rooms, scale: Value): Factors {
  const { code, values } = f;
  const row = (value: Expression): Local => {
    const place = rooms.take(panelRow);
    for (const at of [0, 16]) code.store("v128.store", place.get, value, at);
    return place;
  };
  const by = values.get(scale).get;
  return { scale: row(by), scaled: row(op("f32x4.mul", by, f32x4(Math.LOG2E))), one: row(f32x4(1)) };
}

/** A part of a panel of eight columns: rows and columns of the kernel's pairs, and which loops they are. */
export interface PanelPart {
  readonly row: Loop;
  readonly column: Loop;
  readonly firstRow: Local;
  readonly rowEnd: Expression;
  readonly firstColumn: Local;
  readonly columnEnd: Local;
  /** Whether the columns begin and end anywhere, and not where panels do. Default false. */
  readonly ragged?: boolean;
}

/** Prints a scalar computation for each pair of a panel. `body` gets where the pair, or four of them, lies in each of the panels. */
function eachPair(
  f: KernelFunction,
  part: PanelPart,
  panels: readonly Expression[],
  targets: readonly Value[],
  body: (places: readonly Expression[], width: Width) => void,
): void {
  const { code, values } = f;
  const { row, column, ragged = false } = part;
  const lines = panels.map((panel) => code.local("i32", less(panel, times(part.firstColumn.get, 4))));
  const at = code.local("i32");
  const end = code.local("i32", part.rowEnd);
  code.for(at, part.firstRow.get, end.get, 1, () => {
    values.within(row.name, at, () => {
      values.prepare(targets, [column.name], column.name);
      const range = { from: part.firstColumn.get, to: part.columnEnd.get, extent: column.extent, groups: 2, ragged };
      f.vectorLoop(range, (width, counters) => {
        for (const counter of counters) {
          const places = lines.map((line) => plus(line.get, times(counter.get, 4)));
          values.within(column.name, counter, () => body(places, width), width);
        }
      });
    });
    for (const line of lines) code.increase(line, i32(panelRow));
  });
  code.release(at, end, ...lines);
}

const read = (width: Width, place: Expression): Expression => load(width === 4 ? "v128.load" : "v128.load32_splat", place);

function write(f: KernelFunction, width: Width, place: Expression, value: Expression): void {
  if (width === 4) f.code.store("v128.store", place, value);
  else f.code.storeLane("v128.store32_lane", 0, place, value);
}

/** Scores times log₂ e from products, −∞ where a pair does not count. The two panels may be one. */
export function printScores(f: KernelFunction, kernel: AttentionAny, part: PanelPart, products: Expression, scores: Expression): void {
  const { code, values } = f;
  const { raw, score, visible, scale } = kernel;
  eachPair(f, part, [products, scores], visible ? [score, visible] : [score], ([from, to], width) => {
    values.defineFor(raw, code.local("v128", op("f32x4.mul", read(width, from as Expression), values.get(scale).get)));
    const value = op("f32x4.mul", values.get(score).get, f32x4(Math.LOG2E));
    const counts = visible ? values.get(visible).get : undefined;
    const hidden = f32x4(Number.NEGATIVE_INFINITY);
    write(f, width, to as Expression, counts === undefined ? value : op("v128.bitselect", value, hidden, counts));
  });
}

/** Cotangents of raw scores from those of scores, in place, where the pairs' weights are not 0. */
export function printPulled(
  f: KernelFunction,
  kernel: AttentionBackwardKernel,
  part: PanelPart,
  panels: { readonly products: Expression; readonly weights: Expression; readonly cotangents: Expression },
): void {
  const { code, values } = f;
  const { raw, pulled, scoreCotangent, scale } = kernel;
  eachPair(f, part, [panels.products, panels.weights, panels.cotangents], [pulled], ([from, weight, cotangent], width) => {
    values.defineFor(raw, code.local("v128", op("f32x4.mul", read(width, from as Expression), values.get(scale).get)));
    values.defineFor(scoreCotangent, code.local("v128", read(width, cotangent as Expression)));
    const result = values.get(pulled).get;
    const counts = op("f32x4.ne", read(width, weight as Expression), f32x4(0));
    write(f, width, cotangent as Expression, op("v128.and", result, counts));
  });
}

/** How many of all pairs are visible, if the offset is the difference of the extents. */
export function visibleShare({ loops, causal, window }: AttentionAny): number {
  const [queries, keys] = [loops.query.extent, loops.key.extent];
  const share = !causal ? 1 : queries <= keys ? 1 - queries / (2 * keys) : keys / (2 * queries);
  return window > 0 ? Math.min(share, (causal ? window : 2 * window) / keys) : share;
}

/** Nanoseconds for one pair in the forward pass. */
export const pairCost = (kernel: AttentionAny): number => {
  const { channel, valueChannel } = kernel.loops;
  return (channel.extent + valueChannel.extent) / 25 + 0.5 + (isPlain(kernel) ? 0 : costOf(kernel.values));
};

/** Rows in memory or in a panel that are stored as a result: those of the loop `row` from `first` up to `end`. */
export interface StoredRows {
  readonly row: Loop;
  readonly column: Loop;
  readonly first: Local;
  readonly end: Local;
}

/** Stores rows of f32 that are `rowBytes` apart, times a vector if one is given, as a result, if anybody wants it. */
export function storeRows(
  f: KernelFunction,
  kernel: AttentionAny,
  result: number,
  {
    row,
    column,
    first,
    end,
    from,
    rowBytes,
    factor,
  }: StoredRows & {
    readonly from: Expression;
    readonly rowBytes: number;
    readonly factor?: Local;
  },
): void {
  const { code, values } = f;
  const store = kernel.stores[kernel.results.indexOf(result)];
  if (store === undefined) return;
  const [at, line] = [code.local("i32"), code.local("i32", from)];
  code.for(at, first.get, end.get, 1, () => {
    values.within(row.name, at, () => {
      values.prepareStore(store.buffer, store.index, column.name);
      f.vectorLoop({ from: i32(0), to: i32(column.extent), extent: column.extent }, (width, [counter]) => {
        const c = counter as Local;
        values.within(
          column.name,
          c,
          () => {
            const number = read(width, plus(line.get, times(c.get, 4)));
            const value = code.local("v128", factor === undefined ? number : op("f32x4.mul", number, factor.get));
            values.store(store.buffer, store.index, value);
            code.release(value);
          },
          width,
        );
      });
    });
    code.increase(line, i32(rowBytes));
  });
  code.release(at, line);
}

/**
 * Stores a panel of up to eight rows, [column][8], each times its factor, as a result: at once where the rows lie in vectors of f32, else
 * by way of `room` for eight of them.
 */
export function storePanel(
  f: KernelFunction,
  kernel: AttentionAny,
  gemm: Gemm,
  result: number,
  { panel, factors, room, ...rows }: StoredRows & { readonly panel: Expression; readonly factors: Local; readonly room: Local },
): void {
  const { code } = f;
  const store = kernel.stores[kernel.results.indexOf(result)];
  if (store === undefined) return;
  const { row, column, first, end } = rows;
  const turn = (to: Expression, toRow: number): void =>
    code.do(call(gemm.turnPanel, panel, factors.get, to, i32(toRow), i32(column.extent)));
  const rowBytes = 4 * ceilTo(column.extent, 4);
  const byWayOf = (): void => {
    turn(room.get, rowBytes);
    storeRows(f, kernel, result, { ...rows, from: room.get, rowBytes });
  };
  const operand = { buffer: store.buffer, index: store.index, dtype: f.dtype(store.buffer) };
  const { base, row: step, column: next } = layoutOf(operand, row.name, column.name);
  if (operand.dtype !== "f32" || next !== 4 || column.extent % 4 !== 0 || row.extent < panelColumns) byWayOf();
  else {
    code.if(
      op("i32.eq", less(end.get, first.get), i32(panelColumns)),
      () => turn(addressOf(f, operand, base, times(first.get, step)), step),
      byWayOf,
    );
  }
}
