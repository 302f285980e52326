import { argumentsOf, type Kernel, type Reducer, type ScalarOperation, type Value } from "../../compiler/program.js";
import { elementBytes } from "../../ir/bytes.js";
import { type DType, isHalf } from "../../ir/dtype.js";
import type { IndexExpression } from "../../ir/index-expression.js";
import { PARITY, ROTATIONS } from "../../ir/threefry.js";

/** WGSL text for scalar computations: types, constants, operations and the helper functions that they need. */

/** How a dtype lies in memory, unless it is packed (kernels/packed-halves.ts). WGSL has no f64, and the backend does not offer it. */
export const storageType: Readonly<Record<DType, string>> = {
  f64: "f64",
  f32: "f32",
  f16: "f16",
  bf16: "bf16",
  i32: "i32",
  u32: "u32",
  bool: "u32",
};
/** How a value of a dtype is computed with: halves in f32. */
export const registerType: Readonly<Record<DType, string>> = {
  f64: "f64",
  f32: "f32",
  f16: "f32",
  bf16: "f32",
  i32: "i32",
  u32: "u32",
  bool: "bool",
};
export const bytesOf = elementBytes;

/**
 * Functions that WGSL lacks or states too loosely. Where NaN must survive, its bits are tested, since a compiler may
 * assume that no float is NaN.
 */
