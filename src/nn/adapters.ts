/** LoRA adapters in the files of Python's `peft`: `adapter_config.json` and `adapter_model.safetensors`. */
import { checkArgument, checkOptions, optional, text } from "../arguments.js";
import { copyBranch, tensorsOf } from "../autograd/tree.js";
import { FormatError } from "../errors.js";
import { hasNode, nodeModule } from "../platform/node.js";
import { type AdapterConfig, adapterConfigText, parseAdapterConfig } from "./adapter-config.js";
import { configOfAdapters, withAdapterModules } from "./adapter-places.js";
import { type ByteSource, bytesSource, readAll } from "./byte-source.js";
import { type LlamaConfig, llamaShapes } from "./config.js";
import { modelKind } from "./kinds.js";
import type { Llama } from "./llama.js";
import { type LoadModelOptions, loadModelKinds, loadTree, loadWeights } from "./load-weights.js";
import { loraTrainable, requireAdapters } from "./lora.js";
import { type HostBlob, type ModelSource, modelFiles, openIfThere, readingFile } from "./model-source.js";
import { openStored } from "./open-model.js";
import { checkTensors } from "./safetensors.js";
import { readSafetensorsHeader, wrongLength } from "./safetensors-header.js";
import { configFile, readConfig as readModelConfig, storedTensors } from "./safetensors-model.js";
import { blobsOf, type SavedFiles, writeFiles } from "./saved-files.js";
import { type SavedTensor, safetensorsPieces, savedTensors } from "./saved-tensors.js";
import type { StoredTensor } from "./stored-model.js";
import { trainablePart } from "./trainable.js";

export const adapterConfigFile = "adapter_config.json";
export const adapterWeightsFile = "adapter_model.safetensors";

const maxConfigBytes = 2 ** 22;
/** In front of a path of the model. */
const prefix = "base_model.model.";
/** The name in the file of a trained tensor: PEFT leaves out that a module is a copy that is trained. */
const nameOf = (path: string): string => prefix + path.replace(".modules_to_save.", ".");
const tiedHead = `${prefix}lm_head.weight`;
const tiedEmbedding = `${prefix}model.embed_tokens.weight`;

export interface SaveAdapterOptions {
  /**
   * Where the base model is, for those who open the adapter: a path, or a name at Hugging Face's hub, `owner/name` or `hf:owner/name@revision` (PEFT's
   * `base_model_name_or_path` and `revision`).
   */
  readonly base?: string;
}

/**
 * Writes the adapters of a model, and the modules that are trained whole, as Python's `peft` does (f32): the base is not written. `loadAdapter` and
 * `PeftModel.from_pretrained(base, folder)` open them. Each file appears whole or not at all. Throws UsageError for a model without adapters,
 * NonFiniteError where a number is NaN or infinite, and DawngradError where the files cannot be written.
 */
export async function saveAdapter(folder: string, model: Llama, options: SaveAdapterOptions = {}): Promise<void> {
  checkArgument("saveAdapter", "folder", folder, text);
  await writeFiles(folder, await adapterContents("saveAdapter", model, options));
}

/** The files that {@link saveAdapter} writes, as Blobs by name, for pages; {@link loadAdapter} takes them back. */
export async function adapterBlobs(
  model: Llama,
  options: SaveAdapterOptions = {},
): Promise<Record<"adapter_config.json" | "adapter_model.safetensors", HostBlob>> {
  return blobsOf(await adapterContents("adapterBlobs", model, options)) as Promise<
    Record<"adapter_config.json" | "adapter_model.safetensors", HostBlob>
  >;
}

