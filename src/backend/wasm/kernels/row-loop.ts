import type { Value } from "../../../compiler/program.js";
import { type Expression, i32, type Local, op } from "../assembler.js";
import type { KernelFunction, Split } from "./kernel.js";
import { type Blocks, eachBlock } from "./pairwise.js";
import type { Width } from "./places.js";

/** One pass over a row: what it computes at each step, and how it steps. */
export interface Pass {
  readonly targets: readonly Value[];
  /** Whether it takes one step at a time. */
  readonly single: boolean;
  /** Groups of four steps in a round. */
  readonly groups: number;
  /** Blocks that it is cut into, with what comes after each. */
  readonly blocks?: Blocks | undefined;
  /** Printed before each part of the row whose places move evenly. */
  readonly before?: () => void;
}

/** What a round has computed. */
export interface Round {
  readonly width: Width;
  /** For each group of four steps the vectors of the targets. */
  readonly vectors: readonly (readonly Local[])[];
  /** Prints what is done in each group, whose first step is at `place` of the row. */
  each(body: (group: number, place: Local) => void): void;
}

/** How many parts of a row make one block, or 1 where a part has whole blocks of its own; and how many blocks the row has. */
export function blocksOf({ outer, inner }: Split, steps: number): { parts: number; count: number } {
  const parts = Math.ceil(steps / inner.extent);
  return parts > 1 ? { parts, count: Math.ceil(outer.extent / parts) } : { parts, count: outer.extent * Math.ceil(inner.extent / steps) };
}

/**
 * The loop over a row in evenly moving parts. `finish` prints what is done with what a round has computed: after all of it, because
 * engines keep loads and stores in their order, and only what is not cut by one of these runs side by side.
 */
export function overRow(f: KernelFunction, split: Split, pass: Pass, finish: (round: Round) => void): void {
  const { code, values } = f;
  const { outer, inner } = split;
  const { targets, single, groups, blocks } = pass;
  const partsOfBlock = blocks ? blocksOf(split, blocks.steps).parts : outer.extent;
  const vectors = Array.from({ length: groups }, () => targets.map(() => code.local("v128")));
  const onPart = (part: Local | undefined): void => {
    values.prepare(targets, [inner.name], inner.name);
    pass.before?.();
    const steps = (from: Expression, to: Expression): void =>
      f.vectorLoop({ from, to, extent: inner.extent, single, groups }, (width, counters) => {
        const each: Round["each"] = (body) =>
          counters.forEach((counter, group) => {
            const print = (): void => {
              const place = part ? code.local("i32", op("i32.add", op("i32.mul", part.get, i32(inner.extent)), counter.get)) : counter;
              body(group, place);
              if (part) code.release(place);
            };
            values.within(inner.name, counter, print, width);
          });
        each((group) => targets.forEach((value, i) => code.set(vectors[group]?.[i] as Local, values.get(value).get)));
        finish({ width, vectors: vectors.slice(0, counters.length), each });
      });
    if (blocks === undefined || partsOfBlock > 1) steps(i32(0), i32(inner.extent));
    else eachBlock(f, inner.extent, blocks, steps);
  };
  const part = code.local("i32", i32(0));
  const parts = (from: Expression, to: Expression): void =>
    code.for(part, from, to, 1, () => values.within(outer.name, part, () => onPart(part)));
  if (outer.extent === 1) values.within(outer.name, part, () => onPart(undefined));
  else if (blocks === undefined || partsOfBlock === 1) parts(i32(0), i32(outer.extent));
  else eachBlock(f, outer.extent, { ...blocks, steps: partsOfBlock }, parts);
  code.release(part, ...vectors.flat());
}
