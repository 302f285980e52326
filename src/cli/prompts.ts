/** What `generate` continues: a text, a conversation by the chat template of the model, or many of both from a file. */
import { FormatError, OptionError } from "../errors.js";
import { applyChatTemplate, type ChatMessage } from "../nn/chat.js";
import { isObject, parseJson } from "../nn/json.js";
import type { Tokenizer } from "../nn/tokenizers.js";
import { readTextFile } from "./texts.js";

export interface PromptOptions {
  /** One text. */
  readonly prompt?: string;
  /** A file of many: a line each, or JSON. */
  readonly prompts?: string;
  /** A conversation as JSON, or a file with it. */
  readonly messages?: string;
  /** Whether texts are what a user says in a conversation. */
  readonly chat: boolean;
  /** What a conversation begins with. */
  readonly system?: string;
}

export interface Prompt {
  /** As the model reads it. */
  readonly text: string;
  readonly tokens: Int32Array;
  /** Whether it is a conversation, of which the answer alone is shown. */
  readonly chat: boolean;
}

/**
 * The prompts of the options, encoded.
 *
 * @throws OptionError for a conversation with a model that has no chat template, and one that its template does not take; FormatError for files and
 *   JSON that hold no prompts
 */
export async function promptsOf(options: PromptOptions, tokenizer: Tokenizer, model: string): Promise<Prompt[]> {
  const prompts: Prompt[] = [];
  for (const one of await givenPrompts(options)) {
    prompts.push(
      typeof one === "string" && !options.chat ? plain(one, tokenizer) : await conversation(one, { ...options, tokenizer, model }),
    );
  }
  return prompts;
}

type Given = string | readonly ChatMessage[];

async function givenPrompts({ prompt, prompts, messages }: PromptOptions): Promise<Given[]> {
  if (prompt !== undefined) return [prompt];
  if (messages !== undefined) {
    const inline = /^\s*[[{]/.test(messages);
    const file = inline ? "--messages" : messages;
    return [messagesOf(inline ? typedJson(messages) : parseJson((await readTextFile(messages)).text, { file }), file)];
  }
  const file = prompts as string;
  const { text } = await readTextFile(file);
  const found = text.trimStart().startsWith("[")
    ? listOf(parseJson(text, { file }), file)
    : text.split(/\r?\n/).filter((line) => line.trim() !== "");
  if (found.length === 0) throw new FormatError("expected prompts, found none", { file, hint: "write one on each line" });
  return found;
}

const shape = 'write [{"role": "user", "content": "…"}]';

/** JSON on the command line. */
function typedJson(text: string): unknown {
  try {
    return parseJson(text, { file: "--messages" });
  } catch (error) {
    throw new OptionError(error instanceof Error ? error.message : String(error), { hint: shape, cause: error });
  }
}

function listOf(json: unknown, file: string): Given[] {
  if (!Array.isArray(json)) throw new FormatError("expected a list of prompts", { file, hint: "write texts or conversations in [ ]" });
  return json.map((one: unknown, i) => {
    if (typeof one === "string" && one !== "") return one;
    if (Array.isArray(one)) return messagesOf(one, file, `prompt ${i}: `);
    throw new FormatError(`prompt ${i}: expected a text or a conversation`, { file, hint: `a conversation is a list: ${shape}` });
  });
}

function messagesOf(json: unknown, file: string, where = ""): ChatMessage[] {
  if (!Array.isArray(json) || json.length === 0) throw new FormatError(`${where}expected a list of messages`, { file, hint: shape });
  return json.map((message: unknown, i) => {
    if (isObject(message) && typeof message["role"] === "string") return message as unknown as ChatMessage;
    throw new FormatError(`${where}message ${i} has no role`, { file, hint: shape });
  });
}

/** A text, with the tokens that the tokenizer puts around one. */
function plain(text: string, tokenizer: Tokenizer): Prompt {
  return { text, tokens: withoutEnd(tokenizer.encode(text, { special: true }), tokenizer), chat: false };
}

/** Tokens of a text that goes on: without what the tokenizer puts behind every text, which would end it. An end that is written in the text stays. */
export function withoutEnd(tokens: Int32Array, tokenizer: Pick<Tokenizer, "encode">): Int32Array {
  const [whole, alone] = [tokenizer.encode("a", { special: true }), tokenizer.encode("a")];
  let before = 0;
  while (before < whole.length && !alone.every((token, i) => whole[before + i] === token)) before++;
  return tokens.subarray(0, tokens.length - (whole.length - before - alone.length));
}

async function conversation(
  given: Given,
  { system, tokenizer, model }: Pick<PromptOptions, "system"> & { readonly tokenizer: Tokenizer; readonly model: string },
): Promise<Prompt> {
  const { chatTemplate, bos, eos } = tokenizer;
  if (chatTemplate === undefined) {
    throw new OptionError(`${model} has no chat template, so it was not made for conversations`, {
      hint: "give a text to continue: --prompt without --chat, --system and messages",
    });
  }
  const said: readonly ChatMessage[] = typeof given === "string" ? [{ role: "user", content: given }] : given;
  const messages = system === undefined ? said : [{ role: "system", content: system }, ...said];
  const text = await applyChatTemplate(chatTemplate, messages, {
    addGenerationPrompt: true,
    ...(bos === undefined ? {} : { bos: tokenizer.tokenText(bos) }),
    ...(eos === undefined ? {} : { eos: tokenizer.tokenText(eos) }),
  });
  return { text, tokens: tokenizer.encode(text), chat: true };
}
