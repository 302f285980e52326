import { placesOf } from "../../../compiler/kernel-places.js";
import { argumentsOf, type MapKernel, type Value } from "../../../compiler/program.js";
import { add, literal, mentions, scale, substitute, variable } from "../../../ir/index-expression.js";
import { type Local, lane } from "../assembler.js";
import { type Context, costOf, type KernelCode, KernelFunction, type Split, splitLoop, unitsPerChunk } from "./kernel.js";
import { laneVariable } from "./places.js";

/** Rows up to this length are printed without a loop, as long as not more than so many values are printed. */
const shortRow = 64;
const printedValues = 480;

/** Elementwise kernels: the elements as rows whose places in memory move evenly, four elements at a time. */
export function mapKernel(kernel: MapKernel, context: Context): KernelCode {
  const split = splitLoop(kernel.outer.name, kernel.outer.extent, placesOf(kernel));
  const { extent } = split.inner;
  if (kernel.where !== undefined) return chosenRows(kernel, kernel.where, split, context);
  const short = split.outer.extent > 1 && extent <= shortRow && extent % 4 === 0 && (extent / 4) * kernel.values.length <= printedValues;
  return short ? shortRows(kernel, split, context) : longRows(kernel, split, context);
}

/** Rows of a few vectors, each of which is printed for itself: conditions on places are decided now, and no loop has to be left. */
function shortRows(kernel: MapKernel, { outer, inner, expression }: Split, context: Context): KernelCode {
  const { name } = kernel.outer;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const results = kernel.stores.map(({ value }) => value);
  values.replace(name, expression);
  values.prepare(results, [outer.name, inner.name]);
  const row = code.local("i32");
  code.for(row, f.begin.get, f.end.get, 1, () =>
    values.within(outer.name, row, () => {
      values.replace(name, expression);
      values.prepare(results, [inner.name], inner.name);
      for (const { buffer, index } of kernel.stores) values.prepareStore(buffer, index, inner.name);
      const start = scale(variable(outer.name, outer.extent), inner.extent);
      for (let first = 0; first < inner.extent; first += 4) {
        values.replace(name, add(start, literal(first), variable(laneVariable, 4)));
        values.within(
          laneVariable,
          undefined,
          () => {
            const computed = results.map((value) => values.get(value));
            kernel.stores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
          },
          4,
        );
      }
    }),
  );
  const cost = inner.extent * costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: outer.extent,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost, 4),
    scratchBytes: 0,
    arenaBytes: 0,
    cost: cost * outer.extent,
  });
}

/** Rows of which some are stored. Where a row is stored or not as a whole, that is decided before it, else for each of its elements. */
function chosenRows(kernel: MapKernel, where: Value, { outer, inner, expression }: Split, context: Context): KernelCode {
  const { name, extent } = kernel.outer;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const results = kernel.stores.map(({ value }) => value);
  const rewritten = new Map([[name, expression]]);
  const wholeRows = placesOf({ ...kernel, values: closure(where, kernel.values), stores: [] }).every(
    (place) => !mentions(substitute(place, rewritten), inner.name),
  );
  values.replace(name, expression);
  values.prepare([...results, where], [outer.name, inner.name]);
  const ifStored = (body: () => void): void => code.if(lane("i32x4.extract_lane", 0, values.get(where).get), body);
  const store = (): void => {
    const computed = results.map((value) => values.get(value));
    kernel.stores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
  };
  f.eachPart(inner.extent, (row, from, to) =>
    values.within(outer.name, row, () => {
      const all = (): void => {
        values.prepare(results, [inner.name], inner.name);
        if (wholeRows) for (const { buffer, index } of kernel.stores) values.prepareStore(buffer, index, inner.name);
        f.vectorLoop({ from: from.get, to: to.get, extent: inner.extent, single: !wholeRows }, (width, [counter]) =>
          values.within(inner.name, counter, wholeRows ? store : () => ifStored(store), width),
        );
      };
      if (wholeRows) ifStored(() => values.within("", undefined, all));
      else all();
    }),
  );
  const cost = costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: extent,
    unitMultiple: 4,
    unitsPerChunk: unitsPerChunk(cost, 256),
    scratchBytes: 0,
    arenaBytes: 0,
    cost: cost * extent,
  });
}

/** A value and all that it is computed from. */
function closure(value: Value, all: readonly Value[]): Value[] {
  const found = new Set([value]);
  for (const each of found) for (const argument of argumentsOf(each, all)) found.add(argument);
  return [...found];
}

function longRows(kernel: MapKernel, { outer, inner, expression }: Split, context: Context): KernelCode {
  const { name, extent } = kernel.outer;
  const f = new KernelFunction(kernel, context);
  const { values } = f;
  const results = kernel.stores.map(({ value }) => value);
  values.replace(name, expression);
  values.prepare(results, [outer.name, inner.name]);
  f.eachPart(inner.extent, (row, from, to) =>
    values.within(outer.name, row, () => {
      values.prepare(results, [inner.name], inner.name);
      for (const { buffer, index } of kernel.stores) values.prepareStore(buffer, index, inner.name);
      f.vectorLoop({ from: from.get, to: to.get, extent: inner.extent }, (width, [counter]) =>
        values.within(
          inner.name,
          counter,
          () => {
            const computed = results.map((value) => values.get(value));
            kernel.stores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
          },
          width,
        ),
      );
    }),
  );
  const cost = costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: extent,
    unitMultiple: 4,
    // Whole cache lines, so that threads do not write to the same one.
    unitsPerChunk: unitsPerChunk(cost, 256),
    scratchBytes: 0,
    arenaBytes: 0,
    cost: cost * extent,
  });
}