const helpers: Readonly<Record<string, string>> = {
  bits: `var<private> nan_bits: u32 = 0x7fc00000u;
var<private> infinity_bits: u32 = 0x7f800000u;
var<private> sign_bit: u32 = 0x80000000u;
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }`,
  max_nan: "fn max_nan(a: f32, b: f32) -> f32 { return select(select(max(a, b), b, is_nan(b)), a, is_nan(a)); }",
  min_nan: "fn min_nan(a: f32, b: f32) -> f32 { return select(select(min(a, b), b, is_nan(b)), a, is_nan(a)); }",
  lt_f32: "fn lt_f32(a: f32, b: f32) -> bool { return a < b && !is_nan(a) && !is_nan(b); }",
  eq_f32: "fn eq_f32(a: f32, b: f32) -> bool { return a == b && !is_nan(a) && !is_nan(b); }",
  beats_max: "fn beats_max(a: f32, b: f32) -> bool { return !is_nan(b) && (is_nan(a) || a > b); }",
  beats_min: "fn beats_min(a: f32, b: f32) -> bool { return !is_nan(b) && (is_nan(a) || a < b); }",
  exp_f32: "fn exp_f32(x: f32) -> f32 { return select(exp(x), x, is_nan(x)); }",
  // Drivers take the logarithm of 0 for that of the smallest number, and near 1 WGSL promises no digit of it: there 2·artanh s by its series.
  log_f32: `fn log_f32(x: f32) -> f32 {
  if (is_nan(x) || x < 0.0) { return bitcast<f32>(nan_bits); }
  if (x == 0.0) { return -bitcast<f32>(infinity_bits); }
  let s = (x - 1.0) / (x + 1.0);
  let q = s * s;
  if (q < 0.015625) { return 2.0 * s + 2.0 * s * q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * 0.11111111))); }
  return select(log(x), x, bitcast<u32>(x) == infinity_bits);
}`,
  sign_f32: "fn sign_f32(x: f32) -> f32 { return select(sign(x), x, is_nan(x)); }",
  // Long division of the significands, eight bits of the quotient at a time: exact, as no product of floats would be.
  mod_f32: `fn mod_f32(a: f32, b: f32) -> f32 {
  let dividend = bitcast<u32>(a) & 0x7fffffffu;
  let divisor = bitcast<u32>(b) & 0x7fffffffu;
  if (dividend >= 0x7f800000u || divisor > 0x7f800000u || divisor == 0u) { return bitcast<f32>(nan_bits); }
  var rest = dividend;
  if (dividend >= divisor) {
    let exponent = max(divisor >> 23u, 1u);
    var shift = max(dividend >> 23u, 1u) - exponent;
    let by = (divisor & 0x7fffffu) | select(0x800000u, 0u, divisor < 0x800000u);
    var r = ((dividend & 0x7fffffu) | select(0x800000u, 0u, dividend < 0x800000u)) % by;
    while (shift > 0u && r != 0u) {
      let bits = min(shift, 8u);
      r = (r << bits) % by;
      shift -= bits;
    }
    let lead = countLeadingZeros(r) - 8u;
    rest = select(r << (exponent - 1u), ((r << lead) & 0x7fffffu) | ((exponent - lead) << 23u), r != 0u && lead < exponent);
  }
  let signed = bitcast<f32>(rest | (bitcast<u32>(a) & 0x80000000u));
  let opposite = ((bitcast<u32>(a) ^ bitcast<u32>(b)) >> 31u) == 1u;
  return select(signed, signed + b, opposite && rest != 0u);
}`,
  mod_i32: "fn mod_i32(a: i32, b: i32) -> i32 { let r = a % b; return select(r, r + b, r != 0 && ((r < 0) != (b < 0))); }",
  // WGSL leaves the power of a negative number and of what is no number open; these are the answers of IEEE 754.
  pow_f32: `fn pow_f32(a: f32, b: f32) -> f32 {
  let size = abs(a);
  let infinite = (bitcast<u32>(b) & 0x7fffffffu) == infinity_bits;
  if (bitcast<u32>(a) == 0x3f800000u || (bitcast<u32>(b) & 0x7fffffffu) == 0u) { return 1.0; }
  if (is_nan(a) || is_nan(b)) { return bitcast<f32>(nan_bits); }
  if (infinite && size == 1.0) { return 1.0; }
  var result = 0.0;
  if (size == 0.0 || bitcast<u32>(size) == infinity_bits || infinite) {
    result = select(0.0, bitcast<f32>(infinity_bits), (size > 1.0) == (b > 0.0));
  } else {
    result = pow(size, b);
  }
  if ((bitcast<u32>(a) >> 31u) == 0u) { return result; }
  let whole = infinite || floor(b) == b;
  if (!whole && size > 0.0 && bitcast<u32>(size) != infinity_bits) { return bitcast<f32>(nan_bits); }
  let odd = whole && !infinite && abs(b - 2.0 * floor(b * 0.5)) == 1.0;
  return bitcast<f32>(bitcast<u32>(result) | select(0u, 0x80000000u, odd));
}`,
  // WGSL promises 1e-5 for tanh and may overflow; this keeps full relative precision.
  tanh_f32: `fn tanh_f32(x: f32) -> f32 {
  let s = x * x;
  let e = exp(-2.0 * abs(x));
  let far = sign(x) * ((1.0 - e) / (1.0 + e));
  let near = x * (1.0 + s * (-0.33333334 + s * (0.13333334 + s * (-0.053968254 + s * 0.021869488))));
  return select(far, near, abs(x) < 0.2);
}`,
  // |x| < 1: Maclaurin series; beyond: erfc(x) = t·exp(−x² + P(t)), t = 1/(1 + x/2) (Numerical Recipes, erfcc, error 1.2e-7).
  erf_f32: `fn erf_f32(x: f32) -> f32 {
  let a = abs(x);
  let s = x * x;
  let near = 1.1283792 * x * (1.0 + s * (-0.33333334 + s * (0.1 + s * (-0.023809524 + s * (0.0046296296 + s * (-0.00075757576 + s * (0.00010683761 + s * (-1.3227513e-5 + s * 1.4589169e-6))))))));
  let t = 1.0 / (1.0 + 0.5 * a);
  let p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
  let far = sign(x) * (1.0 - t * exp(-s + p));
  return select(far, near, a < 0.9);
}`,
  // By bits: drivers take f32(f16(x)) for x.
  round_f16: `fn round_f16(x: f32) -> f32 {
  let size = bitcast<u32>(x) & 0x7fffffffu;
  let normal = (size + 0xfffu + ((size >> 13u) & 1u)) & 0xffffe000u;
  let subnormal = bitcast<u32>(round(bitcast<f32>(size) * 16777216.0) * 5.9604644775390625e-8);
  let finite = select(normal, subnormal, size < 0x38800000u);
  let beyond = select(0x7f800000u, size, size > 0x7f800000u);
  return bitcast<f32>(select(finite, beyond, size >= 0x477ff000u) | (bitcast<u32>(x) & 0x80000000u));
}`,
  round_bf16: `fn round_bf16(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
  return bitcast<f32>(select(rounded, bits | 0x400000u, (bits & 0x7fffffffu) > 0x7f800000u));
}`,
  // A conversion stops at the largest float below the limit, not at the limit.
  to_i32: "fn to_i32(x: f32) -> i32 { return select(select(i32(x), 2147483647i, x >= 2147483648.0), 0i, is_nan(x)); }",
  to_u32: "fn to_u32(x: f32) -> u32 { return select(select(u32(x), 4294967295u, x >= 4294967296.0), 0u, is_nan(x)); }",
  threefry: `fn rotate_left(x: u32, n: u32) -> u32 { return (x << n) | (x >> (32u - n)); }
fn threefry(k0: u32, k1: u32, counter: u32) -> u32 {
  let k2 = k0 ^ k1 ^ ${PARITY}u;
  var keys = array<u32, 3>(k0, k1, k2);
  var turns = array<u32, 8>(${ROTATIONS.map((distance) => `${distance}u`).join(", ")});
  var x = vec2<u32>(k0, counter + k1);
  for (var group = 0u; group < 5u; group++) {
    for (var round = 0u; round < 4u; round++) {
      x.x += x.y;
      x.y = rotate_left(x.y, turns[(group % 2u) * 4u + round]) ^ x.x;
    }
    x.x += keys[(group + 1u) % 3u];
    x.y += keys[(group + 2u) % 3u] + group + 1u;
  }
  return x.x ^ x.y;
}`,
};
const helperOrder = Object.keys(helpers);

