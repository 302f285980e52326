import { type DType, isHalf } from "../ir/dtype.js";
import type { GraphNode, OperationNode } from "../ir/graph.js";
import { dropAxes, sizeOf } from "../ir/shape.js";

/**
 * Reduction splitting ("split-K" where it is a product's): long sums in two steps, so that there is work for every thread of a device and
 * chains of additions stay short:
 *
 *   sum over [n]             → sums over the last axis of [pieces, n/pieces], then their sum
 *   [m, K]·[K, n]            → [pieces, m, K/pieces]·[pieces, K/pieces, n], then the sum over the pieces
 *
 * Where no pieces of equal length fill a row, what is left over is reduced on its own. Sums in between are floats where the numbers
 * are halves.
 */

/** The nodes of a graph in the making. */
export interface Making {
  readonly nodes: readonly GraphNode[];
  readonly place: (node: GraphNode) => number;
}

type Reduction = OperationNode<"sum"> | OperationNode<"maxReduce"> | OperationNode<"minReduce">;

/** Rows shorter than this are left whole. */
const longRow = 8192;
/** Others are cut into pieces of about this length. */
const pieceLength = 1024;
/** Products over no more steps than this are left whole. */
const longProduct = 8192;
/** Others are cut into pieces of about so many steps. */
const pieceDepth = 4096;

/** Combines the reductions of two parts of a row. */
const combining = { sum: "add", maxReduce: "max", minReduce: "min" } as const;

/** Places a reduction, in two steps where it has fewer than `minRows` rows and these are long. */
export function placeReduction(node: Reduction, making: Making, minRows: number): number {
  const { nodes, place } = making;
  const source = node.inputs[0] as number;
  const { shape } = nodes[source] as GraphNode;
  const { axes } = node.params;
  const rows = sizeOf(node.shape);
  const length = rows === 0 ? 0 : sizeOf(shape) / rows;
  if (rows >= minRows || length < longRow) return place(node as GraphNode);
  if (node.primitive === "sum" && isHalf(node.dtype)) {
    const wide = placeReduction({ ...node, inputs: [cast(making, source, "f32")], dtype: "f32" } as Reduction, making, minRows);
    return cast(making, wide, node.dtype);
  }
  const extentOf = (axis: number): number => shape[axis] as number;
  // Pieces of the first axis lie apart in memory; where it is too short, the longest gives most of them.
  const longest = axes.reduce((best, other) => (extentOf(other) > extentOf(best) ? other : best), axes[0] as number);
  const axis = axes.find((each) => rows * extentOf(each) >= minRows) ?? longest;
  const extent = extentOf(axis);
  const piece = pieceOf(extent, Math.max(1, Math.floor((pieceLength * extent) / length)));
  const pieces = Math.floor(extent / piece);
  const before = axes.filter((other) => other < axis);
  const after = axes.filter((other) => other > axis);

  // [rows…, pieces]: what each piece comes to. Pieces of one step are the axis itself.
  const whole = slice(making, source, axis, 0, pieces * piece);
  const cut = piece === 1 ? whole : split(making, whole, axis, pieces, piece);
  const inside = piece === 1 ? [...before, ...after] : [...before, axis + 1, ...after.map((other) => other + 1)];
  const reduce = (input: number, over: readonly number[]): Reduction =>
    ({ ...node, inputs: [input], params: { axes: over }, shape: dropAxes((nodes[input] as GraphNode).shape, over) }) as Reduction;
  const partial = placeReduction(reduce(cut, inside), making, minRows);
  const total = placeReduction(reduce(partial, [axis - before.length]), making, minRows);
  if (pieces * piece === extent) return total;
  const rest = place(reduce(slice(making, source, axis, pieces * piece, extent), axes) as GraphNode);
  return combine(making, combining[node.primitive], total, rest);
}

