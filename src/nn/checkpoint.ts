import {
  callable,
  checkArgument,
  checkFields,
  checkOptions,
  integer,
  type OptionKinds,
  object,
  oneOf,
  optional,
  plainObject,
  text,
} from "../arguments.js";
import { key } from "../autograd/random.js";
import { currentBackend } from "../autograd/runtime.js";
import type { Tensor } from "../autograd/tensor.js";
import { tensorsOf } from "../autograd/tree.js";
import { FormatError } from "../errors.js";
import type { Shape } from "../ir/shape.js";
import { adaptedBase, adapterNotes } from "./adapter-training.js";
import { adapterContents } from "./adapters.js";
import type { ByteSource } from "./byte-source.js";
import { type LlamaConfig, llamaShapes } from "./config.js";
import { configText, parseLlamaConfig, toHfConfig } from "./config-json.js";
import { parseJson } from "./json.js";
import { modelKind, optimizerKind } from "./kinds.js";
import { Llama } from "./llama.js";
import { type LoadModelOptions, loadModelKinds, loadTree, loadWeights } from "./load-weights.js";
import { hasAdapters, loraTrainable, refuseAdapters } from "./lora.js";
import { type HostBlob, type ModelSource, modelFiles, readingFile, sourceKind } from "./model-source.js";
import { configOf, openStored } from "./open-model.js";
import type { Optimizer } from "./optimizers.js";
import { configOfLayers } from "./position-encodings.js";
import { checkTensors } from "./safetensors.js";
import { readSafetensorsHeader, type SafetensorsHeader, wrongLength } from "./safetensors-header.js";
import { configFile, storedTensors, weightsFile } from "./safetensors-model.js";
import { blobsOf, companionFiles, type SavedFiles, weightsFiles, writeFiles } from "./saved-files.js";
import { type SavedTensor, safetensorsPieces, savedTensors, sizeInFile } from "./saved-tensors.js";
import type { WeightDtype } from "./stored-model.js";
import { type Trainable, trainablePart } from "./trainable.js";
import type { TrainResult } from "./training.js";

const trainingFile = "training.safetensors";
/** Every file of a checkpoint folder: the first two are Hugging Face's, the third is what `loadTraining` goes on from. */
export const checkpointFiles: readonly string[] = [configFile, weightsFile, trainingFile];

export interface SaveModelOptions {
  /** Fields that are put over those of the model's configuration, such as `rope_parameters` of an extended model. */
  readonly extraConfig?: object;
  /** What the weights are stored as, rounded where need be. Default: each tensor as it is on the device. */
  readonly dtype?: WeightDtype;
  /** A model whose tokenizer, chat template and `generation_config.json` are copied, where it has them. */
  readonly copyFrom?: ModelSource;
  /** Weights of more bytes go into several files with an index, `model.safetensors.index.json`. Default: one file. */
  readonly maxShardBytes?: number;
}

const saveKinds: OptionKinds<SaveModelOptions> = {
  extraConfig: optional(plainObject),
  dtype: optional(oneOf("f32", "f16", "bf16")),
  copyFrom: optional(sourceKind),
  maxShardBytes: optional(integer(1)),
};

/**
 * Writes a folder of Hugging Face: `config.json` and `model.safetensors`, or several files of weights with their index. The folder is made if
 * need be, and other weights that lay in it are removed. All files appear or none does, each whole; tensors are read from the device one at a
 * time. Throws NonFiniteError, and writes nothing, where a weight is NaN or infinite or becomes so in `dtype`, and DawngradError where the files
 * cannot be written.
 */
export async function saveModel(folder: string, model: Llama, options: SaveModelOptions = {}): Promise<void> {
  checkArgument("saveModel", "folder", folder, text);
  await writeFiles(folder, await modelContents("saveModel", model, options));
}

/**
 * The files that {@link saveModel} writes, as Blobs by name, for pages: save each with a link to `URL.createObjectURL(blob)`, or give
 * them back to {@link loadModel}.
 */
export async function modelBlobs(
  model: Llama,
  options: SaveModelOptions = {},
): Promise<Record<"config.json" | "model.safetensors", HostBlob> & Record<string, HostBlob>> {
  return blobsOf(await modelContents("modelBlobs", model, options)) as Promise<
    Record<"config.json" | "model.safetensors", HostBlob> & Record<string, HostBlob>
  >;
}

/** The contents of a model's files by name, the weights first: a folder with a config.json is complete. */
async function modelContents(where: string, model: Llama, options: SaveModelOptions): Promise<SavedFiles> {
  checkArgument(where, "model", model, modelKind);
  checkOptions(where, options, saveKinds);
  refuseAdapters(where, model);
  const { dtype, maxShardBytes, copyFrom, extraConfig } = options;
  const tensors = savedTensors(model, "", dtype);
  const config = { ...toHfConfig(configOfLayers(where, model)), torch_dtype: torchDtype(tensors), ...extraConfig };
  return {
    ...weightsFiles(tensors, maxShardBytes),
    ...(copyFrom === undefined ? {} : await companionFiles(where, copyFrom)),
    [configFile]: configText(config),
  };
}

