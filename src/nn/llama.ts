import { checkArgument, checkFields, checkOptions, optional, plainObject } from "../arguments.js";
import { checkpoint } from "../autograd/checkpoint.js";
import { silu } from "../autograd/composites.js";
import { type CrossEntropyOptions, linearAnswers, linearCrossEntropy } from "../autograd/cross-entropy.js";
import { keyKind, tensorKind } from "../autograd/kinds.js";
import { add, cast, div, matmul, mul, notEqual, ones, permute, reshape, sum, transpose, zeros } from "../autograd/operations.js";
import { foldIn, randn, split } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { ShapeError, UsageError } from "../errors.js";
import { summableDtype } from "../ir/dtype.js";
import { type Shape, sameShape, show } from "../ir/shape.js";
import type { AttentionContext, PositionEncoding, RopeTensors } from "./attention-context.js";
import { configKind, type LlamaConfig, windowOfLayer } from "./config.js";
import { createPositionEncoding } from "./encodings/create.js";
import { type LossOptions, lossKinds, modelKind } from "./kinds.js";
import { Embedding, Linear, RMSNorm } from "./module.js";
import { checkTables, freshContext, rotary } from "./rotary.js";

export type {
  AttentionContext,
  AttentionPart,
  FarPart,
  FarTensors,
  PositionEncoding,
  RopeTensors,
  Rotations,
} from "./attention-context.js";

/**
 * The Llama architecture (Touvron et al. 2023): a decoder with RMSNorm before each block, rotary positions, grouped-query
 * attention and SwiGLU. Letters in shapes:
 *
 *   B batch   T tokens   C hidden size   H query heads   Hkv key/value heads   D head dimension   F feed-forward size   V vocabulary
 *
 * With flags of the configuration the same block is that of Mistral, Qwen2 and Qwen3.
 *
 * Fields and weights are named and laid out as in Hugging Face's checkpoints, so the path of a parameter in this tree is its
 * name in the file. Positions enter only through the tables of cosines and sines that `forward` is handed.
 */
export class Llama {
  readonly _config: LlamaConfig;
  model: { embed_tokens: Embedding; layers: Block[]; norm: RMSNorm };
  /** null where the head is tied: then the embedding serves as both. */
  lm_head: Linear | null;

  /**
   * Matrices are drawn from N(0, initializer_range²) and norms are 1, as Hugging Face initialises them; the projections back
   * into the residual stream are not scaled down with depth. The weights are computed when they are first used.
   */
  constructor(config: LlamaConfig, options: { readonly key: Tensor }) {
    checkArgument("Llama", "config", config, configKind);
    checkOptions("Llama", options, { key: keyKind });
    const { vocab_size: V, hidden_size: C, num_hidden_layers: layers } = config;
    const keys = split(options.key, layers + 2);
    const matrix = (key: Tensor, shape: Shape): Tensor => mul(randn(key, shape), config.initializer_range);

    this._config = config;
    this.model = {
      embed_tokens: new Embedding(matrix(keys[0] as Tensor, [V, C])),
      layers: keys.slice(2).map((key, layer) => new Block(config, key, matrix, layer)),
      norm: new RMSNorm(ones([C]), config.rms_norm_eps),
    };
    this.lm_head = config.tie_word_embeddings ? null : new Linear(matrix(keys[1] as Tensor, [V, C]));
  }

  get config(): LlamaConfig {
    return this._config;
  }

  /**
   * Logits of the next token at every place. tokens: integers [B, T]; tables: cos and sin [B or 1, T, D/2]; result: [B, T, V].
   * With a cache, tokens continue what it holds and the tables cover its whole capacity (see `KeyValueCache`).
   * Throws ShapeError for tokens or tables of another shape.
   */
  forward(tokens: Tensor, tables: RopeTensors, cache?: AttentionCache): Tensor {
    return this.head(this.hidden(tokens, tables, cache));
  }

  /** What the head reads: [B, T] → [B, T, C]. With `checkpointing`, the backward pass computes each layer a second time. */
  hidden(tokens: Tensor, tables: RopeTensors, cache?: AttentionCache, checkpointing = false): Tensor {
    if (tokens.rank !== 2) throw new ShapeError(`Llama: tokens are [batch, time], not ${show(tokens.shape)}`);
    const [B, T] = tokens.shape as [number, number];
    if (!cache) checkTables("Llama", tables, { B, T, D: this.config.head_dim });

    // Weights may be stored in 16 bits; what is computed from them is not rounded to that.
    const rows = this.model.embed_tokens.forward(tokens);
    let x = cast(rows, summableDtype(rows.dtype)); // [B, T, C]
    this.model.layers.forEach((block, layer) => {
      const extend: ExtendContext | undefined = cache && ((k, v) => cache.extend(layer, k, v, tables));
      const forward = (layerOf: Block, y: Tensor): Tensor => layerOf.forward(y, tables, extend);
      x = (checkpointing ? checkpoint(forward) : forward)(block, x);
    });
    return this.model.norm.forward(x); // [B, T, C]
  }

