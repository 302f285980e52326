import { listOf, number, type OptionKinds, objectWith, optional } from "../arguments.js";
import type { SamplingOptions } from "./sampling.js";

/** Kinds of arguments that are models, texts and optimizers; see `arguments.ts`. */

export const modelKind = objectWith("a Llama", "model", "config", "forward");
export const optimizerKind = objectWith("an optimizer, as adamw() makes it", "init", "update");
export const documentsKind = listOf(objectWith("a document { name, tokens }", "tokens"));
export const blocksKind = listOf(objectWith("a block { document, start }", "document", "start"));
export const samplingKinds: OptionKinds<SamplingOptions> = {
  temperature: optional(number),
  topK: optional(number),
  seed: optional(number),
};
