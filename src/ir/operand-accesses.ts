import type { GraphNode } from "./graph.js";
import { add, type IndexExpression, literal, reshapeCoordinates, scale, unbounded, zero } from "./index-expression.js";
import type { PrimitiveName, PrimitivesWithTag } from "./primitives.js";
import type { Shape } from "./shape.js";

/**
 * How one node reads its operands: for one element of the result, which element of which operand, and when. This is the only place that
 * knows what views, pads, concats and gathers do to coordinates; access maps (access.ts) follow it from node to node, and kernels
 * (scalars.ts) compute along it.
 *
 *   permute(x, [1, 0])  at [i, j]     x at [j, i]
 *   slice(x, 2:9:3)     at [i]        x at [3·i + 2]
 *   pad(x, 1, 1)        at [i]        x at [i − 1]  where 1 ≤ i < 1 + n, else the padding
 *   concat(x, y)        at [i]        x at [i]      where 0 ≤ i < n, else y at [i − n]
 *   gather(x, index)    at [i, j]     index at [i];  x at [d, j] where 0 ≤ d < n, else NaN or 0; d is the number that was read
 *   add(x, y)           at [i, j]     x at [i, j], y at [i, j]
 */
export interface OperandAccess {
  readonly operand: number;
  readonly coordinates: readonly IndexExpression[];
  /** All hold, or what the node has instead is taken. */
  readonly guards: readonly Guard[];
}

/** low ≤ index < high. */
export interface Guard {
  readonly index: IndexExpression;
  readonly low: number;
  readonly high: number;
}

/** The index expression of a number that is read at run time, from a place of the index operand, and is used below `extent`. */
export type DynamicIndexOf = (place: readonly IndexExpression[], extent: number) => IndexExpression;

const movements = new Set(["reshape", "permute", "expand", "slice", "flip", "pad", "concat"]);

/** Whether a node has exactly the elements of its first operand at other places. A barrier is one that leaves them where they are. */
export const isView = (node: GraphNode): boolean =>
  node.kind === "barrier" ||
  (node.kind === "operation" && movements.has(node.primitive) && node.primitive !== "pad" && node.primitive !== "concat");
export const isMovement = (node: GraphNode): boolean => node.kind === "operation" && movements.has(node.primitive);

const readingElsewhere = new Set([...movements, "gather", "randomBits"]);

/** Whether a node reads every operand at the coordinates that it is computed at, as elementwise operations do. */
export const readsInPlace = (node: GraphNode): boolean =>
  node.kind === "barrier" || (node.kind === "operation" && !readingElsewhere.has(node.primitive));

const none: readonly Guard[] = [];
const single = (coordinates: readonly IndexExpression[], guards: readonly Guard[] = none): OperandAccess[] => [
  { operand: 0, coordinates, guards },
];

/** A coordinate of the result as one of an operand that begins there: the only one, where there is but one and a guard asks for it. */
const within = (index: IndexExpression, start: number, extent: number): IndexExpression =>
  extent === 1 ? zero : start === 0 ? index : add(index, literal(-start));

/** Primitives whose elements are computed from those at the same coordinates, or which others have loops for. */
type InPlace = Exclude<PrimitiveName, PrimitivesWithTag<"movement"> | "gather" | "randomBits">;

const inPlace = (_: InPlace, inputs: readonly number[], coordinates: readonly IndexExpression[]): OperandAccess[] =>
  inputs.map((_, operand) => ({ operand, coordinates, guards: none }));

/**
 * The elements of its operands that the element of a node at `at` is computed from, in the order in which they are read. Accesses of one
 * concat take turns: a later one holds where the guards of earlier ones fail. Reductions, products and scatters have loops of their own
 * for this.
 */
export function operandAccesses(
  node: GraphNode,
  at: readonly IndexExpression[],
  shapeOf: (operand: number) => Shape,
  dynamicIndexOf: DynamicIndexOf,
): readonly OperandAccess[] {
  if (node.kind === "barrier") return single(at);
  if (node.kind !== "operation") return [];
  switch (node.primitive) {
    case "reshape":
      return single(reshapeCoordinates(at, node.shape, shapeOf(0)));
    case "permute": {
      const { order } = node.params;
      return single(order.map((_, axis) => at[order.indexOf(axis)] as IndexExpression));
    }
    case "expand":
      return single(at.map((index, i) => (shapeOf(0)[i] === 1 ? zero : index)));
    case "slice": {
      const { starts, steps } = node.params;
      return single(at.map((index, i) => add(scale(index, steps[i] as number), literal(starts[i] as number))));
    }
    case "flip": {
      const { axes } = node.params;
      return single(at.map((index, i) => (axes.includes(i) ? add(literal((node.shape[i] as number) - 1), scale(index, -1)) : index)));
    }
    case "pad": {
      const { low, high } = node.params;
      const guards: Guard[] = [];
      const coordinates = at.map((index, i) => {
        const [before, after] = [low[i] as number, high[i] as number];
        const extent = shapeOf(0)[i] as number;
        if (before > 0 || after > 0) guards.push({ index, low: before, high: before + extent });
        return within(index, before, extent);
      });
      return single(coordinates, guards);
    }
    case "concat": {
      const { axis } = node.params;
      let start = 0;
      return node.inputs.map((_, operand) => {
        const extent = shapeOf(operand)[axis] as number;
        const along = at[axis] as IndexExpression;
        const access = {
          operand,
          coordinates: at.map((index, i) => (i === axis ? within(index, start, extent) : index)),
          guards: [{ index: along, low: start, high: start + extent }],
        };
        start += extent;
        return access;
      });
    }
    case "gather": {
      const rank = shapeOf(1).length;
      const extent = shapeOf(0)[0] as number;
      const place = at.slice(0, rank);
      const row = dynamicIndexOf(place, extent);
      return [
        { operand: 1, coordinates: place, guards: none },
        { operand: 0, coordinates: [row, ...at.slice(rank)], guards: [{ index: unbounded(row), low: 0, high: extent }] },
      ];
    }
    case "randomBits":
      return [0, 1].map((lane) => ({ operand: 0, coordinates: [literal(lane)], guards: none }));
    default:
      return inPlace(node.primitive, node.inputs, at);
  }
}

/** For nodes that are views, none of which reads numbers to know where to read. */
export function viewAccess(node: GraphNode, at: readonly IndexExpression[], shapeOf: (operand: number) => Shape): OperandAccess {
  const [access] = operandAccesses(node, at, shapeOf, () => zero);
  if (!isView(node) || access === undefined) throw new Error(`a ${node.kind} is no view`);
  return access;
}