  /** […, C] → […, V] */
  head(x: Tensor): Tensor {
    return matmul(x, transpose(this.headWeight()));
  }

  /** The cross-entropy of the head's logits, which are never all there at once: x […, C], targets […]; see `linearCrossEntropy`. */
  headLoss(x: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
    return linearCrossEntropy(x, this.headWeight(), targets, options);
  }

  /** The losses of `headLoss` with reduction "none", and the most probable token at each place, the first of equal ones. */
  headAnswers(x: Tensor, targets: Tensor): [losses: Tensor, answers: Tensor] {
    return linearAnswers({ x, weight: this.headWeight(), targets });
  }

  /** [V, C] */
  private headWeight(): Tensor {
    return (this.lm_head ?? this.model.embed_tokens).weight;
  }
}

/** Keeps the keys and values of earlier tokens, layer by layer. */
export interface AttentionCache {
  /** Puts new keys and values [B, Hkv, T, D] of one layer after those that it holds, and gives what their queries may look at. */
  extend(layer: number, keys: Tensor, values: Tensor, tables: RopeTensors): AttentionContext;
}

/** Puts new keys and values of one layer after those of earlier tokens. */
export type ExtendContext = (keys: Tensor, values: Tensor) => AttentionContext;

type Matrix = (key: Tensor, shape: Shape) => Tensor;

/** A projection, with a bias of zeros where it has one. */
const linear = (weight: Tensor, bias = false): Linear => new Linear(weight, bias ? zeros([weight.shape[0] as number]) : null);

/** One layer: x + attention(norm(x)), then x + mlp(norm(x)). */
export class Block {
  input_layernorm: RMSNorm;
  self_attn: SelfAttention;
  post_attention_layernorm: RMSNorm;
  mlp: SwiGLU;

  constructor(config: LlamaConfig, key: Tensor, matrix: Matrix, layer: number) {
    const [attentionKey, mlpKey] = split(key) as [Tensor, Tensor];
    this.input_layernorm = new RMSNorm(ones([config.hidden_size]), config.rms_norm_eps);
    this.self_attn = new SelfAttention(config, attentionKey, matrix, layer);
    this.post_attention_layernorm = new RMSNorm(ones([config.hidden_size]), config.rms_norm_eps);
    this.mlp = new SwiGLU(config, mlpKey, matrix);
  }

  /** [B, T, C] → [B, T, C] */
  forward(x: Tensor, tables: RopeTensors, extend?: ExtendContext): Tensor {
    const y = add(x, this.self_attn.forward(this.input_layernorm.forward(x), tables, extend));
    return add(y, this.mlp.forward(this.post_attention_layernorm.forward(y)));
  }
}

/**
 * Causal self-attention in which several query heads share one key/value head (Ainslie et al. 2023). With H = 4, Hkv = 2:
 *
 *      queries   q0  q1   q2  q3      each reads the keys and values below it
 *                 \  /     \  /
 *      keys        k0       k1        half as many to compute and to cache
 *      values      v0       v1
 *
 * Hkv = H is multi-head attention, Hkv = 1 is multi-query attention. Where the configuration says so, projections have biases, each head of
 * queries and keys is normalised before it is turned, and queries see the last keys alone.
 */
export class SelfAttention {
  q_proj: Linear; // [H·D, C]
  k_proj: Linear; // [Hkv·D, C]
  v_proj: Linear; // [Hkv·D, C]
  o_proj: Linear; // [C, H·D]
  q_norm: RMSNorm | null; // [D], with `qk_norm`
  k_norm: RMSNorm | null; // [D]
  /** null: rotary, by the tables that `forward` is handed. */
  position_encoding: PositionEncoding | null;
  readonly _config: LlamaConfig;
  readonly _window: number | undefined;

  constructor(config: LlamaConfig, key: Tensor, matrix: Matrix, layer: number) {
    const { hidden_size: C, num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D } = config;
    const { attention_bias: bias, attention_output_bias: outputBias, qk_norm, rms_norm_eps } = config;
    const [q, k, v, o] = split(key, 4) as [Tensor, Tensor, Tensor, Tensor];
    const norm = (): RMSNorm | null => (qk_norm ? new RMSNorm(ones([D]), rms_norm_eps) : null);
    this._config = config;
    this._window = windowOfLayer(config, layer);
    this.q_proj = linear(matrix(q, [H * D, C]), bias);
    this.k_proj = linear(matrix(k, [Hkv * D, C]), bias);
    this.v_proj = linear(matrix(v, [Hkv * D, C]), bias);
    this.o_proj = linear(matrix(o, [C, H * D]), outputBias);
    this.q_norm = norm();
    this.k_norm = norm();
    const encoding = config.position_encoding;
    this.position_encoding = encoding ? createPositionEncoding(encoding, { heads: H, key: foldIn(key, 0) }) : null;
  }

