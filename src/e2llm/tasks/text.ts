/** Text as a task: the next token. */
import { checkOptions, either, integer, listOf, type OptionKinds, objectWith, optional } from "../../arguments.js";
import { OptionError } from "../../errors.js";
import type { RandomStream } from "../../ir/random-stream.js";
import { encodeDocuments, splitHeldOut, type TextDocument, type TokenDocument } from "../../nn/data.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import { Draft } from "./sequence.js";
import type { Task } from "./task.js";

/** A text, whose UTF-8 bytes become its tokens, or its tokens. */
export type TaskDocument = TextDocument | TokenDocument;

export interface TextTaskOptions {
  /** What training windows are cut from. */
  readonly documents: readonly TaskDocument[];
  /** What evaluated sequences are cut from. Default: a tenth of the documents, which training windows then leave alone (`splitHeldOut`). */
  readonly heldOut?: readonly TaskDocument[];
  /** Tokens are 0 … vocabulary − 1. Default 256: bytes. */
  readonly vocabulary?: number;
  /** Tokens of an evaluated sequence, counted from its end, that are asked for. Default 16. */
  readonly asked?: number;
}

const documentsKind = listOf(
  either(objectWith("a document { name, text }", "name", "text"), objectWith("a document { name, tokens }", "name", "tokens")),
);
const textKinds: OptionKinds<TextTaskOptions> = {
  documents: documentsKind,
  heldOut: optional(documentsKind),
  vocabulary: optional(integer(1)),
  asked: optional(integer(1)),
};

/**
 * Text, so that it goes through the same training and evaluation as what is made by code: a sequence is a window of one document, the target
 * of each place the token that follows it, the kind "next". An evaluated sequence asks for its last tokens alone, the same whatever context
 * it is cut to (`cutExample`), so that the difference of two contexts is what the context is worth. No token marks the beginning.
 *
 * Windows are drawn with replacement, uniformly over all places where one fits. Throws OptionError for a token outside of the vocabulary, and
 * `example` for a length that no document has.
 */
export function textTask(options: TextTaskOptions): Task {
  checkOptions("textTask", options, textKinds);
  const { vocabulary = 256, asked = 16 } = options;
  const given = tokensOf(options.documents, vocabulary);
  const split = options.heldOut === undefined ? splitHeldOut(given) : { train: given, heldOut: tokensOf(options.heldOut, vocabulary) };
  return {
    name: "text",
    vocabulary,
    bos: null,
    kinds: { next: { chance: 1 / vocabulary, description: "the next token of the text" } },
    example({ length, random, purpose }) {
      const window = drawWindow(random, purpose === "training" ? split.train : split.heldOut, length);
      const draft = new Draft(length);
      draft.inputs.set(window.subarray(0, length));
      for (let place = purpose === "training" ? 0 : Math.max(0, length - asked); place < length; place++) {
        draft.ask({ place, kind: "next" }, window[place + 1] as number);
      }
      return draft.finish();
    },
  };
}

function tokensOf(documents: readonly TaskDocument[], vocabulary: number): TokenDocument[] {
  return documents.map((document) => {
    const [{ name, tokens }] = "tokens" in document ? [document] : (encodeDocuments([document], byteTokenizer) as [TokenDocument]);
    const wrong = tokens.findIndex((token) => !(token >= 0 && token < vocabulary));
    if (wrong >= 0) {
      throw new OptionError(`textTask: token ${tokens[wrong]} at place ${wrong} of "${name}" is not in the vocabulary of ${vocabulary}`, {
        hint: "give the vocabulary of the tokenizer that made these tokens",
      });
    }
    return { name, tokens };
  });
}

/** length + 1 tokens of one document. */
function drawWindow(random: RandomStream, documents: readonly TokenDocument[], length: number): Int32Array {
  const windows = documents.map(({ tokens }) => Math.max(0, tokens.length - length));
  const all = windows.reduce((sum, count) => sum + count, 0);
  if (all === 0) {
    const longest = documents.reduce((most, { tokens }) => Math.max(most, tokens.length), 0);
    throw new OptionError(`textTask: no document has ${length + 1} tokens, the longest has ${longest}`, {
      hint: "ask for a shorter sequence or give longer documents, held-out ones too",
    });
  }
  let start = random.below(all);
  const index = windows.findIndex((count) => {
    if (start < count) return true;
    start -= count;
    return false;
  });
  return (documents[index] as TokenDocument).tokens.subarray(start, start + length + 1);
}
