import { checkArgument, checkOptions, either, integer, type OptionKinds, oneOf, optional } from "../arguments.js";
import { OptionError, ShapeError } from "../errors.js";
import { isFloat, promote, summableDtype } from "../ir/dtype.js";
import { show, sizeOf, stridesOf } from "../ir/shape.js";
import { vjp } from "./grad.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import type { Tensor } from "./tensor.js";
import { forAxes, type Padding, type PerAxis, paddingKind, perAxisKind, type Window, windowsOver } from "./windows.js";

/**
 * Convolutions (cross-correlations, as everywhere in machine learning), without patches. The input is padded once; laid out flat, what
 * one element of the kernel meets is then all of it, some places further on:
 *
 *   x, padded    0 0 0 0        kernel   a b       y = a·x[0…] + b·x[1…] + c·x[4…] + d·x[5…]
 *   [4, 4]       0 1 2 0                 c d
 *                0 3 4 0                           of which the last column of each row, whose windows
 *                0 0 0 0                           begin in one row and end in the next, is cut off
 *
 * so that each element of the kernel is one product [O, C]·[C, places] of views. Where the stride is s, every s-th element is such an input of its own.
 */

export interface ConvolutionOptions {
  /** [O], added to every place. */
  readonly bias?: Tensor;
  /** Steps between the places of the window. Default 1. */
  readonly stride?: PerAxis;
  /**
   * Zeros around the input: a number, one for each axis, or [before, after] for each; "same" gives ⌈extent/stride⌉ places, "valid" adds none.
   * Default 0.
   */
  readonly padding?: Padding | "same" | "valid";
  /** Distance of neighbours in the window. Default 1. */
  readonly dilation?: PerAxis;
  /** Parts of the channels that do not meet: C and O are multiples of it. Default 1. */
  readonly groups?: number;
}

const perAxis = optional(perAxisKind(1));
const convolutionKinds: OptionKinds<ConvolutionOptions> = {
  bias: optional(tensorKind),
  stride: perAxis,
  padding: optional(either(oneOf("same", "valid"), paddingKind)),
  dilation: perAxis,
  groups: optional(integer(1)),
};

/**
 * y[n, o, i] = Σ over c, k of w[o, c, k]·x[n, c, stride·i + dilation·k − padding] + bias[o]. x: [N, C, S] or [C, S], weight: [O, C/groups, K].
 * Floats as in `matmul`, with sums in f32 at least. Throws ShapeError, OptionError.
 */
export function conv1d(x: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  return convolution("conv1d", 1, x, weight, options);
}

/**
 * y[n, o, i, j] = Σ over c, k, l of w[o, c, k, l]·x[n, c, stride·i + dilation·k − padding, …] + bias[o], as PyTorch's conv2d: x is [N, C, H, W] or
 * [C, H, W], weight [O, C/groups, K, L]. Floats as in `matmul`, with sums in f32 at least. Throws ShapeError, OptionError.
 */
export function conv2d(x: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  return convolution("conv2d", 2, x, weight, options);
}

export interface TransposedConvolutionOptions extends Omit<ConvolutionOptions, "padding"> {
  /** What the convolution that is transposed pads with: so much is left off the ends here. Default 0. */
  readonly padding?: Padding;
  /** Places more at the end of each axis, of those that a stride leaves open. Less than the stride. Default 0. */
  readonly outputPadding?: PerAxis;
}
const transposedKinds: OptionKinds<TransposedConvolutionOptions> = {
  ...convolutionKinds,
  padding: optional(paddingKind),
  outputPadding: optional(perAxisKind(0)),
};

/**
 * The transpose of {@link conv1d} as a linear map of its input: y with ⟨y, z⟩ = ⟨x, conv1d(z, weight)⟩ for all z. x: [N, C, S] or [C, S],
 * weight: [C, O/groups, K], as PyTorch's; extents become (S − 1)·stride − 2·padding + dilation·(K − 1) + outputPadding + 1.
 */
export function convTranspose1d(x: Tensor, weight: Tensor, options: TransposedConvolutionOptions = {}): Tensor {
  return transposed("convTranspose1d", 1, x, weight, options);
}

/**
 * The transpose of {@link conv2d} as a linear map of its input: y with ⟨y, z⟩ = ⟨x, conv2d(z, weight)⟩ for all z. x: [N, C, H, W] or [C, H, W],
 * weight: [C, O/groups, K, L], as PyTorch's; extents become (H − 1)·stride − 2·padding + dilation·(K − 1) + outputPadding + 1.
 */
export function convTranspose2d(x: Tensor, weight: Tensor, options: TransposedConvolutionOptions = {}): Tensor {
  return transposed("convTranspose2d", 2, x, weight, options);
}

