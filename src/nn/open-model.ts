import type { ByteSource } from "./byte-source.js";
import type { LlamaConfig } from "./config.js";
import { isGguf } from "./gguf/header.js";
import { openGgufModel } from "./gguf/model.js";
import { isLlama2c, openLlama2c } from "./llama2c.js";
import { type ModelFiles, type ModelSource, modelFiles, notAFolder } from "./model-source.js";
import { configFile, openSafetensorsModel, readConfig } from "./safetensors-model.js";
import type { StoredModel } from "./stored-model.js";
import { isListedTokenizer } from "./tokenizers/llama2c-tokenizer.js";

/**
 * Opens a model, whatever its format: its configuration and the names, shapes and places of its tensors have been read and held against each
 * other, and no weight has. Close it afterwards.
 *
 * Read are Hugging Face folders: `config.json` beside `model.safetensors` or beside the files of `model.safetensors.index.json`, in F32, F16,
 * BF16 or F64; and GGUF files of the Llama family, in F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K or Q6_K; and the `.bin`
 * files of llama2.c, versions 0 to 2.
 *
 * @throws FormatError for files that are missing, damaged, of another kind, or do not fit together
 */
export const openModel = (source: ModelSource): Promise<StoredModel> => openStored("openModel", source);

/** {@link openModel} on behalf of a function that errors name. */
export async function openStored(where: string, source: ModelSource): Promise<StoredModel> {
  const files = modelFiles(where, source);
  const file = await modelFile(files);
  return file === undefined ? openSafetensorsModel(files) : opened(file);
}

/** The configuration of a model, of a folder without a look at its weights. */
export async function configOf(where: string, source: ModelSource): Promise<LlamaConfig> {
  const files = modelFiles(where, source);
  const file = await modelFile(files);
  if (file === undefined) return readConfig(files);
  const stored = await opened(file);
  await stored.close();
  return stored.config;
}

/** The file that is a model by itself: the source, or the one GGUF or else `.bin` of a folder without a config.json. */
export async function modelFile(files: ModelFiles): Promise<ByteSource | undefined> {
  const whole = await files.whole();
  if (whole !== undefined) return whole;
  const names = (await files.names()) ?? [];
  if (names.includes(configFile)) return undefined;
  const gguf = names.filter((name) => /\.gguf$/i.test(name));
  const [only, ...others] = gguf.length > 0 ? gguf : names.filter((name) => /\.bin$/i.test(name) && !isOther(name));
  return only === undefined || others.length > 0 ? undefined : files.open(only);
}

/** Whether a `.bin` is a tokenizer, or PyTorch's, which would be downloaded to be refused. */
const isOther = (name: string): boolean => isListedTokenizer(name) || /^(pytorch|adapter)_model/i.test(name);

async function opened(file: ByteSource): Promise<StoredModel> {
  try {
    return await openModelFile(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** A model in one file, by what its first bytes say. What is opened closes the file. */
async function openModelFile(file: ByteSource): Promise<StoredModel> {
  const start = await file.start();
  if (isGguf(start)) return openGgufModel(file);
  if (isLlama2c(start, file.size)) return openLlama2c(file);
  throw notAFolder(file.name, start);
}
