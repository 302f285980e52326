import { placesOf } from "../../../compiler/kernel-places.js";
import type { Reduction, RowKernel, Value } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { coefficient, substitute, variable } from "../../../ir/index-expression.js";
import { type Expression, i32, type Local, op } from "../assembler.js";
import { type Context, costOf, type KernelCode, KernelFunction, type Split, splitLoop, unitsPerChunk } from "./kernel.js";
import { identity, isFloatType } from "./operations.js";
import { type Blocks, eachBlock, PairwiseSums } from "./pairwise.js";
import type { Counter, Width } from "./places.js";
import { acrossLanes, isArg, join, type Running, settle, start, step, vectorsOf } from "./running.js";
import type { Facts } from "./values.js";

/** Bytes that one row may keep for its later passes. */
const keptBytes = 1 << 17;

/** Reductions with what comes before and after them. Lanes run along the row, or four rows run side by side. */
export function rowKernel(kernel: RowKernel, context: Context): KernelCode {
  return lanesAlongRow(kernel) ? alongRow(kernel, context) : acrossRows(kernel, context);
}

/** True if lanes find more neighbours in memory along the row than across the rows. */
function lanesAlongRow(kernel: RowKernel): boolean {
  const { outer, inner } = kernel;
  const scattered = (name: string, extent: number): number => {
    const split = splitLoop(name, extent, placesOf(kernel));
    const rewritten = new Map([[name, split.expression]]);
    return kernel.values.filter((value) => {
      if (value.kind !== "load") return false;
      const step = coefficient(substitute(value.index, rewritten), split.inner.name);
      return step !== 0 && step !== 1;
    }).length;
  };
  const [along, across] = [scattered(inner.name, inner.extent), scattered(outer.name, outer.extent)];
  if (outer.extent < 4 || along < across) return true;
  return along === across && inner.extent >= 8;
}

/** Whether a reduction is a sum that rounds. */
const isRoundedSum = ({ reducer, dtype }: Reduction): boolean => reducer === "sum" && isFloatType(dtype);

const registerOf = (kernel: RowKernel, { register }: Reduction): Value | undefined =>
  kernel.values.find((value) => value.kind === "register" && value.register === register);

/** How many parts of a row make one block, or 1 where a part has whole blocks of its own; and how many blocks the row has. */
function blocksOf({ outer, inner }: Split, steps: number): { parts: number; count: number } {
  const parts = Math.ceil(steps / inner.extent);
  return parts > 1 ? { parts, count: Math.ceil(outer.extent / parts) } : { parts, count: outer.extent * Math.ceil(inner.extent / steps) };
}

/** The loop over a row in evenly moving parts; `body` prints what happens at each step, for each group of four. */
function overRow(
  f: KernelFunction,
  split: Split,
  targets: readonly Value[],
  options: { single: boolean; groups: number; before?: () => void; blocks?: Blocks | undefined },
  body: (width: Width, group: number, place: Local) => void,
): void {
  const { code, values } = f;
  const { outer, inner } = split;
  const { single, groups, blocks } = options;
  const partsOfBlock = blocks ? blocksOf(split, blocks.steps).parts : outer.extent;
  const pass = (part: Local | undefined): void => {
    values.prepare(targets, [inner.name], inner.name);
    options.before?.();
    const steps = (from: Expression, to: Expression): void =>
      f.vectorLoop({ from, to, extent: inner.extent, single, groups }, (width, counters) =>
        counters.forEach((counter, group) => {
          values.within(
            inner.name,
            counter,
            () => {
              if (part === undefined) return body(width, group, counter);
              const place = code.local("i32", op("i32.add", op("i32.mul", part.get, i32(inner.extent)), counter.get));
              body(width, group, place);
              code.release(place);
            },
            width,
          );
        }),
      );
    if (blocks === undefined || partsOfBlock > 1) steps(i32(0), i32(inner.extent));
    else eachBlock(f, inner.extent, blocks, steps);
  };
  const part = code.local("i32", i32(0));
  const parts = (from: Expression, to: Expression): void =>
    code.for(part, from, to, 1, () => values.within(outer.name, part, () => pass(part)));
  if (outer.extent === 1) values.within(outer.name, part, () => pass(undefined));
  else if (blocks === undefined || partsOfBlock === 1) parts(i32(0), i32(outer.extent));
  else eachBlock(f, outer.extent, { ...blocks, steps: partsOfBlock }, parts);
  code.release(part);
}

