// The yardstick of everything that multiplies: the product 1024³.
import { compile, key, matmul, randn, realize, sync } from "dawngrad";

const side = 1024;

/** Floating-point operations of one call of what `squareProduct` gives. */
export const squareOperations = 2 * side ** 3;

/** A function that computes the product once, and waits for it. */
export async function squareProduct() {
  const [a, b] = [1, 2].map((seed) => randn(key(seed), [side, side]));
  await realize(a, b);
  const product = compile(matmul);
  return async () => {
    const c = product(a, b);
    await sync();
    c.dispose();
  };
}
