import { placesOf } from "../../../compiler/kernel-places.js";
import type { MatmulKernel, Store } from "../../../compiler/program.js";
import { coefficient, type IndexExpression, literal, mentions, substitute } from "../../../ir/index-expression.js";
import { call, type Expression, i32, type Local, op } from "../assembler.js";
import { epilogue, smaller } from "./epilogue.js";
import { type Gemm, panelColumns, reading, tileRows } from "./gemm.js";
import { type Context, costOf, type KernelCode, KernelFunction, splitLoop } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";
import { thinKernel } from "./thin-product.js";

/** Steps of k that are done before the next: a panel of B and a tile of A fit into the first cache. */
const deepest = 512;
/** Columns whose packed B fits into the second cache. */
const widest = 512;
/** Rows of A that are packed at once. */
const tallest = 128;
/** Multiplications that are worth taking a chunk for. */
const chunkWork = 1 << 20;
/** Packed operands that all threads share may take so many bytes. */
const largestArena = 1 << 24;

/** How a product is cut: blocks of rows and columns of the result, of which one thread does one at a time. */
interface Blocks {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly down: number;
  readonly across: number;
}

const ceilTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple;

function blocksOf({ batch, m, n, k }: MatmulKernel): Blocks {
  const pieces = (extent: number, most: number, multiple: number): number => ceilTo(Math.ceil(extent / Math.ceil(extent / most)), multiple);
  let [rows, columns] = [pieces(m.extent, tallest, tileRows), pieces(n.extent, widest, panelColumns)];
  const depth = pieces(k.extent, deepest, 1);
  const work = (): number => rows * columns * k.extent;
  const enough = (): boolean => batch.extent * Math.ceil(m.extent / rows) * Math.ceil(n.extent / columns) >= 16;
  // Work for many threads, in pieces that are not too small. Fewer rows cost nothing, as B is packed once for all of them; fewer
  // columns mean that A is packed again.
  while (!enough() && work() >= 2 * chunkWork) {
    if (rows >= 32) rows = ceilTo(rows / 2, tileRows);
    else if (columns >= 64) columns = ceilTo(columns / 2, panelColumns);
    else break;
  }
  return { rows, columns, depth, down: Math.ceil(m.extent / rows), across: Math.ceil(n.extent / columns) };
}

/**
 * A product as one kernel or two. Where many blocks need the same columns of B, these are packed once by a kernel of their own;
 * otherwise each thread packs what it needs.
 */
export function matmulKernels(kernel: MatmulKernel, context: Context, gemm: Gemm): KernelCode[] {
  const thin = thinKernel(kernel, context, gemm);
  if (thin) return [thin];
  const blocks = blocksOf(kernel);
  const { batch, n, k } = kernel;
  const packedBytes = 4 * ceilTo(n.extent, panelColumns) * k.extent;
  const sharedB = oneBForAll(kernel);
  const arenaBytes = packedBytes * (sharedB ? 1 : batch.extent);
  const uses = blocks.down * (sharedB ? batch.extent : 1);
  const ahead = uses > 1 && arenaBytes <= largestArena;
  const product = productKernel(kernel, context, gemm, blocks, ahead ? arenaBytes : 0);
  return ahead ? [packKernel(kernel, context, gemm, blocks, arenaBytes), product] : [product];
}

/** Whether all of the batch has the same B. */
const oneBForAll = ({ b, batch }: MatmulKernel): boolean => !mentions(b.index, batch.name);

