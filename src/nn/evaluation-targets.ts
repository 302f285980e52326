/** Target tokens that stay the same while only the context before them varies. */
import { checkOptions, number, type OptionKinds } from "../arguments.js";
import { OptionError } from "../errors.js";
import type { TokenDocument } from "./data.js";
import { blocksKind, documentsKind } from "./kinds.js";
import { checkAtLeast, type TargetBlock, targetWindow } from "./target-window.js";

export type { TargetBlock } from "./target-window.js";

export interface TargetOptions {
  readonly documents: readonly TokenDocument[];
  /** T: targets of a block, all scored in one forward pass. */
  readonly targetLength: number;
  /** Longest context W in tokens that will be read. */
  readonly maxContext: number;
}

const targetKinds: OptionKinds<TargetOptions> = { documents: documentsKind, targetLength: number, maxContext: number };

/** Rows for one context length. */
export interface TargetWindows {
  readonly inputs: Int32Array; // [N, context]
  readonly targets: Int32Array; // [N, T]: what the last T places of each row should predict
  /** N */
  readonly count: number;
  readonly context: number;
  /** T */
  readonly targetLength: number;
}

/**
 * How many disjoint blocks exist that have W tokens of context before their last target inside of the same document.
 *
 * @throws OptionError unless 1 ≤ T ≤ W are integers
 */
export function availableTargets(options: TargetOptions): number {
  checkOptions("availableTargets", options, targetKinds);
  return blocksPerDocument(options).reduce((sum, blocks) => sum + blocks, 0);
}

/**
 * Blocks of targets for which every context up to W tokens exists inside of the same document. They are disjoint and spread evenly over
 * all such text; a function of its arguments alone.
 *
 * @param options.count N: number of blocks
 * @throws OptionError unless 1 ≤ T ≤ W are integers, and where fewer than N blocks exist (`availableTargets` says how many)
 */
export function evaluationTargets(options: TargetOptions & { readonly count: number }): TargetBlock[] {
  checkOptions("evaluationTargets", options, { ...targetKinds, count: number });
  const { targetLength, maxContext, count } = options;
  checkAtLeast("count", count, 1);
  const perDocument = blocksPerDocument(options);
  const available = perDocument.reduce((sum, blocks) => sum + blocks, 0);
  if (count > available) {
    const longest = options.documents.reduce((most, { tokens }) => Math.max(most, tokens.length), 0);
    throw new OptionError(
      `there are ${available} blocks of ${targetLength} targets with ${maxContext} tokens of context in one document, ${count} were asked for`,
      {
        hint:
          `a block needs a document of at least ${maxContext + 1} tokens, and the longest has ${longest}; ` +
          "ask for fewer targets, a shorter context, or give longer documents",
      },
    );
  }
  const blocks: TargetBlock[] = [];
  let before = 0; // blocks of earlier documents
  perDocument.forEach((here, document) => {
    // The k-th of N blocks is the one at fraction (k + 1/2)/N of all.
    for (; blocks.length < count; ) {
      const index = Math.floor(((blocks.length + 0.5) * available) / count) - before;
      if (index >= here) break;
      blocks.push({ document, start: firstStart(targetLength, maxContext) + index * targetLength });
    }
    before += here;
  });
  return blocks;
}

/**
 * The rows that score the blocks with a given context. The last T places of a row predict the T targets: the last target has exactly
 * `context` tokens before it, the first one context − T + 1. The targets are the same for every context.
 *
 * @throws OptionError unless T ≤ context are integers, and for a block that has not so much context
 */
export function targetWindows(options: {
  readonly documents: readonly TokenDocument[];
  readonly blocks: readonly TargetBlock[];
  readonly targetLength: number;
  readonly context: number;
}): TargetWindows {
  checkOptions("targetWindows", options, { documents: documentsKind, blocks: blocksKind, targetLength: number, context: number });
  const { blocks, targetLength, context } = options;
  checkAtLeast("targetLength", targetLength, 1);
  checkAtLeast("context", context, targetLength);
  const inputs = new Int32Array(blocks.length * context);
  const targets = new Int32Array(blocks.length * targetLength);
  blocks.forEach((block, row) => {
    const window = targetWindow({ ...options, block });
    inputs.set(window.inputs, row * context);
    targets.set(window.targets, row * targetLength);
  });
  return { inputs, targets, count: blocks.length, context, targetLength };
}

function blocksPerDocument({ documents, targetLength, maxContext }: TargetOptions): number[] {
  checkAtLeast("targetLength", targetLength, 1);
  checkAtLeast("maxContext", maxContext, targetLength);
  const first = firstStart(targetLength, maxContext);
  return documents.map(({ tokens }) => Math.max(0, Math.floor((tokens.length - first) / targetLength)));
}

/** The last of T targets, at start + T − 1, has W tokens before it. */
const firstStart = (targetLength: number, maxContext: number): number => maxContext - targetLength + 1;
