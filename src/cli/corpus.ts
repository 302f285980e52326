import { countTokens, encodeDocuments, splitHeldOut, type TokenDocument } from "../nn/data.js";
import { availableTargets, evaluationTargets, type TargetBlock } from "../nn/evaluation-targets.js";
import { bytesOfTokens } from "../nn/token-bytes.js";
import { byteTokenizer, type Tokenizer } from "../nn/tokenizers.js";
import { loadTexts } from "./texts.js";

/** A text as tokens, with its end held out: the same tenth for every command, so that no model is measured on what it was trained on. */
export interface Corpus {
  readonly train: readonly TokenDocument[];
  readonly heldOut: readonly TokenDocument[];
  readonly tokenizer: Tokenizer;
  /** Bytes of the whole text, as UTF-8, over its tokens. */
  readonly bytesPerToken: number;
}

/** Reads "moby-dick", a file or a folder. Throws OptionError and FormatError as `loadTexts` and `splitHeldOut` do. */
export async function loadCorpus(source: string, tokenizer: Tokenizer = byteTokenizer): Promise<Corpus> {
  const texts = await loadTexts(source);
  const documents = encodeDocuments(texts, tokenizer);
  const { train, heldOut } = splitHeldOut(documents);
  const bytes = texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  return { train, heldOut, tokenizer, bytesPerToken: bytes / countTokens(documents) };
}

/** The mean of losses in both units: nats over the targets, and the same nats over the bytes that they stand for. */
export interface LossPerUnit {
  /** Nats per token. */
  readonly nats: number;
  readonly natsPerByte: number;
}

/** A mean loss per token with that per byte. */
export const lossPerUnit = (nats: number, targets: number, bytes: number): LossPerUnit => ({ nats, natsPerByte: (nats * targets) / bytes });

/** Bytes that the targets of a plan stand for. */
export const targetBytes = (tokenizer: Tokenizer, documents: readonly TokenDocument[], { blocks, targetLength }: TargetPlan): number =>
  blocks.reduce((sum, { document, start }) => {
    const { tokens } = documents[document] as TokenDocument;
    return sum + bytesOfTokens(tokenizer, tokens, { from: start, to: start + targetLength });
  }, 0);

/** Blocks of target tokens for an evaluation. */
export interface TargetPlan {
  readonly blocks: TargetBlock[];
  /** T: tokens of a block. */
  readonly targetLength: number;
}

/**
 * About `targets` tokens in blocks of half the shortest context: long enough to score several tokens in one pass, and short enough that each
 * of them has at least half of its context. Throws OptionError where the documents have not so many with `longest` tokens before them.
 */
export function planTargets(options: {
  readonly documents: readonly TokenDocument[];
  readonly targets: number;
  readonly shortest: number;
  readonly longest: number;
}): TargetPlan {
  const { documents, targets, shortest, longest } = options;
  const targetLength = blockLength(targets, shortest);
  const count = Math.floor(targets / targetLength);
  return { targetLength, blocks: evaluationTargets({ documents, targetLength, maxContext: longest, count }) };
}

/** T: half of a context, and no more than there are targets. */
export const blockLength = (targets: number, context: number): number => Math.min(targets, Math.max(1, Math.floor(context / 2)));

/** As `planTargets` for one context, with as many targets as there are; undefined where the documents are too short for any. */
export function planTargetsWithin(options: {
  readonly documents: readonly TokenDocument[];
  readonly targets: number;
  readonly context: number;
}): TargetPlan | undefined {
  const { documents, context } = options;
  const targetLength = blockLength(options.targets, context);
  const available = targetLength * availableTargets({ documents, targetLength, maxContext: context });
  const targets = Math.min(options.targets, available);
  return targets < targetLength ? undefined : planTargets({ documents, targets, shortest: context, longest: context });
}
