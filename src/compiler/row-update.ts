import type { CallNode, Graph, GraphNode } from "../ir/graph.js";
import { dynamicIndex, flatten, type IndexExpression, unflatten, variable } from "../ir/index-expression.js";
import { sizeOf } from "../ir/shape.js";
import type { AccessMaps } from "./access.js";
import { outerLoop } from "./domain.js";
import type { MapKernel } from "./program.js";
import { Scalars } from "./scalars.js";

/**
 * Rows that are written into a tensor, as two kernels: a copy of the tensor, and the rows over it. Where the result takes over the memory
 * of the tensor, the copy is of what is there already, and planning drops it (plan.ts).
 *
 *   y = updateRows(x, mul(a, 2), start)          for o < 64    y[o] = x[o]
 *   x, y: [2, 8, 4], a: [2, 1, 4]          →     for o < 8     y[32·(o / 4) + 4·start + o mod 4] = 2 · a[o]   where 0 ≤ start < 8
 */
export function rowUpdateKernels(graph: Graph, { materialized }: AccessMaps, members: readonly number[]): MapKernel[] {
  const [position, result] = members as [number, number | undefined];
  if (result === undefined) return [];
  const call = graph.nodes[position] as CallNode;
  const [x, rows, start] = call.inputs as [number, number, number];
  const { shape } = graph.nodes[result] as GraphNode;
  const axis = shape.length - 2;

  const copied = new Scalars(graph, materialized, new Set(members));
  const everywhere = variable(outerLoop, sizeOf(shape));
  const old = copied.at(x, unflatten(everywhere, shape));
  const copy: MapKernel = {
    kind: "map",
    label: "copy",
    values: copied.values,
    stores: [{ buffer: result, index: everywhere, value: old, inner: false }],
    outer: { name: outerLoop, extent: sizeOf(shape) },
  };

  const scalars = new Scalars(graph, materialized, new Set(members));
  const ofRows = (graph.nodes[rows] as GraphNode).shape;
  const at = unflatten(variable(outerLoop, sizeOf(ofRows)), ofRows);
  const value = scalars.at(rows, at);
  const extent = shape[axis] as number;
  const place = scalars.operation("add", [scalars.at(start, []), scalars.index(at[axis] as IndexExpression)], "i32");
  const places = at.map((index, i) => (i === axis ? dynamicIndex(place.id, extent) : index));
  const isBefore = scalars.operation("lt", [place, scalars.constant(0, "i32")], "bool");
  const isThere = scalars.operation("lt", [place, scalars.constant(extent, "i32")], "bool");
  const where = scalars.operation("and", [scalars.operation("not", [isBefore], "bool"), isThere], "bool");
  const update: MapKernel = {
    kind: "map",
    label: "update rows",
    values: scalars.values,
    stores: [{ buffer: result, index: flatten(places, shape), value, inner: false }],
    outer: { name: outerLoop, extent: sizeOf(ofRows) },
    where,
  };
  return [copy, update];
}
