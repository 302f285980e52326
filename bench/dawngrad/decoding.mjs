// Reading a prompt and continuing it, one token at a time, with a model from a GGUF file in dawngrad: `generate` as it comes, greedy.
// Beside it a memcpy on as many threads, which shows how fast the memory is.
import { generate, loadModel, mapTensors, modelFrequencies, plainPositions, ropeTables, tensor } from "dawngrad";
import { measure, report } from "../shared/case.mjs";
import { decodingOptions, measureDecoding, readDecoding } from "../shared/decoding.mjs";
import { start, versions } from "./backend.mjs";
import { startMemcpy } from "./memcpy.mjs";

const { backend, threads, seconds, model: path, lengths, tokens } = readDecoding(await start(decodingOptions));
const model = await loadModel(path, { dtype: "stored" });
const { vocab_size: vocabulary } = model.config;

/** Bytes that a token needs of the weights: all of them, but for an embedding that is not the head as well. */
let weightBytes = 0;
mapTensors(model, (tensor, name) => {
  if (model.lm_head === null || name !== "model.embed_tokens.weight") weightBytes += tensor.size * (tensor.dtype === "f32" ? 4 : 2);
  return tensor;
});

/** Cosines and sines for each capacity that is asked for, made once: as long as they stay the same, keys are turned once. */
const tablesOf = new Map();
function tables(length) {
  if (!tablesOf.has(length)) {
    const { cos, sin, half } = ropeTables(plainPositions({ length }), modelFrequencies(model.config));
    const rows = (data) => tensor(data, { shape: [1, length, half] });
    tablesOf.set(length, { cos: rows(cos), sin: rows(sin) });
  }
  return tablesOf.get(length);
}
const write = (prompt, count, onToken) => generate({ model, prompt, tokens: count, temperature: 0, tables, onToken });
const measured = await measureDecoding(write, { lengths, tokens, seconds, vocabulary });
await backend.close();

const copied = 2 ** 28;
const memcpy = await startMemcpy({ threads, capacity: copied });
const copies = await measure(() => memcpy.copy(copied), { seconds: 0.5 });
await memcpy.close();
// A byte that is copied is read and written.
report({ versions, adapter: backend.info.adapter, threads, ...measured, weightBytes, copies, copiedBytes: 2 * copied });
