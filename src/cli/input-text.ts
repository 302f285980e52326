/** The text of commands that take one: an argument, a file, or standard input, byte by byte as it is. */
import { OptionError } from "../errors.js";
import { readFileChecked } from "../nn/files.js";
import { mostTextBytes } from "./input-stream.js";
import { addOption, type Command, nonEmpty } from "./options.js";
import type { CommandContext } from "./runner.js";

export interface InputTextOptions {
  /** The text itself. */
  readonly input?: string;
  /** A file with it; "-" is standard input. */
  readonly text?: string;
}

/** `--text` beside an argument. */
export function addInputText(command: Command): void {
  addOption(command, "--text <file>", 'a file with the text; "-" is standard input, as where there is neither file nor text', nonEmpty);
}

/** The bytes of the text. Throws OptionError for two texts and for none, FormatError for a file that cannot be read. */
export async function inputBytes({ input, text }: InputTextOptions, { readInput }: Pick<CommandContext, "readInput">): Promise<Uint8Array> {
  if (input !== undefined && text !== undefined) {
    throw new OptionError(`a text was given, and the file ${text} too`, { hint: "leave one of them out" });
  }
  if (input !== undefined) return new TextEncoder().encode(input);
  return text === undefined || text === "-" ? readInput() : readFileChecked(text, { maxBytes: mostTextBytes });
}
