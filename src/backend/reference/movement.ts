import { type Shape, stridesOf } from "../../ir/shape.js";
import type { Data } from "./values.js";

/** Elements of an array that sit at `offset + Σ strides[i] · coordinate[i]`. */
export interface View {
  readonly data: Data;
  readonly offset: number;
  readonly strides: readonly number[];
}

/** All of `data`, row by row. */
export const whole = (data: Data, shape: Shape): View => ({ data, offset: 0, strides: stridesOf(shape) });

/** to[c] = from[c] for every coordinate c of `shape`. */
export function copyView(to: View, from: View, shape: Shape): void {
  if (shape.includes(0)) return;
  if (shape.length === 0) {
    to.data[to.offset] = from.data[from.offset] as number;
    return;
  }
  copyAxis(to, to.offset, from, from.offset, shape, 0);
}

function copyAxis(to: View, toOffset: number, from: View, fromOffset: number, shape: Shape, axis: number): void {
  const extent = shape[axis] as number;
  const toStride = to.strides[axis] as number;
  const fromStride = from.strides[axis] as number;
  if (axis === shape.length - 1) {
    const target = to.data;
    const source = from.data;
    for (let i = 0; i < extent; i++) target[toOffset + i * toStride] = source[fromOffset + i * fromStride] as number;
    return;
  }
  for (let i = 0; i < extent; i++) copyAxis(to, toOffset + i * toStride, from, fromOffset + i * fromStride, shape, axis + 1);
}

/** The offsets of all coordinates of `shape` under `strides`, in row-major order of the coordinates. */
export function offsetsOf(shape: Shape, strides: readonly number[]): Float64Array {
  let offsets = new Float64Array(1);
  shape.forEach((extent, axis) => {
    const stride = strides[axis] as number;
    const finer = new Float64Array(offsets.length * extent);
    offsets.forEach((offset, i) => {
      for (let j = 0; j < extent; j++) finer[i * extent + j] = offset + j * stride;
    });
    offsets = finer;
  });
  return offsets;
}
