import { checkOptions, oneOf, optional } from "../arguments.js";
import { fromChunks } from "../autograd/from-chunks.js";
import { key } from "../autograd/random.js";
import { currentBackend } from "../autograd/runtime.js";
import type { Tensor } from "../autograd/tensor.js";
import { flattenTree } from "../autograd/tree.js";
import { DtypeError, FormatError } from "../errors.js";
import { fromHalves, toHalves } from "../ir/halves.js";
import { Llama } from "./llama.js";
import type { StoredModel, StoredTensor, WeightDtype } from "./stored-model.js";

export interface LoadModelOptions {
  /**
   * What the weights are kept in on the device: "f32" (default), "f16" or "bf16", to which they are rounded (2 bytes each; products read them as
   * they are), or "stored": each tensor in the dtype that its file has it in, where that is one of these.
   */
  readonly dtype?: WeightDtype | "stored";
}

export const loadModelKinds = { dtype: optional(oneOf("f32", "f16", "bf16", "stored")) } as const;

/** Bytes of a tensor that are on the host at a time, as numbers of 4 bytes. */
export const CHUNK_BYTES = 4 * 2 ** 20;

/**
 * The model with its weights on the current backend: one tensor after another goes there in chunks of 4 MiB, so that the host never holds more
 * than that of it. Where a tensor cannot be read, or memory ends, everything that was loaded is given back.
 *
 * @throws FormatError for files that cannot be read and for numbers that f16 does not reach; DtypeError for a dtype that the backend does not have;
 *   OutOfMemoryError
 */
export async function loadWeights(stored: StoredModel, options: LoadModelOptions = {}): Promise<Llama> {
  checkOptions("loadModel", options, loadModelKinds);
  return loadTree(new Llama(stored.config, { key: key(0) }), stored.tensors, { ...options, file: stored.label });
}

/**
 * The tree with stored tensors in place of its own, each place for itself: a tensor's name is its path. Names and numbers of elements have been
 * checked. As {@link loadWeights}.
 */
export async function loadTree<T>(
  tree: T,
  tensors: ReadonlyMap<string, StoredTensor>,
  options: LoadModelOptions & { readonly file: string },
): Promise<T> {
  const { dtype = "f32", file } = options;
  const { leaves, paths, shape } = flattenTree(tree);
  const places = new Map(paths.map((path, i) => [path, i]));
  const loaded = [...leaves];
  const made: Tensor[] = [];
  const wanted = [...tensors.values()].map((tensor) => [tensor, dtype === "stored" ? tensor.dtype : dtype] as const);
  for (const [tensor, to] of wanted) requireDtype(to, tensor);
  try {
    for (const [tensor, to] of wanted) {
      const place = places.get(tensor.name) as number;
      const filled = await loadTensor({ ...tensor, shape: (leaves[place] as Tensor).shape }, to, file);
      made.push(filled);
      loaded[place] = filled;
    }
  } catch (error) {
    for (const tensor of made) tensor.dispose();
    throw error;
  }
  return shape.build(loaded) as T;
}

function requireDtype(dtype: WeightDtype, { name }: StoredTensor): void {
  const { dtypes, name: backend } = currentBackend().info;
  if (dtypes.has(dtype)) return;
  throw new DtypeError(
    `loadModel: ${name} would be kept as ${dtype}, which the ${backend} backend does not have (it has ${[...dtypes].join(", ")})`,
    {
      hint: 'load with { dtype: "f32" }, or start another backend',
    },
  );
}

/** A stored tensor in a dtype of floats on the current backend, chunk by chunk. Throws FormatError for numbers that f16 does not reach. */
export function loadTensor(tensor: StoredTensor, to: WeightDtype, file: string): Promise<Tensor> {
  return fromChunks(tensor.shape, to, { unit: tensor.unit, atMost: CHUNK_BYTES / 4 }, async (begin, end) =>
    convert(await tensor.read(begin, end), to, { ...tensor, begin, file }),
  );
}

interface Origin extends Pick<StoredTensor, "name" | "dtype"> {
  readonly begin: number;
  readonly file: string;
}

/** Numbers or bits of halves as `to` has them. */
function convert(chunk: Float32Array | Uint16Array, to: WeightDtype, origin: Origin): Float32Array | Uint16Array {
  if (origin.dtype === to) return chunk;
  const numbers = chunk instanceof Uint16Array ? fromHalves(origin.dtype as "f16" | "bf16", chunk) : chunk;
  if (to === "f32") return numbers;
  const halves = toHalves(to, numbers);
  if (to === "f16") requireReached(halves, numbers, origin);
  return halves;
}

/** Throws where a finite number became an infinite half. */
function requireReached(halves: Uint16Array, numbers: Float32Array, { name, begin, file }: Origin): void {
  for (let i = 0; i < halves.length; i++) {
    if (((halves[i] as number) & 0x7fff) !== 0x7c00 || !Number.isFinite(numbers[i])) continue;
    throw new FormatError(`${name} holds ${numbers[i]} (element ${begin + i}), and f16 ends at 65504`, {
      file,
      hint: 'load with { dtype: "bf16" } or { dtype: "f32" }',
    });
  }
}