/** Places a product, in two steps where it is long. */
export function placeProduct(node: OperationNode<"dot">, making: Making, minRows: number): number {
  const { nodes, place } = making;
  const [a, b] = node.inputs as [number, number];
  const rank = node.shape.length;
  const [m, n] = node.shape.slice(-2) as [number, number];
  const depth = (nodes[a] as GraphNode).shape[rank - 1] as number;
  // What lies between the steps takes no more memory than the operands.
  const most = Math.min(depth / pieceDepth, (depth * (m + n)) / (m * n));
  if (depth <= longProduct || !(most >= 2)) return place(node as GraphNode);
  const piece = pieceOf(depth, Math.floor(depth / Math.floor(most)));
  const pieces = Math.floor(depth / piece);
  const dtype = isHalf(node.dtype) ? "f32" : node.dtype;
  const product = (left: number, right: number): number => {
    const { shape } = nodes[left] as GraphNode;
    return place({ ...node, inputs: [left, right], params: { dtype }, shape: [...shape.slice(0, -1), n], dtype });
  };

  const left = split(making, slice(making, a, rank - 1, 0, pieces * piece), rank - 1, pieces, piece);
  const order = [...node.shape.slice(0, -2).map((_, axis) => axis), rank - 1, rank - 2, rank];
  const right = split(making, slice(making, b, rank - 2, 0, pieces * piece), rank - 2, pieces, piece);
  const partial = product(permute(making, left, order), right); // [batch…, pieces, m, n]
  const sum = { kind: "operation", primitive: "sum", inputs: [partial], params: { axes: [rank - 2] }, shape: node.shape, dtype } as const;
  let total = placeReduction(sum, making, minRows);
  if (pieces * piece < depth) {
    const rest = product(slice(making, a, rank - 1, pieces * piece, depth), slice(making, b, rank - 2, pieces * piece, depth));
    total = combine(making, "add", total, rest);
  }
  return dtype === node.dtype ? total : cast(making, total, node.dtype);
}

/** The divisor of n next to `wanted` within a factor of two; `wanted` itself where there is none. */
function pieceOf(n: number, wanted: number): number {
  for (let off = 0; off <= wanted; off++) {
    if (n % (wanted + off) === 0) return wanted + off;
    if (off <= wanted / 2 && n % (wanted - off) === 0) return wanted - off;
  }
  return wanted;
}

export function cast({ nodes, place }: Making, input: number, dtype: DType): number {
  const { shape } = nodes[input] as GraphNode;
  return place({ kind: "operation", primitive: "cast", inputs: [input], params: { dtype }, shape, dtype });
}

function combine({ nodes, place }: Making, primitive: "add" | "max" | "min", a: number, b: number): number {
  const { shape, dtype } = nodes[a] as GraphNode;
  return place({ kind: "operation", primitive, inputs: [a, b], params: {}, shape, dtype });
}

/** Elements start ≤ i < stop along an axis. */
function slice({ nodes, place }: Making, input: number, axis: number, start: number, stop: number): number {
  const { shape: full, dtype } = nodes[input] as GraphNode;
  if (start === 0 && stop === full[axis]) return input;
  const starts = full.map((_, i) => (i === axis ? start : 0));
  const stops = full.map((extent, i) => (i === axis ? stop : extent));
  const shape = full.map((extent, i) => (i === axis ? stop - start : extent));
  const params = { starts, stops, steps: full.map(() => 1) };
  return place({ kind: "operation", primitive: "slice", inputs: [input], params, shape, dtype });
}

/** An axis as two, [pieces, piece]. */
function split({ nodes, place }: Making, input: number, axis: number, pieces: number, piece: number): number {
  const { shape: full, dtype } = nodes[input] as GraphNode;
  const shape = [...full.slice(0, axis), pieces, piece, ...full.slice(axis + 1)];
  return place({ kind: "operation", primitive: "reshape", inputs: [input], params: { shape }, shape, dtype });
}

function permute({ nodes, place }: Making, input: number, order: readonly number[]): number {
  const { shape: full, dtype } = nodes[input] as GraphNode;
  const shape = order.map((axis) => full[axis] as number);
  return place({ kind: "operation", primitive: "permute", inputs: [input], params: { order }, shape, dtype });
}