/** Collects which helpers a kernel uses. */
export class Prelude {
  private readonly used = new Set<string>();

  use(name: string): string {
    this.used.add(name);
    if (/\b(is_nan|nan_bits|infinity_bits)\b/.test(helpers[name] as string)) this.used.add("bits");
    return name;
  }

  text(): string {
    return helperOrder
      .filter((name) => this.used.has(name))
      .map((name) => helpers[name])
      .join("\n");
  }
}

const isFloatType = (dtype: DType): boolean => dtype === "f32" || isHalf(dtype);

export function constant(value: number, dtype: DType, prelude: Prelude): string {
  if (dtype === "bool") return value ? "true" : "false";
  if (dtype === "i32") return (value | 0) === -2147483648 ? "(-2147483647i - 1i)" : `${value | 0}i`;
  if (dtype === "u32") return `${value >>> 0}u`;
  if (Number.isNaN(value)) return `bitcast<f32>(${prelude.use("bits") && "nan_bits"})`;
  const single = Math.fround(value);
  if (!Number.isFinite(single)) return `${single < 0 ? "-" : ""}bitcast<f32>(${prelude.use("bits") && "infinity_bits"})`;
  // Compilers that know it to be −0 may take another constant for it that is equal, which 0 is.
  if (Object.is(single, -0)) return `bitcast<f32>(${prelude.use("bits") && "sign_bit"})`;
  return `${shortest(single)}f`;
}

const largestSingle = Math.fround(3.4028234663852886e38);

/** The shortest decimal that rounds to a single-precision number; of the largest one that is not beyond it, which WGSL refuses. */
function shortest(value: number): string {
  for (let digits = 6; digits < 10; digits++) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value && Math.abs(text) <= largestSingle)
      return String(text).includes("e") || String(text).includes(".") ? String(text) : `${text}.0`;
  }
  return String(value);
}

/** An index expression in wrapping u32 arithmetic. */
export function index(x: IndexExpression): string {
  const positive: string[] = [];
  const negative: string[] = [];
  for (const { factor, atom } of x.terms) {
    const base =
      atom.kind === "variable"
        ? atom.name
        : atom.kind === "dynamic"
          ? `u32(v${atom.handle})`
          : `(${index(atom.of)} ${atom.kind === "quotient" ? "/" : "%"} ${atom.by}u)`;
    (factor > 0 ? positive : negative).push(Math.abs(factor) === 1 ? base : `${base} * ${Math.abs(factor)}u`);
  }
  if (x.constant > 0 || positive.length === 0) positive.push(`${Math.max(0, x.constant)}u`);
  if (x.constant < 0) negative.push(`${-x.constant}u`);
  const text = [positive.join(" + "), ...negative].join(" - ");
  return positive.length + negative.length === 1 ? text : `(${text})`;
}

/** An operation on operands of dtype `from` whose result has dtype `to`, as text. */
type Print = (operands: readonly [a: string, b: string, c: string], types: { from: DType; to: DType }, prelude: Prelude) => string;

const call =
  (name: string): Print =>
  ([a]) =>
    `${name}(${a})`;
