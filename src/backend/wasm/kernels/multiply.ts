import { type Code, type Expression, f32x4, i32, type Local, load, op } from "../assembler.js";
import { addProduct } from "./inner-loops.js";

/** The product of packed operands, and of operands that lie as if they were packed. */

/** Rows of a register tile. */
export const tileRows = 4;
/** Columns of a packed panel. */
export const panelColumns = 8;

const vectors = panelColumns / 4;
const add = (a: Expression, b: Expression): Expression => op("i32.add", a, b);
const times = (a: Expression, n: number): Expression => op("i32.mul", a, i32(n));

/** What a product is told; see `multiplyPart`. `blockBytes` are those of `blockTerms` steps of b. */
export interface Product {
  readonly fused: boolean;
  readonly a: Local;
  /** Bytes from row to row of a tile; packed rows are neighbours. */
  readonly aRow?: Local;
  readonly aTile: Local;
  readonly aStep: Expression;
  readonly b: Local;
  readonly bPanel: Local;
  readonly bStep: Expression;
  readonly blockBytes: Expression;
  readonly c: Local;
  readonly cRow: Local;
  readonly rows: Local;
  readonly panels: Local;
  readonly depth: Local;
  readonly accumulate: Local;
}

/** For each panel, for each tile of rows: the products of that tile. A panel stays in the first cache while the rows pass. */
export function multiply(code: Code, product: Product): void {
  const { a, b, c, cRow, rows, panels } = product;
  const [panel, row, aTile, cTile] = [code.local("i32"), code.local("i32"), code.local("i32"), code.local("i32")];
  const bPanel = code.local("i32", b.get);
  const places = { aTile, bPanel, cTile };
  code.for(panel, i32(0), panels.get, 1, () => {
    code.set(cTile, add(c.get, times(panel.get, panelColumns * 4)));
    code.set(aTile, a.get);
    code.set(row, rows.get);
    code.while(op("i32.ge_s", row.get, i32(tileRows)), () => {
      tile(code, product, places, tileRows);
      code.increase(row, i32(-tileRows));
      code.increase(aTile, product.aTile.get);
      code.increase(cTile, times(cRow.get, tileRows));
    });
    // What is left are one to three rows.
    for (let left = tileRows - 1; left > 0; left--) {
      code.if(op("i32.eq", row.get, i32(left)), () => tile(code, product, places, left));
    }
    code.increase(bPanel, product.bPanel.get);
  });
}

/** Where a tile of results and its operands begin. */
interface TilePlaces {
  readonly aTile: Local;
  readonly bPanel: Local;
  readonly cTile: Local;
}

/** One tile of results: for each block of k, sums in registers and then into memory. */
function tile(code: Code, product: Product, { aTile, bPanel, cTile }: TilePlaces, rows: number): void {
  const { fused, aRow, aStep, bStep, blockBytes, cRow, depth, accumulate } = product;
  const sums = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => code.local("v128")));
  const bVectors = Array.from({ length: vectors }, () => code.local("v128"));
  const [b, end, aElement] = [code.local("i32", bPanel.get), code.local("i32"), code.local("v128")];
  const aPointers = Array.from({ length: aRow === undefined ? 1 : rows }, () => code.local("i32"));
  aPointers.forEach((pointer, r) =>
    code.set(pointer, r === 0 || aRow === undefined ? aTile.get : add((aPointers[r - 1] as Local).get, aRow.get)),
  );
  code.set(end, add(bPanel.get, op("i32.mul", depth.get, bStep)));

  const cPointers = Array.from({ length: rows }, () => code.local("i32"));
  cPointers.forEach((pointer, r) => code.set(pointer, r === 0 ? cTile.get : add((cPointers[r - 1] as Local).get, cRow.get)));
  const eachSum = (visit: (sum: Local, pointer: Local, offset: number) => void): void =>
    sums.forEach((line, r) => line.forEach((sum, v) => visit(sum, cPointers[r] as Local, 16 * v)));

  const [stop, isFirst] = [code.local("i32"), code.local("i32", op("i32.eq", accumulate.get, i32(0)))];
  // Addresses are told to be equal or not: near the end of a memory a sum of them is small again.
  code.while(op("i32.ne", b.get, end.get), () => {
    code.set(stop, end.get);
    code.if(op("i32.lt_u", blockBytes, op("i32.sub", end.get, b.get)), () => code.set(stop, add(b.get, blockBytes)));
    eachSum((sum) => code.set(sum, f32x4(0)));
    code.while(op("i32.ne", b.get, stop.get), () => {
      bVectors.forEach((vector, v) => code.set(vector, load("v128.load", b.get, 16 * v)));
      sums.forEach((line, r) => {
        const place =
          aRow === undefined
            ? load("v128.load32_splat", (aPointers[0] as Local).get, 4 * r)
            : load("v128.load32_splat", (aPointers[r] as Local).get);
        code.set(aElement, place);
        bVectors.forEach((vector, v) => {
          const sum = line[v] as Local;
          code.set(sum, addProduct(sum.get, aElement.get, vector.get, fused));
        });
      });
      for (const pointer of aPointers) code.increase(pointer, aStep);
      code.increase(b, bStep);
    });
    code.if(
      isFirst.get,
      () => eachSum((sum, pointer, offset) => code.store("v128.store", pointer.get, sum.get, offset)),
      () =>
        eachSum((sum, pointer, offset) =>
          code.store("v128.store", pointer.get, op("f32x4.add", load("v128.load", pointer.get, offset), sum.get), offset),
        ),
    );
    code.set(isFirst, i32(0));
  });
  code.release(...sums.flat(), ...bVectors, ...cPointers, ...aPointers, b, end, aElement, stop, isFirst);
}