/** The dtype that most numbers have. */
function torchDtype(tensors: readonly SavedTensor[]): string {
  const bytes = { F32: 0, F16: 0, BF16: 0 };
  for (const tensor of tensors) bytes[tensor.dtype] += sizeInFile(tensor);
  if (bytes.F32 / 2 >= Math.max(bytes.F16, bytes.BF16)) return "float32";
  return bytes.BF16 >= bytes.F16 ? "bfloat16" : "float16";
}

/**
 * The model that {@link saveModel} or Hugging Face's transformers wrote (F32, F16, BF16 or F64 weights, in one file or in several with an
 * index), from a folder, an address, a FileList or contents by name; see {@link ModelSource}. Names, shapes and dtypes are held against the
 * configuration before anything but headers is read; a file that does not fit is refused whole with a FormatError, and a file of another
 * kind is named. The weights go to the current backend in chunks, in the dtype of `options`; see {@link LoadModelOptions}.
 */
export async function loadModel(source: ModelSource, options: LoadModelOptions = {}): Promise<Llama> {
  checkOptions("loadModel", options, loadModelKinds);
  const stored = await openStored("loadModel", source);
  try {
    return await loadWeights(stored, options);
  } finally {
    await stored.close();
  }
}

/** The configuration of a model from its files. Throws FormatError. */
export const loadConfig = (source: ModelSource): Promise<LlamaConfig> => configOf("loadConfig", source);

export interface TrainingCheckpoint<State> extends TrainResult<State> {
  /** What else the caller needs to go on, as plain JSON: options, seeds, the path of the text. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

export interface SaveTrainingOptions extends SaveModelOptions {
  /** Where the base of a model with adapters is, a path or an address, from which `loadTraining` takes it again. */
  readonly base?: string;
}

/** The weights, or the adapters of a model that has some. */
export type TrainingBlobs = Record<"config.json" | "training.safetensors", HostBlob> &
  Partial<Record<"model.safetensors" | "adapter_config.json" | "adapter_model.safetensors", HostBlob>>;

/**
 * Writes the model as {@link saveModel} does and, in one further file that appears whole or not at all, everything that
 * training needs to go on: parameters, optimizer state, step, configuration and `extra`. An interrupted save therefore leaves
 * the state of the save before, and so does one that is refused with a NonFiniteError because a value is NaN or infinite.
 *
 * Of a model with LoRA adapters only these are written, as {@link saveAdapter} does, with their state: the base is named (`base`) and known by a
 * fingerprint of its weights.
 *
 * Values are stored in the dtypes that they have. Where the backend computes in f32, training 2N steps and training N, saving, loading and training
 * N more give the same bits on the same device, provided that batches are a function of the step. (The reference backend holds
 * more digits than f32 has, which a save cuts off.)
 */
export async function saveTraining<State>(
  folder: string,
  checkpoint: TrainingCheckpoint<State>,
  options: SaveTrainingOptions = {},
): Promise<void> {
  checkArgument("saveTraining", "folder", folder, text);
  await writeFiles(folder, await trainingContents("saveTraining", checkpoint, options));
}

/** The files that {@link saveTraining} writes, as Blobs by name, for pages; {@link loadTraining} takes them back. */
export async function trainingBlobs<State>(
  checkpoint: TrainingCheckpoint<State>,
  options: SaveTrainingOptions = {},
): Promise<TrainingBlobs> {
  return blobsOf(await trainingContents("trainingBlobs", checkpoint, options)) as Promise<TrainingBlobs>;
}

async function trainingContents<State>(
  where: string,
  checkpoint: TrainingCheckpoint<State>,
  options: SaveTrainingOptions,
): Promise<SavedFiles> {
  checkFields<Required<TrainingCheckpoint<State>>>(where, "checkpoint", checkpoint as Required<TrainingCheckpoint<State>>, {
    model: modelKind,
    optimizerState: object,
    step: integer(0),
    extra: optional(plainObject),
  });
  const { base, ...others } = options;
  checkOptions<Pick<SaveTrainingOptions, "base">>(where, { ...(base === undefined ? {} : { base }) }, { base: optional(text) });
  const { model, optimizerState, step, extra = {} } = checkpoint;
  const adapted = hasAdapters(model);
  const parameters = adapted ? trainablePart(model, loraTrainable)[0] : model;
  const tensors = [...savedTensors(parameters, parameterPrefix), ...savedTensors(optimizerState, statePrefix)];
  const metadata = {
    format: trainingFormat,
    step: String(step),
    config: JSON.stringify(toHfConfig(configOfLayers(where, model))),
    extra: JSON.stringify(extra),
    ...(adapted && (await adapterNotes(where, model, base))),
  };
  const files = adapted ? await adaptedContents(where, model, options) : await modelContents(where, model, others);
  return { ...files, [trainingFile]: safetensorsPieces(tensors, metadata) };
}

