import { placesOf } from "../../../compiler/kernel-places.js";
import type { MatmulKernel } from "../../../compiler/program.js";
import { call, i32, type Local, op } from "../assembler.js";
import { epilogue, smaller } from "./epilogue.js";
import { type Gemm, reading } from "./gemm.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";
import { bytesOf } from "./operations.js";

/** Rows up to which a product is done row by row: packing the other operand would take longer than using it. */
const thin = 3;
/** Columns that one thread takes at once. */
const columnsPerUnit = 64;

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

  const rowBytes = 4 * columnsPerUnit;
  const block = op("i32.add", f.scratch.get, i32(few.extent * rowBytes));
  const aRow = code.local("i32", op("i32.add", f.scratch.get, i32((few.extent + 1) * rowBytes)));
  const aRowBytes = 16 * Math.ceil(depth / 4);
  const bBlock = code.local("i32", op("i32.add", aRow.get, i32(aRowBytes)));
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
  const units = batch.extent * across;
  const cost = few.extent * Math.min(columnsPerUnit, many.extent) * (0.2 * depth + costOf(kernel.values));
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: (few.extent + 1) * rowBytes + aRowBytes + (shared ? depth * rowBytes : 0),
    arenaBytes: 0,
    cost: cost * units,
  });
}

const swapped = <L extends { row: number; column: number }>(layout: L): L => ({ ...layout, row: layout.column, column: layout.row });
