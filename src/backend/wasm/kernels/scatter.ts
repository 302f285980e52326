import { placesOf } from "../../../compiler/kernel-places.js";
import type { BinsKernel, ScatterKernel, Value } from "../../../compiler/program.js";
import { type Expression, i32, type Local, lane, load, op } from "../assembler.js";
import { larger, smaller } from "./epilogue.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop, unitsPerChunk } from "./kernel.js";
import { combine, constant, isFloatType } from "./operations.js";

/** Columns that one thread takes at once: the sums of so many stay in the first cache. */
const columnsPerUnit = 64;
/** Parts of the bins, for threads to share. */
const binParts = 256;

const add = (a: Expression, b: Expression): Expression => op("i32.add", a, b);
const words = (n: Expression): Expression => op("i32.mul", n, i32(4));

/** A counting sort, by one thread: counts at starts[b + 2], then sums of these, then each entry at the place that starts[b + 1] has come to. */
export function binsKernel(kernel: BinsKernel, context: Context): KernelCode {
  const { bin, entry, target } = kernel;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const [starts, order] = kernel.stores.map(({ buffer }) => f.base(buffer)) as [Local, Local];
  const [at, e, total] = [code.local("i32"), code.local("i32"), code.local("i32")];
  const read = (address: Local): Expression => load("i32.load", address.get);
  /** A loop over the entries that have a bin, with the address of starts[b]. */
  const eachEntry = (body: (start: Local) => void): void =>
    code.for(e, i32(0), i32(entry.extent), 1, () =>
      values.within(entry.name, e, () => {
        const wanted = code.local("i32", lane("i32x4.extract_lane", 0, values.get(target).get));
        code.if(op("i32.lt_u", wanted.get, i32(bin.extent)), () => {
          code.set(at, add(starts.get, words(wanted.get)));
          body(at);
        });
        code.release(wanted);
      }),
    );
  const eachStart = (body: () => void): void =>
    code.for(e, i32(0), i32(bin.extent + 2), 1, () => {
      code.set(at, add(starts.get, words(e.get)));
      body();
    });

  code.if(op("i32.lt_u", f.begin.get, f.end.get), () => {
    eachStart(() => code.store("i32.store", at.get, i32(0)));
    eachEntry((start) => code.store("i32.store", start.get, add(load("i32.load", start.get, 8), i32(1)), 8));
    code.set(total, i32(0));
    eachStart(() => {
      code.increase(total, read(at));
      code.store("i32.store", at.get, total.get);
    });
    eachEntry((start) => {
      code.set(total, load("i32.load", start.get, 4));
      code.store("i32.store", add(order.get, words(total.get)), e.get);
      code.store("i32.store", start.get, add(total.get, i32(1)), 4);
    });
  });
  return f.finish({
    label: kernel.label,
    units: 1,
    unitMultiple: 1,
    unitsPerChunk: 1,
    scratchBytes: 0,
    arenaBytes: 0,
    cost: 1.5 * bin.extent + 4 * entry.extent * costOf(kernel.values),
  });
}

/**
 * Sums of rows into bins: each bin takes its entries one after another, so the order of every sum is that of the entries. What each
 * addition of floats rounds off is summed beside (Ogita, Rump & Oishi 2005, Algorithm 4.1), so that the error does not grow with the
 * number of entries in a bin.
 */
