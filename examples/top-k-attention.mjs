/**
 * Attention to the k most promising keys of each query, which a cheap prediction picks: the table of docs/top-k-attention.md.
 *
 *     npm run build && node examples/top-k-attention.mjs
 *
 * A model of two layers learns to continue text that repeats itself, for which it must find one key among all. Then each layer is made to see
 * k keys alone, picked by the true scores or by scores of less precision. Nothing is trained again.
 */
import * as dg from "dawngrad";

const [symbols, window, batch, steps] = [64, 128, 16, 600];
const tile = 16;
const config = dg.llamaConfig({
  vocab_size: symbols,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: window,
});
const { num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D } = config;

/** B rows of 16 … 48 different symbols that are repeated to the end; the first time they ask for nothing. */
function repetitions(purpose, step) {
  const inputs = new Int32Array(batch * window);
  const targets = new Int32Array(batch * window).fill(dg.noTarget);
  for (let row = 0; row < batch; row++) {
    const random = dg.randomStream(1, purpose, step, row);
    const once = random.permutation(symbols).slice(0, 16 + random.below(33));
    for (let i = 0; i < window; i++) {
      inputs[row * window + i] = once[i % once.length];
      if (i + 1 >= once.length) targets[row * window + i] = once[(i + 1) % once.length];
    }
  }
  return { inputs, targets, batch, length: window };
}

/** How scores are predicted: from queries [B, H, T, D] and keys [B, H, S, D], turned by RoPE. */
const product = (q, k) => dg.matmul(q, k.transpose());
/** ±2^⌊log₂|x|⌋: the sign and the leading one. A product of two such numbers is an addition of their exponents. */
const leadingOne = (x) => dg.where(x.equal(0), 0, x.abs().log().mul(Math.LOG2E).floor().mul(Math.LN2).exp().mul(x.sign()));
const directions = dg.randn(dg.key(7), [D, 4]);
const predictors = {
  "true scores": product,
  "leading ones": (q, k) => product(leadingOne(q), leadingOne(k)),
  "4 of 16 dimensions": (q, k) => product(dg.matmul(q, directions), dg.matmul(k, directions)),
  "signs alone": (q, k) => product(q.sign(), k.sign()),
  "the last keys": (q) => dg.iota([q.shape[0], H, window, window], 3).cast("f32"),
};

/**
 * Where the k largest scores of each query are, by bisection of the threshold: no sorting, but comparisons and counts alone. Equal scores at the
 * threshold are all kept.
 */
function largest(scores, visible, k) {
  let low = dg.where(visible, scores, 1e30).min(-1, true);
  let high = dg.where(visible, scores, -1e30).max(-1, true);
  for (let i = 0; i < 24; i++) {
    const middle = low.add(high).mul(0.5);
    const isEnough = visible.and(scores.greaterEqual(middle)).cast("f32").sum(-1, true).greaterEqual(k);
    low = dg.where(isEnough, middle, low);
    high = dg.where(isEnough, high, middle);
  }
  return visible.and(scores.greaterEqual(low));
}

/** A layer's attention to k keys, and what it keeps: of the pairs, of the tiles that hold a kept pair, of the weights of full attention. */
const topK = (predict, k, kept) => ({
  attend(queries, { keys, values, queryTables, keyTables, offset }) {
    const q = dg.rope(queries, queryTables.cos, queryTables.sin);
    const key = dg.rope(keys, keyTables.cos, keyTables.sin);
    const [B, , T] = q.shape;
    const shared = dg.broadcastTo(key.unsqueeze(2), [B, Hkv, H / Hkv, T, D]).reshape([B, H, T, D]);
    const visible = dg.broadcastTo(dg.iota([T, T], 0).greaterEqual(dg.iota([T, T], 1)), [B, H, T, T]);
    const mask = largest(predict(q, shared), visible, k);

    const ofTiles = (x) =>
      x
        .cast("f32")
        .reshape([B, H, T / tile, tile, T / tile, tile])
        .max([3, 5])
        .sum();
    const weights = dg.where(visible, product(q, shared).div(Math.sqrt(D)), dg.maskedScore).softmax(-1);
    kept.push([
      mask.cast("f32").sum().div(visible.cast("f32").sum()),
      ofTiles(mask).div(ofTiles(visible)),
      dg
        .where(mask, weights, 0)
        .sum()
        .div(B * H * T),
    ]);
    return dg.attention(q, key, values, { causal: true, offset, mask });
  },
});

