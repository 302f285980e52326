import { OptionError } from "../errors.js";
import type { TokenDocument } from "./data.js";

/** T consecutive target tokens of one document. */
export interface TargetBlock {
  /** Index of the document. */
  readonly document: number;
  /** Index of the first target token in it. */
  readonly start: number;
}

/** The row of one block, as views of its document. */
export function targetWindow(options: {
  readonly documents: readonly TokenDocument[];
  readonly block: TargetBlock;
  readonly targetLength: number;
  readonly context: number;
}): { readonly inputs: Int32Array; readonly targets: Int32Array } {
  const { documents, targetLength, context } = options;
  const { document, start } = options.block;
  checkAtLeast("targetLength", targetLength, 1);
  checkAtLeast("context", context, targetLength);
  const tokens = documents[document]?.tokens ?? new Int32Array();
  const end = start + targetLength;
  if (!Number.isInteger(start) || end - 1 - context < 0 || end > tokens.length) {
    throw new OptionError(`document ${document} of ${tokens.length} tokens has no ${context} tokens of context before target ${end - 1}`, {
      hint: "choose the blocks with maxContext of at least this context, from the same documents",
    });
  }
  return { inputs: tokens.subarray(end - 1 - context, end - 1), targets: tokens.subarray(start, end) };
}

/** Refuses what is no integer of at least `least` (OptionError). */
export function checkAtLeast(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new OptionError(`${name} must be an integer of at least ${least}, found ${value}`, { hint: `give ${name} as a whole number` });
  }
}
