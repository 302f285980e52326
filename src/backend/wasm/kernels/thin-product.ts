import { placesOf } from "../../../compiler/kernel-places.js";
import type { MatmulKernel } from "../../../compiler/program.js";
import { call, i32, type Local, op } from "../assembler.js";
import { epilogue, smaller } from "./epilogue.js";
import { type Gemm, reading } from "./gemm.js";
import { type Context, chunkCost, costOf, type KernelCode, KernelFunction, splitLoop } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";
import { bytesOf } from "./operations.js";

/** Rows up to which a product is done row by row: packing the other operand would take longer than using it. */
const thin = 3;
/** Columns of a unit. */
const columnsPerUnit = 16;
/** Columns that are computed at once: the longer a matrix is read without a stop, the faster. */
const mostColumns = 512;
/** The same of f16 that was widened for all rows. */
const mostWidened = 64;
/** Nanoseconds that chunks of a product take at least, where they are few. */
const shortChunk = 8_000;
/** Chunks of that length that are enough for many threads; more of them are longer. */
const enoughChunks = 16;

/** A product with few rows, or with few columns, which is the same with its sides exchanged; undefined for others. */
export function thinKernel(kernel: MatmulKernel, context: Context, gemm: Gemm): KernelCode | undefined {
  const { batch, m, n } = kernel;
  const depth = kernel.k.extent;
  const turned = m.extent > thin;
  const [few, many] = turned ? [n, m] : [m, n];
  if (few.extent > thin) return undefined;
  const [a, b] = turned
    ? [swapped(layoutOf(kernel.b, "k", "n")), swapped(layoutOf(kernel.a, "m", "k"))]
    : [layoutOf(kernel.a, "m", "k"), layoutOf(kernel.b, "k", "n")];
  const [aLoad, bLoad] = turned ? [kernel.b, kernel.a] : [kernel.a, kernel.b];
  const byColumns = b.column === bytesOf[bLoad.dtype];
  if (!byColumns && b.row !== bytesOf[bLoad.dtype]) return undefined;
  // To widen f16 takes longer than to multiply, so that rows share what one of them had widened.
  const shared = byColumns && bLoad.dtype === "f16" && few.extent > 1;

  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const split = splitLoop(n.name, n.extent, placesOf(kernel));
  const results = kernel.stores.map(({ value }) => value);
  values.replace(n.name, split.expression);
  values.prepare(results, [batch.name, m.name, split.outer.name, split.inner.name]);

  const most = Math.min(shared ? mostWidened : mostColumns, columnsPerUnit * Math.ceil(many.extent / columnsPerUnit));
  const rowBytes = 4 * most;
  const block = op("i32.add", f.scratch.get, i32(few.extent * rowBytes));
  const aRow = code.local("i32", op("i32.add", f.scratch.get, i32((few.extent + 1) * rowBytes)));
  const aRowBytes = 16 * Math.ceil(depth / 4);
  const bBlock = code.local("i32", op("i32.add", aRow.get, i32(aRowBytes)));
  const across = Math.ceil(many.extent / columnsPerUnit);
  const number = (): Local => code.local("i32");
  const [unit, at, first, count, start, units] = [number(), number(), number(), number(), number(), number()];
  const [zero, all] = [number(), number()];
  code.set(zero, i32(0));
  code.set(all, i32(few.extent));
  code.set(unit, f.begin.get);
  code.while(op("i32.lt_s", unit.get, f.end.get), () => {
    code.set(at, op("i32.div_u", unit.get, i32(across)));
    code.set(first, op("i32.rem_u", unit.get, i32(across)));
    code.set(
      units,
      smaller(smaller(i32(most / columnsPerUnit), op("i32.sub", i32(across), first.get)), op("i32.sub", f.end.get, unit.get)),
    );
    code.increase(unit, units.get);
    code.set(first, op("i32.mul", first.get, i32(columnsPerUnit)));
    code.set(count, smaller(op("i32.mul", units.get, i32(columnsPerUnit)), op("i32.sub", i32(many.extent), first.get)));
    values.within(batch.name, at, () => {
      const from = code.local("i32", addressOf(f, bLoad, b.base, op("i32.mul", first.get, i32(b.column))));
      if (shared) {
        const [k, to] = [number(), code.local("i32", bBlock.get)];
        code.for(k, i32(0), i32(depth), 1, () => {
          code.do(call(gemm.gather_f16, from.get, i32(b.column), to.get, count.get));
          code.increase(from, i32(b.row));
          code.increase(to, i32(rowBytes));
        });
        code.set(from, bBlock.get);
        code.release(k, to);
      }
      for (let r = 0; r < few.extent; r++) {
        code.set(start, addressOf(f, aLoad, a.base, i32(r * a.row)));
        const asItLies = aLoad.dtype === "f32" && a.column === 4;
        if (!asItLies) code.do(call(gemm[reading("gather", aLoad.dtype)], start.get, i32(a.column), aRow.get, i32(depth)));
        const row = asItLies ? start : aRow;
        const sums = op("i32.add", f.scratch.get, i32(r * rowBytes));
        const step = shared ? rowBytes : byColumns ? b.row : b.column;
        const operands = [row.get, from.get, i32(step), sums, count.get, i32(depth)];
        const multiply = gemm[reading(byColumns ? "rowByColumns" : "rowByRows", shared ? "f32" : bLoad.dtype)];
        code.do(call(multiply, ...operands, ...(byColumns ? [block] : [])));
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
  const unitCount = batch.extent * across;
  const columnCost = depth * (0.03 * bytesOf[bLoad.dtype] + 0.06 * few.extent) + few.extent * costOf(kernel.values);
  const cost = columnCost * many.extent * batch.extent;
  return f.finish({
    label: kernel.label,
    units: unitCount,
    unitMultiple: 1,
    unitsPerChunk: Math.ceil(unitCount / chunksOf(cost)),
    scratchBytes: (few.extent + 1) * rowBytes + aRowBytes + (shared ? depth * rowBytes : 0),
    arenaBytes: 0,
    cost,
  });
}

/** Chunks of work of so many nanoseconds: few are a power of two, so that as many threads have the same to do. */
function chunksOf(cost: number): number {
  const few = Math.min(enoughChunks, Math.max(1, cost / shortChunk));
  return Math.max(2 ** Math.floor(Math.log2(few)), Math.floor(cost / chunkCost));
}

const swapped = <L extends { row: number; column: number }>(layout: L): L => ({ ...layout, row: layout.column, column: layout.row });