export function scatterKernel(kernel: ScatterKernel, context: Context): KernelCode {
  const { bin, column, entry, place, from, to, order, value, stores } = kernel;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const split = splitLoop(column.name, column.extent, placesOf(kernel));
  const insides = [split.outer.name, split.inner.name];
  values.replace(column.name, split.expression);
  const parts = Math.ceil(column.extent / columnsPerUnit);
  const binsPerUnit = Math.ceil(bin.extent / binParts);
  const compensated = isFloatType(value.dtype);
  const rowBytes = 4 * (columnsPerUnit + 4);
  values.prepare([from, to, order, value], [bin.name, place.name, entry.name, ...insides]);

  const number = (): Local => code.local("i32");
  const [unit, part, first, stop] = [number(), number(), number(), number()];
  const [s, p, e, begin, end] = [number(), number(), number(), number(), number()];
  /** Where the sums of column 0 would be, and what they lost, if those of the unit's first column are at the start of scratch memory. */
  const [sums, lost] = [number(), number()];

  /** A loop over the columns of the unit, four at a time. */
  const eachColumn = (targets: readonly Value[], body: () => void): void => {
    const [cut, low, high] = [number(), number(), number()];
    const whole = split.outer.extent === 1;
    const length = i32(split.inner.extent);
    const start = op("i32.mul", part.get, i32(columnsPerUnit));
    const pass = (): void => {
      const offset = whole ? i32(0) : op("i32.mul", cut.get, length);
      code.set(low, larger(i32(0), op("i32.sub", start, offset)));
      code.set(high, smaller(length, op("i32.sub", add(start, i32(columnsPerUnit)), offset)));
      values.within(split.outer.name, cut, () => {
        values.prepare(targets, [split.inner.name], split.inner.name);
        for (const { buffer, index } of stores) values.prepareStore(buffer, index, split.inner.name);
        f.vectorLoop({ from: low.get, to: high.get, extent: split.inner.extent }, (width, [counter]) =>
          values.within(split.inner.name, counter as Local, body, width),
        );
      });
    };
    if (whole) {
      code.set(cut, i32(0));
      pass();
    } else code.for(cut, i32(0), i32(split.outer.extent), 1, pass);
    code.release(cut, low, high);
  };
  const temporary = (x: Expression): Local => code.local("v128", x);
  const store = (x: Local): void => {
    for (const { buffer, index } of stores) values.store(buffer, index, x);
  };
  const at = split.expression;

  const takeFirst = (): void => {
    const zero = temporary(constant(0, value.dtype));
    const sum = temporary(combine("sum", zero.get, values.get(value).get, value.dtype));
    values.storeAt(sums, at, sum);
    if (compensated) values.storeAt(lost, at, zero);
    code.release(sum, zero);
  };
  const takeNext = (): void => {
    const x = values.get(value);
    const sum = temporary(values.readAt(sums, at));
    const total = temporary(combine("sum", sum.get, x.get, value.dtype));
    values.storeAt(sums, at, total);
    if (compensated) {
      const taken = temporary(op("f32x4.sub", total.get, sum.get));
      const ofSum = op("f32x4.sub", sum.get, op("f32x4.sub", total.get, taken.get));
      const rounded = op("f32x4.add", ofSum, op("f32x4.sub", x.get, taken.get));
      code.set(taken, op("f32x4.add", values.readAt(lost, at), rounded));
      values.storeAt(lost, at, taken);
      code.release(taken);
    }
    code.release(sum, total);
  };
  const hand = (): void => {
    const total = temporary(values.readAt(sums, at));
    if (compensated) {
      // Beside a sum that overflowed stands no number.
      const rest = temporary(values.readAt(lost, at));
      code.set(total, op("f32x4.add", total.get, op("v128.and", rest.get, op("f32x4.eq", rest.get, rest.get))));
      code.release(rest);
    }
    store(total);
    code.release(total);
  };
  const leaveEmpty = (): void => {
    const zero = temporary(constant(0, value.dtype));
    store(zero);
    code.release(zero);
  };
  const wordOf = (x: Value): Expression => lane("i32x4.extract_lane", 0, values.get(x).get);

  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(part, op("i32.rem_u", unit.get, i32(parts)));
    code.set(first, op("i32.mul", op("i32.div_u", unit.get, i32(parts)), i32(binsPerUnit)));
    code.set(stop, smaller(add(first.get, i32(binsPerUnit)), i32(bin.extent)));
    code.set(sums, op("i32.sub", f.scratch.get, op("i32.mul", part.get, i32(4 * columnsPerUnit))));
    code.set(lost, add(sums.get, i32(rowBytes)));
    code.for(s, first.get, stop.get, 1, () =>
      values.within(bin.name, s, () => {
        code.set(begin, wordOf(from));
        code.set(end, wordOf(to));
        code.if(
          op("i32.eq", begin.get, end.get),
          () => eachColumn([], leaveEmpty),
          () => {
            code.for(p, begin.get, end.get, 1, () =>
              values.within(place.name, p, () => {
                code.set(e, wordOf(order));
                values.within(entry.name, e, () => {
                  values.prepare([value], insides);
                  code.if(
                    op("i32.eq", p.get, begin.get),
                    () => eachColumn([value], takeFirst),
                    () => eachColumn([value], takeNext),
                  );
                });
              }),
            );
            eachColumn([], hand);
          },
        );
      }),
    );
  });
  const units = parts * Math.ceil(bin.extent / binsPerUnit);
  const columns = Math.min(columnsPerUnit, column.extent);
  const cost = binsPerUnit * (4 + 0.3 * columns) + (entry.extent / units) * parts * (8 + columns * (0.5 + costOf(kernel.values)));
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: 2 * rowBytes,
    arenaBytes: 0,
    cost: cost * units,
  });
}
