import { listOf, objectWith } from "../arguments.js";

/** Kinds of arguments that are models, texts and optimizers; see `arguments.ts`. */

export const modelKind = objectWith("a Llama", "model", "config", "forward");
export const optimizerKind = objectWith("an optimizer, as adamw() makes it", "init", "update");
export const documentsKind = listOf(objectWith("a document { name, tokens }", "tokens"));
export const blocksKind = listOf(objectWith("a block { document, start }", "document", "start"));
