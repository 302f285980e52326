import { callable, integer, listOf, number, type OptionKinds, object, objectWith, optional, positive } from "../arguments.js";
import type { SamplingOptions } from "./sampling.js";
import type { TrainOptions } from "./training.js";

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

/** What `train` and `trainExtension` take alike. */
export const trainingKinds = {
  model: modelKind,
  optimizer: optimizerKind,
  optimizerState: optional(object),
  steps: integer(0),
  startStep: optional(integer(0)),
  step: optional(integer(0)),
  extra: optional(object),
  schedule: callable,
  maxNorm: optional(positive),
  trainable: optional(callable),
  trainStep: optional(callable),
  onStep: optional(callable),
  shouldStop: optional(callable),
  onSave: optional(callable),
  saveEvery: optional(integer(0)),
} satisfies OptionKinds<Omit<TrainOptions<unknown>, "batches">>;
