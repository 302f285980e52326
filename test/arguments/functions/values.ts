import type { Llama, LlamaConfig } from "../../../src/index.js";
import * as dawngrad from "../../../src/index.js";
import { aBoundedNumber, aFlag, aFunction, alsoFor, anInteger, anObject, aTensor, aTree, optional } from "../parameters.js";

export const config: LlamaConfig = dawngrad.llamaConfig({
  vocab_size: 11,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 16,
});
export const llama = (): Llama => new dawngrad.Llama(config, { key: dawngrad.key(0) });
export const documents = (): unknown => [{ name: "one", tokens: Int32Array.from({ length: 60 }, (_, i) => i % 11) }];
export const frequencies = (): unknown => dawngrad.ropeFrequencies({ type: "default" }, { headDim: 4, theta: 10_000 });
export const tables = (length = 4): dawngrad.RopeTables =>
  dawngrad.ropeTables(dawngrad.plainPositions({ length }), frequencies() as dawngrad.RopeFrequencies);
export const shape = (): unknown => ({ headDim: 4, theta: 10_000 });
export const hostTokens = (): unknown => ({ inputs: new Int32Array(4), targets: new Int32Array(4), batch: 1, length: 4 });
export const batch = (): unknown => dawngrad.languageBatch(hostTokens() as never, tables());
export const optimizer = (): unknown => dawngrad.sgd();
export const blocks = (): unknown =>
  dawngrad.evaluationTargets({ documents: documents() as never, targetLength: 2, maxContext: 8, count: 1 });
export const isObjectOrList = (value: unknown): boolean => typeof value === "object" && value !== null;
export const training = {
  model: anObject(llama),
  optimizer: anObject(optimizer),
  optimizerState: optional(aTree(() => dawngrad.sgd().init(llama()))),
  steps: anInteger(0),
  startStep: optional(anInteger(0)),
  step: optional(anInteger(0)),
  extra: optional(
    alsoFor(
      anObject(() => ({})),
      isObjectOrList,
    ),
  ),
  schedule: aFunction(() => () => 0.1),
  maxNorm: optional(aBoundedNumber()),
  trainable: optional(aFunction(() => () => true)),
  checkpoint: optional(aFlag()),
  microBatch: optional(anInteger(1)),
  dropoutSeed: optional(anInteger(0)),
  trainStep: optional(aFunction(() => dawngrad.createTrainStep({ optimizer: dawngrad.sgd(), loss: dawngrad.languageLoss }))),
  onStep: optional(aFunction(() => () => undefined)),
  shouldStop: optional(aFunction(() => () => false)),
  onSave: optional(aFunction(() => async () => undefined)),
  saveEvery: optional(anInteger(0)),
};
export const scoring = {
  model: anObject(llama),
  tables: optional(aFunction(() => tables)),
  batch: optional(anInteger()),
  block: optional(anInteger()),
  onProgress: optional(aFunction(() => () => undefined)),
  shouldStop: optional(aFunction(() => () => false)),
};
export const key = aTensor(() => dawngrad.key(1));
export const x = aTensor();
