import { placesOf } from "../../../compiler/kernel-places.js";
import type { Reduction, RowKernel, Value } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { type Expression, i32, type Local } from "../assembler.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop, unitsPerChunk } from "./kernel.js";
import { type Blocks, eachBlock, PairwiseSums } from "./pairwise.js";
import type { Counter } from "./places.js";
import { isRoundedSum, registerOf } from "./row-parts.js";
import { isArg, type Running, settle, start, step } from "./running.js";

/** Four rows side by side, and several such groups: each lane reduces a row of its own. */
export function acrossRows(kernel: RowKernel, context: Context): KernelCode {
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
