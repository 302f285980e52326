import { type Code, type FunctionReference, i32, i32x4, type Local, type ModuleBuilder, op } from "../assembler.js";
import { or, shiftLeft, shiftRight, xor } from "./expressions.js";

/** Rotation distances of Threefry-2x32, used in turn, one per round. */
const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;
/** The key-schedule constant of Threefry for 32-bit words. */
const PARITY = 0x1bd11bda;

/**
 * x₀ ⊕ x₁ with (x₀, x₁) = Threefry-2x32 of the counter (0, c) under the key (k₀, k₁), 20 rounds.
 * Source: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011), section 4.1 and table 2.
 */
export function threefry(module: ModuleBuilder): FunctionReference {
  return module.function(
    { parameters: ["v128", "v128", "v128"], results: ["v128"] },
    (code: Code, k0: Local, k1: Local, counter: Local) => {
      const k2 = code.local("v128", xor(xor(k0.get, k1.get), i32x4(PARITY)));
      const schedule = [k0, k1, k2] as const;
      const x0 = code.local("v128", k0.get);
      const x1 = code.local("v128", op("i32x4.add", counter.get, k1.get));
      for (let group = 0; group < 5; group++) {
        for (const distance of ROTATIONS.slice(4 * (group % 2), 4 * (group % 2) + 4)) {
          code.set(x0, op("i32x4.add", x0.get, x1.get));
          code.set(x1, xor(or(shiftLeft(x1.get, i32(distance)), shiftRight(x1.get, i32(32 - distance))), x0.get));
        }
        const key = (i: number): Local => schedule[(group + i) % 3] as Local;
        code.set(x0, op("i32x4.add", x0.get, key(1).get));
        code.set(x1, op("i32x4.add", op("i32x4.add", x1.get, key(2).get), i32x4(group + 1)));
      }
      code.do(xor(x0.get, x1.get));
    },
  );
}
