import type { GraphNode } from "../ir/graph.js";
import { add, type IndexExpression, literal, reshapeCoordinates, scale, zero } from "../ir/index-expression.js";
import type { Shape } from "../ir/shape.js";

/** A condition under which an operand is read: low ≤ index < high. */
export interface Guard {
  readonly index: IndexExpression;
  readonly low: number;
  readonly high: number;
}

/** One operand of a movement: where it is read, and under which conditions. */
export interface Reading {
  readonly operand: number;
  readonly coordinates: IndexExpression[];
  readonly guards: readonly Guard[];
}

const movements = new Set(["reshape", "permute", "expand", "slice", "flip", "pad", "concat"]);

/** True for movements that read exactly one place of one operand. */
export const isView = (node: GraphNode): boolean =>
  node.kind === "operation" && movements.has(node.primitive) && node.primitive !== "pad" && node.primitive !== "concat";
export const isMovement = (node: GraphNode): boolean => node.kind === "operation" && movements.has(node.primitive);

/** Which element of which operand a movement takes at `at`; later readings take over where the guards of earlier ones fail. */
export function readings(node: GraphNode, at: readonly IndexExpression[], shapeOf: (operand: number) => Shape): Reading[] {
  if (node.kind !== "operation") return [];
  const single = (coordinates: IndexExpression[], guards: Guard[] = []): Reading[] => [{ operand: 0, coordinates, guards }];
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
        return before === 0 ? index : add(index, literal(-before));
      });
      return single(coordinates, guards);
    }
    case "concat": {
      const { axis } = node.params;
      let start = 0;
      return node.inputs.map((_, operand) => {
        const extent = shapeOf(operand)[axis] as number;
        const along = at[axis] as IndexExpression;
        const reading = {
          operand,
          coordinates: at.map((index, i) => (i === axis && start > 0 ? add(index, literal(-start)) : index)),
          guards: [{ index: along, low: start, high: start + extent }],
        };
        start += extent;
        return reading;
      });
    }
    default:
      return [];
  }
}
