// The model, the weights and the batches of the training step, the same numbers for every library: all of them come from a
// hash of integers. llama_definition.py says the same for PyTorch.

/** A byte-level Llama under the names of Hugging Face's `config.json`. */
export const config = {
  vocab_size: 256,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  head_dim: 32,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  initializer_range: 0.02,
};

/** B and T. */
export const [batchSize, length] = [16, 128];

/** AdamW; decay applies to matrices alone. Gradients are not clipped. */
export const training = { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0.1 };

/** Losses that are compared before anything is timed. */
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

/** The tokens of one step, row-major [B, T]; small bytes are likelier, so that there is something to learn. */
export function tokens(step) {
  const token = (row, t) => {
    const bits = hash(0x40000000 + (step * batchSize + row) * 0x1000 + t);
    return ((bits & 0xff) * ((bits >>> 8) & 0xff)) >>> 8;
  };
  const at = (shift) => Int32Array.from({ length: batchSize * length }, (_, i) => token(Math.floor(i / length), (i % length) + shift));
  return { inputs: at(0), targets: at(1) };
}

/** Cosines and sines of the angles t·θ^(−2j/D), row-major [T, D/2]. */
export function ropeAngles() {
  const half = config.head_dim / 2;
  const angle = (_, i) => Math.floor(i / half) * config.rope_theta ** (-(i % half) / half);
  const angles = Array.from({ length: length * half }, angle);
  return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin), shape: [length, half] };
}

/** Side × side numbers in [−0.5, 0.5) for the matrix products. */
export const squareMatrix = (seed, side) =>
  Float32Array.from({ length: side * side }, (_, i) => (hash(seed * 0x1000000 + i) >>> 8) / 2 ** 24 - 0.5);

/** Sides of the square matrix products. */
export const matmulSides = [512, 1024];
