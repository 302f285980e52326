import type { TokenizerPattern } from "../../nn/tokenizers.js";
import {
  type Action,
  addChoice,
  addFlag,
  addOption,
  addOutput,
  type Command,
  type CommonOptions,
  nonEmpty,
  wholeNumber,
} from "../options.js";

export interface TokenizerOptions extends Pick<CommonOptions, "json" | "verbose"> {
  /** "moby-dick", a file or a folder of files. */
  readonly text: string;
  /** V: special tokens, bytes and merges. */
  readonly vocab: number;
  readonly out: string;
  readonly pattern: TokenizerPattern;
  readonly minFrequency: number;
  /** Special tokens, the first of which begins and ends texts. */
  readonly special: readonly string[];
  /** Replaces a tokenizer that is there. */
  readonly force: boolean;
}

const patterns: readonly TokenizerPattern[] = ["gpt2", "llama3", "qwen2", "smollm"];

/** Adds `dawngrad tokenizer train`. */
export function registerTokenizer(program: Command, execute: Action<TokenizerOptions>): void {
  const tokenizer = program
    .command("tokenizer")
    .summary("train a tokenizer on text")
    .description("Makes tokenizers: `dawngrad tokenizer train`.");
  const command = tokenizer
    .command("train")
    .summary("learn a byte-level BPE from text")
    .description(
      "Learns a byte-level byte-pair encoding from a text: which pieces of words are tokens, so that every text can be written with them and no " +
        "character is unknown. Writes tokenizer.json and tokenizer_config.json, which `dawngrad train --tokenizer` reads, and Python's " +
        "tokenizers and transformers, too.",
    )
    .addHelpText(
      "after",
      `
The vocabulary is the special tokens, the 256 bytes, and one token for each merge of two others; it stays smaller where no pair occurs
--min-frequency times. The same text gives the same tokenizer. --pattern says how texts are cut into words, which no token spans: gpt2
keeps numbers whole, llama3 cuts them by three digits, qwen2 and smollm into single ones.

Examples:
  dawngrad tokenizer train --text moby-dick --vocab 4096 --out runs/tokenizer
  dawngrad tokenizer train --text notes/ --vocab 8192 --pattern llama3 --out runs/tokenizer
  dawngrad train --text notes/ --tokenizer runs/tokenizer --out runs/base`,
    );
  addOption(command, "--text <source>", 'a file, a folder of text files, or "moby-dick"', nonEmpty, "moby-dick");
  addOption(command, "--vocab <n>", "tokens in all", wholeNumber({ min: 257, max: 2 ** 20 }), 4096);
  addChoice(command, "--pattern <name>", "how texts are cut into words", patterns, "gpt2");
  addOption(command, "--min-frequency <n>", "times that a pair occurs to be merged", wholeNumber({ min: 1, max: 2 ** 31 - 1 }), 2);
  addOption(
    command,
    "--special <list>",
    "special tokens with commas between them; the first begins and ends texts",
    (text) => nonEmpty(text).split(","),
    ["<|endoftext|>"],
  );
  addOption(command, "--out <folder>", "folder to write to", nonEmpty, "runs/tokenizer");
  addFlag(command, "force", "replace a tokenizer that --out holds");
  addOutput(command);
  command.action(() => execute(command.opts<TokenizerOptions>()));
}
