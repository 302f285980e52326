import { type Code, type Expression, f32x4, i32, i32x4of, type Local, load, op, shuffle } from "../assembler.js";
import { log } from "../math/logarithm.js";
import { powersOfTwo } from "../math/power-of-two.js";
import { addProduct, transposed, words } from "./inner-loops.js";

/**
 * The inner loops of attention between its products. Scores are panels of eight: [row][8], where a row is a key and the columns are
 * queries in the forward pass, and the other way round in the backward pass, so that what belongs to a query lies in a lane or in all.
 * Exponentials are powers of two: scores come times log₂ e, in `factor`.
 */
export interface AttentionExports {
  /**
   * s = s·factor where the pair is visible, −∞ elsewhere. With d = first + step·(row − column), a pair is visible where 0 ≤ d < limit,
   * unsigned.
   */
  hideScores(s: number, rows: number, factor: number, first: number, step: number, limit: number): void;
  /**
   * p = 2^(s·factor − m) in place of the scores of eight queries and so many keys. `state` holds the largest scores m of the queries and
   * their sums of p; these, and the `channels` rows of `o`, are brought to the new m where it is larger.
   */
  softmaxPanel(s: number, keys: number, state: number, factor: number, o: number, channels: number): void;
  /** Ends the sums of eight queries: what their rows of o have to be multiplied with, and their log-sum-exp. */
  endSoftmax(state: number, factors: number, lse: number): void;
  /** to[column][channel] = panel[channel][column]·factors[column], rows of `to` being `toRow` bytes apart. */
  turnPanel(panel: number, factors: number, to: number, toRow: number, channels: number): void;
  /**
   * p = 2^(s·factor − lse) in place of s, and s̄ = p·(dp − delta) in place of dp; s̄ also in tiles of four rows, [tile][column][4], which
   * are `tileBytes` apart. lse, which is not times log₂ e, and delta are those of the rows. Rows are done by fours.
   */
  probabilities(s: number, dp: number, rows: number, lse: number, delta: number, factor: number, tiles: number, tileBytes: number): void;
  /**
   * p = 2^(s·factor − m) in place of a row of scores, to the next multiple of four, with the largest of them, m, and the sum of p as the
   * two numbers of `state`.
   */
  softmaxRow(s: number, keys: number, state: number, factor: number): void;
  /**
   * o = Σ 2^(mᵢ − m)·oᵢ / Σ 2^(mᵢ − m)·lᵢ and the log-sum-exp of what parts of the keys gave, each of `partBytes`: mᵢ, lᵢ, and oᵢ from
   * byte 16 on. lse is written four times.
   */
  combineParts(parts: number, count: number, partBytes: number, o: number, channels: number, lse: number): void;
  /** The tiles alone. */
  turnTiles(panel: number, rows: number, tiles: number, tileBytes: number): void;
}

export const attentionSignatures = {
  hideScores: words(6),
  softmaxPanel: words(6),
  endSoftmax: words(3),
  turnPanel: words(5),
  probabilities: words(8),
  softmaxRow: words(4),
  combineParts: words(6),
  turnTiles: words(4),
} as const;

/** Bytes of a row of a panel of eight. */
export const panelRow = 32;

/** The score that a query has seen before its first, times log₂ e: what is lower does not count. */
export const lowest = -1e30 * Math.LOG2E;

/** How the functions are printed. */
export const attentionPrinters: Readonly<
  Record<keyof AttentionExports, (code: Code, parameters: readonly Local[], fused: boolean) => void>
> = {
  hideScores: (code, p) => hideScores(code, p),
  softmaxPanel: (code, p, fused) => softmaxPanel(code, p, fused),
  endSoftmax: (code, p, fused) => endSoftmax(code, p, fused),
  turnPanel: (code, p) => turnPanel(code, p),
  probabilities: (code, p, fused) => probabilities(code, p, fused),
  turnTiles: (code, p) => turnTiles(code, p),
  softmaxRow: (code, p, fused) => softmaxRow(code, p, fused),
  combineParts: (code, p, fused) => combineParts(code, p, fused),
};

const plus = (a: Expression, b: Expression): Expression => op("i32.add", a, b);
const times = (a: Expression, n: number): Expression => op("i32.mul", a, i32(n));
const larger = (a: Expression, b: Expression): Expression => op("f32x4.pmax", a, b);
const negated = (x: Expression): Expression => op("f32x4.neg", x);

