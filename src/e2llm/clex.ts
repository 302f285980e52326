/** CLEX: RoPE frequencies that are a learned function of the scale, the solution of an ordinary differential equation. */
import {
  checkArgument,
  checkOptions,
  either,
  integer,
  type Kind,
  number,
  type OptionKinds,
  objectWith,
  oneOf,
  optional,
} from "../arguments.js";
import { silu } from "../autograd/composites.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import {
  add,
  arange,
  cast,
  cos,
  div,
  exp,
  log,
  maximum,
  mul,
  reshape,
  sin,
  sub,
  type TensorLike,
  tanh,
  unsqueeze,
  zeros,
} from "../autograd/operations.js";
import { uniform } from "../autograd/random.js";
import { data } from "../autograd/realize.js";
import { scan } from "../autograd/scan.js";
import { Tensor, tensor } from "../autograd/tensor.js";
import { ShapeError } from "../errors.js";
import { summableDtype } from "../ir/dtype.js";
import { show } from "../ir/shape.js";
import type { RopeTensors } from "../nn/attention-context.js";
import { Linear } from "../nn/module.js";
import type { PositionDraw } from "./positions/index.js";
import { type RopeFrequencies, type RopeShape, ropeFrequencies } from "./schedules.js";

const scale: Kind = { wanted: "a finite number of at least 1", fits: (value) => Number.isFinite(value) && (value as number) >= 1 };
const scaleKind = either(scale, tensorKind);

/** Options of {@link ClexOde}: head dimension D and base of RoPE, and the network. */
export interface ClexOptions extends RopeShape {
  /** λ: the network has λ·D hidden units. Default 1. */
  readonly factor?: number;
  /** Default "silu". */
  readonly activation?: "silu" | "tanh";
  /** N: steps of the solver from 1 to t. Default 16. */
  readonly steps?: number;
  /** For the weights at the start. */
  readonly key: Tensor;
}

const clexKinds: OptionKinds<ClexOptions> = {
  headDim: number,
  theta: number,
  factor: optional(integer(1, 2 ** 10)),
  activation: optional(oneOf("silu", "tanh")),
  steps: optional(integer(1, 2 ** 12)),
  key: keyKind,
};

/**
 * The frequencies of CLEX (Chen et al. 2023, 2310.16450, and its code): z(t) = ln θ(t), of D/2 channels, solves
 *
 *     z(1) = ln θ,   dz/dt = W_down·act(W_up·(z + ξ(t))) + ξ′(t),   ξ_j(t) = ln θ_j − 2j/(D − 2)·ln(2t − 1)
 *
 * where ξ(t) is what NTK-aware scaling by α = 2t − 1 makes of ln θ. W_down begins as zeros, and then θ(t) is that of NTK-aware scaling by 2t − 1.
 *
 * The part that is known, ξ, is integrated in closed form, and only what is learned beside it, u = z − ξ, by N steps of the classical Runge–Kutta
 * method: du/dt = W_down·act(W_up·(u + 2·ξ(t))), u(1) = 0. (The code steps through all of z.) t is data: one program serves every scale.
 *
 * Parameters: `up_proj` [λ·D, D/2] and `down_proj` [D/2, λ·D], those of one ODE for all layers. Train `{ model, ode }` as one tree with the loss
 * `llamaLoss(model, batch, ode.tables(positions, t))`, t drawn for each step (see {@link clexPlaces}); read W tokens with t = ⌈W/L⌉,
 * `inferenceScale(W, L)`, by the frequencies that {@link ClexOde.frequencies} gives to every function that takes a schedule.
 */
export class ClexOde {
  up_proj: Linear;
  down_proj: Linear;
  readonly _shape: RopeShape;
  readonly _activation: (x: Tensor) => Tensor;
  readonly _steps: number;

  /** Throws OptionError for options that make no sense. */
  constructor(options: ClexOptions) {
    checkOptions("ClexOde", options, clexKinds);
    const { headDim, theta, factor = 1, activation = "silu", steps = 16, key } = options;
    ropeFrequencies({ type: "default" }, { headDim, theta }); // which refuses what is no shape of RoPE
    const half = headDim / 2;
    const high = 1 / Math.sqrt(half);
    this.up_proj = new Linear(uniform(key, [factor * headDim, half], { low: -high, high }));
    this.down_proj = new Linear(zeros([half, factor * headDim]));
    this._shape = { headDim, theta };
    this._activation = activation === "silu" ? silu : tanh;
    this._steps = steps;
  }

