/** A model as commands get it: opened and checked first, so that they can say what it needs, and loaded then. */

import { zeros } from "../autograd/operations.js";
import { key } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { flattenTree } from "../autograd/tree.js";
import type { BackendInfo } from "../backend/backend.js";
import { FormatError } from "../errors.js";
import type { AdapterConfig } from "../nn/adapter-config.js";
import { withAdapterModules } from "../nn/adapter-places.js";
import { adapterConfigFile, baseOf, loadAdapter, loadAdapterConfig } from "../nn/adapters.js";
import { loadConfig } from "../nn/checkpoint.js";
import { Llama } from "../nn/llama.js";
import { type LoadModelOptions, loadWeights } from "../nn/load-weights.js";
import { modelFiles } from "../nn/model-source.js";
import { openModel } from "../nn/open-model.js";
import type { StoredModel, WeightDtype } from "../nn/stored-model.js";
import type { WeightDtypeOption } from "./options.js";

/** A model, or an adapter (LoRA) with the base that it names. */
export interface OpenedModel extends StoredModel {
  readonly adapter?: { readonly folder: string; readonly config: AdapterConfig };
}

async function openWithAdapter(source: string): Promise<OpenedModel> {
  const found = await adapterAt(source);
  if (found === undefined) return openModel(source);
  const { config, hasConfig } = found;
  const base = await openModel(await found.base());
  const own = hasConfig ? await loadConfig(source) : base.config;
  return { ...base, label: source, config: own, adapter: { folder: source, config } };
}

/** The adapter in a folder that holds one and no model, and where its base is. */
async function adapterAt(source: string) {
  const files = modelFiles("openModel", source);
  const names = await files.names();
  if (!names?.includes(adapterConfigFile) || names.includes("model.safetensors")) return undefined;
  const config = await loadAdapterConfig(source);
  const base = (): Promise<string> => baseOf(config, files.label(adapterConfigFile), "write base_model_name_or_path there");
  return { config, base, hasConfig: names.includes("config.json") };
}

/** The base of an adapter, undefined for a model. Throws FormatError for an adapter that names none. */
export const baseOfAdapter = async (source: string): Promise<string | undefined> => (await adapterAt(source))?.base();

/** Opens a model, hands it over and closes it. */
export async function withModel<R>(source: string, body: (stored: OpenedModel) => Promise<R>): Promise<R> {
  const stored = await openWithAdapter(source);
  try {
    return await body(stored);
  } finally {
    await stored.close();
  }
}

/**
 * What the weights of a model that is only read are kept in where nobody says it: as they are stored, which loses nothing and needs the least,
 * where the backend has such numbers; f32 elsewhere.
 */
export const readingDtype = (
  stored: StoredModel,
  wanted: WeightDtypeOption | undefined,
  info: Pick<BackendInfo, "dtypes">,
): WeightDtypeOption => wanted ?? ([...stored.tensors.values()].every(({ dtype }) => info.dtypes.has(dtype)) ? "stored" : "f32");

/** The model in shapes and dtypes alone, for plans: it has no numbers and takes no memory. */
export function shapeOf(stored: OpenedModel, dtype: WeightDtypeOption): Llama {
  const { leaves, paths, shape } = flattenTree(new Llama(stored.config, { key: key(0) }));
  const blank = leaves.map((leaf, i) => {
    const tensor = stored.tensors.get(paths[i] as string);
    return tensor === undefined ? leaf : zeros((leaf as Tensor).shape, { dtype: dtypeOf(tensor, dtype) });
  });
  const model = shape.build(blank) as Llama;
  const { adapter, label } = stored;
  return adapter === undefined
    ? model
    : withAdapterModules(model, adapter.config, (message, hint) => new FormatError(message, { file: label, hint }));
}

const dtypeOf = (tensor: { readonly dtype: WeightDtype }, wanted: WeightDtypeOption): WeightDtype =>
  wanted === "stored" ? tensor.dtype : wanted;

/** The model with its weights on the backend. */
export async function load(stored: OpenedModel, dtype: WeightDtypeOption): Promise<Llama> {
  const model = await loadWeights(stored, { dtype } satisfies LoadModelOptions);
  return stored.adapter === undefined ? model : loadAdapter(model, stored.adapter.folder);
}