function hideScores(code: Code, parameters: readonly Local[]): void {
  const [s, rows, factor, first, step, limit] = parameters as [Local, Local, Local, Local, Local, Local];
  const end = code.local("i32", plus(s.get, times(rows.get, panelRow)));
  const scale = code.local("v128", load("v128.load", factor.get));
  const most = code.local("v128", op("i32x4.splat", limit.get));
  const move = code.local("v128", op("i32x4.splat", step.get));
  const distances = [0, 4].map((column) => {
    const columns = op("i32x4.mul", move.get, i32x4of(column, column + 1, column + 2, column + 3));
    return code.local("v128", op("i32x4.sub", op("i32x4.splat", first.get), columns));
  });
  code.while(op("i32.lt_u", s.get, end.get), () => {
    distances.forEach((distance, v) => {
      const scaled = op("f32x4.mul", load("v128.load", s.get, 16 * v), scale.get);
      const visible = op("i32x4.lt_u", distance.get, most.get);
      code.store("v128.store", s.get, op("v128.bitselect", scaled, f32x4(Number.NEGATIVE_INFINITY), visible), 16 * v);
      code.set(distance, op("i32x4.add", distance.get, move.get));
    });
    code.increase(s, i32(panelRow));
  });
}

/** Repeats `body` for `count` rows of eight, then for what is left one by one. */
function eachRows(code: Code, at: Local, end: Local, count: number, body: (rows: number) => void): void {
  const stop = code.local("i32", op("i32.sub", end.get, i32((count - 1) * panelRow)));
  code.while(op("i32.lt_u", at.get, stop.get), () => {
    body(count);
    code.increase(at, i32(count * panelRow));
  });
  code.while(op("i32.lt_u", at.get, end.get), () => {
    body(1);
    code.increase(at, i32(panelRow));
  });
  code.release(stop);
}

/** Rows of scores whose exponentials are computed side by side. */
const together = 2;

function softmaxPanel(code: Code, parameters: readonly Local[], fused: boolean): void {
  const [s, keys, state, factor, o, channels] = parameters as [Local, Local, Local, Local, Local, Local];
  const end = code.local("i32", plus(s.get, times(keys.get, panelRow)));
  const at = code.local("i32", s.get);
  const scale = code.local("v128", load("v128.load", factor.get));
  const score = (row: number, v: number): Expression => op("f32x4.mul", load("v128.load", at.get, row * panelRow + 16 * v), scale.get);

  const chains = 4;
  const highest = Array.from({ length: 2 * chains }, () => code.local("v128", f32x4(Number.NEGATIVE_INFINITY)));
  eachRows(code, at, end, chains, (rows) => {
    for (let i = 0; i < 2 * rows; i++) {
      const most = highest[i] as Local;
      code.set(most, larger(most.get, score(i >> 1, i & 1)));
    }
  });
  const found = [0, 1].map((v) => {
    const before = code.local("v128", load("v128.load", state.get, 16 * v));
    const most = code.local("v128", before.get);
    for (let c = 0; c < chains; c++) code.set(most, larger(most.get, (highest[2 * c + v] as Local).get));
    return { before, most };
  });
  code.release(...highest);
  const [low, high] = found as [(typeof found)[0], (typeof found)[0]];
  const grew = op("v128.or", op("f32x4.gt", low.most.get, low.before.get), op("f32x4.gt", high.most.get, high.before.get));
  const less = found.map(({ before }) => before);
  code.if(op("v128.any_true", grew), () => {
    found.forEach(({ before, most }, v) => {
      code.set(before, op("f32x4.sub", before.get, most.get));
      code.store("v128.store", state.get, most.get, 16 * v);
    });
    powersOfTwo(code, less, fused);
    less.forEach((by, v) => {
      code.store("v128.store", state.get, op("f32x4.mul", load("v128.load", state.get, 32 + 16 * v), by.get), 32 + 16 * v);
    });
    const stop = code.local("i32", plus(o.get, times(channels.get, panelRow)));
    code.while(op("i32.lt_u", o.get, stop.get), () => {
      less.forEach((by, v) => {
        code.store("v128.store", o.get, op("f32x4.mul", load("v128.load", o.get, 16 * v), by.get), 16 * v);
      });
      code.increase(o, i32(panelRow));
    });
    code.release(stop);
  });
  code.release(...less);

  const shifts = found.map(({ most }) => code.local("v128", negated(most.get)));
  const sums = Array.from({ length: 2 * together }, () => code.local("v128", f32x4(0)));
  code.set(at, s.get);
  eachRows(code, at, end, together, (rows) => {
    const powers = Array.from({ length: 2 * rows }, (_, i) => {
      const shift = shifts[i & 1] as Local;
      return code.local("v128", addProduct(shift.get, load("v128.load", at.get, 16 * i), scale.get, fused));
    });
    powersOfTwo(code, powers, fused);
    powers.forEach((power, i) => {
      const sum = sums[i] as Local;
      code.store("v128.store", at.get, power.get, 16 * i);
      code.set(sum, op("f32x4.add", sum.get, power.get));
    });
    code.release(...powers);
  });
  for (const v of [0, 1]) {
    let sum = load("v128.load", state.get, 32 + 16 * v);
    for (let i = v; i < sums.length; i += 2) sum = op("f32x4.add", sum, (sums[i] as Local).get);
    code.store("v128.store", state.get, sum, 32 + 16 * v);
  }
}

