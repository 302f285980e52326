import { countTokens, splitHeldOut, type TokenDocument } from "../nn/data.js";
import { availableTargets, evaluationTargets, type TargetBlock } from "../nn/evaluation-targets.js";
import { concatenateTokens } from "../nn/token-arrays.js";
import { bytesOfTokens } from "../nn/token-bytes.js";
import { byteTokenizer, encodeText, encodeTextCached, type Tokenizer, tokensFile } from "../nn/tokenizers.js";
import type { CommandIo } from "./io.js";
import type { Progress } from "./progress.js";
import { loadTexts } from "./texts.js";

/** A text as tokens, with its end held out: the same tenth for every command, so that no model is measured on what it was trained on. */
export interface Corpus {
  readonly train: readonly TokenDocument[];
  readonly heldOut: readonly TokenDocument[];
  /** Both parts. */
  readonly whole: readonly TokenDocument[];
  readonly tokenizer: Tokenizer;
  /** Bytes of the whole text, as UTF-8, over its tokens. */
  readonly bytesPerToken: number;
}

export interface CorpusOptions {
  /** Default: every byte is a token. */
  readonly tokenizer?: Tokenizer;
  /** Whether the documents of each part are read as one, in their order. Default false. */
  readonly join?: boolean;
  /** Where a long encoding says how far it is. */
  readonly io?: Pick<CommandIo, "progress">;
}

/**
 * Reads "moby-dick", a file or a folder. The tokens of a large file are kept beside it. Throws OptionError and FormatError as `loadTexts` and
 * `splitHeldOut` do.
 */
export async function loadCorpus(source: string, options: CorpusOptions = {}): Promise<Corpus> {
  const { tokenizer = byteTokenizer, join = false, io } = options;
  const texts = await loadTexts(source);
  const sizes = texts.map(({ text }) => Buffer.byteLength(text));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const meter = io && new EncodingMeter(io, bytes);
  const documents: TokenDocument[] = [];
  for (const [i, { name, text, path }] of texts.entries()) {
    const onProgress = (done: number): void => meter?.update(i, done * (sizes[i] as number));
    const tokens =
      path === undefined
        ? await encodeText(tokenizer, text, { onProgress })
        : await encodeTextCached(tokenizer, text, tokensFile(path, tokenizer), { onProgress });
    documents.push({ name, tokens });
  }
  meter?.finish();
  const { train, heldOut } = splitHeldOut(documents);
  const part = (all: readonly TokenDocument[]): readonly TokenDocument[] => (join ? [joined(all, { name: source, tokenizer })] : all);
  return { train: part(train), heldOut: part(heldOut), whole: part(documents), tokenizer, bytesPerToken: bytes / countTokens(documents) };
}

/** Documents one after another, with an empty line between. */
function joined(
  documents: readonly TokenDocument[],
  { name, tokenizer }: { readonly name: string; readonly tokenizer: Tokenizer },
): TokenDocument {
  const [only, second] = documents;
  if (only !== undefined && second === undefined) return only;
  const between = tokenizer.encode("\n\n");
  const parts = documents.flatMap(({ tokens }, i) => (i === 0 ? [tokens] : [between, tokens]));
  return { name, tokens: concatenateTokens(parts) };
}

/** Milliseconds after which somebody who waits is told how far it is. */
const worthShowing = 2000;

/** A progress line for encodings that take long. */
class EncodingMeter {
  private readonly begun = performance.now();
  private readonly done: number[] = [];
  private last = 0;
  private line: Progress | undefined;

  constructor(
    private readonly io: Pick<CommandIo, "progress">,
    private readonly total: number,
  ) {}

  update(document: number, bytes: number): void {
    this.done[document] = bytes;
    if (performance.now() - this.begun < worthShowing) return;
    const step = Math.round(this.done.reduce((sum, one) => sum + one, 0));
    this.line ??= this.io.progress({ label: "encode", total: this.total, unit: "bytes" });
    this.line.update({ step, amount: step - this.last });
    this.last = step;
  }

  finish(): void {
    this.line?.clear();
  }
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
    return sum + bytesOfTokens(tokenizer, tokens.subarray(start, start + targetLength));
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
