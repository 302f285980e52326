// Writes random models of the shape of SmolLM2-135M as GGUF files, for everybody who decodes: node bench/dawngrad/decoding-models.mjs
// FOLDER [f32,bf16] makes FOLDER/f32.gguf (538 MB) and FOLDER/bf16.gguf (269 MB).
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { init, key, Llama, llamaConfig, realize, saveGguf } from "dawngrad";
import { report } from "../shared/case.mjs";
import { decodingShape } from "../shared/decoding.mjs";

const [folder, dtypes = "f32,bf16"] = process.argv.slice(2);
if (folder === undefined) throw new Error("name a folder for the models");
mkdirSync(folder, { recursive: true });
const backend = await init({ backend: "wasm" });
const model = new Llama(llamaConfig(decodingShape), { key: key(0) });
await realize(model);

/** llama.cpp wants a tokenizer beside a model, although prompts are numbers: one of a token for each byte, and of names for the others. */
function tokenizerOf(vocabulary) {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let others = 256;
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : others++));
  const names = Array.from({ length: vocabulary - 256 }, (_, i) => `token${i}`);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab: Object.fromEntries([...bytes, ...names].map((text, id) => [text, id])), merges: [] },
  };
}
const tokenizer = join(folder, "tokenizer.json");
writeFileSync(tokenizer, JSON.stringify(tokenizerOf(decodingShape.vocab_size)));
const models = {};
for (const dtype of dtypes.split(",")) {
  models[dtype] = join(folder, `${dtype}.gguf`);
  await saveGguf(models[dtype], model, { dtype, name: "random", tokenizer: folder });
}
rmSync(tokenizer);
await backend.close();
report({ models });