function endSoftmax(code: Code, parameters: readonly Local[], fused: boolean): void {
  const [state, factors, lse] = parameters as [Local, Local, Local];
  for (const at of [0, 16]) {
    const sum = code.local("v128", load("v128.load", state.get, 32 + at));
    const none = code.local("v128", op("f32x4.eq", sum.get, f32x4(0)));
    code.store("v128.store", factors.get, op("v128.andnot", op("f32x4.div", f32x4(1), sum.get), none.get), at);
    const most = op("f32x4.mul", load("v128.load", state.get, at), f32x4(Math.LN2));
    const value = op("f32x4.add", most, log(code, sum, fused));
    code.store("v128.store", lse.get, op("v128.bitselect", f32x4(-1e30), value, none.get), at);
    code.release(sum, none);
  }
}

function turnPanel(code: Code, parameters: readonly Local[]): void {
  const [panel, factors, to, toRow, channels] = parameters as [Local, Local, Local, Local, Local];
  const [from, target, left] = [code.local("i32"), code.local("i32"), code.local("i32")];
  for (const half of [0, 1]) {
    const factor = code.local("v128", load("v128.load", factors.get, 16 * half));
    code.set(from, plus(panel.get, i32(16 * half)));
    code.set(target, half === 0 ? to.get : plus(to.get, times(toRow.get, 4)));
    code.set(left, channels.get);
    code.while(op("i32.gt_s", left.get, i32(0)), () => {
      const lines = [0, 1, 2, 3].map((row) =>
        code.local("v128", op("f32x4.mul", load("v128.load", from.get, row * panelRow), factor.get)),
      ) as [Local, Local, Local, Local];
      transposed(code, lines).forEach((line, row) =>
        code.store("v128.store", row === 0 ? target.get : plus(target.get, times(toRow.get, row)), line),
      );
      code.release(...lines);
      code.increase(from, i32(4 * panelRow));
      code.increase(target, i32(16));
      code.increase(left, i32(-4));
    });
    code.release(factor);
  }
}

/** Writes a half of four rows of a panel as columns of a tile. */
function storeTurned(code: Code, lines: readonly Local[], tile: Local, half: number): void {
  transposed(code, lines as [Local, Local, Local, Local]).forEach((line, column) =>
    code.store("v128.store", tile.get, line, 64 * half + 16 * column),
  );
}

function probabilities(code: Code, parameters: readonly Local[], fused: boolean): void {
  const [s, dp, rows, lse, delta, factor, tiles, tileBytes] = parameters as [Local, Local, Local, Local, Local, Local, Local, Local];
  const scale = code.local("v128", load("v128.load", factor.get));
  code.while(op("i32.gt_s", rows.get, i32(0)), () => {
    for (const half of [0, 1]) {
      const place = (row: number): number => row * panelRow + 16 * half;
      const lines = [0, 1, 2, 3].map((row) => {
        const shift = op("f32x4.mul", load("v128.load32_splat", lse.get, 4 * row), f32x4(-Math.LOG2E));
        return code.local("v128", addProduct(shift, load("v128.load", s.get, place(row)), scale.get, fused));
      });
      powersOfTwo(code, lines, fused);
      lines.forEach((p, row) => {
        code.store("v128.store", s.get, p.get, place(row));
        const pulled = op("f32x4.sub", load("v128.load", dp.get, place(row)), load("v128.load32_splat", delta.get, 4 * row));
        code.set(p, op("f32x4.mul", p.get, pulled));
        code.store("v128.store", dp.get, p.get, place(row));
      });
      storeTurned(code, lines, tiles, half);
      code.release(...lines);
    }
    for (const pointer of [s, dp]) code.increase(pointer, i32(4 * panelRow));
    for (const pointer of [lse, delta]) code.increase(pointer, i32(16));
    code.increase(tiles, tileBytes.get);
    code.increase(rows, i32(-4));
  });
}

function turnTiles(code: Code, parameters: readonly Local[]): void {
  const [panel, rows, tiles, tileBytes] = parameters as [Local, Local, Local, Local];
  code.while(op("i32.gt_s", rows.get, i32(0)), () => {
    for (const half of [0, 1]) {
      const lines = [0, 1, 2, 3].map((row) => code.local("v128", load("v128.load", panel.get, row * panelRow + 16 * half)));
      storeTurned(code, lines, tiles, half);
      code.release(...lines);
    }
    code.increase(panel, i32(4 * panelRow));
    code.increase(tiles, tileBytes.get);
    code.increase(rows, i32(-4));
  });
}

