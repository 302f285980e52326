import { UsageError } from "../errors.js";
import { type DeviceData, type DType, isHalf } from "../ir/dtype.js";
import { type Shape, sizeOf } from "../ir/shape.js";
import { fromStorage } from "./realize.js";
import { currentBackend } from "./runtime.js";
import { Storage, type Tensor } from "./tensor.js";

/** Elements begin … end − 1 in row-major order: numbers, or the bits of halves. */
export type ChunkReader = (begin: number, end: number) => Promise<DeviceData>;

/** How a tensor is cut. */
export interface Chunking {
  /** Every chunk but the last is a multiple of so many elements. */
  readonly unit: number;
  /** Elements that a chunk has at most, unless one unit is larger. */
  readonly atMost: number;
}

/**
 * A tensor on the current backend that is filled chunk by chunk, in ascending order: the host holds no more of it than a chunk at a time.
 * Where a chunk cannot be read or written, the tensor's memory is given back and the error goes on to the caller. Throws OutOfMemoryError,
 * DtypeError for a dtype that the backend does not have.
 */
export async function fromChunks(shape: Shape, dtype: DType, { unit, atMost }: Chunking, read: ChunkReader): Promise<Tensor> {
  const backend = currentBackend();
  const size = sizeOf(shape);
  const storage = new Storage(backend, backend.alloc(dtype, size, "value"));
  // Parts of halves begin at whole words.
  const step = isHalf(dtype) && unit % 2 !== 0 ? 2 * unit : unit;
  const length = Math.max(1, Math.floor(atMost / step)) * step;
  try {
    for (let begin = 0; begin < size; begin += length) {
      const end = Math.min(size, begin + length);
      const chunk = await read(begin, end);
      if (chunk.length !== end - begin) throw new UsageError(`elements ${begin} to ${end} were asked for, found ${chunk.length}`);
      backend.write(storage.buffer, dtype, chunk, begin);
      await backend.throttle?.();
    }
    return fromStorage(shape, dtype, storage);
  } catch (error) {
    storage.dispose();
    throw error;
  }
}