  /** [B, T, C] → [B, T, C] */
  forward(x: Tensor, tables: RopeTensors, extend: ExtendContext = (keys, values) => freshContext(keys, values, tables)): Tensor {
    const { num_attention_heads: H, head_dim: D } = this._config;
    const [B, T] = x.shape as [number, number];
    const q = this.heads("q", x); // [B, H, T, D]
    const context = this.contextOf(extend(this.heads("k", x), this.heads("v", x))); // [B, Hkv, S, D], with S = T unless there is a cache
    if (this.position_encoding !== null && (context.far !== undefined || context.keyTables === undefined)) {
      throw new UsageError(
        "tables for far pairs, streaming caches and caches of turned keys turn keys by RoPE, and this layer has a position encoding of its own",
        {
          hint: "read it with plain tables and a KeyValueCache",
        },
      );
    }
    const y = (this.position_encoding ?? rotary).attend(q, context); // [B, H, T, D]
    return this.o_proj.forward(reshape(permute(y, [0, 2, 1, 3]), [B, T, H * D])); // [B, T, C]
  }

  /** Queries, keys or values before RoPE: [B, T, C] → [B, H or Hkv, T, D] */
  heads(which: "q" | "k" | "v", x: Tensor): Tensor {
    const { num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D } = this._config;
    const [B, T] = x.shape as [number, number];
    const projected = reshape(this[`${which}_proj`].forward(x), [B, T, which === "q" ? H : Hkv, D]);
    const norm = which === "v" ? null : this[`${which}_norm`];
    return permute(norm === null ? projected : norm.forward(projected), [0, 2, 1, 3]);
  }

  /** What the queries of this layer see of keys and values. */
  contextOf(context: AttentionContext): AttentionContext {
    return this._window === undefined ? context : { ...context, window: this._window };
  }
}

/** down(silu(gate(x)) ⊙ up(x)) (Shazeer 2020). */
export class SwiGLU {
  gate_proj: Linear; // [F, C]
  up_proj: Linear; // [F, C]
  down_proj: Linear; // [C, F]

  constructor(config: LlamaConfig, key: Tensor, matrix: Matrix) {
    const { hidden_size: C, intermediate_size: F, mlp_bias: bias } = config;
    const [gate, up, down] = split(key, 3) as [Tensor, Tensor, Tensor];
    this.gate_proj = linear(matrix(gate, [F, C]), bias);
    this.up_proj = linear(matrix(up, [F, C]), bias);
    this.down_proj = linear(matrix(down, [C, F]), bias);
  }

  /** [B, T, C] → [B, T, C] */
  forward(x: Tensor): Tensor {
    return this.down_proj.forward(mul(silu(this.gate_proj.forward(x)), this.up_proj.forward(x)));
  }
}

/** Tokens to read and the tokens that follow each of them: integers [B, T] both. A target of −100 asks for nothing. */
export interface TokenBatch {
  readonly inputs: Tensor;
  readonly targets: Tensor;
  /** What each target counts, [B, T], at least 0. Default: 1. */
  readonly weights?: Tensor;
}

/**
 * Mean over all targets of −ln p(target | tokens up to there), in nats: Σ w·loss / Σ w with the weights w of the batch. NaN where no target
 * counts.
 */
export function llamaLoss(model: Llama, batch: TokenBatch, tables: RopeTensors, options: LossOptions = {}): Tensor {
  checkArgument("llamaLoss", "model", model, modelKind);
  checkFields("llamaLoss", "batch", batch, { inputs: tensorKind, targets: tensorKind, weights: optional(tensorKind) });
  checkFields("llamaLoss", "tables", tables, {
    cos: tensorKind,
    sin: tensorKind,
    query: optional(plainObject),
    far: optional(plainObject),
  });
  checkOptions("llamaLoss", options, lossKinds);
  const { inputs, targets, weights } = batch;
  const hidden = model.hidden(inputs, tables, undefined, options.checkpoint);
  if (weights === undefined) return model.headLoss(hidden, targets);
  if (!sameShape(weights.shape, targets.shape)) {
    throw new ShapeError(`llamaLoss: weights ${show(weights.shape)} for targets ${show(targets.shape)}`);
  }
  const counted = countedWeights(batch);
  return div(sum(mul(model.headLoss(hidden, targets, { reduction: "none" }), counted)), sum(counted));
}

/** What the mean of {@link llamaLoss} divides by: the sum of the weights of the targets that count, or their number. */
export function languageWeight(batch: Pick<TokenBatch, "targets" | "weights">): Tensor {
  checkFields("languageWeight", "batch", batch, { targets: tensorKind, weights: optional(tensorKind) });
  return sum(countedWeights(batch));
}

/** What each target counts: its weight, and 0 for one that asks for nothing. */
function countedWeights({ targets, weights }: Pick<TokenBatch, "targets" | "weights">): Tensor {
  const asked = notEqual(targets, -100);
  return weights === undefined ? cast(asked, "f32") : mul(weights, cast(asked, weights.dtype));
}