const infix =
  (sign: string): Print =>
  ([a, b]) =>
    `${a} ${sign} ${b}`;
const helper =
  (name: string): Print =>
  ([a], _, prelude) =>
    `${prelude.use(name)}(${a})`;
/** The function of WGSL for integers, and the helper that minds NaN for floats. */
const extremum =
  (name: "max" | "min"): Print =>
  ([a, b], { from }, prelude) =>
    isFloatType(from) ? `${prelude.use(`${name}_nan`)}(${a}, ${b})` : `${name}(${a}, ${b})`;
const comparison =
  (sign: string, name: string): Print =>
  ([a, b], { from }, prelude) =>
    isFloatType(from) ? `${prelude.use(name)}(${a}, ${b})` : `${a} ${sign} ${b}`;

const operations: { readonly [O in ScalarOperation]: Print } = {
  neg: ([a], { from }) => (from === "u32" ? `0u - ${a}` : `-${a}`),
  exp: helper("exp_f32"),
  log: helper("log_f32"),
  sin: call("sin"),
  cos: call("cos"),
  tanh: helper("tanh_f32"),
  erf: helper("erf_f32"),
  sqrt: call("sqrt"),
  recip: ([a]) => `1.0 / ${a}`,
  abs: ([a], { from }) => (from === "u32" ? a : `abs(${a})`),
  sign: ([a], { from }, prelude) =>
    from === "u32" ? `min(${a}, 1u)` : isFloatType(from) ? `${prelude.use("sign_f32")}(${a})` : `sign(${a})`,
  floor: call("floor"),
  not: ([a], { from }) => (from === "bool" ? `!${a}` : `~${a}`),

  add: infix("+"),
  sub: infix("-"),
  mul: infix("*"),
  div: infix("/"),
  pow: ([a, b], _, prelude) => `${prelude.use("pow_f32")}(${a}, ${b})`,
  max: extremum("max"),
  min: extremum("min"),
  mod: ([a, b], { from }, prelude) =>
    from === "u32" ? `${a} % ${b}` : `${prelude.use(isFloatType(from) ? "mod_f32" : "mod_i32")}(${a}, ${b})`,
  lt: comparison("<", "lt_f32"),
  eq: comparison("==", "eq_f32"),
  and: infix("&"),
  or: infix("|"),

  where: ([condition, a, b]) => `select(${b}, ${a}, ${condition})`,
  cast: ([a], { from, to }, prelude) => {
    // NaN is true; a comparison of floats might be made as if there were none.
    if (to === "bool" && isFloatType(from)) return `(bitcast<u32>(${a}) & 0x7fffffffu) != 0u`;
    if (to === "bool") return from === "bool" ? a : `${a} != ${registerType[from]}(0)`;
    if (isFloatType(from) && (to === "i32" || to === "u32")) return `${prelude.use(`to_${to}`)}(${a})`;
    const value = `${registerType[to]}(${a})`;
    return isHalf(to) ? `${prelude.use(`round_${to}`)}(${value})` : value;
  },
  bitcast: ([a], { to }) => `bitcast<${registerType[to]}>(${a})`,
};

/** Prints the values of a kernel as `let` statements, each in the outermost scope where it can be computed. */
export class ValuePrinter {
  readonly prelude = new Prelude();
  private readonly dependsOn = new Map<string, boolean[]>();

  constructor(
    private readonly kernel: Kernel,
    /** The element of a buffer at a place, halves as f32. */
    private readonly read: (buffer: number, place: string) => string,
    private readonly registerName: (register: number) => string,
    /** The dtype of a buffer that may hold the bits of another, as i32 may. */
    private readonly bufferDtype?: (buffer: number) => DType,
  ) {}

  name(value: Value): string {
    return value.kind === "register" ? this.registerName(value.register) : `v${value.id}`;
  }

  /** Whether a value changes with a loop variable. */
  varies(value: Value, loop: string): boolean {
    let known = this.dependsOn.get(loop);
    if (known === undefined) {
      known = [];
      for (const each of this.kernel.values) {
        const places =
          each.kind === "load" || each.kind === "index" || each.kind === "inside"
            ? [each.index]
            : each.kind === "threefry"
              ? [each.counter]
              : [];
        known[each.id] =
          places.some((place) => namesOf(place).has(loop)) || argumentsOf(each, this.kernel.values).some((arg) => known?.[arg.id]);
      }
      this.dependsOn.set(loop, known);
    }
    return known[value.id] ?? false;
  }

