import { encodeText } from "../../nn/tokenizers.js";
import type { EncodeOptions } from "../commands/tokenizer.js";
import { inputBytes } from "../input-text.js";
import type { Runner } from "../runner.js";
import { pieceText, usedTokenizer } from "../used-tokenizer.js";

/**
 * The tokens of a text. JSON: { command, tokenizer (its name), vocabSize, bytes (of the text), tokens (their numbers), pieces (how the vocabulary writes
 * them), texts (what each stands for, "�" for parts of characters) }.
 */
export const run: Runner<EncodeOptions> = async (options, context) => {
  const { special, parseSpecial, pieces } = options;
  const { io } = context;
  const tokenizer = await usedTokenizer(options);
  const bytes = await inputBytes(options, context);
  const tokens = await encodeText(tokenizer, bytes, { special, parseSpecial });
  if (io.json) {
    const list = Array.from(tokens);
    io.result({
      command: "tokenizer encode",
      tokenizer: tokenizer.name,
      vocabSize: tokenizer.vocabSize,
      bytes: bytes.length,
      tokens: list,
      pieces: list.map((token) => tokenizer.tokenText(token)),
      texts: list.map((token) => pieceText(tokenizer, token)),
    });
    return undefined;
  }
  if (!pieces) io.print(tokens.join(" "));
  for (const token of pieces ? tokens : []) {
    if (io.outputClosed) break;
    io.print([token, tokenizer.tokenText(token), JSON.stringify(pieceText(tokenizer, token))].join("\t"));
  }
  io.detail(`${tokens.length} tokens of ${bytes.length} bytes`);
  return undefined;
};
