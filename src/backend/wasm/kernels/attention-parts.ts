import type { AttentionBackwardKernel, AttentionKernel, Value } from "../../../compiler/program.js";
import { call, type Expression, f32x4, i32, type Local, lane, load, op } from "../assembler.js";
import { larger, smaller } from "./epilogue.js";
import type { Gemm } from "./gemm.js";
import type { KernelFunction } from "./kernel.js";
import { bytesOf } from "./operations.js";

/** What the kernels of attention's forward and backward pass have in common. */

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
    private readonly kernel: AttentionKernel | AttentionBackwardKernel,
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

/** Whether the raw score is what counts. */
export const isPlain = ({ score, raw, visible }: AttentionKernel | AttentionBackwardKernel): boolean =>
  score.id === raw.id && visible === undefined;

/** Writes four equal numbers. */
export function storeSplat(f: KernelFunction, address: Expression, value: Expression): void {
  f.code.store("v128.store", address, value);
}

/** The vectors that scores are multiplied with in memory: by the kernel's scale and log₂ e, by log₂ e alone, by 1. */
export interface Factors {
  readonly scaled: Local;
  readonly log2e: Local;
  readonly one: Local;
}

export const factorBytes = 64;

export function storeFactors(f: KernelFunction, at: Expression, scale: Value): Factors {
  const { code, values } = f;
  const scaled = code.local("i32", at);
  const log2e = code.local("i32", plus(scaled.get, i32(16)));
  const one = code.local("i32", plus(scaled.get, i32(32)));
  storeSplat(f, scaled.get, op("f32x4.mul", values.get(scale).get, f32x4(Math.LOG2E)));
  storeSplat(f, log2e.get, f32x4(Math.LOG2E));
  storeSplat(f, one.get, f32x4(1));
  return { scaled, log2e, one };
}

/** Stores rows of f32 in memory, `count` of them from `first` on of the loop `row`, as a result with the loops `row` and `column`. */
export function storeRows(
  f: KernelFunction,
  kernel: AttentionKernel | AttentionBackwardKernel,
  result: number,
  rows: {
    readonly row: string;
    readonly column: { readonly name: string; readonly extent: number };
    readonly first: Local;
    readonly end: Local;
    readonly from: Expression;
    readonly rowBytes: number;
  },
): void {
  const { code, values } = f;
  const store = kernel.stores[kernel.results.indexOf(result)];
  if (store === undefined) return;
  const { row, column, first, end, from, rowBytes } = rows;
  const [at, line] = [code.local("i32"), code.local("i32", from)];
  code.for(at, first.get, end.get, 1, () => {
    values.within(row, at, () => {
      values.prepareStore(store.buffer, store.index, column.name);
      f.vectorLoop({ from: i32(0), to: i32(column.extent), extent: column.extent }, (width, [counter]) => {
        const c = counter as Local;
        values.within(
          column.name,
          c,
          () => {
            const value = code.local(
              "v128",
              load(width === 4 ? "v128.load" : "v128.load32_splat", plus(line.get, times(c.get, bytesOf.f32))),
            );
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
