/** Tensors of a model on their way into safetensors files: read from the device one at a time, so that a model is never whole on the host. */
import { data } from "../autograd/realize.js";
import type { Tensor } from "../autograd/tensor.js";
import { type Tree, tensorsOf } from "../autograd/tree.js";
import { DtypeError, NonFiniteError } from "../errors.js";
import { toHalves } from "../ir/halves.js";
import { layOutSafetensors } from "./safetensors.js";
import { checkedBytes, type SafetensorsDtype } from "./safetensors-header.js";
import type { WeightDtype } from "./stored-model.js";

/** A tensor of a file that is to be written. */
export interface TensorPieces {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Its bytes one piece after another. */
  pieces(): AsyncIterable<Uint8Array>;
}

export interface SavedTensor extends TensorPieces {
  readonly dtype: "F32" | "F16" | "BF16";
  /** Its bytes one piece after another. Throws NonFiniteError where a value is NaN or infinite, or becomes so in `dtype`. */
  pieces(): AsyncIterable<Uint8Array>;
}

const storedAs = { f32: "F32", f16: "F16", bf16: "BF16" } as const;

/** The tensors of a tree, named by their paths, in a dtype or each in its own. Throws DtypeError for others than f32, f16 and bf16. */
export function savedTensors(tree: Tree, prefix: string, dtype?: WeightDtype): SavedTensor[] {
  return tensorsOf(tree).map(({ path, tensor }): SavedTensor => {
    const name = prefix + path;
    const own = tensor.dtype;
    if (own !== "f32" && own !== "f16" && own !== "bf16") throw new DtypeError(`${name} is ${own}; checkpoints hold f32, f16 and bf16`);
    const to = dtype ?? own;
    return { name, dtype: storedAs[to], shape: tensor.shape, pieces: () => piecesOf(name, tensor, to) };
  });
}

async function* piecesOf(name: string, tensor: Tensor, dtype: WeightDtype): AsyncGenerator<Uint8Array, void, void> {
  const values = (await data(tensor)) as Float32Array;
  requireFinite(name, values);
  if (dtype === "f32") yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  else {
    for (let begin = 0; begin < values.length; begin += PIECE) {
      const halves = toHalves(dtype, values.subarray(begin, begin + PIECE));
      const lost = halves.findIndex((bits) => (bits & exponent[dtype]) === exponent[dtype]);
      if (lost >= 0) throw unreached(name, dtype, values, begin + lost);
      yield new Uint8Array(halves.buffer);
    }
  }
}

/** Numbers that are rounded at a time. */
const PIECE = 2 ** 20;

/** Exponents of ones alone, which infinities have: rounding may reach them. */
const exponent = { f16: 0x7c00, bf16: 0x7f80 } as const;

const unreached = (name: string, dtype: WeightDtype, values: Float32Array, at: number): NonFiniteError =>
  new NonFiniteError(`${name} holds ${values[at]} (element ${at} of ${values.length}), which ${dtype} does not reach; nothing was saved`, {
    hint: 'save with { dtype: "f32" }',
  });

/** Throws NonFiniteError where a number is none as f32, which is what a file holds: the reference backend has numbers that are infinite there. */
export function requireFinite(name: string, values: ArrayLike<number>): void {
  for (let i = 0; i < values.length; i++) {
    const value = Math.fround(values[i] as number);
    if (Number.isFinite(value)) continue;
    throw new NonFiniteError(`${name} holds ${value} (element ${i} of ${values.length}), so nothing was saved`, {
      hint: "what was saved before is as it was; go on from there with a lower learning rate",
    });
  }
}

/** The bytes of a file: the header, then one tensor after another. The same bytes as of `writeSafetensors`. */
export async function* safetensorsPieces(
  tensors: readonly TensorPieces[],
  metadata: Readonly<Record<string, string>>,
): AsyncGenerator<Uint8Array, void, void> {
  const { head, sorted } = layOutSafetensors(
    tensors.map((tensor) => [tensor.name, tensor] as const),
    metadata,
  );
  yield head;
  for (const [, tensor] of sorted) yield* tensor.pieces();
}

/** Tensors in files of at most `most` bytes of data each, unless one tensor alone has more. */
export function inShards(tensors: readonly SavedTensor[], most: number): SavedTensor[][] {
  const shards: SavedTensor[][] = [];
  let held = Number.POSITIVE_INFINITY;
  for (const tensor of tensors) {
    const bytes = sizeInFile(tensor);
    if (held + bytes > most) {
      shards.push([]);
      held = 0;
    }
    shards.at(-1)?.push(tensor);
    held += bytes;
  }
  return shards;
}

/** Bytes of the data of a tensor. */
export const sizeInFile = ({ shape, dtype }: SavedTensor): number => checkedBytes(shape, dtype) as number;
