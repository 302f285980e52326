import { encodeDocuments, splitHeldOut, type TokenDocument } from "../nn/data.js";
import { availableTargets, evaluationTargets, type TargetBlock } from "../nn/evaluation-targets.js";
import { byteTokenizer } from "../nn/tokenizers.js";
import { loadTexts } from "./texts.js";

/** A text as bytes, with its end held out: the same tenth for every command, so that no model is measured on what it was trained on. */
export interface Corpus {
  readonly train: readonly TokenDocument[];
  readonly heldOut: readonly TokenDocument[];
}

/** Reads "moby-dick", a file or a folder. Throws OptionError and FormatError as `loadTexts` and `splitHeldOut` do. */
export async function loadCorpus(source: string): Promise<Corpus> {
  const { train, heldOut } = splitHeldOut(encodeDocuments(await loadTexts(source), byteTokenizer));
  return { train, heldOut };
}

/** Blocks of target bytes for an evaluation. */
export interface TargetPlan {
  readonly blocks: TargetBlock[];
  /** T: bytes of a block. */
  readonly targetLength: number;
}

/**
 * About `targets` bytes in blocks of half the shortest context: long enough to score several bytes in one pass, and short enough that each
 * of them has at least half of its context. Throws OptionError where the documents have not so many with `longest` bytes before them.
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
