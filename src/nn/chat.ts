import { checkArgument, checkOptions, flag, listOf, type OptionKinds, objectWith, optional, plainObject, text } from "../arguments.js";
import { FormatError, OptionError } from "../errors.js";

/** One turn of a conversation, as chat templates read it. */
export interface ChatMessage {
  /** "system", "user", "assistant", "tool": what the template knows. */
  readonly role: string;
  /** Text, or what else the template takes. */
  readonly content?: unknown;
  /** Whatever else the template reads: `name`, `tool_calls`, … Fields that are null or undefined are as good as left out. */
  readonly [field: string]: unknown;
}

export interface ChatTemplateOptions {
  /** Whether the text ends with what begins an answer. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** The text of the token that begins a text: `bos_token` of the template. Default: none, which templates print as nothing. */
  readonly bos?: string;
  /** The text of the token that ends a text: `eos_token` of the template. */
  readonly eos?: string;
  /** Functions that the model may call, as JSON schemas: `tools` of the template. */
  readonly tools?: readonly unknown[];
  /** More variables of the template by name: `enable_thinking`, `date_string`, … */
  readonly variables?: Readonly<Record<string, unknown>>;
}

const chatKinds: OptionKinds<ChatTemplateOptions> = {
  addGenerationPrompt: optional(flag),
  bos: optional(text),
  eos: optional(text),
  tools: optional(listOf(plainObject)),
  variables: optional(plainObject),
};

/** Variables that have options of their own, and those with which Jinja begins. */
const reserved: Readonly<Record<string, string>> = {
  messages: "messages are an argument",
  add_generation_prompt: "give addGenerationPrompt",
  bos_token: "give bos",
  eos_token: "give eos",
  tools: "give tools",
  ...Object.fromEntries(
    ["true", "false", "none", "True", "False", "None", "range", "namespace", "raise_exception", "strftime_now"].map((name) => [
      name,
      "Jinja has it already",
    ]),
  ),
};

/**
 * The text of a conversation by a chat template, which is what a model was trained to answer: a Jinja template over `messages`, `tools`,
 * `add_generation_prompt`, `bos_token` and `eos_token`, as Hugging Face's `apply_chat_template(tokenize=False)` renders it. The special
 * tokens are in the text as text; encode it without adding them once more.
 *
 * Throws FormatError for a template that is not Jinja, and OptionError where it refuses the messages (`raise_exception`) or fails on them.
 */
export async function applyChatTemplate(
  template: string,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions = {},
): Promise<string> {
  checkArgument("applyChatTemplate", "template", template, text);
  checkArgument("applyChatTemplate", "messages", messages, listOf(objectWith("a message { role, content }", "role")));
  checkOptions("applyChatTemplate", options, chatKinds);
  const { addGenerationPrompt = false, bos, eos, tools = null, variables = {} } = options;
  for (const name of Object.keys(variables)) {
    if (Object.hasOwn(reserved, name)) {
      throw new OptionError(`applyChatTemplate: the variable ${name} is no one's to choose`, { hint: reserved[name] as string });
    }
  }
  for (const [i, { role }] of messages.entries()) checkArgument("applyChatTemplate", `the role of message ${i}`, role, text);
  const { Template } = await import("@huggingface/jinja");
  const parsed = tried(
    () => new Template(template),
    (message, cause) =>
      new FormatError(`it is no Jinja template: ${message}`, {
        file: "the chat template",
        hint: "give the text of chat_template, as tokenizer_config.json or chat_template.jinja has it",
        cause,
      }),
  );
  const given = {
    ...variables,
    messages: messages.map(withoutNothing),
    tools,
    documents: variables.documents ?? null,
    add_generation_prompt: addGenerationPrompt,
    ...(bos === undefined ? {} : { bos_token: bos }),
    ...(eos === undefined ? {} : { eos_token: eos }),
  };
  return tried(
    () => parsed.render(given),
    (message, cause) =>
      new OptionError(`the chat template does not take these messages: ${message}`, {
        hint: "templates say which roles may follow each other, and what else they read",
        cause,
      }),
  );
}

/** A message without fields that hold nothing, which templates would print. */
const withoutNothing = (message: ChatMessage): Record<string, unknown> =>
  Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null && value !== undefined));

/** What f gives, or the error that its own error is told as. */
function tried<T>(f: () => T, told: (message: string, cause: unknown) => Error): T {
  try {
    return f();
  } catch (error) {
    throw told(error instanceof Error ? error.message : String(error), error);
  }
}
