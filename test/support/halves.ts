import type { Graph, GraphNode } from "../../src/ir/graph.js";

/** The dtypes that store floats in 16 bits. */
export type Half = "f16" | "bf16";
export const halves: readonly Half[] = ["f16", "bf16"];

/** Significant bits, and the exponents of the smallest and of the largest normal numbers. */
const formats: Readonly<Record<Half, { readonly digits: number; readonly lowest: number; readonly highest: number }>> = {
  f16: { digits: 11, lowest: -14, highest: 15 },
  bf16: { digits: 8, lowest: -126, highest: 127 },
};

/** A graph with f16 (or bf16) wherever it has f32; undefined where a number is read as bits, whose width would change. */
export function inHalves(graph: Graph, to: Half = "f16"): Graph | undefined {
  if (graph.nodes.some((node) => node.kind === "operation" && node.primitive === "bitcast")) return undefined;
  const half = (node: GraphNode): GraphNode => {
    const dtype = node.dtype === "f32" ? to : node.dtype;
    if (node.kind !== "operation") return { ...node, dtype };
    const params = "dtype" in node.params && node.params.dtype === "f32" ? { ...node.params, dtype: to } : node.params;
    return { ...node, params, dtype } as GraphNode;
  };
  return { ...graph, nodes: graph.nodes.map(half) };
}

/** The nearest number that a half can hold, ties to even; by arithmetic alone, so that it is an oracle for conversions of bits. */
export function toNearestHalf(x: number, dtype: Half = "f16"): number {
  const size = Math.abs(x);
  if (!Number.isFinite(x) || size === 0) return x;
  const unit = halfUnit(size, dtype);
  const units = size / unit;
  const floor = Math.floor(units);
  const up = units - floor > 0.5 || (units - floor === 0.5 && floor % 2 === 1);
  const rounded = (floor + (up ? 1 : 0)) * unit;
  return Math.sign(x) * (rounded < 2 ** (formats[dtype].highest + 1) ? rounded : Number.POSITIVE_INFINITY);
}

/** The distance of two neighbouring halves at a number. */
export function halfUnit(x: number, dtype: Half = "f16"): number {
  const { digits, lowest, highest } = formats[dtype];
  const exponent = x === 0 ? lowest : Math.floor(Math.log2(Math.abs(x)));
  return 2 ** (Math.min(highest, Math.max(lowest, exponent)) + 1 - digits);
}

/** The number of a pattern of 16 bits, from the definition of its format. */
export function halfValue(pattern: number, dtype: Half): number {
  const { digits, lowest, highest } = formats[dtype];
  const sign = pattern & 0x8000 ? -1 : 1;
  const exponent = (pattern & 0x7fff) >> (digits - 1);
  const fraction = pattern & (2 ** (digits - 1) - 1);
  if (exponent === highest - lowest + 2) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  const units = exponent === 0 ? fraction : 2 ** (digits - 1) + fraction;
  return sign * units * 2 ** (Math.max(exponent, 1) - 1 + lowest + 1 - digits);
}
