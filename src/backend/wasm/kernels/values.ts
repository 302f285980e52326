import { argumentsOf, type BufferInfo, type Value } from "../../../compiler/program.js";
import { type DType, isHalf } from "../../../ir/dtype.js";
import { type IndexExpression, mentions } from "../../../ir/index-expression.js";
import { type Code, type Expression, i32, i32x4, i32x4of, type Local, lane, load, loadLane, op } from "../assembler.js";
import { signBit } from "../math/expressions.js";
import type { MathFunctions } from "../math/index.js";
import { bytesOf, constant, isFloatType, narrow, operation, widen } from "./operations.js";
import { type Counter, Places, type Width } from "./places.js";

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
  /** The loops around the kernel and how far they are. */
  readonly iterations: readonly { readonly variable: string; readonly counter: Local }[];
  /** What is known of some values beyond what they say. */
  readonly facts?: Facts;
}

/** Facts that make a value cheaper to compute. */
export interface Facts {
  /** Exponentials of numbers that are never positive. */
  readonly ofNegative: ReadonlySet<number>;
}

/**
 * Scalar computations as vector code: every value of a kernel is a vector of four lanes in a local. The innermost loop takes four
 * steps of one variable at a time, or one step with lane 0 alone; both print the same arithmetic, so that an element does not
 * depend on where a loop was cut. Values that a loop does not change are computed before it, the same in all lanes.
 */
export class ValueEmitter {
  private readonly places: Places;

  constructor(private readonly env: Environment) {
    this.places = new Places(env.code, (value) => this.get(env.values[value] as Value), env.iterations);
  }

  /** From now on a loop variable of the kernel is this expression of others. */
  replace(name: string, by: IndexExpression): void {
    this.places.replace(name, by);
  }

  /** Declares where a value lies in memory until the current loop ends, so that it is read there and not computed again. */
  keep(value: Value, base: Local, index: IndexExpression): void {
    this.places.top.kept.set(value.id, { base, index });
  }

  /** Prints `body` inside of a loop over `variable`, whose current value is in `counter`. */
  within(variable: string, counter: Counter | undefined, body: () => void, width?: Width): void {
    this.places.within(variable, counter, body, width);
  }

  /** Gives a register its value, known from the current loop inwards. */
  define(value: Value, local: Local): void {
    this.places.top.values.set(value.id, local);
  }

  /** The same, and the local is free again when the current loop ends. */
  defineFor(value: Value, local: Local): void {
    this.define(value, local);
    this.places.top.made.push(local);
  }

  /** An index as an i32. */
  index(x: IndexExpression): Expression {
    return this.places.index(x, 0, true);
  }

