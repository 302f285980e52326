// The small Llama in TensorFlow.js. The WebAssembly backend cannot differentiate a gather, so tokens become one-hot rows.

import { config, initialWeights, ropeAngles } from "../../shared/llama.mjs";

/** The model over texts [B, T]: `losses` of tokens, and its weights as variables. */
export function smallLlama(tf, { batch, length }) {
  const { hidden_size: C, num_attention_heads: H, head_dim: D, rms_norm_eps, num_hidden_layers, vocab_size: V } = config;
  const rows = batch * length;
  const weights = new Map([...initialWeights()].map(([name, { data, shape }]) => [name, tf.variable(tf.tensor(data, shape), true, name)]));
  const weight = (name) => weights.get(`${name}.weight`);

  const product = fastProduct(tf);
  const linear = (x, name) => product(x, tf.transpose(weight(name)));

  const { cos: cosines, sin: sines, shape: tableShape } = ropeAngles(length);
  const [cos, sin] = [tf.tensor(cosines, tableShape), tf.tensor(sines, tableShape)];
  const mask = causalMask(tf, length);

  function norm(x, name) {
    const scale = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), rms_norm_eps));
    return tf.mul(tf.mul(x, scale), weight(name));
  }

  /** Split-half rotation of x [B, H, T, D]. */
  function rope(x) {
    const [first, second] = tf.split(x, 2, -1);
    return tf.concat([tf.sub(tf.mul(first, cos), tf.mul(second, sin)), tf.add(tf.mul(second, cos), tf.mul(first, sin))], -1);
  }

  function attend(x, layer) {
    const heads = (name) => tf.transpose(tf.reshape(linear(x, `${layer}.self_attn.${name}`), [batch, length, H, D]), [0, 2, 1, 3]);
    const y = attention(tf, rope(heads("q_proj")), rope(heads("k_proj")), heads("v_proj"), mask);
    return linear(tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [rows, C]), `${layer}.self_attn.o_proj`);
  }

  function feedForward(x, layer) {
    const gate = linear(x, `${layer}.mlp.gate_proj`);
    return linear(tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(x, `${layer}.mlp.up_proj`)), `${layer}.mlp.down_proj`);
  }

  /** −ln p of each target, [B·T]. */
  function losses({ inputs, targets }) {
    const hot = (data) => tf.cast(tf.oneHot(tf.tensor1d(data, "int32"), V), "float32"); // asked for f32, oneHot writes integers
    let x = product(hot(inputs), weight("model.embed_tokens")); // [B·T, C]
    for (let i = 0; i < num_hidden_layers; i++) {
      const layer = `model.layers.${i}`;
      x = tf.add(x, attend(norm(x, `${layer}.input_layernorm`), layer));
      x = tf.add(x, feedForward(norm(x, `${layer}.post_attention_layernorm`), layer));
    }
    const logits = linear(norm(x, "model.norm"), "lm_head"); // [B·T, V]
    return tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), hot(targets)), -1));
  }

  return { losses, weights };
}

/** Added to the scores: nothing where the key is not later than the query. */
export const causalMask = (tf, length) =>
  tf.tensor(
    Float32Array.from({ length: length * length }, (_, i) => (i % length > Math.floor(i / length) ? -1e30 : 0)),
    [length, length],
  );

/** q, k, v: [B, H, T, D] */
export function attention(tf, q, k, v, mask) {
  const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), q.shape[3] ** -0.5), mask);
  return tf.matMul(tf.softmax(scores), v);
}

/**
 * a·b of matrices. The fast product of the WebAssembly backend takes neither flags for transposed operands, which the built-in
 * gradient of matMul asks for, nor batches; all else goes to plain loops that are ten times slower. Transposing first avoids them.
 */
export const fastProduct = (tf) =>
  tf.customGrad((a, b, save) => {
    save([a, b]);
    const gradFunc = (dy, [a, b]) => [tf.matMul(dy, tf.transpose(b)), tf.matMul(tf.transpose(a), dy)];
    return { value: tf.matMul(a, b), gradFunc };
  });
