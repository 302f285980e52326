import { OptionError } from "../../errors.js";
import type { DecodeOptions } from "../commands/tokenizer.js";
import { inputBytes } from "../input-text.js";
import type { Runner } from "../runner.js";
import { usedTokenizer } from "../used-tokenizer.js";

/** The text of tokens. JSON: { command, tokenizer (its name), tokens, text }. */
export const run: Runner<DecodeOptions> = async (options, context) => {
  const { io } = context;
  const { input, text: file, skipSpecial } = options;
  const tokenizer = await usedTokenizer(options);
  const written = { ...(input.length === 0 ? {} : { input: input.join(" ") }), ...(file === undefined ? {} : { text: file }) };
  const tokens = numbersOf(new TextDecoder().decode(await inputBytes(written, context)));
  const text = tokenizer.decode(tokens, { skipSpecial });
  io.write(text);
  io.result({ command: "tokenizer decode", tokenizer: tokenizer.name, tokens, text });
  return undefined;
};

/** Numbers with white space or commas between, in brackets or not. Throws OptionError for anything else. */
function numbersOf(text: string): number[] {
  const words = text.replace(/^\s*\[|\]\s*$/g, "").split(/[\s,]+/);
  return words
    .filter((word) => word !== "")
    .map((word, i) => {
      if (/^\d{1,15}$/.test(word)) return Number(word);
      throw new OptionError(`expected the numbers of tokens, found ${JSON.stringify(word.slice(0, 40))} at place ${i}`, {
        hint: "write them with spaces or commas between: 9576 549",
      });
    });
}
