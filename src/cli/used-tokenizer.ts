import { OptionError } from "../errors.js";
import { MissingFileError } from "../nn/byte-source.js";
import { loadTokenizer, type Tokenizer } from "../nn/tokenizers.js";
import type { UsedTokenizer } from "./commands/tokenizer.js";
import { baseOfAdapter } from "./opened-model.js";

/** The tokenizer that was named, by itself or by its model; of an adapter without one that of its base. Throws FormatError where there is none. */
export async function usedTokenizer({ model, tokenizer }: Pick<UsedTokenizer, "model" | "tokenizer">): Promise<Tokenizer> {
  const source = tokenizer ?? model;
  if (source === undefined) throw new OptionError("no tokenizer was named");
  try {
    return await loadTokenizer(source);
  } catch (error) {
    const base = error instanceof MissingFileError && typeof source === "string" ? await baseOfAdapter(source) : undefined;
    if (base === undefined) throw error;
    return loadTokenizer(base);
  }
}

/** The text that a token stands for, with "�" for what is a part of a character; nothing for special tokens. */
export const pieceText = (tokenizer: Tokenizer, token: number): string => new TextDecoder().decode(tokenizer.tokenBytes(token));
