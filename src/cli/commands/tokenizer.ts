import { OptionError } from "../../errors.js";
import type { TokenizerPattern } from "../../nn/tokenizers.js";
import { addInputText, type InputTextOptions } from "../input-text.js";
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

/** What `encode` and `decode` share. */
export interface UsedTokenizer extends Pick<CommonOptions, "json" | "verbose">, InputTextOptions {
  /** A model, or a tokenizer of its own. */
  readonly model?: string;
  readonly tokenizer?: string;
}

export interface EncodeOptions extends UsedTokenizer {
  /** Whether the tokens that the tokenizer puts around a text are put there. */
  readonly special: boolean;
  /** Whether a special token's writing in the text is that token. */
  readonly parseSpecial: boolean;
  /** One token on each line, with what it stands for. */
  readonly pieces: boolean;
}

export interface DecodeOptions extends Omit<UsedTokenizer, "input"> {
  /** Numbers with spaces or commas between. */
  readonly input: readonly string[];
  readonly skipSpecial: boolean;
}

export interface TokenizerActions {
  readonly train: Action<TokenizerOptions>;
  readonly encode: Action<EncodeOptions>;
  readonly decode: Action<DecodeOptions>;
}

/** Adds `dawngrad tokenizer train`, `encode` and `decode`. */
export function registerTokenizer(program: Command, { train, encode, decode }: TokenizerActions): void {
  const tokenizer = program
    .command("tokenizer")
    .summary("text to tokens and back, and tokenizers of your own")
    .description("Writes text as tokens and tokens as text, and learns tokenizers.");
  registerTrain(tokenizer, train);
  registerEncode(tokenizer, encode);
  registerDecode(tokenizer, decode);
}

/** `--model` and `--tokenizer`, of which one is needed. */
function addSource(command: Command): void {
  addOption(command, "--tokenizer <source>", "a tokenizer.json, tokenizer.model or tokenizer.bin, or a folder with one", nonEmpty);
  addOption(command, "--model <source>", "a model that has one: a folder, a *.gguf or *.bin, or hf:owner/name", nonEmpty);
}

function registerEncode(tokenizer: Command, execute: Action<EncodeOptions>): void {
  const command = tokenizer
    .command("encode")
    .summary("the tokens of a text")
    .description("Prints the numbers of a text's tokens in one line, which `dawngrad tokenizer decode` reads back.")
    .argument("[text]", "the text; else --text or standard input")
    .addHelpText(
      "after",
      `
The bytes are taken as they are: a newline at the end of a file is a part of the text. --json has the pieces too.

Examples:
  dawngrad tokenizer encode --model SmolLM2 "Call me Ishmael."
  dawngrad tokenizer encode --tokenizer tokenizer.json --text book.txt --json
  echo -n "naïve 🐋" | dawngrad tokenizer encode --model model.gguf --pieces`,
    );
  addSource(command);
  addInputText(command);
  addFlag(command, "special", "with the tokens that the tokenizer puts around a text, such as one for its beginning");
  command.option("--no-parse-special", 'take "<|im_end|>" and the like for the characters that they are written with');
  addFlag(command, "pieces", "one token on each line: its number, how the vocabulary writes it, and the text it stands for");
  addOutput(command);
  command.action((input: string | undefined) =>
    execute(ofSource("encode", { ...command.opts<Omit<EncodeOptions, "input">>(), ...given(input) })),
  );
}

function registerDecode(tokenizer: Command, execute: Action<DecodeOptions>): void {
  const command = tokenizer
    .command("decode")
    .summary("the text of tokens")
    .description("Prints the text of tokens, and nothing else: what `encode` was given comes out to the byte.")
    .argument("[tokens...]", "numbers with spaces or commas between; else --text or standard input")
    .addHelpText(
      "after",
      `
Tokens that end inside of a character give "�" for it.

Examples:
  dawngrad tokenizer decode --model SmolLM2 9576 549
  dawngrad tokenizer encode --model SmolLM2 --text book.txt | dawngrad tokenizer decode --model SmolLM2 > same.txt`,
    );
  addSource(command);
  addOption(command, "--text <file>", 'a file with the numbers; "-" is standard input', nonEmpty);
  addFlag(command, "skip-special", "leave out tokens that stand for no text, such as one for the end");
  addOutput(command);
  command.action((input: readonly string[]) => execute(ofSource("decode", { ...command.opts<Omit<DecodeOptions, "input">>(), input })));
}

const given = (input: string | undefined): Pick<InputTextOptions, "input"> => (input === undefined ? {} : { input });

/** Options with one source (OptionError for none and for two). */
function ofSource<Options extends Omit<UsedTokenizer, "input">>(name: string, options: Options): Options {
  const { model, tokenizer } = options;
  if ((model === undefined) !== (tokenizer === undefined)) return options;
  throw new OptionError(
    model === undefined ? `tokenizer ${name} needs a tokenizer` : `tokenizer ${name} takes one tokenizer, found ${model} and ${tokenizer}`,
    { hint: "name a model with --model, or the files of a tokenizer with --tokenizer" },
  );
}

function registerTrain(tokenizer: Command, execute: Action<TokenizerOptions>): void {
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