  /** Statements for `targets` and what they need, except for what `done` holds; adds to `done`. */
  statements(targets: readonly Value[], done: Set<number>, accept: (value: Value) => boolean = () => true): string[] {
    const needed = new Set<number>();
    const stack = [...targets];
    while (stack.length > 0) {
      const value = stack.pop() as Value;
      if (needed.has(value.id)) continue;
      needed.add(value.id);
      stack.push(...argumentsOf(value, this.kernel.values));
    }
    const lines: string[] = [];
    for (const value of this.kernel.values) {
      if (!needed.has(value.id) || done.has(value.id) || value.kind === "register" || !accept(value)) continue;
      done.add(value.id);
      lines.push(`let v${value.id} = ${this.expression(value)};`);
    }
    return lines;
  }

  private expression(value: Value): string {
    switch (value.kind) {
      case "load": {
        const read = this.read(value.buffer, index(value.index));
        const type = registerType[value.dtype];
        if (this.bufferDtype?.(value.buffer) === "i32" && type !== "i32")
          return type === "bool" ? `${read} != 0` : `bitcast<${type}>(${read})`;
        return value.dtype === "bool" ? `${read} != 0u` : read;
      }
      case "scalar":
        return scalar(value.scalar, value.dtype);
      case "const":
        return constant(value.value, value.dtype, this.prelude);
      case "index":
        return `i32(${index(value.index)})`;
      case "inside": {
        const place = index(value.index);
        return value.low === 0 ? `${place} < ${value.high}u` : `${place} >= ${value.low}u && ${place} < ${value.high}u`;
      }
      case "threefry":
        return `${this.prelude.use("threefry")}(${this.name(value.key[0])}, ${this.name(value.key[1])}, ${index(value.counter)})`;
      case "operation":
        return operations[value.operation](
          value.args.map((arg) => this.name(arg)) as unknown as [string, string, string],
          { from: (value.args[0] as Value).dtype, to: value.dtype },
          this.prelude,
        );
      case "register":
        return this.registerName(value.register);
    }
  }
}

/** The loop variables in an index expression. */
export function namesOf(x: IndexExpression, found: Set<string> = new Set()): Set<string> {
  for (const { atom } of x.terms) {
    if (atom.kind === "variable") found.add(atom.name);
    else if (atom.kind !== "dynamic") namesOf(atom.of, found);
  }
  return found;
}

function scalar(position: number, dtype: DType): string {
  const word = `scalars[${position >> 2}u].${"xyzw"[position & 3]}`;
  return dtype === "bool" ? `${word} != 0u` : dtype === "u32" ? word : `bitcast<${registerType[dtype]}>(${word})`;
}

/** A value as it is written to memory. */
export const stored = (name: string, dtype: DType): string =>
  dtype === "bool" ? `select(0u, 1u, ${name})` : dtype === "f16" ? `f16(${name})` : name;

/** The starting value of a reduction. */
export function identity(reducer: Reducer, dtype: DType, prelude: Prelude): string {
  if (reducer === "sum") return constant(0, dtype, prelude);
  const largest = reducer === "max" || reducer === "argmax";
  if (dtype === "i32") return constant(largest ? -2147483648 : 2147483647, dtype, prelude);
  if (dtype === "u32") return constant(largest ? 0 : 4294967295, dtype, prelude);
  return constant(largest ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY, dtype, prelude);
}

/** Whether a takes the place of b as the largest or smallest: the first NaN wins over all numbers, and nothing over it. */
export function beats(reducer: Reducer, a: string, b: string, dtype: DType, prelude: Prelude): string {
  const largest = reducer === "argmax";
  return isFloatType(dtype) ? `${prelude.use(largest ? "beats_max" : "beats_min")}(${a}, ${b})` : `${a} ${largest ? ">" : "<"} ${b}`;
}

/** a combined with b. */
export function combine(reducer: Reducer, a: string, b: string, dtype: DType, prelude: Prelude): string {
  if (reducer === "sum") return `${a} + ${b}`;
  return isFloatType(dtype) ? `${prelude.use(reducer === "max" ? "max_nan" : "min_nan")}(${a}, ${b})` : `${reducer}(${a}, ${b})`;
}
