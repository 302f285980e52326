import type { MatmulKernel } from "../../../compiler/program.js";
import { coefficient, type IndexExpression, literal, substitute } from "../../../ir/index-expression.js";
import { fold, foldedGroup, type Target } from "./source.js";
import { aligned } from "./vectors.js";

/** Where the elements of an operand lie: base + row·(row stride) + column·(column stride). */
export interface Layout {
  readonly base: IndexExpression;
  readonly row: number;
  readonly column: number;
}

export function layoutOf(place: IndexExpression, row: string, column: string): Layout {
  const [atRow, atColumn] = [coefficient(place, row), coefficient(place, column)];
  if (atRow === undefined || atColumn === undefined) throw new Error("an operand of a product is not linear");
  const zero = literal(0);
  return {
    base: substitute(
      place,
      new Map([
        [row, zero],
        [column, zero],
      ]),
    ),
    row: atRow,
    column: atColumn,
  };
}

/** True if groups of four along the columns are whole vectors of memory. */
export const vectorColumns = (x: Layout, columns: number): boolean =>
  x.column === 1 && columns % 4 === 0 && x.row % 4 === 0 && aligned(x.base);
export const vectorRows = (x: Layout, rows: number): boolean => x.row === 1 && rows % 4 === 0 && x.column % 4 === 0 && aligned(x.base);

/** The tile of this workgroup, counted batch by batch, column tiles fastest. */
export function tileLines(
  kernel: MatmulKernel,
  tileM: number,
  tileN: number,
  target: Target,
): { workgroups: [number, number, number]; lines: string[] } {
  const [acrossN, acrossM] = [Math.ceil(kernel.n.extent / tileN), Math.ceil(kernel.m.extent / tileM)];
  const total = acrossN * acrossM * kernel.batch.extent;
  const workgroups = fold(total, target);
  const lines = [
    `let tile = ${foldedGroup(workgroups)};`,
    ...(workgroups[1] === 1 ? [] : [`if (tile >= ${total}u) { return; }`]),
    `let nLeft = (tile % ${acrossN}u) * ${tileN}u;`,
    `let mTop = ((tile / ${acrossN}u) % ${acrossM}u) * ${tileM}u;`,
    `let b = tile / ${acrossN * acrossM}u;`,
  ];
  return { workgroups, lines };
}