/** An adapter beside the configuration of the model that it makes. */
async function adaptedContents(where: string, model: Llama, { base, extraConfig, copyFrom }: SaveTrainingOptions): Promise<SavedFiles> {
  const config = { ...toHfConfig(configOfLayers(where, model)), ...extraConfig };
  return {
    ...(await adapterContents(where, model, base === undefined ? {} : { base })),
    ...(copyFrom === undefined ? {} : await companionFiles(where, copyFrom)),
    [configFile]: configText(config),
  };
}

export interface LoadTrainingOptions {
  /** Which parameters the run trains, as `train` was told: the others have no place in the state. Default: all, or the adapters where there are some. */
  readonly trainable?: Trainable;
  /** The base of adapters, with the weights that it had. Default: it is loaded from where the checkpoint says. */
  readonly base?: Llama;
}

const trainingFormat = "dawngrad-training-1";
/** Paths in { parameters: the model, optimizer: its state }, which are the names in the file. */
const parameterPrefix = "parameters.";
const statePrefix = "optimizer.";

/**
 * What {@link saveTraining} wrote, in the dtypes that it had, or in f32 where the backend lacks one of them. `optimizer` is of the kind that the
 * state was saved from; its `init` says what must be there. Throws FormatError for files that are missing, damaged or of another optimizer, and
 * for a base of adapters that is missing or not what it was.
 */
export async function loadTraining<State>(
  source: ModelSource,
  optimizer: Optimizer<State>,
  options: LoadTrainingOptions = {},
): Promise<Required<TrainingCheckpoint<State>>> {
  checkArgument("loadTraining", "optimizer", optimizer, optimizerKind);
  checkOptions("loadTraining", options, { trainable: optional(callable), base: optional(modelKind) });
  return readingFile(modelFiles("loadTraining", source), trainingFile, (file) => readTraining(file, optimizer, options));
}

async function readTraining<State>(
  source: ByteSource,
  optimizer: Optimizer<State>,
  { trainable, base }: LoadTrainingOptions,
): Promise<Required<TrainingCheckpoint<State>>> {
  const file = source.name;
  const header = await readSafetensorsHeader(source);
  const { metadata } = header;
  if (metadata["format"] !== trainingFormat) {
    throw new FormatError(`the state of a training run was expected, found format "${metadata["format"] ?? "none"}"`, {
      file,
      hint: "load a model without its training state with loadModel",
    });
  }
  const step = Number(metadata["step"]);
  const hint = "the file is damaged; go on from another checkpoint, or begin anew from its weights";
  if (!Number.isSafeInteger(step) || step < 0)
    throw new FormatError(`expected a step, found "${metadata["step"] ?? "none"}"`, { file, hint });
  const extra = parseJson(metadata["extra"] ?? "", { file });
  if (typeof extra !== "object" || extra === null || Array.isArray(extra))
    throw new FormatError('expected "extra" to be a JSON object, found another value', { file, hint });

  const config = parseLlamaConfig(metadata["config"] ?? "", file);
  const adapted = await adaptedBase(header, base, config);
  const blank = adapted ?? skeleton(config);
  const saved =
    adapted === undefined
      ? [...llamaShapes(config)]
      : tensorsOf(trainablePart(adapted, loraTrainable)[0]).map(({ path, tensor }) => [path, tensor.shape] as const);
  const parameters = saved.map(([name, shape]) => [parameterPrefix + name, shape] as const);
  const state = optimizer.init(trainablePart(blank, trainable ?? (adapted && loraTrainable))[0]);
  const moments = tensorsOf(state).map(
    ({ path, tensor }) => [statePrefix + path, storedShape(header, statePrefix + path, tensor)] as const,
  );
  checkTensors(header.tensors, new Map([...parameters, ...moments]), { file });
  const tensors = storedTensors(header, (begin, end) => source.read(begin, end));
  const { dtypes } = currentBackend().info;
  const dtype = [...tensors.values()].every((tensor) => dtypes.has(tensor.dtype)) ? "stored" : "f32";
  const loaded = await loadTree({ parameters: blank, optimizer: state }, tensors, { dtype, file });
  const length = await source.length(header.fileBytes);
  if (length !== header.fileBytes) throw wrongLength(file, length, header.fileBytes);
  return { model: loaded.parameters, optimizerState: loaded.optimizer, step, extra: extra as Record<string, unknown> };
}

/** The shape that a file must have for a tensor. Scalars were written as [1] once, and are read in either form. */
function storedShape({ tensors }: SafetensorsHeader, name: string, { shape }: Tensor): Shape {
  const found = tensors.get(name)?.shape;
  return shape.length === 0 && found?.length === 1 && found[0] === 1 ? found : shape;
}

/** A Llama of that configuration whose weights nobody has computed: it has shapes and no memory. */
const skeleton = (config: LlamaConfig): Llama => new Llama(config, { key: key(0) });
