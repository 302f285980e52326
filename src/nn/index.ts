/** Modules, the Llama, training, data and files. */
export { type AdafactorOptions, type AdafactorState, adafactor } from "./adafactor.js";
export type { AdapterConfig } from "./adapter-config.js";
export {
  adapterBlobs,
  type LoadAdaptedOptions,
  loadAdaptedModel,
  loadAdapter,
  loadAdapterConfig,
  type SaveAdapterOptions,
  saveAdapter,
} from "./adapters.js";
export * from "./batch.js";
export type { BlobLike } from "./byte-source.js";
export { applyChatTemplate, type ChatMessage, type ChatTemplateOptions } from "./chat.js";
export * from "./checkpoint.js";
export * from "./clip.js";
export { countParameters, type ExtensionNotes, type LayerType, type LlamaConfig, llamaShapes } from "./config.js";
export { parseLlamaConfig, toHfConfig } from "./config-json.js";
export { type LlamaOptions, llamaConfig } from "./config-options.js";
export { type ConvertOptions, convertModel } from "./convert.js";
export { Conv1d, Conv2d, type CreateConvolutionOptions, type WindowSettings } from "./convolution.js";
export * from "./data.js";
export { type DropoutKeysOptions, dropoutKeys } from "./dropout.js";
export { type Ema, type EmaOptions, type EmaState, ema } from "./ema.js";
export { createPositionEncoding } from "./encodings/create.js";
export type { DapeOptions, PositionEncodingConfig, StaticEncodingConfig } from "./encodings/encoding-config.js";
export type { PairCoordinates, PositionBias } from "./encodings/position-bias.js";
export { alibiSlopes } from "./encodings/static-biases.js";
export * from "./evaluation-targets.js";
export * from "./generate.js";
export { ggufBlob, type SaveGgufOptions, saveGguf } from "./gguf/save.js";
export type { GgufDtype } from "./gguf/write.js";
export * from "./initializers.js";
export type { LossOptions } from "./kinds.js";
export * from "./kv-cache.js";
export {
  BatchNorm,
  type BatchNormLayerOptions,
  Dropout,
  type ForwardOptions,
  GroupNorm,
  type Layer,
  LayerNorm,
  Sequential,
  sequential,
} from "./layers.js";
export * from "./llama.js";
export type { LoadModelOptions } from "./load-weights.js";
export {
  applyLora,
  LoraLinear,
  type LoraOptions,
  type LoraSettings,
  loraTrainable,
  mergeLora,
  TrainedModule,
  unloadLora,
} from "./lora.js";
export type { Batches } from "./micro-batches.js";
export type { FileContent, FileLike, HostBlob, ModelSource } from "./model-source.js";
export { copyTree, Embedding, Linear, type LinearOptions, parameterCount, RMSNorm } from "./module.js";
export type { ModulePattern } from "./module-patterns.js";
export type { LossResult } from "./moved-tensors.js";
export { type AttendOptions, MultiHeadAttention, type MultiHeadAttentionOptions } from "./multi-head-attention.js";
export { type MuonOptions, type MuonState, muon } from "./muon.js";
export { openModel } from "./open-model.js";
export * from "./optimizers.js";
export { type EncodingPlace, withPositionEncoding } from "./position-encodings.js";
export * from "./recurrent.js";
export {
  checkTensors,
  float32Tensor,
  readSafetensors,
  type SafetensorsEntry,
  type SafetensorsFile,
  type SafetensorsTensor,
  toFloat32,
  writeSafetensors,
} from "./safetensors.js";
export type { SafetensorsDtype } from "./safetensors-header.js";
export { createSampler, type Sampler, type SamplingOptions } from "./sampling.js";
export * from "./schedules.js";
export type { StoredModel, StoredTensor, WeightDtype } from "./stored-model.js";
export { StreamingCache, type StreamingCacheOptions, type StreamingSizes } from "./streaming-cache.js";
export { type ModelSummary, type SummaryOptions, type SummaryRow, summary } from "./summary.js";
export * from "./tokenizers.js";
export * from "./train-step.js";
export { type Trainable, trainablePart } from "./trainable.js";
export { languageLoss, type StepInfo, type TrainOptions, type TrainResult, train } from "./training.js";
export { type TrainingMemory, type TrainingMemoryOptions, trainingMemory } from "./training-memory.js";
export {
  type LoadTensorsOptions,
  loadTensors,
  type SaveTensorsOptions,
  saveTensors,
  type TensorsSource,
  tensorsBlob,
} from "./tree-files.js";