/** What makes a softmax cheap: in x − max x nothing is positive. */
function softmaxFacts(kernel: RowKernel): Facts {
  const reductions = kernel.stages.flat();
  const ofNegative = new Set<number>();
  for (const value of kernel.values) {
    if (value.kind !== "operation" || value.dtype !== "f32" || value.operation !== "exp") continue;
    const difference = value.args[0];
    if (difference?.kind !== "operation" || difference.operation !== "sub") continue;
    const [x, largest] = difference.args;
    const reduction = largest?.kind === "register" ? reductions.find(({ register }) => register === largest.register) : undefined;
    if (reduction?.reducer === "max" && reduction.value === x) ofNegative.add(value.id);
  }
  return { ofNegative };
}

function alongRow(kernel: RowKernel, context: Context): KernelCode {
  const { outer, inner, stages, stores } = kernel;
  const f = new KernelFunction(kernel, context, softmaxFacts(kernel));
  const { code, values } = f;
  const split = splitLoop(inner.name, inner.extent, placesOf(kernel));
  const insides = [split.outer.name, split.inner.name];
  values.replace(inner.name, split.expression);
  const rowStores = stores.filter((store) => !store.inner);
  const fullStores = stores.filter((store) => store.inner);
  const everything = [...stages.flat(), ...stores].map(({ value }) => value);
  const passes = [...stages.map((stage) => stage.map(({ value }) => value)), fullStores.map(({ value }) => value)];
  const kept = keptValues(kernel, passes, inner.name);
  const scratchBytes = kept.length * 4 * (Math.ceil(inner.extent / 4) * 4);
  const areas = kept.map((_, i) => code.local("i32", op("i32.add", f.scratch.get, i32(4 * i * Math.ceil(inner.extent / 4) * 4))));
  let waitingBytes = 0;
  const keptPlace = substitute(variable(inner.name, inner.extent), new Map([[inner.name, split.expression]]));

  values.prepare(everything, [outer.name, ...insides]);
  const row = code.local("i32");
  code.for(row, f.begin.get, f.end.get, 1, () => {
    values.within(outer.name, row, () => {
      const seen = new Set<Value>();
      /** What the values of a pass that later passes need are stored as, while the pass runs. */
      const keep = (targets: readonly Value[], pass: number): Value[] => {
        const needed = reach(targets);
        return kept.filter(
          (value) => needed.has(value.id) && !seen.has(value) && passes.slice(pass + 1).some((later) => reach(later).has(value.id)),
        );
      };
      const save = (value: Value): void => values.storeAt(areas[kept.indexOf(value)] as Local, keptPlace, values.get(value));
      stages.forEach((stage, s) => {
        const targets = passes[s] as readonly Value[];
        values.prepare(targets, insides);
        const single = stage.some(isArg);
        const groups = single || inner.extent < 16 ? 1 : 2;
        const running = Array.from({ length: groups }, () => stage.map((reduction) => start(f, reduction)));
        const tail = stage.map((reduction) => start(f, reduction));
        const fresh = keep(targets, s);
        const [group0, ...otherGroups] = running as [Running[], ...Running[][]];
        /** Combines what the groups and the tail of a reduction have, and gives the local that has it in every lane. */
        const together = (reduction: Reduction, i: number): Local => {
          const first = group0[i] as Running;
          for (const group of otherGroups) join(f, reduction, first, vectorsOf(group[i] as Running));
          acrossLanes(f, reduction, first);
          join(f, reduction, first, vectorsOf(tail[i] as Running));
          settle(f, reduction, first);
          return first.best;
        };
        const sums = stage.flatMap((reduction, i) => (isRoundedSum(reduction) ? [i] : []));
        const steps = blockTerms * (single ? 1 : 4 * groups);
        let pairs: PairwiseSums | undefined;
        let blocks: Blocks | undefined;
        if (sums.length > 0 && inner.extent > steps) {
          const made = new PairwiseSums(f, sums.length, scratchBytes);
          waitingBytes = Math.max(waitingBytes, PairwiseSums.bytes(sums.length, blocksOf(split, steps).count));
          const end = (): void => {
            made.put(sums.map((i) => together(stage[i] as Reduction, i)));
            for (const group of [...otherGroups, tail])
              for (const i of sums) code.set((group[i] as Running).best, identity("sum", (stage[i] as Reduction).dtype));
          };
          [pairs, blocks] = [made, { steps, end }];
        }
        overRow(f, split, targets, { single, groups, blocks }, (width, group, place) => {
          const computed = targets.map((value) => values.get(value));
          for (const value of fresh) save(value);
          const into = width === 1 ? tail : (running[group] as Running[]);
          stage.forEach((reduction, i) => step(f, reduction, into[i] as Running, computed[i] as Local, place));
        });
        for (const value of fresh) {
          seen.add(value);
          values.keep(value, areas[kept.indexOf(value)] as Local, keptPlace);
        }
        pairs?.finish(sums.map((i) => (group0[i] as Running).best));
        stage.forEach((reduction, i) => {
          const result = code.local("v128");
          if (isArg(reduction)) code.set(result, (tail[i] as Running).beside.get);
          else if (pairs && isRoundedSum(reduction)) code.set(result, (group0[i] as Running).best.get);
          else code.set(result, together(reduction, i).get);
          const register = registerOf(kernel, reduction);
          if (register) values.defineFor(register, result);
          for (const each of [...running.map((group) => group[i] as Running), tail[i] as Running]) code.release(each.best, each.beside);
        });
      });
      values.prepare(everything, insides);
      for (const { buffer, index, value } of rowStores) values.store(buffer, index, values.get(value));
      if (fullStores.length > 0) {
        const targets = fullStores.map(({ value }) => value);
        const before = (): void => {
          for (const { buffer, index } of fullStores) values.prepareStore(buffer, index, split.inner.name);
        };
        overRow(f, split, targets, { single: false, groups: 2, before }, () => {
          const computed = targets.map((value) => values.get(value));
          fullStores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
        });
      }
    });
  });
  const cost = 8 + inner.extent * costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: outer.extent,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: scratchBytes + waitingBytes,
    arenaBytes: 0,
    cost: cost * outer.extent,
  });
}

