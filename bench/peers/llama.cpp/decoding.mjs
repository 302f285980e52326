// Reading a prompt and continuing it, one token at a time, with a model from a GGUF file in llama.cpp by way of node-llama-cpp, greedy.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { report } from "../../shared/case.mjs";
import { decodingFrom, measureDecoding } from "../../shared/decoding.mjs";
import { packageFolder } from "./package.mjs";

const { model: modelPath, threads, seconds, lengths, tokens } = decodingFrom();
const { getLlama } = await import(pathToFileURL(join(packageFolder, "dist/index.js")).href);
const llama = await getLlama({ gpu: false, build: "never", maxThreads: threads, logLevel: "error" });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({ contextSize: Math.max(...lengths) + tokens + 1, threads, sequences: 1 });
const sequence = context.getSequence();

async function write(prompt, count, onToken) {
  await sequence.clearHistory();
  let left = count;
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    onToken(token);
    if (--left === 0) break;
  }
}
const vocabulary = model.fileInfo.metadata.llama.vocab_size;
const measured = await measureDecoding(write, { lengths, tokens, seconds, vocabulary });
const { version } = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8"));
report({ versions: { "node-llama-cpp": version }, threads, ...measured });
