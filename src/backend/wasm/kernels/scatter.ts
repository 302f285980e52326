import { placesOf } from "../../../compiler/kernel-places.js";
import type { ScatterKernel, Store, Value } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { flatten, substitute, variable } from "../../../ir/index-expression.js";
import { i32, type Local, lane, op } from "../assembler.js";
import { larger, smaller } from "./epilogue.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop, tableHeader } from "./kernel.js";
import { combine, constant, isFloatType } from "./operations.js";

/** Columns that one thread takes; each thread goes over all entries, so the order of every sum is that of the entries. */
const columnsPerUnit = 32;

/**
 * Sums of rows into bins, which grow in memory. Where there are fewer bins than entries, many may fall into one: then what each
 * addition rounds off is summed beside (Ogita, Rump & Oishi 2005, Algorithm 4.1), so that the error does not grow with the number.
 */
export function scatterKernel(kernel: ScatterKernel, context: Context): KernelCode {
  const { bin, column, entry, target, value } = kernel;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const [store] = kernel.stores as readonly [Store];
  const split = splitLoop(column.name, column.extent, placesOf(kernel));
  const insides = [split.outer.name, split.inner.name];
  values.replace(column.name, split.expression);
  const compensated = isFloatType(value.dtype) && entry.extent > Math.max(bin.extent, blockTerms);
  const lost = f.word(tableHeader.arena);
  const sums = flatten([variable(bin.name, bin.extent), variable(column.name, column.extent)], [bin.extent, column.extent]);
  const place = substitute(sums, new Map([[column.name, split.expression]]));
  values.prepare([target, value], [entry.name, ...insides]);

  /** A loop over the columns of one unit, four at a time. */
  const eachColumn = (unit: Local, targets: readonly Value[], body: () => void): void => {
    const [part, from, to] = [code.local("i32"), code.local("i32"), code.local("i32")];
    const start = op("i32.mul", unit.get, i32(columnsPerUnit));
    const end = op("i32.add", start, i32(columnsPerUnit));
    const whole = split.outer.extent === 1;
    const length = i32(split.inner.extent);
    const pass = (): void => {
      const offset = whole ? i32(0) : op("i32.mul", part.get, length);
      const first = op("i32.sub", start, offset);
      const last = op("i32.sub", end, offset);
      code.set(from, larger(i32(0), first));
      code.set(to, smaller(length, last));
      values.within(split.outer.name, part, () => {
        values.prepare(targets, [split.inner.name], split.inner.name);
        values.prepareStore(store.buffer, store.index, split.inner.name);
        f.vectorLoop({ from: from.get, to: to.get, extent: split.inner.extent }, (width, [counter]) =>
          values.within(split.inner.name, counter as Local, body, width),
        );
      });
    };
    if (whole) {
      code.set(part, i32(0));
      pass();
    } else code.for(part, i32(0), i32(split.outer.extent), 1, pass);
    code.release(part, from, to);
  };

  const [unit, s, e] = [code.local("i32"), code.local("i32"), code.local("i32")];
  const eachBin = (body: () => void): void => code.for(s, i32(0), i32(bin.extent), 1, () => values.within(bin.name, s, body));
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    eachBin(() =>
      eachColumn(unit, [], () => {
        const zero = code.local("v128", constant(0, value.dtype));
        values.store(store.buffer, store.index, zero);
        if (compensated) values.storeAt(lost, place, zero);
        code.release(zero);
      }),
    );
    code.for(e, i32(0), i32(entry.extent), 1, () =>
      values.within(entry.name, e, () => {
        values.prepare([target], insides);
        const wanted = code.local("i32", lane("i32x4.extract_lane", 0, values.get(target).get));
        code.if(op("i32.lt_u", wanted.get, i32(bin.extent)), () =>
          values.within(bin.name, wanted, () => {
            values.prepare([value], insides);
            eachColumn(unit, [value], () => {
              const x = values.get(value);
              const sum = code.local("v128", values.read(store.buffer, store.index));
              const total = code.local("v128", combine("sum", sum.get, x.get, value.dtype));
              values.store(store.buffer, store.index, total);
              if (compensated) {
                const taken = code.local("v128", op("f32x4.sub", total.get, sum.get));
                const ofSum = op("f32x4.sub", sum.get, op("f32x4.sub", total.get, taken.get));
                const rounded = op("f32x4.add", ofSum, op("f32x4.sub", x.get, taken.get));
                code.set(taken, op("f32x4.add", values.readAt(lost, place), rounded));
                values.storeAt(lost, place, taken);
                code.release(taken);
              }
              code.release(sum, total);
            });
          }),
        );
        code.release(wanted);
      }),
    );
    if (compensated) {
      eachBin(() =>
        eachColumn(unit, [], () => {
          // Beside a sum that overflowed stands no number.
          const rest = code.local("v128", values.readAt(lost, place));
          const total = code.local("v128", values.read(store.buffer, store.index));
          code.set(total, op("f32x4.add", total.get, op("v128.and", rest.get, op("f32x4.eq", rest.get, rest.get))));
          values.store(store.buffer, store.index, total);
          code.release(rest, total);
        }),
      );
    }
  });
  const units = Math.ceil(column.extent / columnsPerUnit);
  const cost = bin.extent * columnsPerUnit * 0.2 + entry.extent * (2 + Math.min(columnsPerUnit, column.extent) * costOf(kernel.values));
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: 1,
    scratchBytes: 0,
    arenaBytes: compensated ? 4 * bin.extent * column.extent : 0,
    cost: cost * units,
  });
}