function transposed(where: string, axes: number, x: Tensor, weight: Tensor, options: TransposedConvolutionOptions): Tensor {
  checkOperands(where, axes, x, weight);
  checkOptions(where, options, transposedKinds);
  const { bias, groups = 1 } = options;
  const C = weight.shape[0] as number;
  if (x.shape.at(-1 - axes) !== C || C % groups !== 0) {
    throw new ShapeError(`${where}: weight ${show(weight.shape)} with ${groups} group${groups === 1 ? "" : "s"} for ${show(x.shape)}`, {
      hint: `weight is [C, O/groups, ${axes === 1 ? "K" : "K, L"}], x [N, C, ${axes === 1 ? "S" : "H, W"}], and groups divides C`,
    });
  }
  const strides = forAxes(where, "stride", options.stride ?? 1, axes);
  const dilations = forAxes(where, "dilation", options.dilation ?? 1, axes);
  const more = forAxes(where, "outputPadding", options.outputPadding ?? 0, axes);
  const padding = forAxes<number | readonly [number, number]>(where, "padding", options.padding ?? 0, axes);
  const extents = strides.map((stride, axis) => {
    const [dilation, extra, own] = [dilations[axis], more[axis], padding[axis]] as [number, number, number | readonly [number, number]];
    if (extra >= stride) throw new OptionError(`${where}: outputPadding ${extra} is not less than the stride ${stride}`);
    const cut = typeof own === "number" ? 2 * own : own[0] + own[1];
    const extent =
      ((x.shape.at(axis - axes) as number) - 1) * stride - cut + dilation * ((weight.shape[2 + axis] as number) - 1) + extra + 1;
    if (extent < 1) throw new ShapeError(`${where}: nothing is left of ${show(x.shape)} where ${cut} are cut off an axis`);
    return extent;
  });
  const O = (weight.shape[1] as number) * groups;
  const common = promote(x.dtype, weight.dtype);
  const input = ops.zeros([...x.shape.slice(0, x.rank - axes - 1), O, ...extents], { dtype: isFloat(common) ? common : "f32" });
  const windows = windowsOver(where, input.shape, weight.shape.slice(2), { ...options, padding });
  const [y, pullback] = vjp((z: Tensor) => convolved(z, weight, windows, groups), input);
  return withBias(where, axes, pullback(ops.cast(x, y.dtype))[0] as Tensor, bias);
}

function convolution(where: string, axes: number, x: Tensor, weight: Tensor, options: ConvolutionOptions): Tensor {
  checkOperands(where, axes, x, weight);
  checkOptions(where, options, convolutionKinds);
  const { bias, groups = 1 } = options;
  const [O, C] = [weight.shape[0] as number, (weight.shape[1] as number) * groups];
  if (x.shape.at(-1 - axes) !== C || O % groups !== 0) {
    throw new ShapeError(`${where}: weight ${show(weight.shape)} with ${groups} group${groups === 1 ? "" : "s"} for ${show(x.shape)}`, {
      hint: `weight is [O, C/groups, ${axes === 1 ? "K" : "K, L"}], x [N, C, ${axes === 1 ? "S" : "H, W"}], and groups divides C and O`,
    });
  }
  const windows = windowsOver(where, x.shape, weight.shape.slice(2), options, `, of weight ${show(weight.shape)},`);
  return withBias(where, axes, convolved(x, weight, windows, groups), bias);
}

function checkOperands(where: string, axes: number, x: Tensor, weight: Tensor): void {
  checkArgument(where, "x", x, tensorKind);
  checkArgument(where, "weight", weight, tensorKind);
  const places = axes === 1 ? "S" : "H, W";
  if (x.rank !== axes + 2 && x.rank !== axes + 1) {
    throw new ShapeError(`${where}: x ${show(x.shape)} is neither [N, C, ${places}] nor [C, ${places}]`, {
      hint: `give ${axes + 2} axes, samples and channels first, or ${axes + 1} for one sample`,
    });
  }
  if (weight.rank !== axes + 2) {
    throw new ShapeError(`${where}: weight ${show(weight.shape)} has ${weight.rank} axes, not ${axes + 2}`, {
      hint: `give two axes for channels and ${axes === 1 ? "one" : axes} for the kernel`,
    });
  }
}

function withBias(where: string, axes: number, y: Tensor, bias: Tensor | undefined): Tensor {
  if (bias === undefined) return y;
  const O = y.shape.at(-1 - axes) as number;
  if (bias.rank !== 1 || bias.shape[0] !== O)
    throw new ShapeError(`${where}: bias ${show(bias.shape)} for ${O} channels`, { hint: "bias is [O]" });
  return ops.add(y, ops.reshape(bias, [O, ...new Array<number>(axes).fill(1)]));
}

