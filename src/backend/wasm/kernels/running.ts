import type { Reduction } from "../../../compiler/program.js";
import { type Expression, i32x4, type Local, op, shuffle } from "../assembler.js";
import type { KernelFunction } from "./kernel.js";
import { combine, identity, isFloatType } from "./operations.js";

/* Reductions in four lanes, from their first value to the result that every lane has. */

/** Whether a reduction gives a place instead of a value. */
export const isArg = ({ reducer }: Reduction): boolean => reducer === "argmax" || reducer === "argmin";

/** Largest or smallest of floats: the instruction that carries NaN along takes eight steps, so NaN is looked for apart. */
export const isExtremum = ({ reducer, dtype }: Reduction): boolean => (reducer === "max" || reducer === "min") && isFloatType(dtype);

/** A reduction as a kernel runs it. */
export interface Fold extends Reduction {
  /** False where it does not matter whether the extremum of floats with a NaN among them is NaN. */
  readonly meetsNaN?: boolean;
}

const looksForNaN = (reduction: Fold): boolean => isExtremum(reduction) && reduction.meetsNaN !== false;

/**
 * What a reduction holds while it runs: the best or the sum so far, and beside it the place of the best, or for extrema of floats a
 * mask of the lanes that met a NaN.
 */
export interface Running {
  readonly best: Local;
  readonly beside: Local;
}

/** The same as what they hold. */
type Vectors = { readonly [K in keyof Running]: Expression };

export const vectorsOf = ({ best, beside }: Running): Vectors => ({ best: best.get, beside: beside.get });

export function start(f: KernelFunction, reduction: Fold): Running {
  const { reducer, dtype } = reduction;
  return {
    best: f.code.local("v128", identity(reducer, dtype)),
    beside: f.code.local("v128", i32x4(isExtremum(reduction) ? 0 : -1)),
  };
}

/** Takes one more value, lane by lane. `counter` is the place in the row, which matters to those that look for a place. */
export function step(f: KernelFunction, reduction: Fold, { best, beside }: Running, value: Local, counter?: Local): void {
  const { code } = f;
  const { reducer, dtype } = reduction;
  if (isExtremum(reduction)) {
    code.set(best, op(reducer === "max" ? "f32x4.pmax" : "f32x4.pmin", best.get, value.get));
    if (looksForNaN(reduction)) code.set(beside, op("v128.or", beside.get, op("f32x4.ne", value.get, value.get)));
    return;
  }
  if (!isArg(reduction)) {
    code.set(best, combine(reducer, best.get, value.get, dtype));
    return;
  }
  const larger = isFloatType(dtype) ? "f32x4.gt" : dtype === "u32" ? "i32x4.gt_u" : "i32x4.gt_s";
  const wins = reducer === "argmax" ? op(larger, value.get, best.get) : op(larger, best.get, value.get);
  const better = code.local("v128", op("v128.or", wins, op("i32x4.eq", beside.get, i32x4(-1))));
  // The first NaN wins over all numbers, and nothing over it.
  if (isFloatType(dtype)) {
    const first = op("v128.and", op("f32x4.ne", value.get, value.get), op("f32x4.eq", best.get, best.get));
    code.set(better, op("v128.or", better.get, first));
  }
  code.set(best, op("v128.bitselect", value.get, best.get, better.get));
  code.set(beside, op("v128.bitselect", op("i32x4.splat", (counter as Local).get), beside.get, better.get));
  code.release(better);
}

/** Puts NaN where a lane met one; afterwards `best` is the reduction of each lane. */
export function settle({ code }: KernelFunction, reduction: Fold, { best, beside }: Running): void {
  // All ones are the bits of a NaN.
  if (looksForNaN(reduction)) code.set(best, op("v128.or", best.get, beside.get));
}

/** Takes what another has met so far, lane by lane. */
export function join({ code }: KernelFunction, reduction: Fold, into: Running, { best, beside }: Vectors): void {
  const { reducer, dtype } = reduction;
  if (isExtremum(reduction)) {
    code.set(into.best, op(reducer === "max" ? "f32x4.pmax" : "f32x4.pmin", into.best.get, best));
    if (looksForNaN(reduction)) code.set(into.beside, op("v128.or", into.beside.get, beside));
  } else code.set(into.best, combine(reducer, into.best.get, best, dtype));
}

/** The four lanes combined, in every lane. */
export function acrossLanes(f: KernelFunction, reduction: Fold, { best, beside }: Running): void {
  for (const lanes of [
    [2, 3, 0, 1],
    [1, 0, 3, 2],
  ] as const) {
    const turned = (x: Local): Expression => shuffle(x.get, x.get, lanes);
    join(f, reduction, { best, beside }, { best: turned(best), beside: turned(beside) });
  }
}
