import { flag, listOf, type OptionKinds, objectWith, optional } from "../arguments.js";

/** Kinds of arguments that are models, texts and optimizers; see `arguments.ts`. */

export const modelKind = objectWith("a Llama", "model", "config", "forward");
export const optimizerKind = objectWith("an optimizer, as adamw() makes it", "init", "update");
export const documentsKind = listOf(objectWith("a document { name, tokens }", "tokens"));
export const blocksKind = listOf(objectWith("a block { document, start }", "document", "start"));

export interface LossOptions {
  /**
   * Keeps what each layer begins with and not what it computes, which the backward pass computes a second time (see `checkpoint`): a
   * fraction of the memory for about a third more time. Default false.
   */
  readonly checkpoint?: boolean;
}

export const lossKinds: OptionKinds<LossOptions> = { checkpoint: optional(flag) };
