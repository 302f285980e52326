import type { MatmulKernel } from "../../../compiler/program.js";
import { type Expression, i32, type Local, load, op } from "../assembler.js";
import type { KernelFunction, Split } from "./kernel.js";

/** A block of finished sums in memory: element (i, j) is at sums + i·row + j·column bytes. */
export interface Sums {
  /** The block's first row and column in the product, and their numbers. */
  readonly top: Local;
  readonly left: Local;
  readonly rows: Local;
  readonly columns: Local;
  readonly sums: Local;
  readonly row: number;
  readonly column: number;
}

const add = (a: Expression, b: Expression): Expression => op("i32.add", a, b);
const sub = (a: Expression, b: Expression): Expression => op("i32.sub", a, b);
const times = (a: Expression, n: number): Expression => (n === 1 ? a : op("i32.mul", a, i32(n)));
export const smaller = (a: Expression, b: Expression): Expression => op("select", a, b, op("i32.lt_s", a, b));
export const larger = (a: Expression, b: Expression): Expression => op("select", a, b, op("i32.gt_s", a, b));

/** Prints what happens to each element of a block of a product: row by row, four columns at a time. `split` cuts the columns. */
export function epilogue(f: KernelFunction, kernel: MatmulKernel, split: Split, block: Sums): void {
  const { code, values } = f;
  const { top, left, rows, columns } = block;
  const { m, stores } = kernel;
  const results = stores.map(({ value }) => value);
  const insides = [split.outer.name, split.inner.name];
  const register = kernel.values.find((value) => value.kind === "register");
  const length = split.inner.extent;

  /** The columns of one part: `start` is the column of the product where the part begins. */
  const columnsAt = (line: Local, start: Expression, from: Expression, to: Expression): void => {
    values.prepare(results, [split.inner.name], split.inner.name);
    for (const { buffer, index } of stores) values.prepareStore(buffer, index, split.inner.name);
    const base = code.local("i32", add(line.get, times(sub(start, left.get), block.column)));
    f.vectorLoop({ from, to, extent: length, single: block.column !== 4 }, (width, counters) => {
      const counter = counters[0] as Local;
      values.within(
        split.inner.name,
        counter,
        () => {
          if (register) {
            const address = add(base.get, times(counter.get, block.column));
            values.defineFor(register, code.local("v128", load(width === 4 ? "v128.load" : "v128.load32_splat", address)));
          }
          const computed = results.map((value) => values.get(value));
          stores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as Local));
        },
        width,
      );
    });
    code.release(base);
  };

  const [row, line, until, part] = [0, 1, 2, 3].map(() => code.local("i32")) as [Local, Local, Local, Local];
  const right = add(left.get, columns.get);
  values.prepare(results, [m.name, ...insides]);
  code.set(row, top.get);
  code.set(until, add(top.get, rows.get));
  code.set(line, block.sums.get);
  code.while(op("i32.lt_s", row.get, until.get), () => {
    values.within(m.name, row, () => {
      values.prepare(results, insides);
      const inPart = (): void =>
        values.within(split.outer.name, part, () => {
          const start = times(part.get, length);
          columnsAt(line, start, larger(i32(0), sub(left.get, start)), smaller(i32(length), sub(right, start)));
        });
      if (split.outer.extent === 1) {
        code.set(part, i32(0));
        inPart();
      } else {
        const parts = op("i32.div_s", add(right, i32(length - 1)), i32(length));
        code.for(part, op("i32.div_s", left.get, i32(length)), parts, 1, inPart);
      }
    });
    code.increase(line, i32(block.row));
    code.increase(row, i32(1));
  });
  code.release(row, line, until, part);
}
