import { relu } from "../../autograd/composites.js";
import { abs, add, cast, div, full, log, matmul, maximum, mul, ones, reshape, unsqueeze } from "../../autograd/operations.js";
import { split } from "../../autograd/random.js";
import type { Tensor } from "../../autograd/tensor.js";
import type { AttentionContext } from "../attention-context.js";
import { Affine } from "./affine.js";
import type { StaticEncodingConfig } from "./encoding-config.js";
import { distanceOf, type PairCoordinates, type PositionBias } from "./position-bias.js";
import { attendByRows } from "./rows.js";

type FireConfig = Extract<StaticEncodingConfig, { readonly type: "fire" }>;

/** Keeps the quotient finite where c or L goes to 0, as in the paper's code. */
const EPSILON = 1e-6;

/**
 * B = f_h(ψ(m − n) / ψ(max(L, m))) with ψ(x) = ln(|c|·x + 1) and f a network 1 → width → H with ReLU: FIRE, functional relative positions with
 * progressive interpolation (Li et al. 2024, 2310.04418, eq. 5 and 6). The argument of f is in [0, 1] at every length, so that no text is
 * longer than what f has seen.
 *
 * Learned: c (0.1 at the start), L = |length_scale|·`length` (length_scale 1 at the start), and f.
 */
export class Fire implements PositionBias {
  c: Tensor; // []
  length_scale: Tensor; // []
  hidden: Affine; // [width, 1]
  output: Affine; // [H, width]
  readonly _config: FireConfig;

  constructor(heads: number, key: Tensor, config: FireConfig) {
    const { width = 32 } = config;
    const [ofHidden, ofOutput] = split(key) as [Tensor, Tensor];
    this.c = full([], 0.1);
    this.length_scale = ones([]);
    this.hidden = new Affine([width, 1], ofHidden);
    this.output = new Affine([heads, width], ofOutput);
    this._config = config;
  }

  get config(): StaticEncodingConfig {
    return this._config;
  }

  attend(queries: Tensor, context: AttentionContext): Tensor {
    const [B, H] = queries.shape as [number, number];
    const width = Math.max(this.hidden.weight.shape[0] as number, B * H);
    return attendByRows(queries, context, ({ raw, ...at }) => add(raw, this.bias(at)), { width, rows: this._config.rows });
  }

  bias(at: PairCoordinates): Tensor {
    const [R, S] = [at.query.shape[2], at.key.shape[3]] as [number, number];
    const { length = 512 } = this._config;
    const psi = (x: Tensor): Tensor => log(add(mul(abs(this.c), x), 1));
    const longest = maximum(mul(abs(this.length_scale), length), cast(at.query, "f32")); // [1, 1, R, 1]
    const ratio = div(psi(distanceOf(at)), add(psi(longest), EPSILON)); // [1, 1, R, S]
    const hidden = relu(add(matmul(this.hidden.weight, reshape(ratio, [1, R * S])), unsqueeze(this.hidden.bias, 1))); // [width, R·S]
    const found = add(matmul(this.output.weight, hidden), unsqueeze(this.output.bias, 1)); // [H, R·S]
    return reshape(found, [1, found.shape[0] as number, R, S]);
  }
}