  /**
   * ln θ(t), differentiable by the parameters and by t: [D/2] for a scalar t, and [rows, D/2] for one of each row. Scales below 1 count as 1.
   * Throws ShapeError for a t of another rank.
   */
  logFrequencies(t: TensorLike): Tensor {
    checkArgument("ClexOde.logFrequencies", "t", t, scaleKind);
    const dtype = summableDtype(this.up_proj.weight.dtype);
    const given = t instanceof Tensor ? cast(t, dtype) : undefined;
    if (given !== undefined && given.rank > 1) {
      throw new ShapeError(`ClexOde: the scale t is ${show(given.shape)}, expected a scalar or one for each row`);
    }
    const rows = given?.shape[0] ?? 1;
    const half = this._shape.headDim / 2;
    const end = maximum(given === undefined ? add(zeros([1, 1], { dtype }), t) : reshape(given, [rows, 1]), 1); // [rows, 1]
    const h = div(sub(end, 1), this._steps);
    /** du/dt at the time 1 + n·h. */
    const slope = (u: Tensor, n: Tensor): Tensor => {
      const input = add(u, mul(this.ntk(add(mul(h, n), 1)), 2));
      return cast(this.down_proj.forward(this._activation(this.up_proj.forward(input))), dtype);
    };
    const [u] = scan(
      (at: Tensor, n: Tensor) => {
        const middle = add(n, 0.5);
        const k1 = slope(at, n);
        const k2 = slope(add(at, mul(k1, mul(h, 0.5))), middle);
        const k3 = slope(add(at, mul(k2, mul(h, 0.5))), middle);
        const k4 = slope(add(at, mul(k3, h)), add(n, 1));
        const sum = add(add(k1, k4), mul(add(k2, k3), 2));
        return [add(at, mul(sum, div(h, 6))), null];
      },
      zeros([rows, half], { dtype }),
      cast(arange(this._steps), dtype),
    );
    const z = add(this.ntk(end), u); // [rows, D/2]
    return given?.rank === 1 ? z : reshape(z, [half]);
  }

  /** ξ(t): [rows, 1] → [rows, D/2] */
  private ntk(t: Tensor): Tensor {
    const { headDim: D, theta } = this._shape;
    const perChannel = (f: (j: number) => number): Tensor =>
      tensor(
        Float64Array.from({ length: D / 2 }, (_, j) => f(j)),
        { dtype: t.dtype },
      );
    const start = perChannel((j) => ((-2 * j) / D) * Math.log(theta));
    const exponents = perChannel((j) => (j === 0 ? 0 : (-2 * j) / (D - 2)));
    return add(start, mul(exponents, log(sub(mul(t, 2), 1))));
  }

  /**
   * cos and sin of p·θ_j(t), [rows, T, D/2], in the graph: differentiable by the parameters. positions: [T], or [rows, T]; t: a scalar, or one for
   * each row. Angles are f32, so that a position p is right to p·θ_j·2⁻²⁴ rad; for reading long texts take {@link ClexOde.frequencies} and
   * `ropeTables`, whose angles are f64. Throws ShapeError for what does not fit.
   */
  tables(positions: Tensor, t: TensorLike): RopeTensors {
    checkArgument("ClexOde.tables", "positions", positions, tensorKind);
    const theta = exp(this.logFrequencies(t)); // [D/2] or [rows, D/2]
    const [rows, T] = (positions.rank === 1 ? [1, positions.shape[0]] : positions.shape) as [number, number];
    const scales = theta.rank === 1 ? 1 : (theta.shape[0] as number);
    if (positions.rank < 1 || positions.rank > 2 || (scales !== 1 && rows !== 1 && scales !== rows)) {
      throw new ShapeError(`ClexOde: positions ${show(positions.shape)} with ${scales === 1 ? "one scale" : `${scales} scales`}`, {
        hint: "positions are [T] or [rows, T], and t is a scalar or has one scale for each row",
      });
    }
    const angles = mul(reshape(cast(positions, theta.dtype), [rows, T, 1]), unsqueeze(theta, -2)); // [rows, T, D/2]
    return { cos: cos(angles), sin: sin(angles) };
  }

  /**
   * θ(t) on the host, as a schedule gives its frequencies. t is a real number of at least 1. The divisors λ_j = θ_j/θ_j(t) are those of a
   * "longrope" scaling with attention factor 1, by which other software reads the model at that scale.
   */
  async frequencies(t: number): Promise<RopeFrequencies> {
    checkArgument("ClexOde.frequencies", "t", t, scale);
    const logarithms = await data(this.logFrequencies(t));
    return { invFreq: Float64Array.from(logarithms, Math.exp), attentionFactor: 1 };
  }
}

const drawKind = objectWith("what a source of random scales draws", "numerators", "denominators", "rows", "draws");

/** Positions [rows, T] and scales [rows] of a draw, as the arguments of {@link ClexOde.tables}: those of `createRandomScaleSource`, for example. */
export function clexPlaces(draw: PositionDraw<{ readonly g: number }>): { readonly positions: Tensor; readonly t: Tensor } {
  checkArgument("clexPlaces", "draw", draw, drawKind);
  const { numerators, denominators, rows, draws } = draw;
  const T = numerators.length / rows;
  const places = Float32Array.from(numerators, (numerator, i) => numerator / (denominators[Math.floor(i / T)] as number));
  return { positions: tensor(places, { shape: [rows, T] }), t: tensor(Float32Array.from(draws, ({ g }) => g)) };
}
