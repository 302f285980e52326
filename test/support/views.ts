import { type Shape, sizeOf } from "../../src/ir/shape.js";
import type { GraphBuilder, HostTensor } from "./graphs.js";
import { hostTensor } from "./graphs.js";

/** How an operand lies in memory when a primitive reads it. */
export const viewKinds = ["contiguous", "sliced", "permuted", "expanded", "flipped"] as const;
export type ViewKind = (typeof viewKinds)[number];

/**
 * Adds an input and the movement that turns it into a tensor of the shape of `x`; returns its position. Its value is that
 * of `x`, except that an expanded tensor repeats the first entries of `x` along its longest axis.
 */
export function viewOf(builder: GraphBuilder, x: HostTensor, kind: ViewKind): number {
  const { shape } = x;
  switch (kind) {
    case "contiguous":
      return builder.input(x);
    case "sliced": {
      const big = shape.map((extent) => 2 * extent + 1);
      const held = scatter(x, big, (c) => c.map((i) => 2 * i + 1));
      return builder.operation("slice", [builder.input(held)], { starts: shape.map(() => 1), stops: big, steps: shape.map(() => 2) });
    }
    case "permuted": {
      const held = scatter(x, [...shape].reverse(), (c) => [...c].reverse());
      return builder.operation("permute", [builder.input(held)], { order: shape.map((_, i) => shape.length - 1 - i) });
    }
    case "flipped": {
      const held = scatter(x, shape, (c) => c.map((i, axis) => (shape[axis] as number) - 1 - i));
      return builder.operation("flip", [builder.input(held)], { axes: shape.map((_, axis) => axis) });
    }
    case "expanded": {
      const longest = shape.indexOf(Math.max(...shape));
      const thin = shape.map((extent, axis) => (axis === longest ? 1 : extent));
      // An empty tensor has no entries to repeat.
      if (shape.length === 0 || sizeOf(shape) === 0) return builder.input(x);
      const held = hostTensor(x.dtype, thin, x.data.slice(0, sizeOf(thin)));
      return builder.operation("expand", [builder.input(held)], { shape });
    }
  }
}

/** Every coordinate of a shape, in row-major order. */
export function* coordinates(shape: Shape): Generator<readonly number[]> {
  const size = sizeOf(shape);
  for (let i = 0; i < size; i++) {
    let rest = i;
    const coordinate: number[] = [];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const extent = shape[axis] as number;
      coordinate[axis] = rest % extent;
      rest = Math.floor(rest / extent);
    }
    yield coordinate;
  }
}

/** The row-major position of a coordinate. */
export const positionOf = (shape: Shape, coordinate: readonly number[]): number =>
  shape.reduce((position, extent, axis) => position * extent + (coordinate[axis] as number), 0);

/** A tensor of another shape that holds the element of x at c at place(c), and 1 elsewhere. */
function scatter(x: HostTensor, shape: Shape, place: (coordinate: readonly number[]) => readonly number[]): HostTensor {
  const held = hostTensor(x.dtype, shape, new Array<number>(sizeOf(shape)).fill(1));
  let next = 0;
  for (const c of coordinates(x.shape)) held.data[positionOf(shape, place(c))] = x.data[next++] as number;
  return held;
}
