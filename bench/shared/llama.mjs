// The model, the weights and the batches of the training step, the same numbers for every library: all of them come from a
// hash of integers. llama_definition.py says the same for PyTorch.

/** A byte-level Llama under the names of Hugging Face's `config.json`; it reads texts of any length. */
export const config = {
  vocab_size: 256,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  head_dim: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  initializer_range: 0.02,
};

/** Tokens of a step, and T of the step that is measured when no other is asked for. */
export const [stepTokens, shortLength] = [2048, 128];

/** B: as many texts of T tokens as make up the tokens of a step, and one where T is more than those. */
export const batchOf = (length, tokensOfStep = stepTokens) => Math.max(1, Math.floor(tokensOfStep / length));

/** The options of scripts that train or read texts: T, and B·T where that is at most the tokens of a step. */
export const textOptions = {
  length: { type: "string", default: String(shortLength) },
  tokens: { type: "string", default: String(stepTokens) },
};

/** AdamW; decay applies to matrices alone. Gradients are not clipped. */
export const training = { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1 };

/** Losses that are compared before anything is timed, where a script is not told how many. */
export const comparedSteps = 5;

/** 32 well-mixed bits (Wellons' "lowbias32"). */
function hash(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Name and shape of each weight, in a fixed order. */
export function weightShapes() {
  const { vocab_size: V, hidden_size: C, intermediate_size: F, num_hidden_layers } = config;
  const layers = Array.from({ length: num_hidden_layers }, (_, i) => [
    [`model.layers.${i}.input_layernorm.weight`, [C]],
    [`model.layers.${i}.self_attn.q_proj.weight`, [C, C]],
    [`model.layers.${i}.self_attn.k_proj.weight`, [C, C]],
    [`model.layers.${i}.self_attn.v_proj.weight`, [C, C]],
    [`model.layers.${i}.self_attn.o_proj.weight`, [C, C]],
    [`model.layers.${i}.post_attention_layernorm.weight`, [C]],
    [`model.layers.${i}.mlp.gate_proj.weight`, [F, C]],
    [`model.layers.${i}.mlp.up_proj.weight`, [F, C]],
    [`model.layers.${i}.mlp.down_proj.weight`, [C, F]],
  ]);
  return [["model.embed_tokens.weight", [V, C]], ...layers.flat(), ["model.norm.weight", [C]], ["lm_head.weight", [V, C]]];
}

/** Initial weights by name: norms are 1, matrices uniform with standard deviation `initializer_range`. */
export function initialWeights() {
  const width = config.initializer_range * Math.sqrt(12);
  return new Map(
    weightShapes().map(([name, shape], which) => {
      const size = shape.reduce((product, extent) => product * extent, 1);
      const uniform = (_, i) => ((hash(which * 0x100000 + i) >>> 8) / 2 ** 24 - 0.5) * width;
      return [name, { shape, data: shape.length === 1 ? new Float32Array(size).fill(1) : Float32Array.from({ length: size }, uniform) }];
    }),
  );
}

/** Tokens that a text has at most, so that no two texts have a part in common. */
const longestText = 0x20000;

/** The tokens of one step, row-major [B, T]; small bytes are likelier, so that there is something to learn. */
export function tokens(step, { batch, length }) {
  const token = (row, t) => {
    const bits = hash(0x40000000 + (step * batch + row) * longestText + t);
    return ((bits & 0xff) * ((bits >>> 8) & 0xff)) >>> 8;
  };
  const at = (shift) => Int32Array.from({ length: batch * length }, (_, i) => token(Math.floor(i / length), (i % length) + shift));
  return { inputs: at(0), targets: at(1) };
}

/** Cosines and sines of the angles t·θ^(−2j/D), row-major [T, D/2]. */
export function ropeAngles(length) {
  const half = config.head_dim / 2;
  const angle = (_, i) => Math.floor(i / half) * config.rope_theta ** (-(i % half) / half);
  const angles = Array.from({ length: length * half }, angle);
  return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin), shape: [length, half] };
}

/** Numbers in [−0.5, 0.5), the same for every library. */
export const numbers = (seed, count) => Float32Array.from({ length: count }, (_, i) => (hash(seed * 0x4000000 + i) >>> 8) / 2 ** 24 - 0.5);

/** Side × side numbers in [−0.5, 0.5) for the matrix products. */
export const squareMatrix = (seed, side) => numbers(seed, side * side);

/** Sides of the square matrix products where no others are asked for. */
export const matmulSides = [512, 1024];

/** Options of the products: their sides, and how many calls one waits for together, since a GPU would else mostly wait for the next. */
export const matmulOptions = {
  sides: { type: "string", default: matmulSides.join() },
  calls: { type: "string", default: "1" },
};

/** Attention by itself: q, k and v [1, H, T, D] where T is not asked for otherwise, and seeds of their numbers and the cotangent's. */
export const attentionShape = { heads: 8, length: 2048, headDim: 64 };

/** Pairs of a query and a key that it sees, where none sees a later one. */
export const causalPairs = (length) => (length * (length + 1)) / 2;

/** The head of a language model by itself: N tokens, C channels, V classes. */
export const headShape = { tokens: 2048, width: 576, vocabulary: 49152 };

/** Classes [N] that the head is to predict. */
export const headTargets = () => Int32Array.from({ length: headShape.tokens }, (_, i) => hash(0x50000000 + i) % headShape.vocabulary);
