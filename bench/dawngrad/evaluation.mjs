// dawngrad reads one text of W tokens: the loss of each, in blocks that keep keys and values. Beside it the time of what cannot be
// avoided, the matrix products and the attention of the forward pass, at the rates at which they run by themselves in this process.
import { attention, compile, key, lossByPosition, matmul, randn, realize, sync } from "dawngrad";
import { measure, measureInTurn, median, peakBytes, positiveInteger, report } from "../shared/case.mjs";
import { causalPairs, config, textOptions, tokens } from "../shared/llama.mjs";
import { start, versions } from "./backend.mjs";
import { smallLlama } from "./llama.mjs";

const { backend, threads, seconds, ...values } = await start({ length: textOptions.length });
const length = positiveInteger("length", values.length);
const { model, tables } = smallLlama(length);
await realize(model);
const { inputs, targets } = tokens(0, { batch: 1, length });
const text = Int32Array.of(...inputs.subarray(0, 1), ...targets);

let nats;
async function read() {
  const [losses] = (await lossByPosition({ model, tokens: text, tables: () => tables })).nats;
  nats = losses.reduce((sum, loss) => sum + loss, 0) / length;
}
const cases = { read: await measure(read, { seconds }) };
const peak = peakBytes();

const { hidden_size: C, intermediate_size: F, vocab_size: V, num_attention_heads: H, head_dim: D, num_hidden_layers: layers } = config;
const rows = Math.min(length, 2048);
const attended = Math.min(length, 4096);
const kept = {
  narrow: randn(key(1), [rows, C]),
  wide: randn(key(2), [rows, F]),
  layer: [...Array(4).fill([C, C]), [F, C], [F, C]].map((shape, i) => randn(key(3 + i), shape)),
  down: randn(key(9), [C, F]),
  head: randn(key(10), [V, C]),
  qkv: [11, 12, 13].map((seed) => randn(key(seed), [1, H, attended, D])),
};
await realize(kept);
const linear = (x, weight) => matmul(x, weight.transpose());
const runOnce =
  (f, ...given) =>
  async () => {
    const results = [f(...given)].flat();
    await sync();
    for (const result of results) result.dispose();
  };
const layer = compile(({ narrow, wide, layer, down }) => [...layer.map((weight) => linear(narrow, weight)), linear(wide, down)]);
const head = compile(({ narrow, head }) => linear(narrow, head));
const attend = compile((q, k, v) => attention(q, k, v, { causal: true }));
const parts = await measureInTurn(
  { layer: runOnce(layer, kept), head: runOnce(head, kept), attention: runOnce(attend, ...kept.qkv) },
  { seconds: seconds / 4 },
);
const blocks = length / rows;
const products = blocks * (layers * median(parts.layer) + median(parts.head));
const attending = layers * median(parts.attention) * (causalPairs(length) / causalPairs(attended));
await backend.close();
report({
  versions,
  adapter: backend.info.adapter,
  threads,
  length,
  cases,
  losses: [nats],
  yardstick: { products, attention: attending },
  peakBytes: peak,
});
