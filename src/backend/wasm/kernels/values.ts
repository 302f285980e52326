import type { DType } from "../../../autograd/dtype.js";
import { coefficient, type IndexExpression, literal, mentions, substitute } from "../../index-expression.js";
import { argumentsOf } from "../../lower.js";
import type { BufferInfo, Reducer, Value } from "../../program.js";
import { type Code, type Expression, f32x4, i32, i32x4, i32x4of, type Local, lane, load, loadLane, op, select } from "../assembler.js";
import type { MathFunctions, MathName } from "../math/index.js";

/**
 * Scalar computations as vector code: every value of a kernel is a vector of four lanes in a local. The innermost loop takes four
 * steps of one variable at a time, or one step with lane 0 alone; both print the same arithmetic, so that an element does not
 * depend on where a loop was cut. Values that a loop does not change are computed before it, the same in all lanes.
 */

/** Bytes of an element in memory: bools are words. */
export const bytesOf: Readonly<Record<DType, number>> = { f64: 8, f32: 4, f16: 2, i32: 4, u32: 4, bool: 4 };

export const isFloatType = (dtype: DType): boolean => dtype === "f32" || dtype === "f16";

/** Steps that the innermost loop takes at once. */
export type Width = 1 | 4;

/** Where a kernel finds its buffers and scalars. */
export interface Environment {
  readonly code: Code;
  readonly math: MathFunctions;
  readonly values: readonly Value[];
  readonly info: (buffer: number) => BufferInfo;
  /** The address of a buffer. */
  readonly base: (buffer: number) => Local;
  /** The address of the words of the scalars. */
  readonly scalars: () => Local;
}

/** One loop that is being printed: what it computed, and where its loads begin. */
interface Scope {
  readonly variable: string;
  readonly counter: Local;
  readonly values: Map<number, Local>;
  readonly pointers: Map<string, Local>;
  readonly made: Local[];
}

export class ValueEmitter {
  private readonly scopes: Scope[] = [{ variable: "", counter: undefined as never, values: new Map(), pointers: new Map(), made: [] }];
  /** Expressions that take the place of the kernel's loop variables. */
  private readonly replaced = new Map<string, IndexExpression>();
  /** Values that the loops entered so far do not determine. */
  private readonly unknown = new Set<number>();
  /** How the values of the innermost loop are computed; undefined outside of it. */
  private width: Width | undefined;
  /** Values kept in memory from an earlier pass over the same row: their address and their place in it. */
  private readonly kept = new Map<number, { readonly base: Local; readonly index: IndexExpression }>();

  constructor(private readonly env: Environment) {}

  /** From now on a loop variable of the kernel is this expression of others. */
  replace(name: string, by: IndexExpression): void {
    this.replaced.set(name, by);
  }

  /** Declares where a value lies in memory, so that it is read there and not computed again. */
  keep(value: Value, base: Local, index: IndexExpression): void {
    this.kept.set(value.id, { base, index });
  }

  forget(value: Value): void {
    this.kept.delete(value.id);
  }

  /** Prints `body` inside of a loop over `variable`, whose current value is in `counter`. */
  within(variable: string, counter: Local, body: () => void, width?: Width): void {
    const before = this.width;
    this.width = width ?? before;
    const scope: Scope = { variable, counter, values: new Map(), pointers: new Map(), made: [] };
    this.scopes.push(scope);
    body();
    this.scopes.pop();
    this.env.code.release(...scope.made);
    this.width = before;
  }

  /** Gives a register its value, known from the current loop inwards. */
  define(value: Value, local: Local): void {
    this.top.values.set(value.id, local);
  }

  /** The same, and the local is free again when the current loop ends. */
  defineFor(value: Value, local: Local): void {
    this.define(value, local);
    this.top.made.push(local);
  }

  /**
   * Prints what `targets` need as far as the loops entered so far determine it: what changes with a loop of `later`, or with a
   * register that is not known yet, is left for then. Places that move with the innermost loop get their starting addresses.
   */
  prepare(targets: readonly Value[], later: readonly string[], innermost?: string): void {
    const needed = this.neededBy(targets);
    this.unknown.clear();
    for (const value of this.env.values) {
      if (!needed.has(value.id)) continue;
      if (!this.depends(value, later)) this.get(value);
      else {
        this.unknown.add(value.id);
        if (innermost !== undefined) this.preparePointer(value, innermost);
      }
    }
  }