/** Operations that cost more than reading their result again. */
const expensive = new Set(["exp", "log", "sin", "cos", "tanh", "erf", "pow", "mod"]);

/** Values that several passes over a row would compute anew. */
function keptValues(kernel: RowKernel, passes: readonly (readonly Value[])[], inner: string): Value[] {
  const needs = passes.map((targets) => reach(targets));
  const dependsOnRow = new Set<number>();
  for (const value of kernel.values) {
    const own = value.kind === "load" && value.index.key.includes(inner);
    if (own || (value.kind === "operation" && value.args.some((arg) => dependsOnRow.has(arg.id)))) dependsOnRow.add(value.id);
  }
  const kept = kernel.values.filter(
    (value) =>
      value.kind === "operation" &&
      expensive.has(value.operation) &&
      value.dtype === "f32" &&
      dependsOnRow.has(value.id) &&
      needs.filter((need) => need.has(value.id)).length > 1,
  );
  return 4 * kept.length * kernel.inner.extent <= keptBytes ? kept : [];
}

/** Everything that targets are computed from. */
function reach(targets: readonly Value[]): Set<number> {
  const found = new Set<number>();
  const stack = [...targets];
  while (stack.length > 0) {
    const value = stack.pop() as Value;
    if (found.has(value.id)) continue;
    found.add(value.id);
    if (value.kind === "operation") stack.push(...value.args);
  }
  return found;
}

