import { checkArgument, checkOptions, flag, fraction, instanceOf, integer, optional, orNull } from "../arguments.js";
import { attention, type DroppingAttentionOptions } from "../autograd/attention.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { split as splitAlong } from "../autograd/operations/movement.js";
import { add, cast, matmul, permute, reshape, transpose, zeros } from "../autograd/operations.js";
import { split } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { OptionError, ShapeError } from "../errors.js";
import { show } from "../ir/shape.js";
import { xavierUniform } from "./initializers.js";
import { Linear } from "./module.js";

export interface MultiHeadAttentionOptions {
  /** Heads of keys and values, a divisor of `heads`. Default `heads`. */
  readonly keyHeads?: number;
  /** The probability with which weights of the attention are dropped where `forward` is given a key. Default 0. */
  readonly dropout?: number;
}

export interface AttendOptions extends DroppingAttentionOptions {
  /** What keys and values are made of, [B, S, C]. Default: x, self-attention. */
  readonly context?: Tensor;
}

/**
 * Attention with several heads (Vaswani et al. 2017, section 3.2), grouped where there are fewer heads of keys and values (Ainslie et al. 2023):
 *
 *   q, k, v = parts of W_in·x + b_in          y = W_out·concat(attention(qₕ, kₕ, vₕ) for every head h) + b_out
 *
 * Parameters are named and laid out as those of PyTorch's `MultiheadAttention`; inputs are [B, T, C] (its `batch_first`).
 */
export class MultiHeadAttention {
  in_proj_weight: Tensor; // [(H + 2·Hkv)·D, C]: rows of queries, keys, values
  in_proj_bias: Tensor | null; // [(H + 2·Hkv)·D]
  out_proj: Linear; // [C, H·D]
  readonly _heads: number;
  readonly _keyHeads: number;
  readonly _dropout: number;

  constructor(
    heads: number,
    weights: { readonly in_proj_weight: Tensor; readonly in_proj_bias?: Tensor | null; readonly out_proj: Linear },
    options: MultiHeadAttentionOptions = {},
  ) {
    const where = "MultiHeadAttention";
    checkArgument(where, "heads", heads, integer(1));
    checkOptions(where, options, { keyHeads: optional(integer(1)), dropout: optional(fraction) });
    checkOptions(where, weights, {
      in_proj_weight: tensorKind,
      in_proj_bias: optional(orNull(tensorKind)),
      out_proj: instanceOf("a Linear", Linear),
    });
    const { in_proj_weight, in_proj_bias = null, out_proj } = weights;
    const { keyHeads = heads, dropout = 0 } = options;
    if (heads % keyHeads !== 0) {
      throw new OptionError(`${where}: ${heads} heads with ${keyHeads} of keys and values`, { hint: "keyHeads divides heads" });
    }
    const rows = in_proj_weight.shape[0] as number;
    const width = out_proj.weight.shape[1] as number;
    const fits =
      in_proj_weight.rank === 2 &&
      width % heads === 0 &&
      rows === width + (2 * keyHeads * width) / heads &&
      (in_proj_bias === null || (in_proj_bias.rank === 1 && in_proj_bias.shape[0] === rows));
    if (!fits) {
      const bias = in_proj_bias === null ? "" : `, in_proj_bias ${show(in_proj_bias.shape)}`;
      throw new ShapeError(
        `${where}: in_proj_weight ${show(in_proj_weight.shape)}${bias}, out_proj ${show(out_proj.weight.shape)} for ${heads} heads and ${keyHeads} of keys and values`,
        { hint: "with heads of D channels they are [(heads + 2·keyHeads)·D, C], [(heads + 2·keyHeads)·D] and [C, heads·D]" },
      );
    }
    this.in_proj_weight = in_proj_weight;
    this.in_proj_bias = in_proj_bias;
    this.out_proj = out_proj;
    this._heads = heads;
    this._keyHeads = keyHeads;
    this._dropout = dropout;
  }

  /** For C channels in H heads of C/H; weights as PyTorch begins them, biases 0. */
  static create(
    k: Tensor,
    channels: number,
    heads: number,
    options: MultiHeadAttentionOptions & { readonly bias?: boolean } = {},
  ): MultiHeadAttention {
    const where = "MultiHeadAttention.create";
    checkArgument(where, "key", k, keyKind);
    checkArgument(where, "channels", channels, integer(1));
    checkArgument(where, "heads", heads, integer(1));
    checkOptions(where, options, { keyHeads: optional(integer(1)), dropout: optional(fraction), bias: optional(flag) });
    const { keyHeads = heads, dropout = 0, bias = true } = options;
    if (channels % heads !== 0)
      throw new ShapeError(`${where}: ${heads} heads of ${channels} channels`, { hint: "heads divide the channels" });
    const [inKey, outKey] = split(k) as [Tensor, Tensor];
    const rows = channels + (2 * keyHeads * channels) / heads;
    const out = Linear.create(outKey, channels, channels, { bias: false });
    const weights = {
      in_proj_weight: xavierUniform(inKey, [rows, channels]),
      in_proj_bias: bias ? zeros([rows]) : null,
      out_proj: bias ? new Linear(out.weight, zeros([channels])) : out,
    };
    return new MultiHeadAttention(heads, weights, { keyHeads, dropout });
  }

  /** [B, T, C] → [B, T, C]; options are those of `attention`, `causal` and `mask` among them, and a key to drop by. */
  forward(x: Tensor, options: AttendOptions = {}): Tensor {
    const { context = x, ...rules } = options;
    for (const [name, value] of Object.entries({ x, context })) {
      checkArgument("MultiHeadAttention.forward", name, value, tensorKind);
      if (value.rank === 3) continue;
      throw new ShapeError(`MultiHeadAttention.forward: ${name} ${show(value.shape)}`, {
        hint: "it is [B, T, C]: a batch, the places, the channels",
      });
    }
    const [queries, pairs] = this.parts();
    const D = (this.out_proj.weight.shape[1] as number) / this._heads;
    const inHeads = (y: Tensor, heads: number): Tensor => permute(reshape(y, [y.shape[0] as number, -1, heads, D]), [0, 2, 1, 3]);
    const q = inHeads(queries(x), this._heads); // [B, H, T, D]
    const [k, v] = splitAlong(pairs(context), [this._keyHeads * D, this._keyHeads * D], -1) as [Tensor, Tensor];
    const y = attention(q, inHeads(k, this._keyHeads), inHeads(v, this._keyHeads), { dropout: this._dropout, ...rules }); // [B, H, T, D]
    const [B, T] = x.shape as [number, number];
    return this.out_proj.forward(reshape(permute(y, [0, 2, 1, 3]), [B, T, this._heads * D])); // [B, T, C]
  }

  /** The projections to queries, and to keys and values together. */
  private parts(): [queries: (x: Tensor) => Tensor, pairs: (x: Tensor) => Tensor] {
    const width = this.out_proj.weight.shape[1] as number;
    const extents = [width, (this.in_proj_weight.shape[0] as number) - width];
    const weights = splitAlong(this.in_proj_weight, extents);
    const biases = this.in_proj_bias === null ? [] : splitAlong(this.in_proj_bias, extents);
    return weights.map((weight, i) => (x: Tensor): Tensor => {
      const [y, bias] = [matmul(x, transpose(weight)), biases[i]];
      return bias === undefined ? y : add(y, cast(bias, y.dtype));
    }) as [(x: Tensor) => Tensor, (x: Tensor) => Tensor];
  }
}