  /** The values that have to be computed for targets, in no order; what is known already ends the search. */
  private neededBy(targets: readonly Value[]): Set<number> {
    const needed = new Set<number>();
    const stack = [...targets];
    while (stack.length > 0) {
      const value = stack.pop() as Value;
      if (needed.has(value.id)) continue;
      needed.add(value.id);
      if (this.known(value) === undefined && !this.kept.has(value.id)) stack.push(...argumentsOf(value, this.env.values));
    }
    return needed;
  }

  private get top(): Scope {
    return this.scopes[this.scopes.length - 1] as Scope;
  }

  private known(value: Value): Local | undefined {
    for (let i = this.scopes.length - 1; i >= 0; i--) {
      const found = (this.scopes[i] as Scope).values.get(value.id);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Whether a value changes with a loop that is not entered yet, or needs a register that is not known; arguments come first. */
  private depends(value: Value, later: readonly string[]): boolean {
    if (this.known(value) !== undefined) return false;
    if (value.kind === "register") return true;
    const kept = this.kept.get(value.id);
    const place = kept?.index ?? placeOf(value);
    if (place !== undefined) {
      const index = kept ? place : this.rewrite(place);
      if (later.some((name) => mentions(index, name))) return true;
    }
    return kept === undefined && argumentsOf(value, this.env.values).some((arg) => this.unknown.has(arg.id));
  }

  private rewrite(index: IndexExpression): IndexExpression {
    return this.replaced.size === 0 ? index : substitute(index, this.replaced);
  }

  /** The vector of a value, computed in the current loop unless an outer one has it. */
  get(value: Value): Local {
    const known = this.known(value);
    if (known !== undefined) return known;
    if (value.kind === "register") throw new Error("a register is read before it is known");
    const { code } = this.env;
    const expression = this.expression(value);
    const local = code.local("v128", expression);
    this.top.values.set(value.id, local);
    this.top.made.push(local);
    return local;
  }

  // Places in memory.

  /** An index as an i32, with the steps of the innermost loop advanced by `lane`. */
  index(x: IndexExpression, step = 0, clamp = false): Expression {
    let sum: Expression | undefined = x.constant === 0 && x.terms.length > 0 ? undefined : i32(x.constant);
    for (const { factor, atom } of x.terms) {
      let base: Expression;
      if (atom.kind === "variable") base = this.variable(atom.name, step);
      else if (atom.kind === "datum") {
        base = lane("i32x4.extract_lane", step, this.get(this.env.values[atom.handle] as Value).get);
        // What is read at run time may be anything; the kernel discards what it reads there.
        if (clamp) base = this.clamped(base, atom.low, atom.high);
      } else base = op(atom.kind === "quotient" ? "i32.div_u" : "i32.rem_u", this.index(atom.of, step, clamp), i32(atom.by));
      const term = factor === 1 ? base : op("i32.mul", base, i32(factor));
      sum = sum === undefined ? term : op("i32.add", sum, term);
    }
    return sum as Expression;
  }

  private variable(name: string, step: number): Expression {
    const scope = this.scopes.find((each) => each.variable === name);
    if (scope === undefined) throw new Error(`no loop over ${name} here`);
    return step > 0 && scope === this.top ? op("i32.add", scope.counter.get, i32(step)) : scope.counter.get;
  }

  private clamped(x: Expression, low: number, high: number): Expression {
    const { code } = this.env;
    const local = code.local("i32", x);
    code.set(local, select(op("i32.lt_s", local.get, i32(low)), i32(low), local.get));
    code.set(local, select(op("i32.gt_s", local.get, i32(high)), i32(high), local.get));
    this.top.made.push(local);
    return local.get;
  }

  /** How an index moves with the innermost loop: its factor, or undefined if every lane has a place of its own. */
  private stride(x: IndexExpression): number | undefined {
    if (this.width === undefined) return 0;
    if (x.terms.some(({ atom }) => this.variesByData(atom))) return undefined;
    return coefficient(x, this.top.variable);
  }

  private variesByData(atom: IndexExpression["terms"][number]["atom"]): boolean {
    if (atom.kind === "datum") {
      const value = this.env.values[atom.handle] as Value;
      return this.top.values.has(value.id) || this.known(value) === undefined;
    }
    return atom.kind !== "variable" && atom.of.terms.some((term) => this.variesByData(term.atom));
  }

  /** Computes where a load starts, before the innermost loop that it moves with. */
  private preparePointer(value: Value, innermost: string): void {
    const kept = this.kept.get(value.id);
    if (kept !== undefined) this.pointerBefore(kept.base, kept.index, 4, undefined, innermost);
    else if (value.kind === "load") {
      const { dtype, length } = this.env.info(value.buffer);
      this.pointerBefore(this.env.base(value.buffer), this.rewrite(value.index), bytesOf[dtype], length, innermost);
    }
  }

  /** Computes where a store starts, before the innermost loop that it moves with. */
  prepareStore(buffer: number, index: IndexExpression, innermost: string): void {
    const { dtype } = this.env.info(buffer);
    this.pointerBefore(this.env.base(buffer), this.rewrite(index), bytesOf[dtype], undefined, innermost);
  }

  private pointerBefore(base: Local, index: IndexExpression, bytes: number, length: number | undefined, innermost: string): void {
    const factor = coefficient(index, innermost);
    const free = index.terms.every(({ atom }) => this.isEntered(atom, innermost));
    if (factor === undefined || !free || leaves(index, length)) return;
    const key = `${base.index} ${index.key}`;
    if (this.scopes.some((scope) => scope.pointers.has(key))) return;
    const start = substitute(index, new Map([[innermost, literal(0)]]));
    const { code } = this.env;
    const local = code.local("i32", op("i32.add", base.get, op("i32.mul", this.index(start, 0, true), i32(bytes))));
    this.top.pointers.set(key, local);
    this.top.made.push(local);
  }

  private isEntered(atom: IndexExpression["terms"][number]["atom"], innermost: string): boolean {
    if (atom.kind === "variable") return atom.name === innermost || this.scopes.some((scope) => scope.variable === atom.name);
    if (atom.kind === "datum") return this.known(this.env.values[atom.handle] as Value) !== undefined;
    return atom.of.terms.every((term) => this.isEntered(term.atom, innermost));
  }

  /** The address of an index in the current step of the loops. */
  private address(base: Local, index: IndexExpression, bytes: number, length: number | undefined, step = 0): Expression {
    const key = `${base.index} ${index.key}`;
    const pointer = this.scopes.map((scope) => scope.pointers.get(key)).find((found) => found !== undefined);
    if (pointer !== undefined) {
      const factor = (coefficient(index, this.top.variable) ?? 0) * bytes;
      const moved = op("i32.add", pointer.get, factor === 1 ? this.top.counter.get : op("i32.mul", this.top.counter.get, i32(factor)));
      return factor === 0 ? pointer.get : step === 0 ? moved : op("i32.add", moved, i32(step * factor));
    }
    let place = this.index(index, step, true);
    // What is read outside is not used, but the address must exist.
    if (leaves(index, length)) place = this.clamped(place, -4, length as number);
    return op("i32.add", base.get, op("i32.mul", place, i32(bytes)));
  }

  // Values.

  private expression(value: Value): Expression {
    const kept = this.kept.get(value.id);
    if (kept !== undefined) return this.readAt("f32", kept.base, kept.index, undefined);
    switch (value.kind) {
      case "load": {
        const { dtype, length } = this.env.info(value.buffer);
        return this.readAt(dtype, this.env.base(value.buffer), this.rewrite(value.index), length);
      }
      case "scalar": {
        const word = load("v128.load32_splat", this.env.scalars().get, 4 * value.scalar);
        return value.dtype === "bool" ? op("i32x4.ne", word, i32x4(0)) : word;
      }
      case "const":
        return constant(value.value, value.dtype);
      case "index":
        return this.indexVector(this.rewrite(value.index));
      case "inside":
        return this.inside(this.rewrite(value.index), value.low, value.high);
      case "threefry":
        return this.env.math.apply(
          "threefry",
          this.env.code,
          this.get(value.key[0]).get,
          this.get(value.key[1]).get,
          this.indexVector(this.rewrite(value.counter)),
        );
      case "operation":
        return this.operation(value);
      case "register":
        throw new Error("registers are defined, not computed");
    }
  }

  /** What is in a buffer at a place of this step, or of these four. */
  read(buffer: number, place: IndexExpression): Expression {
    return this.readAt(this.env.info(buffer).dtype, this.env.base(buffer), this.rewrite(place), undefined);
  }

  private readAt(dtype: DType, base: Local, index: IndexExpression, length: number | undefined): Expression {
    const bytes = bytesOf[dtype];
    const stride = this.stride(index);
    const narrow = dtype === "f16";
    let raw: Expression;
    if (this.width !== 4 || stride === 0) {
      const address = this.address(base, index, bytes, length);
      raw = narrow ? op("i32x4.splat", load("i32.load16_u", address)) : load("v128.load32_splat", address);
    } else if (stride === 1) {
      const address = this.address(base, index, bytes, length);
      raw = load(narrow ? "v128.load16x4_u" : "v128.load", address);
    } else {
      const { code } = this.env;
      const gathered = code.local("v128", i32x4(0));
      this.top.made.push(gathered);
      for (let l = 0; l < 4; l++) {
        const address = this.address(base, index, bytes, length, l);
        code.set(
          gathered,
          narrow
            ? lane("i32x4.replace_lane", l, gathered.get, load("i32.load16_u", address))
            : loadLane("v128.load32_lane", l, address, gathered.get),
        );
      }
      raw = gathered.get;
    }
    if (dtype === "bool") return op("i32x4.ne", raw, i32x4(0));
    return narrow ? this.env.math.apply("half_to_float", this.env.code, raw) : raw;
  }

  /** The numbers that an index has in the four lanes. */
  private indexVector(x: IndexExpression): Expression {
    const stride = this.stride(x);
    if (this.width !== 4 || stride === 0) return op("i32x4.splat", this.index(x));
    if (stride !== undefined) return op("i32x4.add", op("i32x4.splat", this.index(x)), i32x4of(0, stride, 2 * stride, 3 * stride));
    let made = op("i32x4.splat", this.index(x));
    for (let l = 1; l < 4; l++) made = lane("i32x4.replace_lane", l, made, this.index(x, l));
    return made;
  }

  private inside(x: IndexExpression, low: number, high: number): Expression {
    const { code } = this.env;
    if (this.width !== 4 || this.stride(x) === 0) {
      const index = code.local("i32", this.index(x));
      this.top.made.push(index);
      const both = op("i32.and", op("i32.ge_s", index.get, i32(low)), op("i32.lt_s", index.get, i32(high)));
      return op("i32x4.splat", op("i32.sub", i32(0), both));
    }
    const index = code.local("v128", this.indexVector(x));
    this.top.made.push(index);
    return op("v128.and", op("i32x4.ge_s", index.get, i32x4(low)), op("i32x4.lt_s", index.get, i32x4(high)));
  }

  private operation(value: Value & { kind: "operation" }): Expression {
    const args = value.args.map((arg) => this.get(arg).get);
    const [a, b, c] = args as [Expression, Expression, Expression];
    const from = (value.args[0] as Value).dtype;
    const float = isFloatType(from);
    const math = (name: MathName): Expression => this.env.math.apply(name, this.env.code, ...args);
    const byType = (name: "max" | "min"): Expression => op(float ? `f32x4.${name}` : `i32x4.${name}_${from === "u32" ? "u" : "s"}`, a, b);
    switch (value.operation) {
      case "neg":
        return op(float ? "f32x4.neg" : "i32x4.neg", a);
      case "abs":
        return float ? op("f32x4.abs", a) : from === "u32" ? a : op("i32x4.abs", a);
      case "sign":
        return sign(a, from);
      case "exp":
      case "log":
      case "sin":
      case "cos":
      case "tanh":
      case "erf":
      case "pow":
        return math(value.operation);
      case "sqrt":
        return op("f32x4.sqrt", a);
      case "recip":
        return op("f32x4.div", f32x4(1), a);
      case "floor":
        return op("f32x4.floor", a);
      case "not":
        return op("v128.not", a);
      case "and":
        return op("v128.and", a, b);
      case "or":
        return op("v128.or", a, b);
      case "add":
      case "sub":
      case "mul":
        return op(float ? `f32x4.${value.operation}` : `i32x4.${value.operation}`, a, b);
      case "div":
        return float ? op("f32x4.div", a, b) : math(from === "u32" ? "div_u32" : "div_i32");
      case "mod":
        return math(float ? "mod_f32" : from === "u32" ? "mod_u32" : "mod_i32");
      case "max":
      case "min":
        return byType(value.operation);
      case "lt":
        return op(float ? "f32x4.lt" : from === "u32" ? "i32x4.lt_u" : "i32x4.lt_s", a, b);
      case "eq":
        return op(float ? "f32x4.eq" : "i32x4.eq", a, b);
      case "where":
        return op("v128.bitselect", b, c, a);
      case "bitcast":
        return a;
      case "cast":
        return this.cast(a, from, value.dtype);
    }
  }

  private cast(x: Expression, from: DType, to: DType): Expression {
    const { math, code } = this.env;
    const rounded = (y: Expression): Expression =>
      to === "f16" && from !== "f16" ? math.apply("half_to_float", code, math.apply("float_to_half", code, y)) : y;
    if (from === to) return x;
    if (to === "bool") return isFloatType(from) ? op("f32x4.ne", x, f32x4(0)) : op("i32x4.ne", x, i32x4(0));
    if (from === "bool") return op("v128.and", x, isFloatType(to) ? f32x4(1) : i32x4(1));
    if (isFloatType(to)) {
      if (isFloatType(from)) return rounded(x);
      return rounded(op(from === "u32" ? "f32x4.convert_i32x4_u" : "f32x4.convert_i32x4_s", x));
    }
    if (isFloatType(from)) return op(to === "u32" ? "i32x4.trunc_sat_f32x4_u" : "i32x4.trunc_sat_f32x4_s", x);
    return x;
  }

  // Stores.

  /** Writes lanes as they are to memory that is no buffer. */
  storeAt(base: Local, index: IndexExpression, value: Local): void {
    const address = this.address(base, index, 4, undefined);
    if (this.width === 4) this.env.code.store("v128.store", address, value.get);
    else this.env.code.storeLane("v128.store32_lane", 0, address, value.get);
  }

  /** Writes the value of this step, or of these four, to memory. */
  store(buffer: number, place: IndexExpression, value: Local): void {
    const { code, math } = this.env;
    const { dtype } = this.env.info(buffer);
    const bytes = bytesOf[dtype];
    const base = this.env.base(buffer);
    const index = this.rewrite(place);
    const narrow = dtype === "f16";
    const local = code.local(
      "v128",
      dtype === "bool" ? op("v128.and", value.get, i32x4(1)) : narrow ? math.apply("float_to_half", code, value.get) : value.get,
    );
    this.top.made.push(local);
    const one = narrow ? "v128.store16_lane" : "v128.store32_lane";
    const at = (l: number): Expression => this.address(base, index, bytes, undefined, l);
    if (this.width !== 4) code.storeLane(one, 0, at(0), local.get);
    else if (this.stride(index) !== 1) {
      for (let l = 0; l < 4; l++) code.storeLane(one, narrow ? 2 * l : l, at(l), local.get);
    } else if (narrow) code.storeLane("v128.store64_lane", 0, at(0), op("i16x8.narrow_i32x4_u", local.get, local.get));
    else code.store("v128.store", at(0), local.get);
  }
}

/** Elements before and after every buffer that may be read, whatever is there. */
export const margin = 1024;

/** Whether an index can lie far outside of its buffer, as those of padding and concatenation do where their value is not used. */
const leaves = (index: IndexExpression, length: number | undefined): boolean =>
  length !== undefined && (index.low < -margin || index.high >= length + margin);

const placeOf = (value: Value): IndexExpression | undefined =>
  value.kind === "load" || value.kind === "index" || value.kind === "inside"
    ? value.index
    : value.kind === "threefry"
      ? value.counter
      : undefined;

export function constant(value: number, dtype: DType): Expression {
  if (dtype === "bool") return i32x4(value ? -1 : 0);
  if (isFloatType(dtype)) return f32x4(value);
  return i32x4(dtype === "u32" ? value >>> 0 : value | 0);
}

function sign(x: Expression, dtype: DType): Expression {
  if (dtype === "u32") return op("i32x4.min_u", x, i32x4(1));
  if (dtype === "i32") return op("i32x4.max_s", op("i32x4.min_s", x, i32x4(1)), i32x4(-1));
  const positive = op("v128.and", op("f32x4.gt", x, f32x4(0)), f32x4(1));
  return op("v128.bitselect", f32x4(-1), positive, op("f32x4.lt", x, f32x4(0)));
}

/** The starting value of a reduction. */
export function identity(reducer: Reducer, dtype: DType): Expression {
  if (reducer === "sum") return constant(0, dtype);
  const largest = reducer === "max" || reducer === "argmax";
  if (dtype === "i32") return i32x4(largest ? -2147483648 : 2147483647);
  if (dtype === "u32") return i32x4(largest ? 0 : -1);
  return f32x4(largest ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY);
}

/** a combined with b, lane by lane. */
export function combine(reducer: Reducer, a: Expression, b: Expression, dtype: DType): Expression {
  const type = isFloatType(dtype) ? "f32x4" : "i32x4";
  if (reducer === "sum") return op(`${type}.add`, a, b);
  const name = reducer === "max" ? "max" : "min";
  return isFloatType(dtype) ? op(`f32x4.${name}`, a, b) : op(`i32x4.${name}_${dtype === "u32" ? "u" : "s"}`, a, b);
}
