import { add, broadcastTo, concat, greater, matmul, mul, pad, permute, reshape, slice, where } from "../../autograd/operations.js";
import { split } from "../../autograd/random.js";
import type { Tensor } from "../../autograd/tensor.js";
import type { AttentionContext, PositionEncoding } from "../attention-context.js";
import { Affine } from "./affine.js";
import type { DapeOptions, PositionEncodingConfig } from "./encoding-config.js";
import type { PositionBias } from "./position-bias.js";
import { attendByRows, type Pairs } from "./rows.js";

/**
 * logits = A + B + f(A, B) with A = q·kᵀ/√D and a static bias B: DAPE, data-adaptive positions (Zheng et al. 2024, 2405.14722, eq. 5).
 *
 * DAPE: f takes the 2·H numbers that a pair has in all heads through 2·H → width → H with LeakyReLU (slope 0.01), each pair for itself.
 *
 * DAPE V2 (Zheng et al. 2024, 2410.04798): both layers of f are convolutions along the keys, by default from the entries at n − 1, n and
 * n + 1, of the score map in which keys after the query are zeros. Here the hidden layer has zeros there too, so that what a query finds
 * does not depend on how many keys come after it; in the released code an entry at n = m reads a hidden one after it, which is made of
 * biases and of the entry itself, unless it is the last of the text.
 *
 * Scores of all heads are there at once, so that no kernel of attention serves: B·rows·S·max(2·H, width) numbers; see {@link DapeOptions}.
 */
export class Dape implements PositionEncoding {
  bias: PositionBias;
  hidden: Affine; // [width, 2·H], or [width, 2·H, kernel]
  output: Affine; // [H, width], or [H, width, kernel]
  readonly _config: DapeConfig;

  constructor(heads: number, key: Tensor, config: DapeConfig, bias: PositionBias) {
    const { width = 32 } = config;
    const [ofHidden, ofOutput] = split(key) as [Tensor, Tensor];
    const taps = config.type === "dape" ? [] : [config.kernel ?? 3];
    this.bias = bias;
    this.hidden = new Affine([width, 2 * heads, ...taps], ofHidden);
    this.output = new Affine([heads, width, ...taps], ofOutput);
    this._config = config;
  }

  get config(): PositionEncodingConfig {
    return this._config;
  }

  attend(queries: Tensor, context: AttentionContext): Tensor {
    const [B, H] = queries.shape as [number, number];
    const width = B * Math.max(this.hidden.weight.shape[0] as number, 2 * H);
    return attendByRows(queries, context, (pairs) => this.adapted(pairs), { width, rows: this._config.rows });
  }

  /** A + B + f(A, B): [B, H, R, S] */
  private adapted(pairs: Pairs): Tensor {
    const { raw, seen } = pairs;
    const [, H, R, S] = raw.shape as [number, number, number, number];
    const bias = broadcastTo(this.bias.bias(pairs), [1, H, R, S]);
    /** Pairs that do not count are zeros for their neighbours. */
    const shown = (x: Tensor): Tensor => (this.hidden.weight.rank === 2 ? x : where(seen, x, 0));
    const ofScores = slice(this.hidden.weight, [null, [0, H]]);
    const ofBias = slice(this.hidden.weight, [null, [H, 2 * H]]);
    const products = add(alongKeys(ofScores, shown(raw)), alongKeys(ofBias, shown(bias))); // [B, width, R, S]
    const hidden = leakyRelu(add(products, reshape(this.hidden.bias, [-1, 1, 1])));
    const change = add(alongKeys(this.output.weight, shown(hidden)), reshape(this.output.bias, [-1, 1, 1]));
    return add(add(raw, bias), change);
  }
}

type DapeConfig = Extract<PositionEncodingConfig, DapeOptions>;

/**
 * y[o, m, n] = Σ over i and k of w[o, i, k]·x[i, m, n + k − (K − 1)/2], with zeros beyond the ends: [O, I, K] and [B, I, R, S] → [B, O, R, S].
 * [O, I] is a kernel of one key.
 *
 * One product for all of k: of the neighbours of x, or, as moving along the keys and mixing channels commute, its parts are moved afterwards.
 * What has fewer channels is moved.
 */
function alongKeys(weight: Tensor, x: Tensor): Tensor {
  const [B, I, R, S] = x.shape as [number, number, number, number];
  const [O, , K = 1] = weight.shape as [number, number, number?];
  const product = (matrix: Tensor, of: Tensor): Tensor =>
    reshape(matmul(matrix, reshape(of, [B, of.shape[1] as number, R * S])), [B, matrix.shape[0] as number, R, S]);
  if (K === 1) return product(reshape(weight, [O, I]), x);
  const taps = Array.from({ length: K }, (_, k) => k);
  const half = (K - 1) / 2;
  /** What stands k − half keys on. */
  const moved = (of: Tensor, k: number): Tensor => slice(pad(of, [none, none, none, [half, half]]), [null, null, null, [k, k + S]]);
  if (I <= O) {
    const near = concat(
      taps.map((k) => moved(x, k)),
      1,
    ); // [B, K·I, R, S]
    return product(reshape(permute(weight, [0, 2, 1]), [O, K * I]), near);
  }
  const parts = product(reshape(permute(weight, [2, 0, 1]), [K * O, I]), x); // [B, K·O, R, S]
  return taps.map((k) => moved(slice(parts, [null, [k * O, (k + 1) * O]]), k)).reduce((sum, part) => add(sum, part));
}

/** No padding. */
const none = [0, 0] as const;

/** max(x, 0.01·x) */
const leakyRelu = (x: Tensor): Tensor => where(greater(x, 0), x, mul(x, 0.01));
