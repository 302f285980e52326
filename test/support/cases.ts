import type { Abstract, PrimitiveName } from "../../src/ir/primitives.js";
import { sizeOf } from "../../src/ir/shape.js";
import { type Allowance, allow } from "./compare.js";
import { type Computation, GraphBuilder, type HostTensor, hostTensor } from "./graphs.js";
import { fill, type Sample } from "./samples.js";
import * as tolerances from "./tolerances.js";
import { type ViewKind, viewKinds, viewOf } from "./views.js";

/** A sample with values and a way for its operands to lie in memory. */
export interface Case<P extends PrimitiveName> {
  readonly primitive: P;
  readonly sample: Sample<P>;
  readonly view: ViewKind;
  readonly operands: readonly HostTensor[];
  readonly title: string;
}

/**
 * Every sample with contiguous operands, and once more with another kind of view. The kinds take turns, so that each of
 * them meets every primitive in several shapes and dtypes without the product of all.
 */
export function casesOf<P extends PrimitiveName>(primitive: P, samples: readonly Sample<P>[]): Case<P>[] {
  return samples.flatMap((sample, i) => {
    const operands = sample.operands.map((operand, j) => fill(operand, 31 * i + j));
    const types = operands.map(({ dtype, shape }) => `${dtype}[${shape.join(", ")}]`).join(", ");
    const other = viewKinds[1 + (i % (viewKinds.length - 1))] as ViewKind;
    return (operands.length === 0 ? (["contiguous"] as const) : (["contiguous", other] as const)).map((view) => ({
      primitive,
      sample,
      view,
      operands,
      title: `${primitive}(${types}) ${JSON.stringify(sample.params)}, ${view}`,
    }));
  });
}

/** The graph of a case; `transform` may change the values of the operands. */
export function computationOf<P extends PrimitiveName>(
  { primitive, sample, view, operands }: Case<P>,
  transform: (x: HostTensor) => HostTensor = (x) => x,
): Computation {
  const builder = new GraphBuilder();
  const inputs = operands.map((x) => viewOf(builder, transform(x), view));
  return builder.build([builder.operation(primitive, inputs, sample.params)]);
}

/** The graph of a case that gives the operands themselves, as its view makes them. */
export function operandsOf<P extends PrimitiveName>({ view, operands }: Case<P>): Computation {
  const builder = new GraphBuilder();
  return builder.build(operands.map((x) => viewOf(builder, x, view)));
}

/** |x| for floats; integers, which are indices where it matters, as they are. */
export const magnitude = (x: HostTensor): HostTensor => (x.dtype === "f32" ? hostTensor("f32", x.shape, x.data.map(Math.abs)) : x);

const inexact: Partial<Record<PrimitiveName, tolerances.Tolerance>> = {
  exp: tolerances.transcendental,
  log: tolerances.transcendental,
  tanh: tolerances.transcendental,
  erf: tolerances.transcendental,
  pow: tolerances.transcendental,
  mod: tolerances.transcendental,
  sin: tolerances.trigonometric,
  cos: tolerances.trigonometric,
  sqrt: tolerances.quotient,
  recip: tolerances.quotient,
  div: tolerances.quotient,
};

/** The primitives that add many terms up; their bound needs the sums of magnitudes. */
const sums: Partial<Record<PrimitiveName, (operands: readonly Abstract[], result: Abstract) => number>> = {
  sum: ([x], result) => sizeOf(x?.shape ?? []) / Math.max(1, sizeOf(result.shape)),
  dot: ([a]) => a?.shape[a.shape.length - 1] ?? 1,
  scatterAdd: ([, index]) => sizeOf(index?.shape ?? []),
};

export const isSum = (primitive: PrimitiveName): boolean => primitive in sums;

/** What a result of this case may differ by; `magnitudes` is the result for |operands|, needed where {@link isSum}. */
export function allowanceOf<P extends PrimitiveName>(
  { primitive, operands }: Case<P>,
  result: Abstract,
  magnitudes?: HostTensor,
): Allowance {
  if (result.dtype !== "f32") return allow(tolerances.exact);
  const terms = sums[primitive];
  if (terms === undefined || magnitudes === undefined) return allow(inexact[primitive] ?? tolerances.exact);
  return (_, i) => tolerances.sumBound(terms(operands, result), magnitudes.data[i] as number);
}
