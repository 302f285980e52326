import { type Code, call, type Expression, type FunctionReference, type Local, type ModuleBuilder } from "../assembler.js";
import { erf } from "./error-function.js";
import { exp, expNotPositive, expOfNegative } from "./exponential.js";
import { bfloatToFloat, floatToBfloat, floatToHalf, halfToFloat } from "./halves.js";
import { tanh } from "./hyperbolic.js";
import { divide, modulo } from "./integers.js";
import { log } from "./logarithm.js";
import { pow } from "./power.js";
import { remainder } from "./remainder.js";
import { threefry } from "./threefry.js";
import { cos, sin, turns } from "./trigonometric.js";

/**
 * Functions that WebAssembly has no instruction for, on four lanes at once. Each lane is computed as if it were alone: the same
 * operands give the same bits in any lane. Nothing traps.
 */
export type MathName =
  | "exp"
  | "exp_not_positive"
  | "exp_negative"
  | "log"
  | "sin"
  | "cos"
  | "tanh"
  | "erf"
  | "pow"
  | "mod_f32"
  | "div_i32"
  | "div_u32"
  | "mod_i32"
  | "mod_u32"
  | "threefry"
  | "half_to_float"
  | "float_to_half"
  | "bfloat_to_float"
  | "float_to_bfloat";

/**
 * Short functions of one operand: they write their statements into the caller, may overwrite their operand and give the result. Where a
 * loop applies one to several vectors in a round, their chains do not wait for each other.
 */
const inlined: { readonly [N in MathName]?: (code: Code, x: Local, fused: boolean) => Expression } = {
  exp,
  exp_not_positive: expNotPositive,
  exp_negative: expOfNegative,
  log,
  tanh,
  erf,
  half_to_float: halfToFloat,
  float_to_half: floatToHalf,
  bfloat_to_float: bfloatToFloat,
  float_to_bfloat: floatToBfloat,
};

/** The functions that a module needs, each added when it is first used. */
export class MathFunctions {
  private readonly added = new Map<string, FunctionReference>();

  /** @param fused Multiply and add in one instruction, where the engine has relaxed SIMD; results may differ in their last bits. */
  constructor(
    private readonly module: ModuleBuilder,
    readonly fused: boolean,
  ) {}

  /**
   * Writes into `code` what computes a function of vectors, each evaluated once, and gives its result, which stays valid.
   * Vectors are f32x4, or i32x4 where the name says so; 16-bit patterns lie in the low halves of i32 lanes.
   *
   * A softmax takes "exp_negative", of what its largest element was subtracted from: `const p = math.apply("exp_negative", code, x)`,
   * once for each vector of a round; p is 0 where x is below −88, as where it is masked.
   */
  apply(name: MathName, code: Code, ...operands: readonly Expression[]): Expression {
    const write = inlined[name];
    const local = write ? code.local("v128", operands[0]) : code.local("v128", call(this.reference(name), ...operands));
    return write ? write(code, local, this.fused) : local.get;
  }

  private reference(name: MathName): FunctionReference {
    return this.once(name, () => {
      switch (name) {
        case "sin":
          return sin(this.module, this.turns(), this.fused);
        case "cos":
          return cos(this.module, this.turns(), this.fused);
        case "pow":
          return pow(this.module);
        case "mod_f32":
          return remainder(this.module);
        case "div_i32":
          return divide(this.module, "s");
        case "div_u32":
          return divide(this.module, "u");
        case "mod_i32":
          return modulo(this.module, "s");
        case "mod_u32":
          return modulo(this.module, "u");
        case "threefry":
          return threefry(this.module);
        default:
          throw new Error(`${name} is written into its callers`);
      }
    });
  }

  private turns(): FunctionReference {
    return this.once("turns", () => turns(this.module));
  }

  private once(name: string, add: () => FunctionReference): FunctionReference {
    const known = this.added.get(name);
    if (known) return known;
    const reference = add();
    this.added.set(name, reference);
    return reference;
  }
}
