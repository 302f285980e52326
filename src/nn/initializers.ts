/**
 * First values of parameters, each a pure function of a key. `uniform`, `normal` and `truncatedNormal` draw plainly, and `zeros`, `ones` and `full`
 * draw nothing; these here choose the spread by the shape, so that activations or gradients keep their size from layer to layer.
 */
import { checkArgument, checkOptions, finiteNumber, notNegative, type OptionKinds, oneOf, optional } from "../arguments.js";
import { square } from "../autograd/composites.js";
import { keyKind } from "../autograd/kinds.js";
import { div, equal, iota, matmul, mul, reshape, sqrt, sub, sum, transpose, unsqueeze, where, zeros } from "../autograd/operations.js";
import { randn, uniform } from "../autograd/random.js";
import { scan } from "../autograd/scan.js";
import type { Tensor } from "../autograd/tensor.js";
import { ShapeError } from "../errors.js";
import { readShape, type Shape, show, sizeOf } from "../ir/shape.js";

/** What a layer is given to make its weight with: `xavierUniform`, `(key, shape) => normal(key, shape, { std: 0.02 })`. */
export type Initializer = (key: Tensor, shape: Shape) => Tensor;

/** What follows a layer. */
export type Nonlinearity = "linear" | "sigmoid" | "tanh" | "relu" | "leakyRelu" | "selu";

export interface GainOptions {
  /** Slope of "leakyRelu" below 0. Default 0.01. */
  readonly slope?: number;
}

const gains: Readonly<Record<Nonlinearity, (slope: number) => number>> = {
  linear: () => 1,
  sigmoid: () => 1,
  tanh: () => 5 / 3,
  relu: () => Math.SQRT2,
  leakyRelu: (slope) => Math.sqrt(2 / (1 + slope * slope)),
  selu: () => 3 / 4,
};

const nonlinearityKind = oneOf(...Object.keys(gains));

/** By what the weights before a nonlinearity are larger, so that what comes out of it has the size of what went in (PyTorch's `calculate_gain`). */
export function gainOf(nonlinearity: Nonlinearity, options: GainOptions = {}): number {
  checkArgument("gainOf", "nonlinearity", nonlinearity, nonlinearityKind);
  checkOptions("gainOf", options, { slope: optional(finiteNumber) });
  return gains[nonlinearity](options.slope ?? 0.01);
}

export interface XavierOptions {
  /** What the spread is multiplied by; see {@link gainOf}. Default 1. */
  readonly gain?: number;
}

export interface KaimingOptions extends GainOptions {
  /** Whether activations keep their size on the way forward, or gradients on the way back. Default "fanIn". */
  readonly mode?: "fanIn" | "fanOut";
  /** What follows the layer. Default "relu". */
  readonly nonlinearity?: Nonlinearity;
}

const xavierKinds: OptionKinds<XavierOptions> = { gain: optional(notNegative) };
const kaimingKinds: OptionKinds<KaimingOptions> = {
  mode: optional(oneOf("fanIn", "fanOut")),
  nonlinearity: optional(nonlinearityKind),
  slope: optional(finiteNumber),
};

/** How many numbers an output is the sum of, and to how many an input goes, for weights [out, in, …kernel]. */
function fansOf(where: string, shape: Shape): { readonly fanIn: number; readonly fanOut: number } {
  const [out, into, ...kernel] = shape;
  if (out === undefined || into === undefined) {
    throw new ShapeError(`${where}: ${show(shape)} has no fans`, {
      hint: "weights are [out, in] or [out, in, …kernel]; make biases with zeros",
    });
  }
  const window = sizeOf(kernel);
  return { fanIn: into * window, fanOut: out * window };
}

/** Uniform on ±a, or zeros where that is nothing. */
const within = (key: Tensor, shape: Shape, a: number): Tensor =>
  sizeOf(shape) === 0 || a === 0 ? zeros(shape) : uniform(key, shape, { low: -a, high: a });

const spread = (key: Tensor, shape: Shape, std: number): Tensor => (sizeOf(shape) === 0 ? zeros(shape) : mul(randn(key, shape), std));