export async function adapterContents(where: string, model: Llama, options: SaveAdapterOptions): Promise<SavedFiles> {
  checkArgument(where, "model", model, modelKind);
  checkOptions(where, options, { base: optional(text) });
  requireAdapters(where, model);
  const config = configOfAdapters(where, model, options.base);
  const trained = trainablePart(model, loraTrainable)[0];
  const tensors = savedTensors(trained, "").map((tensor): SavedTensor => ({ ...tensor, name: nameOf(tensor.name) }));
  // PEFT has a tied head as a module of its own.
  const embedding = config.ensure_weight_tying ? tensors.find(({ name }) => name === tiedEmbedding) : undefined;
  if (embedding !== undefined) tensors.push({ ...embedding, name: tiedHead });
  return { [adapterWeightsFile]: safetensorsPieces(tensors, { format: "pt" }), [adapterConfigFile]: adapterConfigText(config) };
}

/** What an adapter says of itself: the base that it belongs to, rank, and where it stands. Throws FormatError for what is no LoRA adapter. */
export async function loadAdapterConfig(source: ModelSource): Promise<AdapterConfig> {
  return readingFile(modelFiles("loadAdapterConfig", source), adapterConfigFile, readConfig);
}

async function readConfig(file: ByteSource): Promise<AdapterConfig> {
  return parseAdapterConfig(new TextDecoder().decode(await readAll(file, maxConfigBytes)), file.name);
}

/**
 * The model with the adapters that {@link saveAdapter} or Python's `peft` wrote: the tree that was given stays as it is and shares its weights
 * with the result. Names, shapes and dtypes are held against the configuration and the model before anything but the header is read.
 *
 * Read are LoRA and rsLoRA on matrices of the layers, with ranks and alphas by pattern, and modules that are trained whole. Throws FormatError
 * for files that are missing, damaged, of another model, or of a kind that is not computed here (DoRA, biases, …), which is named.
 */
export async function loadAdapter(model: Llama, source: ModelSource): Promise<Llama> {
  checkArgument("loadAdapter", "model", model, modelKind);
  const files = modelFiles("loadAdapter", source);
  const config = await readingFile(files, adapterConfigFile, readConfig);
  const label = files.label(adapterConfigFile);
  const adapted = withAdapterModules(model, config, (message, hint) => new FormatError(message, { file: label, hint }));
  return readingFile(files, adapterWeightsFile, (file) => readAdapter(file, adapted, config));
}

/**
 * Holds the names and shapes of an adapter's file against a model that has its modules, of which dtypes and numbers are not looked at. Throws
 * FormatError where they do not fit.
 */
export async function checkAdapter(model: Llama, source: ModelSource): Promise<void> {
  const files = modelFiles("checkAdapter", source);
  const config = await readingFile(files, adapterConfigFile, readConfig);
  await readingFile(files, adapterWeightsFile, async (file) => {
    checkTensors((await readSafetensorsHeader(file)).tensors, expectedTensors(model, config).expected, { file: file.name });
  });
}

/** The trained tensors of a model with adapters, and what the file has for them by name. */
function expectedTensors(model: Llama, config: AdapterConfig) {
  const places = tensorsOf(model).filter(({ tensor, path }) => loraTrainable(tensor, path));
  const expected = new Map(places.map(({ path, tensor }) => [nameOf(path), tensor.shape]));
  const tied = config.ensure_weight_tying ? expected.get(tiedEmbedding) : undefined;
  if (tied !== undefined) expected.set(tiedHead, tied);
  return { places, expected, tied };
}

async function readAdapter(given: ByteSource, model: Llama, config: AdapterConfig): Promise<Llama> {
  const file = given.name;
  const { places, expected, tied } = expectedTensors(model, config);
  const header = await readSafetensorsHeader(given);
  checkTensors(header.tensors, expected, { file });
  // The tied head is compared with the embedding, which stands elsewhere.
  const source = tied === undefined || given.seekable ? given : bytesSource(await readAll(given, header.fileBytes), file);
  const tensors = storedTensors(header, (begin, end) => source.read(begin, end));
  if (tied !== undefined) await requireTied(tensors, file);
  const paths = new Map(places.map(({ path }) => [nameOf(path), path]));
  const named = [...tensors].flatMap(([name, tensor]) => {
    const path = paths.get(name);
    return path === undefined ? [] : [[path, { ...tensor, name: path }] as const];
  });
  const loaded = await loadTree(model, new Map(named), { file });
  const length = await source.length(header.fileBytes);
  if (length !== header.fileBytes) throw wrongLength(file, length, header.fileBytes);
  return loaded;
}