/** Packs all of B: for each batch and block of columns, one block of k after the other. */
function packKernel(kernel: MatmulKernel, context: Context, gemm: Gemm, blocks: Blocks, arenaBytes: number): KernelCode {
  const { n, k } = kernel;
  const f = new KernelFunction(kernel, context);
  const { code } = f;
  const arena = f.arena();
  const { base, row, column } = layoutOf(kernel.b, "k", "n");
  const [unit, b, block, from, columns] = [0, 1, 2, 3, 4].map(() => code.local("i32")) as [Local, Local, Local, Local, Local];
  const batches = oneBForAll(kernel) ? 1 : kernel.batch.extent;
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(b, op("i32.div_u", unit.get, i32(blocks.across)));
    code.set(block, op("i32.rem_u", unit.get, i32(blocks.across)));
    f.values.within(kernel.batch.name, b, () => {
      code.set(columns, smaller(i32(blocks.columns), op("i32.sub", i32(n.extent), op("i32.mul", block.get, i32(blocks.columns)))));
      code.set(from, addressOf(f, kernel.b, base, op("i32.mul", block.get, i32(blocks.columns * column))));
      eachDepth(blocks, k.extent, (start, depth) => {
        const to = packedAt(arena, b, block, start, depth, kernel, blocks);
        code.do(
          call(
            gemm[reading("packPanels", kernel.b.dtype)],
            op("i32.add", from.get, i32(start * row)),
            i32(row),
            i32(column),
            to,
            i32(depth),
            columns.get,
          ),
        );
      });
    });
  });
  const cost = 0.15 * blocks.columns * k.extent;
  return f.finish({
    label: `pack ${kernel.label}`,
    units: batches * blocks.across,
    unitMultiple: 1,
    unitsPerChunk: 1,
    scratchBytes: 0,
    arenaBytes,
    cost: cost * batches * blocks.across,
  });
}

/** The blocks of k, whose number is known when the code is printed. */
function eachDepth({ depth }: Blocks, extent: number, visit: (start: number, depth: number) => void): void {
  for (let start = 0; start < extent; start += depth) visit(start, Math.min(depth, extent - start));
}

/** Where a block of packed B begins: [batch][block of k][column block][panel][k][8]. */
function packedAt(arena: Local, b: Local, block: Local, start: number, depth: number, { n, k }: MatmulKernel, blocks: Blocks): Expression {
  const columns = ceilTo(n.extent, panelColumns);
  const inBatch = op("i32.add", op("i32.mul", b.get, i32(4 * columns * k.extent)), i32(4 * columns * start));
  return op("i32.add", arena.get, op("i32.add", inBatch, op("i32.mul", block.get, i32(4 * blocks.columns * depth))));
}