  /**
   * Prints what `targets` need as far as the loops entered so far determine it: what changes with a loop of `later`, or with a
   * register that is not known yet, is left for then. Places that move with the innermost loop get their starting addresses.
   */
  prepare(targets: readonly Value[], later: readonly string[], innermost?: string): void {
    const needed = this.neededBy(targets);
    /** Values that the loops entered so far do not determine. */
    const unknown = new Set<number>();
    for (const value of this.env.values) {
      if (!needed.has(value.id)) continue;
      if (!this.depends(value, later, unknown)) this.get(value);
      else {
        unknown.add(value.id);
        if (innermost !== undefined) this.preparePlace(value, innermost);
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
      if (this.places.known(value.id) === undefined && this.places.kept(value.id) === undefined)
        stack.push(...argumentsOf(value, this.env.values));
    }
    return needed;
  }

  /** Whether a value changes with a loop that is not entered yet, or needs a register that is not known; arguments come first. */
  private depends(value: Value, later: readonly string[], unknown: ReadonlySet<number>): boolean {
    if (this.places.known(value.id) !== undefined) return false;
    if (value.kind === "register") return true;
    const kept = this.places.kept(value.id);
    const place = kept?.index ?? placeOf(value);
    if (place !== undefined) {
      const index = kept ? place : this.places.rewrite(place);
      if (later.some((name) => mentions(index, name))) return true;
    }
    return kept === undefined && argumentsOf(value, this.env.values).some((arg) => unknown.has(arg.id));
  }

  private preparePlace(value: Value, innermost: string): void {
    const kept = this.places.kept(value.id);
    if (kept !== undefined) this.places.prepare(kept.base, kept.index, 4, undefined, innermost);
    else if (value.kind === "load") {
      const { dtype, length } = this.env.info(value.buffer);
      this.places.prepare(this.env.base(value.buffer), this.places.rewrite(value.index), bytesOf[dtype], length, innermost);
    }
  }

  /** Computes where a store starts, before the innermost loop that it moves with. */
  prepareStore(buffer: number, index: IndexExpression, innermost: string): void {
    const { dtype } = this.env.info(buffer);
    this.places.prepare(this.env.base(buffer), this.places.rewrite(index), bytesOf[dtype], undefined, innermost);
  }

  /** The vector of a value, computed in the current loop unless an outer one has it. */
  get(value: Value): Local {
    const known = this.places.known(value.id);
    if (known !== undefined) return known;
    if (value.kind === "operation" && value.operation === "where") {
      const [condition, whenTrue, whenFalse] = value.args as [Value, Value, Value];
      const decided = this.decided(condition);
      if (decided !== undefined) return this.get(decided ? whenTrue : whenFalse);
    }
    const local = this.places.temporary("v128", this.expression(value));
    this.places.top.values.set(value.id, local);
    return local;
  }

  /** A condition whose outcome is the same in all lanes and known now, because the places that it asks for are. */
  private decided(condition: Value): boolean | undefined {
    if (condition.kind === "const") return condition.value !== 0;
    if (condition.kind === "inside" && !readsData(condition.index)) {
      const { low, high } = this.places.rewrite(condition.index);
      if (low >= condition.low && high < condition.high) return true;
      if (high < condition.low || low >= condition.high) return false;
    }
    if (condition.kind === "operation" && condition.operation === "and") {
      const [a, b] = condition.args.map((arg) => this.decided(arg));
      if (a === false || b === false) return false;
      return a === true && b === true ? true : undefined;
    }
    return undefined;
  }

  private expression(value: Value): Expression {
    const kept = this.places.kept(value.id);
    if (kept !== undefined) return this.fetch("f32", kept.base, kept.index, undefined);
    const { places } = this;
    switch (value.kind) {
      case "load": {
        const { dtype, length } = this.env.info(value.buffer);
        return this.fetch(dtype, this.env.base(value.buffer), places.rewrite(value.index), length);
      }
      case "scalar": {
        const word = load("v128.load32_splat", this.env.scalars().get, 4 * value.scalar);
        return value.dtype === "bool" ? op("i32x4.ne", word, i32x4(0)) : word;
      }
      case "const":
        return constant(value.value, value.dtype);
      case "index":
        return this.indexVector(places.rewrite(value.index));
      case "inside":
        return this.inside(places.rewrite(value.index), value.low, value.high);
      case "threefry": {
        const [k0, k1] = value.key.map((word) => this.get(word).get) as [Expression, Expression];
        return this.env.math.apply("threefry", this.env.code, k0, k1, this.indexVector(places.rewrite(value.counter)));
      }
      case "operation": {
        // The sign bit alone, where it would be cleared and then turned round.
        const [arg] = value.args as [Value];
        if (value.operation === "neg" && arg.kind === "operation" && arg.operation === "abs" && isFloatType(arg.dtype))
          return op("v128.or", this.get(arg.args[0] as Value).get, signBit);
        const args = value.args.map((arg) => this.get(arg).get);
        const { code, math, facts } = this.env;
        if (facts?.ofNegative.has(value.id)) return math.apply("exp_negative", code, args[0] as Expression);
        return operation(value, args, code, math);
      }
      case "register":
        throw new Error("a register is read before it is known");
    }
  }

  /** What is in a buffer at a place of this step, or of these four. */
  read(buffer: number, place: IndexExpression): Expression {
    return this.fetch(this.env.info(buffer).dtype, this.env.base(buffer), this.places.rewrite(place), undefined);
  }

  private fetch(dtype: DType, base: Local, index: IndexExpression, length: number | undefined): Expression {
    const { places } = this;
    const bytes = bytesOf[dtype];
    const stride = places.stride(index);
    const half = isHalf(dtype);
    let raw: Expression;
    if (places.width !== 4 || stride === 0) {
      const { at, offset } = places.address(base, index, bytes, length);
      raw = half ? op("i32x4.splat", load("i32.load16_u", at, offset)) : load("v128.load32_splat", at, offset);
    } else if (stride === 1) {
      const { at, offset } = places.address(base, index, bytes, length);
      raw = load(half ? "v128.load16x4_u" : "v128.load", at, offset);
    } else {
      const gathered = places.temporary("v128", i32x4(0));
      for (let l = 0; l < 4; l++) {
        const { at, offset } = places.address(base, index, bytes, length, l);
        const next = half
          ? lane("i32x4.replace_lane", l, gathered.get, load("i32.load16_u", at, offset))
          : loadLane("v128.load32_lane", l, at, gathered.get, offset);
        this.env.code.set(gathered, next);
      }
      raw = gathered.get;
    }
    if (dtype === "bool") return op("i32x4.ne", raw, i32x4(0));
    return half ? widen(raw, dtype, this.env.code, this.env.math) : raw;
  }

  /** The numbers that an index has in the four lanes. */
  private indexVector(x: IndexExpression): Expression {
    const { places } = this;
    const stride = places.stride(x);
    const first = op("i32x4.splat", places.index(x));
    if (places.width !== 4 || stride === 0) return first;
    if (stride !== undefined) return op("i32x4.add", first, i32x4of(0, stride, 2 * stride, 3 * stride));
    let made = first;
    for (let l = 1; l < 4; l++) made = lane("i32x4.replace_lane", l, made, places.index(x, l));
    return made;
  }

  private inside(x: IndexExpression, low: number, high: number): Expression {
    const { places } = this;
    if (places.width !== 4 || places.stride(x) === 0) {
      const index = places.temporary("i32", places.index(x));
      const both = op("i32.and", op("i32.ge_s", index.get, i32(low)), op("i32.lt_s", index.get, i32(high)));
      return op("i32x4.splat", op("i32.sub", i32(0), both));
    }
    const index = places.temporary("v128", this.indexVector(x));
    return op("v128.and", op("i32x4.ge_s", index.get, i32x4(low)), op("i32x4.lt_s", index.get, i32x4(high)));
  }

  /** Floats as they are in memory that is no buffer. */
  readAt(base: Local, index: IndexExpression): Expression {
    return this.fetch("f32", base, index, undefined);
  }

  /** Computes where memory that is no buffer is written or read, before the innermost loop. */
  prepareAt(base: Local, index: IndexExpression, innermost: string): void {
    this.places.prepare(base, index, 4, undefined, innermost);
  }

  /** Writes lanes as they are to memory that is no buffer. */
  storeAt(base: Local, index: IndexExpression, value: Local): void {
    const { at, offset } = this.places.address(base, index, 4, undefined);
    if (this.places.width === 4) this.env.code.store("v128.store", at, value.get, offset);
    else this.env.code.storeLane("v128.store32_lane", 0, at, value.get, offset);
  }

  /** Writes the value of this step, or of these four, to memory. */
  store(buffer: number, place: IndexExpression, value: Local): void {
    const { places } = this;
    const { code, math } = this.env;
    const { dtype } = this.env.info(buffer);
    const base = this.env.base(buffer);
    const index = places.rewrite(place);
    const half = isHalf(dtype);
    const encoded = dtype === "bool" ? op("v128.and", value.get, i32x4(1)) : half ? narrow(value.get, dtype, code, math) : value.get;
    const local = dtype === "bool" || half ? places.temporary("v128", encoded) : value;
    const one = half ? "v128.store16_lane" : "v128.store32_lane";
    const single = (l: number): void => {
      const { at, offset } = places.address(base, index, bytesOf[dtype], undefined, l);
      code.storeLane(one, half ? 2 * l : l, at, local.get, offset);
    };
    if (places.width !== 4) single(0);
    else if (places.stride(index) !== 1) for (let l = 0; l < 4; l++) single(l);
    else {
      const { at, offset } = places.address(base, index, bytesOf[dtype], undefined);
      if (half) code.storeLane("v128.store64_lane", 0, at, op("i16x8.narrow_i32x4_u", local.get, local.get), offset);
      else code.store("v128.store", at, local.get, offset);
    }
  }
}

const placeOf = (value: Value): IndexExpression | undefined =>
  value.kind === "load" || value.kind === "index" || value.kind === "inside"
    ? value.index
    : value.kind === "threefry"
      ? value.counter
      : undefined;

/** Whether an index depends on what is in memory. */
const readsData = (x: IndexExpression): boolean =>
  x.terms.some(({ atom }) => atom.kind === "dynamic" || (atom.kind !== "variable" && readsData(atom.of)));