/** The convolution of x [N?, C, …] with w [O, C/groups, …]. */
function convolved(x: Tensor, weight: Tensor, windows: readonly Window[], groups: number): Tensor {
  const common = promote(x.dtype, weight.dtype);
  const dtype = isFloat(common) ? common : "f32";
  const wide = summableDtype(dtype);
  const axes = windows.length;
  const [O, each] = weight.shape as unknown as [number, number];
  const N = x.rank === axes + 2 ? (x.shape[0] as number) : 1;
  const [places, kernel] = [windows.map((window) => window.places), windows.map(({ size }) => size)];
  const input = ops.reshape(x, [N, groups, each, ...x.shape.slice(-axes)]);
  const w = ops.reshape(weight, [1, groups, O / groups, each, sizeOf(kernel)]);
  const times = (w: Tensor, x: Tensor): Tensor => ops.matmul(ops.broadcastTo(w, [N, ...w.shape.slice(1)]), x, { dtype: wide });
  let y: Tensor;
  if (windows.every(({ size, stride, dilation }) => size <= stride && (dilation === 1 || size === 1))) {
    y = times(ops.reshape(w, [1, groups, O / groups, each * sizeOf(kernel)]), apartWindows(input, windows));
  } else {
    const { inputAt, row } = flatInput(input, windows);
    const products = Array.from({ length: sizeOf(kernel) }, (_, i) =>
      times(ops.squeeze(ops.slice(w, [null, null, null, null, [i, i + 1]]), -1), inputAt(i)),
    );
    const sum = products.reduce((a, b) => ops.add(a, b)); // [N, groups, O/groups, length]
    const last = places.at(-1) as number;
    const whole = ops.pad(sum, [
      [0, 0],
      [0, 0],
      [0, 0],
      [0, row - last],
    ]);
    y = ops.slice(ops.reshape(whole, [N, O, sizeOf(places.slice(0, -1)), row]), [null, null, null, [0, last]]);
  }
  return ops.cast(ops.reshape(y, [...x.shape.slice(0, x.rank - axes - 1), O, ...places]), dtype);
}

interface FlatInput {
  /** What the i-th element of the kernel meets, at every place: [N, groups, C/groups, length]. */
  readonly inputAt: (element: number) => Tensor;
  /** How far places of one row and of the next lie apart. */
  readonly row: number;
}

/** Each padded axis of x [N, groups, C/groups, …] as [extent, stride]: how many strides a position lies from the start, and the rest. */
function byRemainder(x: Tensor, windows: readonly Window[]): { readonly apart: Tensor; readonly extents: readonly number[] } {
  const outer = x.shape.slice(0, -windows.length);
  const own = x.shape.slice(-windows.length);
  const extents = windows.map(({ places, size, dilation, stride }) => places + Math.floor(((size - 1) * dilation) / stride));
  const high = windows.map(({ low, stride }, axis) => (extents[axis] as number) * stride - low - (own[axis] as number));
  const padded = ops.pad(x, [
    ...outer.map((): [number, number] => [0, 0]),
    ...high.map((n, axis): [number, number] => [(windows[axis] as Window).low, Math.max(n, 0)]),
  ]);
  const met = ops.slice(padded, [
    ...outer.map(() => null),
    ...windows.map(({ stride }, axis): ops.Range => [0, (extents[axis] as number) * stride]),
  ]);
  return { apart: ops.reshape(met, [...outer, ...windows.flatMap(({ stride }, axis) => [extents[axis] as number, stride])]), extents };
}

/** What windows that do not overlap meet, as columns: [N, groups, C/groups · elements, places]. */
function apartWindows(x: Tensor, windows: readonly Window[]): Tensor {
  const { apart, extents } = byRemainder(x, windows);
  const met = ops.slice(apart, [null, null, null, ...windows.flatMap(({ size }): ops.Range[] => [null, [0, size]])]);
  const axes = windows.map((_, axis) => 3 + 2 * axis);
  const columns = ops.permute(met, [0, 1, 2, ...axes.map((axis) => axis + 1), ...axes]);
  return ops.reshape(columns, [...x.shape.slice(0, 2), (x.shape[2] as number) * sizeOf(windows.map(({ size }) => size)), sizeOf(extents)]);
}

/** The input x [N, groups, C/groups, …] with its padding, as flat lists: one for every remainder of a position divided by the stride. */
function flatInput(x: Tensor, windows: readonly Window[]): FlatInput {
  const outer = x.shape.slice(0, -windows.length);
  const { apart, extents } = byRemainder(x, windows);
  const strides = stridesOf(extents);
  const length = windows.reduce((sum, { places }, axis) => sum + (places - 1) * (strides[axis] as number), 1);
  const rest = outer.map(() => null);
  const lists = new Map<string, Tensor>();
  const list = (remainders: readonly number[]): Tensor => {
    const known = lists.get(remainders.join());
    if (known !== undefined) return known;
    const own = ops.slice(apart, [...rest, ...remainders.flatMap((r): ops.Range[] => [null, [r, r + 1]])]);
    const flat = ops.reshape(own, [...outer, sizeOf(extents)]);
    lists.set(remainders.join(), flat);
    return flat;
  };
  const kernel = stridesOf(windows.map(({ size }) => size));
  const inputAt = (element: number): Tensor => {
    const positions = windows.map(({ size, dilation }, axis) => (Math.floor(element / (kernel[axis] as number)) % size) * dilation);
    const start = positions.reduce((sum, p, axis) => sum + Math.floor(p / (windows[axis] as Window).stride) * (strides[axis] as number), 0);
    return ops.slice(list(positions.map((p, axis) => p % (windows[axis] as Window).stride)), [...rest, [start, start + length]]);
  };
  return { inputAt, row: windows.length === 1 ? length : (extents.at(-1) as number) };
}
