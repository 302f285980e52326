import { FormatError, OptionError } from "../errors.js";
import { MissingFileError } from "../nn/byte-source.js";
import type { LlamaConfig } from "../nn/config.js";
import { byteTokenizer, loadTokenizer, type Tokenizer } from "../nn/tokenizers.js";
import { baseOfAdapter } from "./opened-model.js";

/**
 * The tokenizer of a model: the one that lies beside it, that of its base for an adapter without one, or that of `given`, a folder or a file that
 * was named.
 *
 * @throws OptionError where the model has no such tokens, FormatError where there is no tokenizer
 */
export async function modelTokenizer(
  source: string,
  { vocab_size: V }: Pick<LlamaConfig, "vocab_size">,
  given?: string,
): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(given ?? source).catch(async (error: unknown) => {
    if (!(error instanceof MissingFileError) || given !== undefined) throw error;
    const base = await baseOfAdapter(source);
    if (base !== undefined) return modelTokenizer(base, { vocab_size: V });
    if (V === byteTokenizer.vocabSize) return byteTokenizer;
    throw new FormatError(`there is no tokenizer beside the model, which has ${V} tokens`, {
      file: source,
      hint: "put its tokenizer.json or tokenizer.model there, or name one: --tokenizer path/to/tokenizer.json",
      cause: error,
    });
  });
  if (tokenizer.vocabSize <= V) return tokenizer;
  throw new OptionError(`the tokenizer of ${given ?? source} has ${tokenizer.vocabSize} tokens, and the model knows ${V}`, {
    hint: "take the tokenizer that the model was trained with",
  });
}
