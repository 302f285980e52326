import { setFlagsFromString } from "node:v8";
import { type Code, type Expression, i32, type Local, load, ModuleBuilder, op } from "../../src/backend/wasm/assembler.js";
import { hasRelaxedSimd } from "../../src/backend/wasm/features.js";
import { MathFunctions, type MathName } from "../../src/backend/wasm/math/index.js";

// Some engines have relaxed SIMD behind a flag only, which must be set before the first module is compiled.
if (!hasRelaxedSimd()) setFlagsFromString("--experimental-wasm-relaxed-simd");

/** The forms in which functions are printed that multiply and add, as far as this engine has them; each with its name for titles. */
export const forms = (
  [
    { form: "multiplying, then adding", fused: false },
    { form: "with fused multiply-add", fused: true },
  ] as const
).filter(({ fused }) => !fused || hasRelaxedSimd());

/** Elements that go through a function at a time. */
export const CHUNK = 1 << 16;

/** 32-bit patterns in, 32-bit patterns out; the arrays are views of the memory of the instance and are overwritten by the next call. */
export interface Applied {
  readonly inputs: readonly Int32Array<ArrayBuffer>[];
  readonly output: Int32Array<ArrayBuffer>;
  /** Computes the first `count` outputs; what is beyond them up to a multiple of four is computed too. */
  run(count: number): void;
}

const bytes = 4 * CHUNK;

/** A function over arrays: output[i] = f(inputs[0][i], …), four at a time; `fused` picks its form. */
export function applied(name: MathName, operands: number, fused = false): Applied {
  const module = new ModuleBuilder({ shared: false, maximum: 64 });
  const functions = new MathFunctions(module, fused);
  const signature = { parameters: ["i32"], results: [] } as const;
  const loop = (code: Code, count: Local): void => {
    const at = code.local("i32");
    code.for(at, i32(0), op("i32.mul", count.get, i32(4)), 16, () => {
      const values = Array.from({ length: operands }, (_, i): Expression => load("v128.load", at.get, i * bytes));
      const result = functions.apply(name, code, ...values);
      code.store("v128.store", at.get, result, operands * bytes);
    });
  };
  module.function(signature, loop, "run");
  const memory = new WebAssembly.Memory({ initial: Math.ceil(((operands + 1) * bytes) / 65536), maximum: 64 });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } });
  const view = (i: number): Int32Array<ArrayBuffer> => new Int32Array(memory.buffer as ArrayBuffer, i * bytes, CHUNK);
  return {
    inputs: Array.from({ length: operands }, (_, i) => view(i)),
    output: view(operands),
    run: instance.exports.run as (count: number) => void,
  };
}
