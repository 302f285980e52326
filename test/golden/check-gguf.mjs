/**
 * Holds a GGUF file against llama.cpp: the greedy continuation of a prompt, token by token, and the prompt's tokens where dawngrad reads the
 * file's tokenizer. Prints both and fails where they differ.
 *
 *     npm run build && npm install --no-save node-llama-cpp && node test/golden/check-gguf.mjs FILE.gguf [PROMPT] [TOKENS]
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { generate, init, loadModel, readingTables, ropeTensors } from "../../dist/index.js";

const [, , path, prompt = "The capital of France is", count = "60"] = process.argv;
if (path === undefined) throw new Error("name a GGUF file");
const tokens = Number(count);

// From the working directory, so that it need not be a dependency of the project.
const entry = join(process.cwd(), "node_modules/node-llama-cpp/dist/index.js");
const { getLlama } = await import(existsSync(entry) ? pathToFileURL(entry).href : "node-llama-cpp");
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: 1 });
const peer = await llama.loadModel({ modelPath: path });
const ids = [...peer.tokenize(prompt)];
const context = await peer.createContext({ contextSize: ids.length + tokens + 8, threads: 1 });
const theirs = [];
for await (const token of context.getSequence().evaluate(ids, { temperature: 0, yieldEogToken: true })) {
  if (theirs.push(token) === tokens) break;
}

await init({ backend: "wasm" });
const model = await loadModel(path);
const { max_position_embeddings: window } = model.config;
const tables = (length) => ropeTensors(readingTables(model.config, { schedule: "none", scale: 1, length, window }));
const ours = [...(await generate({ model, prompt: ids, tokens: theirs.length, tables, temperature: 0 }))];

const same = ours.findIndex((token, i) => token !== theirs[i]);
console.log(`prompt: ${ids.length} tokens`);
console.log(`llama.cpp: ${peer.detokenize(theirs)}`);
console.log(`dawngrad:  ${peer.detokenize(ours)}`);
console.log(same < 0 ? `the same ${ours.length} tokens` : `token ${same} differs: ${theirs[same]} of llama.cpp, ${ours[same]} of dawngrad`);
process.exitCode = same < 0 ? 0 : 1;
await peer.dispose();
