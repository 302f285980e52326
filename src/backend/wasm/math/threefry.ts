import { PARITY, ROTATIONS } from "../../../ir/threefry.js";
import { type Code, type FunctionReference, i32, i32x4, type Local, type ModuleBuilder, op } from "../assembler.js";
import { or, shiftLeft, shiftRight, xor } from "./expressions.js";

/**
 * x₀ ⊕ x₁ with (x₀, x₁) = Threefry-2x32 of the counter (0, c) under the key (k₀, k₁), 20 rounds: `threefry2x32` of the
 * host in four lanes.
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
