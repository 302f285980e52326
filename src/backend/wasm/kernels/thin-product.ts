import { placesOf } from "../../../compiler/kernel-places.js";
import type { ContractKernel } from "../../../compiler/program.js";
import { call, i32, type Local, load, op } from "../assembler.js";
import { epilogue, smaller } from "./epilogue.js";
import type { Gemm } from "./gemm.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";

/** Rows up to which a product is done row by row: packing the other operand would take longer than using it. */
const thin = 3;
/** Columns that one thread takes at once. */
const columnsPerUnit = 64;

/** A product with few rows, or with few columns, which is the same with its sides exchanged; undefined for others. */
export function thinKernel(kernel: ContractKernel, context: Context, gemm: Gemm): KernelCode | undefined {
  const { batch, m, n, k } = kernel;
  if (k.extent === 0 || m.extent * n.extent === 0) return undefined;
  const turned = m.extent > thin;
  const [few, many] = turned ? [n, m] : [m, n];
  if (few.extent > thin) return undefined;
  const [a, b] = turned
    ? [swapped(layoutOf(kernel.b.index, "k", "n")), swapped(layoutOf(kernel.a.index, "m", "k"))]
    : [layoutOf(kernel.a.index, "m", "k"), layoutOf(kernel.b.index, "k", "n")];
  const [aBuffer, bBuffer] = turned ? [kernel.b.buffer, kernel.a.buffer] : [kernel.a.buffer, kernel.b.buffer];
  const byColumns = b.column === 4;
  if (!byColumns && b.row !== 4) return undefined;

  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const split = splitLoop(n.name, n.extent, placesOf(kernel));
  const results = kernel.stores.map(({ value }) => value);
  values.replace(n.name, split.expression);
  values.prepare(results, [batch.name, m.name, split.outer.name, split.inner.name]);

  const rowBytes = 4 * columnsPerUnit;
  const block = op("i32.add", f.scratch.get, i32(few.extent * rowBytes));
  const aRow = code.local("i32", op("i32.add", f.scratch.get, i32((few.extent + 1) * rowBytes)));
  const across = Math.ceil(many.extent / columnsPerUnit);
  const number = (): Local => code.local("i32");
  const [unit, at, first, count, start] = [number(), number(), number(), number(), number()];
  const [zero, all] = [number(), number()];
  code.set(zero, i32(0));
  code.set(all, i32(few.extent));
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(at, op("i32.div_u", unit.get, i32(across)));
    code.set(first, op("i32.mul", op("i32.rem_u", unit.get, i32(across)), i32(columnsPerUnit)));
    code.set(count, smaller(i32(columnsPerUnit), op("i32.sub", i32(many.extent), first.get)));
    values.within(batch.name, at, () => {
      const from = code.local("i32", addressOf(f, bBuffer, b.base, op("i32.mul", first.get, i32(b.column))));
      for (let r = 0; r < few.extent; r++) {
        code.set(start, addressOf(f, aBuffer, a.base, i32(r * a.row)));
        const row = a.column === 4 ? start : gathered(f, start, aRow, a.column, k.extent);
        const sums = op("i32.add", f.scratch.get, i32(r * rowBytes));
        const operands = [row.get, from.get, i32(byColumns ? b.row : b.column), sums, count.get, i32(k.extent)];
        code.do(byColumns ? call(gemm.rowByColumns, ...operands, block) : call(gemm.rowByRows, ...operands));
      }
      code.release(from);
      epilogue(
        f,
        kernel,
        split,
        turned
          ? { top: first, left: zero, rows: count, columns: all, sums: f.scratch, row: 4, column: rowBytes }
          : { top: zero, left: first, rows: all, columns: count, sums: f.scratch, row: rowBytes, column: 4 },
      );
    });
  });
  const units = batch.extent * across;
  const cost = few.extent * Math.min(columnsPerUnit, many.extent) * (0.2 * k.extent + costOf(kernel.values));
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: (few.extent + 1) * rowBytes + 4 * k.extent,
    arenaBytes: 0,
    cost: cost * units,
  });
}

const swapped = <L extends { row: number; column: number }>(layout: L): L => ({ ...layout, row: layout.column, column: layout.row });

/** Copies elements that are `step` bytes apart into a row; gives where that is. */
function gathered(f: KernelFunction, from: Local, to: Local, step: number, length: number): Local {
  const { code } = f;
  const k = code.local("i32");
  code.for(k, i32(0), i32(length), 1, () => {
    code.store("i32.store", op("i32.add", to.get, op("i32.mul", k.get, i32(4))), load("i32.load", from.get));
    code.increase(from, i32(step));
  });
  code.release(k);
  return to;
}
