import { checkArgument, checkOptions, type OptionKinds, oneOf, optional, plainObject, text } from "../arguments.js";
import { OptionError } from "../errors.js";
import { fromHalves, type Half, toHalves } from "../ir/halves.js";
import { sizeOf } from "../ir/shape.js";
import { hasTokenizer, readCompanions } from "./companion-files.js";
import { configText, toHfConfig } from "./config-json.js";
import { saveGguf } from "./gguf/save.js";
import { type ModelSource, modelFiles } from "./model-source.js";
import { openStored } from "./open-model.js";
import { configFile } from "./safetensors-model.js";
import { weightsFiles, writeFiles } from "./saved-files.js";
import { requireFinite, type SavedTensor } from "./saved-tensors.js";
import type { StoredModel, StoredTensor, WeightDtype } from "./stored-model.js";

export interface ConvertOptions {
  /** What the weights are written as. Default: of a folder what the source has them in, f32 for quantised ones; of a GGUF file "f32". "q8_0" is for GGUF. */
  readonly dtype?: WeightDtype | "q8_0";
  /** Fields that are put over those of the configuration, such as the RoPE of another scale; see `exportConfig`. */
  readonly extraConfig?: Readonly<Record<string, unknown>>;
  /** `general.name` of a GGUF file. */
  readonly name?: string;
  /** `tokenizer.ggml.pre` of a GGUF file, where the way in which the tokenizer cuts texts is not known here. */
  readonly pre?: string;
}

const convertKinds: OptionKinds<ConvertOptions> = {
  dtype: optional(oneOf("f32", "f16", "bf16", "q8_0")),
  extraConfig: optional(plainObject),
  name: optional(text),
  pre: optional(text),
};

/**
 * Writes a model of any format that `openModel` reads as another: a GGUF file where `target` ends in ".gguf", a folder of Hugging Face otherwise. No
 * device is needed, and of the weights one tensor at a time is in memory, of a GGUF file some megabytes of it. Tokenizer files of a folder go
 * with the model: they are copied into a folder, and become the keys of a GGUF file. The tokenizer of a GGUF file goes into another one,
 * and into a folder as `tokenizer.json`, unless it is of a kind that is not known here; so does the `tokenizer.bin` beside a model of llama2.c.
 *
 * @throws FormatError for a source that cannot be read; OptionError for what the target has no place for; NonFiniteError for weights that are
 *   NaN or infinite or become so in `dtype`
 */
export async function convertModel(source: ModelSource, target: string, options: ConvertOptions = {}): Promise<void> {
  checkArgument("convertModel", "target", target, text);
  checkOptions("convertModel", options, convertKinds);
  const stored = await openStored("convertModel", source);
  try {
    if (/\.gguf$/i.test(target)) await intoGguf(stored, source, target, options);
    else await intoFolder(stored, source, target, options);
  } finally {
    await stored.close();
  }
}

async function intoGguf(stored: StoredModel, source: ModelSource, target: string, options: ConvertOptions): Promise<void> {
  // A GGUF file brings its tokenizer.
  const isBeside = stored.format !== "gguf" && hasTokenizer(await readCompanions(modelFiles("convertModel", source)));
  await saveGguf(target, stored, isBeside ? { tokenizer: source, ...options } : options);
}

async function intoFolder(stored: StoredModel, source: ModelSource, target: string, options: ConvertOptions): Promise<void> {
  const { dtype, extraConfig, name, pre } = options;
  if (dtype === "q8_0" || name !== undefined || pre !== undefined) {
    throw new OptionError(`convertModel: "q8_0", name and pre are for GGUF files, found the folder ${target}`, {
      hint: 'name a file that ends in ".gguf"',
    });
  }
  const tensors = [...stored.tensors.values()].map((tensor) => savedTensor(tensor, dtype ?? tensor.dtype));
  const config = { ...toHfConfig(stored.config), ...extraConfig };
  await writeFiles(target, {
    ...weightsFiles(tensors, undefined),
    ...Object.fromEntries(await readCompanions(modelFiles("convertModel", source))),
    [configFile]: configText(config),
  });
}

const STORED_AS = { f32: "F32", f16: "F16", bf16: "BF16" } as const;

function savedTensor(tensor: StoredTensor, dtype: WeightDtype): SavedTensor {
  const { name, shape } = tensor;
  async function* pieces(): AsyncGenerator<Uint8Array, void, void> {
    const values = await tensor.read(0, sizeOf(shape));
    const numbers = values instanceof Uint16Array ? fromHalves(tensor.dtype as Half, values) : values;
    requireFinite(name, numbers);
    const written = dtype === tensor.dtype ? values : dtype === "f32" ? numbers : toHalves(dtype, numbers);
    if (written instanceof Uint16Array && dtype !== tensor.dtype) requireFinite(name, fromHalves(dtype as Half, written));
    yield new Uint8Array(written.buffer, written.byteOffset, written.byteLength);
  }
  return { name, dtype: STORED_AS[dtype], shape, pieces };
}
