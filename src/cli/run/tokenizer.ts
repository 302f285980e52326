import { stat } from "node:fs/promises";
import { OptionError } from "../../errors.js";
import { writeFileAtomic } from "../../nn/files.js";
import { encodeText, loadTokenizer, trainTokenizer } from "../../nn/tokenizers.js";
import type { TokenizerOptions } from "../commands/tokenizer.js";
import { withOutputs } from "../outputs.js";
import { formatCount } from "../progress.js";
import type { Runner } from "../runner.js";
import { loadTexts } from "../texts.js";

const files = ["tokenizer.json", "tokenizer_config.json"] as const;
/** What progress is told in. */
const hundredths = 100;

/**
 * Learns a tokenizer from a text.
 * JSON: { command, text, out, pattern, vocabSize, merges, specialTokens, bytes, tokens, bytesPerToken, seconds }, where bytes and tokens are those
 * of the text that it was learned from.
 */
export const run: Runner<TokenizerOptions> = async (options, { io }) => {
  const { text, out, vocab, pattern, minFrequency, special, force } = options;
  if (!force && (await stat(`${out}/${files[0]}`).catch(() => undefined)) !== undefined) {
    throw new OptionError(`${out} holds a tokenizer already`, { hint: "name another folder, or give --force to replace it" });
  }
  return withOutputs([{ folder: out, files }], { lock: false }, async () => {
    const started = performance.now();
    const texts = (await loadTexts(text)).map((document) => document.text);
    const bytes = texts.reduce((sum, one) => sum + Buffer.byteLength(one), 0);
    const line = io.progress({ label: "tokenizer", total: hundredths });
    const learned = await trainTokenizer(texts, {
      vocabSize: vocab,
      minFrequency,
      pattern,
      specialTokens: special,
      onProgress: (done) => line.update({ step: Math.floor(hundredths * done) }),
    });
    line.finish();
    const tokenizer = await loadTokenizer(learned);
    let tokens = 0;
    for (const one of texts) tokens += (await encodeText(tokenizer, one)).length;
    for (const name of files) await writeFileAtomic(`${out}/${name}`, learned[name]);
    const { vocabSize } = tokenizer;
    if (vocabSize < vocab) io.warn(`no more than ${formatCount(vocabSize)} tokens: no pair of them occurs ${minFrequency} times`);
    const bytesPerToken = bytes / tokens;
    io.print(
      `${formatCount(vocabSize)} tokens, of which the text's ${formatCount(bytes)} bytes are ${formatCount(tokens)}: ` +
        `${bytesPerToken.toFixed(2)} bytes per token\nsaved to ${out}`,
    );
    io.result({
      command: "tokenizer",
      text,
      out,
      pattern,
      vocabSize,
      merges: vocabSize - 256 - special.length,
      specialTokens: special,
      bytes,
      tokens,
      bytesPerToken,
      seconds: (performance.now() - started) / 1000,
    });
    return undefined;
  });
};
