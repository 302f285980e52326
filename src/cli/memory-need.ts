/** What a run needs of memory, in figures. */
import { OptionError } from "../errors.js";

/** Bytes, as `--json` tells them. */
export interface MemoryFigures {
  /** The most at once. */
  readonly needed: number;
  readonly parameters: number;
  readonly optimizerState: number;
  /** One number for each parameter: a part of `scratch`. */
  readonly gradients: number;
  /** What a step has between: gradients, and what the backward pass keeps. */
  readonly scratch: number;
  readonly batch: number;
  /** A copy of parameters and state that is tried before it is saved. */
  readonly trial: number;
  /** What there is; null where the device does not tell. */
  readonly available: number | null;
  /** The machine's memory that nobody uses at the moment; null where a GPU computes. */
  readonly free: number | null;
  readonly largestTensor: number;
  /** Most bytes of one tensor. */
  readonly availableTensor: number;
}

/** Options that would make a run fit, and what it would need with them. */
export interface Alternative {
  readonly options: string;
  readonly needed: number;
  readonly largestTensor: number;
}

/** A run that cannot fit, with the figures. */
export class MemoryNeedError extends OptionError {
  constructor(
    message: string,
    readonly memory: MemoryFigures & { readonly alternatives: readonly Alternative[] },
    hint: string,
  ) {
    super(message, { hint });
  }
}