function productKernel(kernel: MatmulKernel, context: Context, gemm: Gemm, blocks: Blocks, arenaBytes: number): KernelCode {
  const { batch, m, n, k, stores } = kernel;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const ahead = arenaBytes > 0;
  const arena = f.arena();
  const sharedB = oneBForAll(kernel);
  const a = layoutOf(kernel.a, "m", "k");
  const bLayout = layoutOf(kernel.b, "k", "n");
  const direct = directStore(kernel);

  const aBytes = 4 * ceilTo(blocks.rows, tileRows) * blocks.depth;
  const bBytes = ahead ? 0 : 4 * blocks.columns * blocks.depth;
  const cBytes = direct ? 0 : 4 * blocks.rows * blocks.columns;
  const aPacked = f.scratch;
  const bPacked = code.local("i32", op("i32.add", f.scratch.get, i32(aBytes)));
  const cBlock = code.local("i32", op("i32.add", f.scratch.get, i32(aBytes + bBytes)));
  const split = splitLoop(n.name, n.extent, direct ? [] : placesOf(kernel));
  const results = stores.map(({ value }) => value);
  const insides = [split.outer.name, split.inner.name];
  if (!direct) {
    values.replace(n.name, split.expression);
    values.prepare(results, [batch.name, m.name, ...insides]);
  }

  const number = (): Local => code.local("i32");
  const [unit, b, rest, zero] = [number(), number(), number(), number()];
  const [top, left, rows, columns] = [number(), number(), number(), number()];
  const [aFrom, bFrom, c] = [number(), number(), number()];
  code.set(zero, i32(0));
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(b, op("i32.div_u", unit.get, i32(blocks.down * blocks.across)));
    code.set(rest, op("i32.rem_u", unit.get, i32(blocks.down * blocks.across)));
    code.set(top, op("i32.mul", op("i32.div_u", rest.get, i32(blocks.across)), i32(blocks.rows)));
    code.set(rest, op("i32.rem_u", rest.get, i32(blocks.across)));
    code.set(left, op("i32.mul", rest.get, i32(blocks.columns)));
    code.set(rows, smaller(i32(blocks.rows), op("i32.sub", i32(m.extent), top.get)));
    code.set(columns, smaller(i32(blocks.columns), op("i32.sub", i32(n.extent), left.get)));
    values.within(batch.name, b, () => {
      code.set(aFrom, addressOf(f, kernel.a, a.base, op("i32.mul", top.get, i32(a.row))));
      code.set(bFrom, addressOf(f, kernel.b, bLayout.base, op("i32.mul", left.get, i32(bLayout.column))));
      if (direct) {
        const place = op("i32.add", op("i32.mul", top.get, i32(direct.row)), op("i32.mul", left.get, i32(4)));
        code.set(c, addressOf(f, { ...direct.store, dtype: "f32" }, direct.base, place));
      } else code.set(c, cBlock.get);
      const cRow = direct ? direct.row : 4 * blocks.columns;
      const panels = op("i32.div_u", op("i32.add", columns.get, i32(panelColumns - 1)), i32(panelColumns));
      eachDepth(blocks, k.extent, (start, depth) => {
        code.do(
          call(
            gemm[reading("packTiles", kernel.a.dtype)],
            op("i32.add", aFrom.get, i32(start * a.column)),
            i32(a.column),
            i32(a.row),
            aPacked.get,
            i32(depth),
            rows.get,
          ),
        );
        if (!ahead) {
          const from = op("i32.add", bFrom.get, i32(start * bLayout.row));
          code.do(
            call(
              gemm[reading("packPanels", kernel.b.dtype)],
              from,
              i32(bLayout.row),
              i32(bLayout.column),
              bPacked.get,
              i32(depth),
              columns.get,
            ),
          );
        }
        const packed = ahead ? packedAt(arena, sharedB ? zero : b, rest, start, depth, kernel, blocks) : bPacked.get;
        code.do(call(gemm.multiply, aPacked.get, packed, c.get, i32(cRow), rows.get, panels, i32(depth), i32(start > 0 ? 1 : 0)));
      });
      if (!direct) epilogue(f, kernel, split, { top, left, rows, columns, sums: cBlock, row: 4 * blocks.columns, column: 4 });
    });
  });

  const units = batch.extent * blocks.down * blocks.across;
  const work = 2 * Math.min(blocks.rows, m.extent) * Math.min(blocks.columns, n.extent) * k.extent;
  const cost = work / 35 + Math.min(blocks.rows, m.extent) * Math.min(blocks.columns, n.extent) * (direct ? 0.1 : costOf(kernel.values));
  return f.finish({
    label: kernel.label,
    units,
    unitMultiple: 1,
    unitsPerChunk: Math.max(1, Math.floor((2 * chunkWork) / work)),
    scratchBytes: aBytes + bBytes + cBytes,
    arenaBytes,
    cost: cost * units,
  });
}

/** The only store of a product, if whole blocks of its sums can go to where they belong as they are. */
function directStore(kernel: MatmulKernel): { store: Store; base: IndexExpression; row: number } | undefined {
  const { stores, n } = kernel;
  const [store] = stores;
  if (stores.length !== 1 || store === undefined || store.value.kind !== "register" || store.value.dtype !== "f32") return undefined;
  if (n.extent % panelColumns !== 0) return undefined;
  const row = coefficient(store.index, "m");
  if (row === undefined || coefficient(store.index, "n") !== 1) return undefined;
  const base = substitute(
    store.index,
    new Map([
      ["m", literal(0)],
      ["n", literal(0)],
    ]),
  );
  return { store, base, row: 4 * row };
}
