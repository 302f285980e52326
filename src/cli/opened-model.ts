/** A model as commands get it: opened and checked first, so that they can say what it needs, and loaded then. */

import { zeros } from "../autograd/operations.js";
import { key } from "../autograd/random.js";
import type { Tensor } from "../autograd/tensor.js";
import { flattenTree } from "../autograd/tree.js";
import type { BackendInfo } from "../backend/backend.js";
import { Llama } from "../nn/llama.js";
import { type LoadModelOptions, loadWeights } from "../nn/load-weights.js";
import { openModel } from "../nn/open-model.js";
import type { StoredModel, WeightDtype } from "../nn/stored-model.js";
import type { WeightDtypeOption } from "./options.js";

/** Opens a model, hands it over and closes it. */
export async function withModel<R>(source: string, body: (stored: StoredModel) => Promise<R>): Promise<R> {
  const stored = await openModel(source);
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
export function shapeOf(stored: StoredModel, dtype: WeightDtypeOption): Llama {
  const { leaves, paths, shape } = flattenTree(new Llama(stored.config, { key: key(0) }));
  const blank = leaves.map((leaf, i) => {
    const tensor = stored.tensors.get(paths[i] as string);
    return tensor === undefined ? leaf : zeros((leaf as Tensor).shape, { dtype: dtypeOf(tensor, dtype) });
  });
  return shape.build(blank) as Llama;
}

const dtypeOf = (tensor: { readonly dtype: WeightDtype }, wanted: WeightDtypeOption): WeightDtype =>
  wanted === "stored" ? tensor.dtype : wanted;

/** The model with its weights on the backend. */
export const load = (stored: StoredModel, dtype: WeightDtypeOption): Promise<Llama> =>
  loadWeights(stored, { dtype } satisfies LoadModelOptions);
