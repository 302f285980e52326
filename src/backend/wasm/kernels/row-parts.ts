import { placesOf } from "../../../compiler/kernel-places.js";
import type { Reduction, RowKernel, Value } from "../../../compiler/program.js";
import { coefficient, substitute } from "../../../ir/index-expression.js";
import { splitLoop } from "./kernel.js";
import { isFloatType } from "./operations.js";
import type { Facts } from "./values.js";

/* What the values of a row kernel are to each other. */

/** True if lanes find more neighbours in memory along the row than across the rows. */
export function lanesAlongRow(kernel: RowKernel): boolean {
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
export const isRoundedSum = ({ reducer, dtype }: Reduction): boolean => reducer === "sum" && isFloatType(dtype);

export const registerOf = (kernel: RowKernel, { register }: Reduction): Value | undefined =>
  kernel.values.find((value) => value.kind === "register" && value.register === register);

/** Everything that targets are computed from. */
export function reach(targets: readonly Value[]): Set<number> {
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

/** The exponentials eˣ⁻ᵐ of a kernel with m = max x over the row, and the reduction that gives m. */
function shiftedExponentials(kernel: RowKernel): { exponential: Value; largest: Reduction }[] {
  const reductions = kernel.stages.flat();
  return kernel.values.flatMap((value) => {
    if (value.kind !== "operation" || value.dtype !== "f32" || value.operation !== "exp") return [];
    const difference = value.args[0];
    if (difference?.kind !== "operation" || difference.operation !== "sub") return [];
    const [x, register] = difference.args;
    const largest = register?.kind === "register" ? reductions.find((reduction) => reduction.register === register.register) : undefined;
    return largest?.reducer === "max" && largest.value === x ? [{ exponential: value, largest }] : [];
  });
}

/** What makes a softmax cheap: in x − max x nothing is positive. */
export const softmaxFacts = (kernel: RowKernel): Facts => ({
  ofNegative: new Set(shiftedExponentials(kernel).map(({ exponential }) => exponential.id)),
});

/** Operations whose result is NaN wherever one of their arguments is. */
const spreadingNaN = new Set(["add", "sub", "mul", "div", "neg", "exp", "log", "recip"]);

/**
 * The largest elements m of rows for which it does not matter whether a NaN in the row makes m NaN: e^(NaN − m) is NaN whatever m is, then
 * so is the sum of a softmax, and everything that is computed from m is computed from that sum as well.
 */
export function maximaWithoutNaN(kernel: RowKernel): Set<Reduction> {
  const found = new Set<Reduction>();
  for (const { exponential, largest } of shiftedExponentials(kernel)) {
    const m = registerOf(kernel, largest);
    const sums = kernel.stages.flat().filter(({ reducer, value }) => reducer === "sum" && value === exponential);
    const spoiled = new Set(sums.map((sum) => registerOf(kernel, sum)?.id));
    // Arguments come before what is computed from them.
    for (const value of kernel.values) {
      if (value.kind === "operation" && spreadingNaN.has(value.operation) && value.args.some((arg) => spoiled.has(arg.id)))
        spoiled.add(value.id);
    }
    const others = kernel.stages.flat().filter((reduction) => !sums.includes(reduction));
    const results = [...kernel.stores, ...others].map(({ value }) => value);
    if (m && results.every((value) => spoiled.has(value.id) || !reach([value]).has(m.id))) found.add(largest);
  }
  return found;
}

/** Operations that cost more than reading their result again. */
const expensive = new Set(["exp", "log", "sin", "cos", "tanh", "erf", "pow", "mod"]);

/** Values whose computation takes longer than reading memory, and that change along the row. */
export function expensiveValues(kernel: RowKernel): Value[] {
  const changing = new Set<number>();
  for (const value of kernel.values) {
    const own = value.kind === "load" && value.index.key.includes(kernel.inner.name);
    if (own || (value.kind === "operation" && value.args.some((arg) => changing.has(arg.id)))) changing.add(value.id);
  }
  return kernel.values.filter((value) => value.kind === "operation" && expensive.has(value.operation) && changing.has(value.id));
}

/** Bytes that one row may keep for its later passes: what a processor's second cache has room for. */
const keptBytes = 1 << 19;

/** Values that several passes over a row would compute anew. */
export function keptValues(kernel: RowKernel, passes: readonly (readonly Value[])[]): Value[] {
  const needs = passes.map((targets) => reach(targets));
  const kept = expensiveValues(kernel).filter(({ id, dtype }) => dtype === "f32" && needs.filter((need) => need.has(id)).length > 1);
  return 4 * kept.length * kernel.inner.extent <= keptBytes ? kept : [];
}