function xavierStd(where: string, key: Tensor, shape: Shape, options: XavierOptions): number {
  checkArgument(where, "key", key, keyKind);
  checkOptions(where, options, xavierKinds);
  const { fanIn, fanOut } = fansOf(where, shape);
  return (options.gain ?? 1) * Math.sqrt(2 / (fanIn + fanOut));
}

/** Uniform on ±gain·√(6/(fan in + fan out)), f32 (Glorot & Bengio 2010). The shape is [out, in, …kernel]; throws ShapeError for others. */
export function xavierUniform(key: Tensor, shape: Shape, options: XavierOptions = {}): Tensor {
  const extents = readShape(shape, "xavierUniform");
  return within(key, extents, Math.sqrt(3) * xavierStd("xavierUniform", key, extents, options));
}

/** Normal with standard deviation gain·√(2/(fan in + fan out)), f32 (Glorot & Bengio 2010). The shape is [out, in, …kernel]; throws ShapeError for others. */
export function xavierNormal(key: Tensor, shape: Shape, options: XavierOptions = {}): Tensor {
  const extents = readShape(shape, "xavierNormal");
  return spread(key, extents, xavierStd("xavierNormal", key, extents, options));
}

function kaimingStd(where: string, key: Tensor, shape: Shape, options: KaimingOptions): number {
  checkArgument(where, "key", key, keyKind);
  checkOptions(where, options, kaimingKinds);
  const { mode = "fanIn", nonlinearity = "relu", slope = 0.01 } = options;
  return gains[nonlinearity](slope) / Math.sqrt(fansOf(where, shape)[mode]);
}

/** Uniform on ±√3·gain/√fan, f32 (He et al. 2015), with the gain of what follows. The shape is [out, in, …kernel]; throws ShapeError for others. */
export function kaimingUniform(key: Tensor, shape: Shape, options: KaimingOptions = {}): Tensor {
  const extents = readShape(shape, "kaimingUniform");
  return within(key, extents, Math.sqrt(3) * kaimingStd("kaimingUniform", key, extents, options));
}

/** Normal with standard deviation gain/√fan, f32 (He et al. 2015), with the gain of what follows. The shape is [out, in, …kernel]; throws ShapeError for others. */
export function kaimingNormal(key: Tensor, shape: Shape, options: KaimingOptions = {}): Tensor {
  const extents = readShape(shape, "kaimingNormal");
  return spread(key, extents, kaimingStd("kaimingNormal", key, extents, options));
}

/**
 * A random matrix with orthonormal rows, or columns where there are more rows than columns, times `gain`, f32 (Saxe et al. 2014); a shape of a higher rank
 * is taken as [out, rest]. Uniform among all of them: rows of a normal matrix, made orthogonal one after another (Gram–Schmidt, twice for
 * each, which is enough; Giraud et al. 2005). Throws ShapeError for shapes of rank below 2.
 */
export function orthogonal(key: Tensor, shape: Shape, options: XavierOptions = {}): Tensor {
  checkArgument("orthogonal", "key", key, keyKind);
  checkOptions("orthogonal", options, xavierKinds);
  const extents = readShape(shape, "orthogonal");
  fansOf("orthogonal", extents);
  if (sizeOf(extents) === 0) return zeros(extents);
  const rows = extents[0] as number;
  const columns = sizeOf(extents) / rows;
  const [few, many] = [Math.min(rows, columns), Math.max(rows, columns)];
  const place = iota([few], 0, { dtype: "i32" });
  const [found] = scan(
    (basis: Tensor, { row, i }: { row: Tensor; i: Tensor }) => {
      const rest = withoutParts(basis, withoutParts(basis, row));
      const unit = div(rest, sqrt(sum(square(rest))));
      return [where(unsqueeze(equal(place, i), 1), unsqueeze(unit, 0), basis), null];
    },
    zeros([few, many]),
    { row: randn(key, [few, many]), i: place },
  );
  return reshape(mul(rows > columns ? transpose(found) : found, options.gain ?? 1), extents);
}

/** x without what lies along the rows of a basis, [few, many]; rows of zeros are none yet. */
const withoutParts = (basis: Tensor, x: Tensor): Tensor => sub(x, matmul(matmul(basis, x), basis));
