/** A model in files, opened and checked, of which no weight has been read: what every format of models gives to those who load, convert and inspect. */
import type { LlamaConfig } from "./config.js";

/** Dtypes that weights are kept in on the device. */
export type WeightDtype = "f32" | "f16" | "bf16";

/** One tensor of a {@link StoredModel}. */
export interface StoredTensor {
  /** The path of the parameter in the model, which is its name in Hugging Face's checkpoints, whatever the file calls it. */
  readonly name: string;
  /** As the model has it: matrices are [out, in], row-major. */
  readonly shape: readonly number[];
  /** What the file calls its elements: "F32", "BF16", "Q4_1". */
  readonly storedAs: string;
  /** The smallest dtype that holds every value of it exactly; "f32" for quantised blocks. */
  readonly dtype: WeightDtype;
  /** Bytes that it takes in the file. */
  readonly bytes: number;
  /**
   * Elements begin … end − 1 in row-major order, both multiples of {@link unit}: numbers for "f32", bits for "f16" and "bf16". Reads no more of
   * the file than it needs, and nothing is kept. Where files come as one stream, elements are asked for in ascending order, tensor by tensor as
   * they stand in {@link StoredModel.tensors}. Throws FormatError.
   */
  read(begin: number, end: number): Promise<Float32Array | Uint16Array>;
  /** Elements that can only be read together: 1 for floats, a block of quantised values, a head of rows that the file has in another order. */
  readonly unit: number;
}

/** A model whose configuration and tensors' names, shapes and places have been read and held against each other. */
export interface StoredModel {
  readonly format: "safetensors" | "gguf" | "llama2.c";
  /** What messages call it: a path or an address. */
  readonly label: string;
  readonly config: LlamaConfig;
  /** By name, in the order of the file. Tensors that follow from others (`rotary_emb.inv_freq`, a tied `lm_head`) are not among them. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Bytes of all files. */
  readonly fileBytes: number;
  /** What else the files say as strings and numbers, for `inspect`: the metadata of safetensors, the keys of GGUF but for long lists. */
  readonly metadata: Readonly<Record<string, string | number | boolean>>;
  close(): Promise<void>;
}
