import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type PrimitiveName, primitives } from "../../src/ir/primitives.js";
import { allowanceOf, type Case, computationOf, isSum, magnitude } from "./cases.js";
import { difference } from "./compare.js";
import { compute, type HostTensor, hostTensor } from "./graphs.js";
import { type Half, halfUnit, inHalves, toNearestHalf } from "./halves.js";

/** Primitives on halves, held against the reference on the same numbers. */

const reference = createReferenceBackend();

export const nearestHalves = (values: ArrayLike<number>, half: Half): number[] => Array.from(values, (x) => toNearestHalf(x, half));
const rounded = (x: HostTensor, half: Half): HostTensor =>
  x.dtype === "f32" ? hostTensor("f32", x.shape, nearestHalves(x.data, half)) : x;
const asHalf = (x: HostTensor, half: Half): HostTensor => (x.dtype === "f32" ? { ...x, dtype: half } : x);

/** Primitives whose result, from the right operands, may be the wrong one of two neighbouring halves: f32 itself is not exact there. */
const approximate = new Set<PrimitiveName>(["exp", "log", "sin", "cos", "tanh", "erf", "pow", "mod"]);

/** The first thing that is wrong with a primitive on halves; undefined where it is right or has no floats. */
export async function halfFailure<P extends PrimitiveName>(backend: Backend, testCase: Case<P>, half: Half): Promise<string | undefined> {
  const single = computationOf(testCase, (x) => rounded(x, half));
  const graph = inHalves(single.graph, half);
  if (graph === undefined || !graph.nodes.some(({ dtype }) => dtype === half)) return undefined;
  const [exact] = (await compute(reference, single)) as [HostTensor];
  const [found] = (await compute(backend, { ...single, graph, inputs: single.inputs.map((x) => asHalf(x, half)) })) as [HostTensor];
  if (exact.dtype !== "f32") return difference(found, exact, () => 0);
  const expected = asHalf(hostTensor("f32", exact.shape, nearestHalves(exact.data, half)), half);
  const [magnitudes] = isSum(testCase.primitive)
    ? await compute(
        reference,
        computationOf(testCase, (x) => magnitude(rounded(x, half))),
      )
    : [undefined];
  const allowance = allowanceOf(testCase, exact, magnitudes);
  const neighbour = approximate.has(testCase.primitive) || isSum(testCase.primitive);
  return difference(found, expected, (value, i) => (neighbour ? allowance(exact.data[i] as number, i) + halfUnit(value, half) : 0));
}

/** The primitives that take or make halves; a bitcast keeps the width of its operand, and there are no integers of 16 bits. */
export const withFloats = (Object.keys(primitives) as PrimitiveName[]).filter(
  (name) => !["not", "and", "or", "bitcast", "randomBits"].includes(name),
);