function acrossRows(kernel: RowKernel, context: Context): KernelCode {
  const { outer, inner, stages, stores } = kernel;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const split = splitLoop(outer.name, outer.extent, placesOf(kernel));
  values.replace(outer.name, split.expression);
  const [part, lanes] = [split.outer.name, split.inner.name];
  const rowStores = stores.filter((store) => !store.inner);
  const fullStores = stores.filter((store) => store.inner);
  const everything = [...stages.flat(), ...stores].map(({ value }) => value);
  // More registers than the machine has would go through memory.
  let waitingBytes = 0;
  const most = kernel.values.length <= 40 && inner.extent >= 16 ? 4 : 1;
  const groups = Math.max(1, Math.min(most, split.inner.extent >> 2));
  values.prepare(everything, [part, lanes, inner.name]);

  f.eachPart(split.inner.extent, (row, from, to) =>
    values.within(part, row, () => {
      values.prepare(everything, [lanes, inner.name]);
      f.vectorLoop({ from: from.get, to: to.get, extent: split.inner.extent, groups }, (width, counters) => {
        /** The registers that each group of rows has so far. */
        const registers: (readonly [Value, Local])[][] = counters.map(() => []);
        const inGroup = (group: number, body: () => void): void =>
          values.within(
            lanes,
            counters[group] as Counter,
            () => {
              for (const [value, local] of registers[group] as (readonly [Value, Local])[]) values.define(value, local);
              body();
            },
            width,
          );
        const eachStep = (targets: readonly Value[], body: (group: number, counter: Local) => void, blocks?: Blocks): void => {
          const counter = code.local("i32");
          const steps = (from: Expression, to: Expression): void =>
            code.for(counter, from, to, 1, () =>
              values.within(inner.name, counter, () => {
                values.prepare(targets, [lanes], lanes);
                counters.forEach((_, group) => inGroup(group, () => body(group, counter)));
              }),
            );
          if (blocks === undefined) steps(i32(0), i32(inner.extent));
          else eachBlock(f, inner.extent, blocks, steps);
          code.release(counter);
        };
        for (const stage of stages) {
          const running = counters.map(() => stage.map((reduction) => start(f, reduction)));
          const targets = stage.map(({ value }) => value);
          const sums = running.flatMap((group) => group.flatMap(({ best }, i) => (isRoundedSum(stage[i] as Reduction) ? [best] : [])));
          const long = sums.length > 0 && inner.extent > blockTerms;
          const pairs = long ? new PairwiseSums(f, sums.length, 0) : undefined;
          if (long) waitingBytes = Math.max(waitingBytes, PairwiseSums.bytes(sums.length, Math.ceil(inner.extent / blockTerms)));
          eachStep(
            targets,
            (group, counter) => {
              const computed = targets.map((value) => values.get(value));
              stage.forEach((reduction, i) => step(f, reduction, running[group]?.[i] as Running, computed[i] as Local, counter));
            },
            pairs && { steps: blockTerms, end: () => pairs.put(sums) },
          );
          pairs?.finish(sums);
          stage.forEach((reduction, i) => {
            const register = registerOf(kernel, reduction);
            counters.forEach((_, group) => {
              const each = (running[group] as Running[])[i] as Running;
              settle(f, reduction, each);
              if (register) registers[group]?.push([register, isArg(reduction) ? each.beside : each.best]);
            });
          });
        }
        counters.forEach((_, group) => {
          inGroup(group, () => {
            const computed = rowStores.map(({ value }) => values.get(value));
            rowStores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
          });
        });
        if (fullStores.length > 0) {
          eachStep(
            fullStores.map(({ value }) => value),
            () => {
              const computed = fullStores.map(({ value }) => values.get(value));
              fullStores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
            },
          );
        }
      });
    }),
  );
  const cost = 8 + inner.extent * costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: outer.extent,
    // The loop over single vectors is left out where groups of them cover all rows.
    unitMultiple: 4 * groups,
    unitsPerChunk: unitsPerChunk(cost, 16),
    scratchBytes: waitingBytes,
    arenaBytes: 0,
    cost: cost * outer.extent,
  });
}
