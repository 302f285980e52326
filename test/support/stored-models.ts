import { fromHalves, toHalves } from "../../src/ir/halves.js";
import { type LlamaConfig, llamaShapes } from "../../src/nn/config.js";
import type { StoredModel, StoredTensor, WeightDtype } from "../../src/nn/stored-model.js";

/** A model that no file holds: element i of a tensor is a function of i, and nothing of it is kept. */
export interface ImaginedModel extends StoredModel {
  /** The numbers of a tensor. */
  numbers(name: string): Float32Array;
}

export interface ImaginedOptions {
  readonly dtype?: WeightDtype;
  readonly unit?: number;
  /** Called before each read; may throw. */
  readonly onRead?: (name: string, begin: number, end: number) => void;
  readonly value?: (i: number) => number;
}

const wave = (i: number): number => ((i * 2654435761) % 2 ** 20) / 2 ** 20 - 0.5;

export function imaginedModel(config: LlamaConfig, options: ImaginedOptions = {}): ImaginedModel {
  const { dtype = "f32", unit = 1, onRead, value = wave } = options;
  const read = (begin: number, end: number): Float32Array | Uint16Array => {
    const numbers = new Float32Array(end - begin);
    for (let i = 0; i < numbers.length; i++) numbers[i] = value(begin + i);
    return dtype === "f32" ? numbers : toHalves(dtype, numbers);
  };
  const tensors = new Map<string, StoredTensor>();
  for (const [name, shape] of llamaShapes(config)) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    tensors.set(name, {
      ...{ name, shape, dtype, unit: size % unit === 0 ? unit : 1 },
      storedAs: dtype.toUpperCase(),
      bytes: size * (dtype === "f32" ? 4 : 2),
      read: async (begin, end) => {
        onRead?.(name, begin, end);
        return read(begin, end);
      },
    });
  }
  return {
    ...{ format: "safetensors", label: "imagined", config, tensors, metadata: {} },
    fileBytes: [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0),
    numbers(name) {
      const { shape } = tensors.get(name) as StoredTensor;
      const all = read(
        0,
        shape.reduce((product, extent) => product * extent, 1),
      );
      return all instanceof Uint16Array ? fromHalves(dtype as "f16" | "bf16", all) : all;
    },
    close: async () => undefined,
  };
}
