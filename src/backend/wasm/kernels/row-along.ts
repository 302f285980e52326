import { placesOf } from "../../../compiler/kernel-places.js";
import type { RowKernel, Value } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { substitute, variable } from "../../../ir/index-expression.js";
import { i32, type Local, op } from "../assembler.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop, unitsPerChunk } from "./kernel.js";
import { combine, identity } from "./operations.js";
import { type Blocks, PairwiseSums } from "./pairwise.js";
import { blocksOf, overRow, type Round } from "./row-loop.js";
import { isRoundedSum, keptValues, maximaWithoutNaN, reach, registerOf, softmaxFacts } from "./row-parts.js";
import { acrossLanes, type Fold, isArg, isExtremum, join, type Running, settle, start, step, vectorsOf } from "./running.js";

/** Values up to which four groups of steps run side by side: more would not find room in the registers. */
const fewValues = 24;

/** A pass over each row for every stage, and one for what is stored at each step. */
export function alongRow(kernel: RowKernel, context: Context): KernelCode {
  const { outer, inner, stores } = kernel;
  const f = new KernelFunction(kernel, context, softmaxFacts(kernel));
  const { code, values } = f;
  const withoutNaN = maximaWithoutNaN(kernel);
  const stages = kernel.stages.map((stage) => stage.map((reduction): Fold => ({ ...reduction, meetsNaN: !withoutNaN.has(reduction) })));
  const split = splitLoop(inner.name, inner.extent, placesOf(kernel));
  const insides = [split.outer.name, split.inner.name];
  values.replace(inner.name, split.expression);
  const rowStores = stores.filter((store) => !store.inner);
  const fullStores = stores.filter((store) => store.inner);
  const everything = [...stages.flat(), ...stores].map(({ value }) => value);
  const passes = [...stages.map((stage) => stage.map(({ value }) => value)), fullStores.map(({ value }) => value)];
  const most = inner.extent >= 64 && kernel.values.length <= fewValues ? 4 : 2;
  const kept = keptValues(kernel, passes);
  const keptBytes = 16 * Math.ceil(inner.extent / 4);
  const areas = kept.map((_, i) => code.local("i32", op("i32.add", f.scratch.get, i32(i * keptBytes))));
  const keptPlace = substitute(variable(inner.name, inner.extent), new Map([[inner.name, split.expression]]));
  let waitingBytes = 0;

  /** The pass of a stage; `fresh` are values that it has first, and later passes need. */
  const reduce = (pass: number, fresh: readonly Value[]): void => {
    const stage = stages[pass] as readonly Fold[];
    const single = stage.some(isArg);
    const groups = single || inner.extent < 16 ? 1 : most;
    // The groups of a round are added up before they are added to a sum, so that one local is enough for it.
    const running = stage.map((reduction) => Array.from({ length: isExtremum(reduction) ? groups : 1 }, () => start(f, reduction)));
    const tail = stage.map((reduction) => start(f, reduction));
    /** Combines what the groups and the tail of a reduction have, and gives the local that has it in every lane. */
    const together = (reduction: Fold, i: number): Local => {
      const [first, ...others] = running[i] as [Running, ...Running[]];
      for (const other of others) join(f, reduction, first, vectorsOf(other));
      acrossLanes(f, reduction, first);
      join(f, reduction, first, vectorsOf(tail[i] as Running));
      settle(f, reduction, first);
      return first.best;
    };
    const sums = stage.flatMap((reduction, i) => (isRoundedSum(reduction) ? [i] : []));
    const sumOf = (i: number): Local => (running[i] as [Running, ...Running[]])[0].best;
    const steps = blockTerms * (single ? 1 : 4 * groups);
    let pairs: PairwiseSums | undefined;
    let blocks: Blocks | undefined;
    if (sums.length > 0 && inner.extent > steps) {
      const made = new PairwiseSums(f, sums.length, kept.length * keptBytes);
      waitingBytes = Math.max(waitingBytes, PairwiseSums.bytes(sums.length, blocksOf(split, steps).count));
      const end = (): void => {
        made.put(sums.map((i) => together(stage[i] as Fold, i)));
        for (const i of sums) code.set((tail[i] as Running).best, identity("sum", (stage[i] as Fold).dtype));
      };
      [pairs, blocks] = [made, { steps, end }];
    }
    const finish = ({ width, vectors, each }: Round): void => {
      each((group, place) => {
        const mine = vectors[group] as readonly Local[];
        fresh.forEach((value, i) => values.storeAt(areas[kept.indexOf(value)] as Local, keptPlace, mine[stage.length + i] as Local));
        stage.forEach((reduction, i) => {
          if (width === 1) step(f, reduction, tail[i] as Running, mine[i] as Local, place);
          else if (isExtremum(reduction)) step(f, reduction, running[i]?.[group] as Running, mine[i] as Local);
        });
      });
      if (width === 1) return;
      stage.forEach((reduction, i) => {
        if (isExtremum(reduction)) return;
        const [first, ...others] = vectors.map((group) => group[i]) as [Local, ...Local[]];
        for (const other of others) code.set(first, combine(reduction.reducer, first.get, other.get, reduction.dtype));
        step(f, reduction, running[i]?.[0] as Running, first);
      });
    };
    const targets = [...(passes[pass] as readonly Value[]), ...fresh];
    const before = (): void => {
      for (const value of fresh) values.prepareAt(areas[kept.indexOf(value)] as Local, keptPlace, split.inner.name);
    };
    overRow(f, split, { targets, single, groups, blocks, before }, finish);
    for (const value of fresh) values.keep(value, areas[kept.indexOf(value)] as Local, keptPlace);
    pairs?.finish(sums.map(sumOf));
    stage.forEach((reduction, i) => {
      const result = code.local("v128");
      if (isArg(reduction)) code.set(result, (tail[i] as Running).beside.get);
      else if (pairs && isRoundedSum(reduction)) code.set(result, sumOf(i).get);
      else code.set(result, together(reduction, i).get);
      const register = registerOf(kernel, reduction);
      if (register) values.defineFor(register, result);
      for (const each of [...(running[i] as readonly Running[]), tail[i] as Running]) code.release(each.best, each.beside);
    });
  };

  /** The pass that stores what it computes at each step. */
  const store = (): void => {
    const pass = stages.length;
    const before = (): void => {
      for (const { buffer, index } of fullStores) values.prepareStore(buffer, index, split.inner.name);
    };
    const targets = passes[pass] as readonly Value[];
    overRow(f, split, { targets, single: false, groups: 2, before }, ({ vectors, each }) =>
      each((group) => fullStores.forEach(({ buffer, index }, i) => values.store(buffer, index, vectors[group]?.[i] as Local))),
    );
  };

  values.prepare(everything, [outer.name, ...insides]);
  const row = code.local("i32");
  code.for(row, f.begin.get, f.end.get, 1, () =>
    values.within(outer.name, row, () => {
      const needs = passes.map((targets) => reach(targets));
      const seen = new Set<Value>();
      stages.forEach((_, pass) => {
        values.prepare(passes[pass] as readonly Value[], insides);
        const later = (value: Value): boolean => needs.slice(pass + 1).some((need) => need.has(value.id));
        const fresh = kept.filter((value) => needs[pass]?.has(value.id) && !seen.has(value) && later(value));
        reduce(pass, fresh);
        for (const value of fresh) seen.add(value);
      });
      values.prepare(everything, insides);
      for (const { buffer, index, value } of rowStores) values.store(buffer, index, values.get(value));
      if (fullStores.length > 0) store();
    }),
  );
  const cost = 8 + inner.extent * costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: outer.extent,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: kept.length * keptBytes + waitingBytes,
    arenaBytes: 0,
    cost: cost * outer.extent,
  });
}