/** Mean loss in nats and share of right answers. */
async function measure(model, { inputs, targets }, tables) {
  const logits = model.forward(dg.tensor(inputs, { shape: [batch, window] }), tables);
  const losses = await dg.crossEntropy(logits, dg.tensor(targets, { shape: [batch, window] }), { reduction: "none" }).data();
  const answers = await logits.argmax(-1).data();
  let [asked, nats, right] = [0, 0, 0];
  for (const [i, target] of targets.entries()) {
    if (target === dg.noTarget) continue;
    asked++;
    nats += losses[i];
    right += answers[i] === target ? 1 : 0;
  }
  return { nats: nats / asked, right: right / asked };
}

const begun = performance.now();
const backend = await dg.init();
const frequencies = dg.ropeFrequencies({ type: "default" }, { headDim: D, theta: config.rope_theta });
const hostTables = dg.ropeTables(dg.plainPositions({ length: window }), frequencies);
const { model } = await dg.train({
  model: new dg.Llama(config, { key: dg.key(1) }),
  batches: (step) => dg.languageBatch(repetitions(1, step), hostTables),
  optimizer: dg.adamw(),
  schedule: dg.warmupCosine({ peak: 4e-3, warmup: 50, total: steps }),
  steps,
  onStep: ({ step, loss }) => (step + 1) % 100 === 0 && console.error(`step ${step + 1}: loss ${loss.toFixed(3)}`),
});

const fresh = repetitions(2, 0);
const tables = dg.ropeTensors(hostTables);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
const whole = await measure(model, fresh, tables);
row(["picked by", "k", "pairs kept", "tiles kept", "weight kept", "loss", "right"]);
row(["---", "---:", "---:", "---:", "---:", "---:", "---:"]);
row(["all keys", "", percent(1), percent(1), percent(1), whole.nats.toFixed(3), percent(whole.right)]);
for (const [name, predict] of Object.entries(predictors)) {
  for (const k of [2, 4, 8, 16, 32]) {
    const kept = [];
    for (const { self_attn } of model.model.layers) self_attn.position_encoding = topK(predict, k, kept);
    const { nats, right } = await measure(model, fresh, tables);
    const shares = await Promise.all(kept.flat().map((share) => share.item()));
    const mean = (i) => percent((shares[i] + shares[i + 3]) / 2);
    row([name, k, mean(0), mean(1), mean(2), nats.toFixed(3), percent(right)]);
  }
}

/** Time of attention that hides seven pairs in eight, relative to attention that hides none: the median of runs in turn. */
async function relativeTime(T) {
  const [q, k, v] = dg.split(dg.key(3), 3).map((key) => dg.randn(key, [1, 4, T, 64]));
  const kept = dg.uniform(dg.key(4), [1, 4, T, T]).less(1 / 8);
  await dg.realize(q, k, v, kept);
  const plain = dg.compile((a, b, c) => dg.attention(a, b, c, { causal: true }));
  const sparse = dg.compile((a, b, c, mask) => dg.attention(a, b, c, { causal: true, mask }));
  const timed = async (run) => {
    const start = performance.now();
    await run().data();
    return performance.now() - start;
  };
  const ratios = [];
  for (let i = 0; i < 12; i++) {
    const [full, hidden] = [await timed(() => plain(q, k, v)), await timed(() => sparse(q, k, v, kept))];
    if (i > 2) ratios.push(hidden / full);
  }
  return ratios.sort((a, b) => a - b)[4];
}
console.log(`\nAttention over 1024 tokens with seven pairs in eight hidden takes ${(await relativeTime(1024)).toFixed(2)} times the time`);
console.error(`${((performance.now() - begun) / 1000).toFixed(0)} s`);
await backend.close();