async function requireTied(tensors: ReadonlyMap<string, StoredTensor>, file: string): Promise<void> {
  const [head, embedding] = [tensors.get(tiedHead), tensors.get(tiedEmbedding)] as [StoredTensor, StoredTensor];
  const size = head.shape.reduce((product, extent) => product * extent, 1);
  for (let begin = 0; begin < size; begin += 2 ** 20) {
    const end = Math.min(size, begin + 2 ** 20);
    const [one, other] = await Promise.all([head.read(begin, end), embedding.read(begin, end)]);
    const at = one.findIndex((value, i) => !Object.is(value, other[i]));
    if (at >= 0 || head.storedAs !== embedding.storedAs) {
      throw new FormatError(`expected "${tiedHead}" to equal the embedding that it is tied to, and they differ`, {
        file,
        hint: "ensure_weight_tying says that they are one; export the adapter again",
      });
    }
  }
}

export interface LoadAdaptedOptions extends LoadModelOptions {
  /** The base model. Default: what the adapter names, a folder or a name at Hugging Face's hub. */
  readonly base?: ModelSource;
}

/**
 * The model that an adapter belongs to, with the adapter: {@link loadModel} of its base and {@link loadAdapter}. `dtype` is that of the base.
 * A `config.json` beside the adapter, as {@link saveTraining} writes it, says how the model is read: its window and RoPE. Throws FormatError
 * where the adapter names no base or the base is not there.
 */
export async function loadAdaptedModel(source: ModelSource, options: LoadAdaptedOptions = {}): Promise<Llama> {
  const where = "loadAdaptedModel";
  const files = modelFiles(where, source);
  const given = { wanted: "a model", fits: (value: unknown) => value !== null && value !== undefined };
  checkOptions(where, options, { ...loadModelKinds, base: optional(given) });
  const { base, ...how } = options;
  const config = await readingFile(files, adapterConfigFile, readConfig);
  const found = base ?? (await baseOf(config, files.label(adapterConfigFile), "give it: loadAdaptedModel(source, { base })"));
  const adapted = await loadAdapter(await loadBase(where, found, how), source);
  const own = await openIfThere(files, configFile);
  if (own === undefined) return adapted;
  await own.close();
  return withConfig(adapted, await readModelConfig(files), files.label(configFile));
}

/** The model with what another configuration of the same sizes says of it. Throws FormatError for other sizes. */
export function withConfig(model: Llama, config: LlamaConfig, file: string): Llama {
  const sizes = (of: LlamaConfig): string => JSON.stringify([...llamaShapes(of)]);
  const tied = { ...config, tie_word_embeddings: model.config.tie_word_embeddings };
  if (sizes(tied) !== sizes(model.config))
    throw new FormatError("expected the sizes of the base model, found others", { file, hint: "the adapter belongs to another model" });
  return Object.assign(copyBranch(model), { _config: tied }) as Llama;
}

/** The base of an adapter, in a dtype. */
export async function loadBase(where: string, source: ModelSource, options: LoadModelOptions): Promise<Llama> {
  const stored = await openStored(where, source);
  try {
    return await loadWeights(stored, options);
  } finally {
    await stored.close();
  }
}

/** Where the base of an adapter is: a path, or a name at Hugging Face's hub where there is nothing at that path. Throws FormatError where it says none. */
export async function baseOf({ base_model_name_or_path: name, revision }: AdapterConfig, file: string, hint: string): Promise<string> {
  if (name === undefined || name === "") throw new FormatError("the adapter does not say which model it belongs to", { file, hint });
  if (hasNode && /^[\w.-]+\/[\w.-]+$/.test(name)) {
    const { stat } = await nodeModule("fs/promises");
    if (!(await stat(name).catch(() => undefined))) return `hf:${name}${revision === undefined ? "" : `@${revision}`}`;
  }
  return name;
}