/** A vector combined with itself, so that each lane has what all lanes have. */
function acrossLanes(code: Code, x: Local, combine: (a: Expression, b: Expression) => Expression): void {
  code.set(x, combine(x.get, shuffle(x.get, x.get, [2, 3, 0, 1])));
  code.set(x, combine(x.get, shuffle(x.get, x.get, [1, 0, 3, 2])));
}

const sumOf = (a: Expression, b: Expression): Expression => op("f32x4.add", a, b);

function softmaxRow(code: Code, parameters: readonly Local[], fused: boolean): void {
  const [s, keys, state, factor] = parameters as [Local, Local, Local, Local];
  const scale = code.local("v128", load("v128.load", factor.get));
  const most = code.local("v128", f32x4(lowest));
  const score = code.local("v128");
  const at = code.local("i32", s.get);
  const end = code.local("i32", plus(s.get, times(keys.get, 4)));
  const scaled = op("f32x4.mul", load("v128.load", at.get), scale.get);
  const eachVector = (body: () => void): void => {
    code.set(at, s.get);
    code.while(op("i32.lt_u", at.get, end.get), () => {
      body();
      code.increase(at, i32(16));
    });
  };
  eachVector(() => {
    // Lanes after the last key are hidden.
    const left = op("i32x4.splat", op("i32.sub", end.get, at.get));
    const inside = op("i32x4.gt_s", left, i32x4of(0, 4, 8, 12));
    code.set(score, op("v128.bitselect", scaled, f32x4(Number.NEGATIVE_INFINITY), inside));
    code.store("v128.store", at.get, score.get);
    code.set(most, larger(most.get, score.get));
  });
  acrossLanes(code, most, larger);
  const sum = code.local("v128", f32x4(0));
  eachVector(() => {
    code.set(score, op("f32x4.sub", load("v128.load", at.get), most.get));
    powersOfTwo(code, [score], fused);
    code.store("v128.store", at.get, score.get);
    code.set(sum, sumOf(sum.get, score.get));
  });
  acrossLanes(code, sum, sumOf);
  code.storeLane("v128.store32_lane", 0, state.get, most.get);
  code.storeLane("v128.store32_lane", 0, state.get, sum.get, 4);
}

function combineParts(code: Code, parameters: readonly Local[], fused: boolean): void {
  const [parts, count, partBytes, o, channels, lse] = parameters as [Local, Local, Local, Local, Local, Local];
  const part = code.local("i32");
  const end = code.local("i32", plus(parts.get, op("i32.mul", count.get, partBytes.get)));
  const eachPart = (body: () => void): void => {
    code.set(part, parts.get);
    code.while(op("i32.lt_u", part.get, end.get), () => {
      body();
      code.increase(part, partBytes.get);
    });
  };
  const most = code.local("v128", f32x4(lowest));
  eachPart(() => code.set(most, larger(most.get, load("v128.load32_splat", part.get))));
  const bytes = code.local("i32", op("i32.and", plus(times(channels.get, 4), i32(15)), i32(-16)));
  const at = code.local("i32");
  const eachVector = (body: () => void): void => code.for(at, i32(0), bytes.get, 16, body);
  eachVector(() => code.store("v128.store", plus(o.get, at.get), f32x4(0)));
  const [sum, weight] = [code.local("v128", f32x4(0)), code.local("v128")];
  eachPart(() => {
    code.set(weight, op("f32x4.sub", load("v128.load32_splat", part.get), most.get));
    powersOfTwo(code, [weight], fused);
    code.set(sum, addProduct(sum.get, weight.get, load("v128.load32_splat", part.get, 4), fused));
    eachVector(() => {
      const place = plus(o.get, at.get);
      code.store(
        "v128.store",
        place,
        addProduct(load("v128.load", place), weight.get, load("v128.load", plus(part.get, at.get), 16), fused),
      );
    });
  });
  const none = code.local("v128", op("f32x4.eq", sum.get, f32x4(0)));
  code.set(weight, op("v128.andnot", op("f32x4.div", f32x4(1), sum.get), none.get));
  eachVector(() => code.store("v128.store", plus(o.get, at.get), op("f32x4.mul", load("v128.load", plus(o.get, at.get)), weight.get)));
  const value = op("f32x4.add", op("f32x4.mul", most.get, f32x4(Math.LN2)), log(code, sum, fused));
  code.store("v128.store", lse.get, op("v128.bitselect", f32x4(-1e30), value, none.get));
}
