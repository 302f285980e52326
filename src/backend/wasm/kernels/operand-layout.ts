import { coefficient, type IndexExpression, literal, substitute } from "../../../ir/index-expression.js";
import { type Expression, i32, op } from "../assembler.js";
import type { KernelFunction } from "./kernel.js";

/** Where an operand lies: an address that does not depend on row or column, and the bytes between neighbours. */
export interface Layout {
  readonly base: IndexExpression;
  readonly row: number;
  readonly column: number;
}

/** The layout of an index that is linear in the names of its rows and columns. */
export function layoutOf(place: IndexExpression, row: string, column: string): Layout {
  const [atRow, atColumn] = [coefficient(place, row), coefficient(place, column)];
  if (atRow === undefined || atColumn === undefined) throw new Error("an operand of a product is not linear");
  const base = substitute(
    place,
    new Map([
      [row, literal(0)],
      [column, literal(0)],
    ]),
  );
  return { base, row: 4 * atRow, column: 4 * atColumn };
}

/** The address of an index, some bytes further. */
export const addressOf = (f: KernelFunction, buffer: number, index: IndexExpression, bytes: Expression): Expression =>
  op("i32.add", op("i32.add", f.base(buffer).get, op("i32.mul", f.values.index(index), i32(4))), bytes);
