import type { DType } from "../../../ir/dtype.js";
import { coefficient, type IndexExpression, literal, substitute } from "../../../ir/index-expression.js";
import { type Expression, i32, op } from "../assembler.js";
import type { KernelFunction } from "./kernel.js";
import { bytesOf } from "./operations.js";

/** What a product reads or writes. */
export interface Operand {
  readonly buffer: number;
  readonly index: IndexExpression;
  readonly dtype: DType;
}

/** Where an operand lies: an address that does not depend on row or column, and the bytes between neighbours. */
export interface Layout {
  readonly base: IndexExpression;
  readonly row: number;
  readonly column: number;
}

/** The layout of an operand whose index is linear in the names of its rows and columns. */
export function layoutOf({ index: place, dtype }: Operand, row: string, column: string): Layout {
  const bytes = bytesOf[dtype];
  const [atRow, atColumn] = [coefficient(place, row), coefficient(place, column)];
  if (atRow === undefined || atColumn === undefined) throw new Error("an operand of a product is not linear");
  const base = substitute(
    place,
    new Map([
      [row, literal(0)],
      [column, literal(0)],
    ]),
  );
  return { base, row: bytes * atRow, column: bytes * atColumn };
}

/** The address of an element of an operand or a result, some bytes further. */
export const addressOf = (f: KernelFunction, { buffer, dtype }: Operand, index: IndexExpression, bytes: Expression): Expression =>
  op("i32.add", op("i32.add", f.base(buffer).get, op("i32.mul", f.values.index(index), i32(bytesOf[dtype]))), bytes);
