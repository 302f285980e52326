import { NonFiniteError, type NonFiniteOperand, type NonFiniteOrigin } from "../errors.js";
import type { DType } from "../ir/dtype.js";
import type { GraphNode } from "../ir/graph.js";
import { originOfNode, placeOf } from "../ir/origin.js";
import { type Shape, show, sizeOf } from "../ir/shape.js";
import type { Values } from "./single-steps.js";

/** A node that made a NaN or an infinity. */
export interface Found {
  readonly node: GraphNode;
  readonly values: Values;
  readonly inputs: readonly {
    readonly shape: Shape;
    readonly dtype: DType;
    readonly scalar: number | undefined;
    readonly values: Values | undefined;
  }[];
  readonly label: string;
  /** What an input is called. */
  readonly name: string | undefined;
  readonly steps: readonly number[];
}

/** What to do about a NaN or an infinity, by the operation that made it. */
const advice: Readonly<Record<string, string>> = {
  log: "log is −∞ at 0 and NaN below: keep its operand above 0, as in x.maximum(1e-12).log(); logSoftmax and logSumExp are safe as they are",
  sqrt: "√x is NaN below 0, and its derivative infinite at 0: keep its operand above 0, as in x.maximum(1e-12).sqrt()",
  div: "0/0 is NaN and x/0 infinite: choose the divisor and not the quotient, as in x.div(where(y.equal(0), 1, y))",
  recip: "1/0 is infinite: choose the operand and not the result, as in where(x.equal(0), 1, x).recip()",
  exp: "eˣ overflows from x = 88.7 on in f32: subtract the maximum first, as softmax and logSumExp do",
  pow: "a power of a negative number is NaN unless the exponent is an integer, and 0 to a negative one infinite",
  sub: "∞ − ∞ is NaN: look for the first infinity",
  mul: "the product overflows, or 0 meets an infinity: scale the operands down",
  dot: "the product overflows: scale the operands down, or compute in f32",
  cast: "the value is beyond the largest of that dtype: scale it down, or use bf16 or f32",
  gather: "an index out of range gives NaN: indices are 0 … n − 1",
  input: 'it was there before: look at the data, or at what computed it; init({ debug: "nan" }) lets infinities pass, as those of masks',
};

/** The error that tells of it. */
export function nonFiniteError({ node, values, inputs, label, name, steps }: Found): NonFiniteError {
  const noted = originOfNode(node);
  const { derivation } = noted ?? {};
  // A value of a gradient belongs to the line of the value that is differentiated.
  const from = derivation?.forward ?? noted;
  const { line, calls } = from === undefined ? { line: undefined, calls: [] } : placeOf(from);
  const isNan = values.nan > 0;
  const [count, first] = isNan ? [values.nan, values.firstNan] : [values.infinite, values.firstInfinite];
  const origin: NonFiniteOrigin = {
    operation: node.kind === "operation" ? node.primitive : node.kind,
    value: isNan ? "NaN" : "Infinity",
    count,
    shape: node.shape,
    dtype: node.dtype,
    index: placeIn(node.shape, first),
    inputs: inputs.map(operandOf),
    line,
    calls,
    rule: derivation === undefined ? undefined : { of: derivation.of, formula: derivation.rule },
    steps,
    program: label,
  };
  const hint = advice[origin.operation] ?? "look at its operands";
  return new NonFiniteError(messageOf(origin, name), { origin, hint: advice[derivation?.of ?? ""] ?? hint });
}

function operandOf({ shape, dtype, scalar, values }: Found["inputs"][number]): NonFiniteOperand {
  const [least, greatest] = scalar !== undefined ? [scalar, scalar] : [values?.least, values?.greatest];
  return { shape, dtype, nan: values?.nan ?? 0, infinite: values?.infinite ?? 0, least, greatest };
}

function messageOf(origin: NonFiniteOrigin, name: string | undefined): string {
  const { operation, value, count, shape, dtype, index, inputs, line, calls, rule, steps, program } = origin;
  const within = calls[0] === undefined || calls[0] === operation ? "" : ` in ${calls[0]}`;
  const at = line === undefined ? "" : `, at ${line}${within}`;
  const amount = `${value} at ${show(index)} of ${dtype}${show(shape)} (${count} of ${sizeOf(shape)})`;
  const turns = steps.length === 0 ? "" : `, in step ${steps.join(", ")} of the loop`;
  if (operation === "input") return `${program}: ${name ?? "an input"} holds ${amount}${at}`;
  const how = rule === undefined ? "" : ` in the gradient of ${rule.of}, ${rule.formula},`;
  const of = inputs.length === 0 ? "" : ` of ${inputs.map(operandInWords).join(" and ")}`;
  return `${program}: ${operation}${how} made ${amount}${of}${turns}${at}`;
}

function operandInWords({ shape, dtype, nan, infinite, least, greatest }: NonFiniteOperand): string {
  const type = `${dtype}${show(shape)}`;
  if (least === undefined || greatest === undefined) return type;
  const digits = (x: number): string => String(Number(x.toPrecision(4)));
  const all = sizeOf(shape) === nan + infinite;
  const range = all ? [] : [least === greatest ? digits(least) : `${digits(least)} … ${digits(greatest)}`];
  const others = [...(nan > 0 ? [`${nan} NaN`] : []), ...(infinite > 0 ? [`${infinite} infinite`] : [])];
  return `${type} (${[...range, ...others].join(", ")})`;
}

/** Coordinates of an element. */
function placeIn(shape: Shape, position: number): number[] {
  let rest = position;
  return [...shape]
    .reverse()
    .map((extent) => {
      const at = rest % extent;
      rest = Math.floor(rest / extent);
      return at;
    })
    .reverse();
}
