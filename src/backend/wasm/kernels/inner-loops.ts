import { type Code, type Expression, type Local, shuffle } from "../assembler.js";
import { multiplyAdd } from "../math/expressions.js";

/** What the inner loops of products and of attention are made of. */

/** The signature of a function of so many addresses and numbers. */
export const words = (count: number) => ({ parameters: new Array<"i32">(count).fill("i32"), results: [] }) as const;

/** sum + a·b, in one rounding where `fused`. */
export const addProduct = (sum: Expression, a: Expression, b: Expression, fused: boolean): Expression => multiplyAdd(fused)(a, b, sum);

/** The columns of four rows of four. */
export function transposed(code: Code, [a, b, c, d]: readonly [Local, Local, Local, Local]): Expression[] {
  const low = (x: Local, y: Local): Local => code.local("v128", shuffle(x.get, y.get, [0, 4, 1, 5]));
  const high = (x: Local, y: Local): Local => code.local("v128", shuffle(x.get, y.get, [2, 6, 3, 7]));
  const [ab, cd, ab2, cd2] = [low(a, b), low(c, d), high(a, b), high(c, d)];
  code.release(ab, cd, ab2, cd2);
  return [
    shuffle(ab.get, cd.get, [0, 1, 4, 5]),
    shuffle(ab.get, cd.get, [2, 3, 6, 7]),
    shuffle(ab2.get, cd2.get, [0, 1, 4, 5]),
    shuffle(ab2.get, cd2.get, [2, 3, 6, 7]),
  ];
}
