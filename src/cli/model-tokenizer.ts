import { OptionError } from "../errors.js";
import type { LlamaConfig } from "../nn/config.js";
import { byteTokenizer, type Tokenizer } from "../nn/tokenizers.js";

/** The tokenizer of a model. Throws OptionError where its folder has none. */
export async function modelTokenizer(source: string, config: LlamaConfig): Promise<Tokenizer> {
  if (config.vocab_size === byteTokenizer.vocabSize) return byteTokenizer;
  throw new OptionError(`${source}: the model has a vocabulary of ${config.vocab_size}, and no tokenizer lies beside it`, {
    hint: "put the tokenizer.json of the model into its folder",
  });
}
