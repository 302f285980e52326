import { lossByPosition, positionBuckets } from "../../e2llm/position-loss.js";
import type { TokenDocument } from "../../nn/data.js";
import { writeFileAtomic } from "../../nn/files.js";
import type { Llama } from "../../nn/llama.js";
import { bytesOfTokens } from "../../nn/token-bytes.js";
import type { Tokenizer } from "../../nn/tokenizers.js";
import { lossPerUnit } from "../corpus.js";
import { EvaluationMeter } from "../evaluation-progress.js";
import type { CommandIo } from "../io.js";
import { formatLoss } from "../progress.js";
import type { ModelReading } from "../reading.js";
import { figuresLine } from "../report/draw.js";
import { type PositionFigure, positionPage } from "../report/position-chart.js";
import { lossColumns, type Unit } from "../units.js";

/** Means of the loss over ranges of positions, as --json and eval.json have them; null where a loss is no number. */
export interface PositionResult {
  readonly document: string;
  /** W: positions that were read. */
  readonly context: number;
  readonly scale: number;
  readonly buckets: PositionFigure["buckets"];
}

/** The file beside eval.json. */
export const positionFile = "by-position.html";

/** Reads the beginning of a document, W + 1 tokens of it; null where that was interrupted. */
export async function measurePositions(options: {
  readonly io: CommandIo;
  readonly model: Llama;
  readonly tokenizer: Tokenizer;
  readonly document: TokenDocument;
  readonly context: number;
  readonly reading: ModelReading;
  readonly shouldStop: () => boolean;
}): Promise<PositionResult | null> {
  const { io, model, tokenizer, document, context, reading, shouldStop } = options;
  const meter = new EvaluationMeter(io, "by position");
  const { nats } = await lossByPosition({
    model,
    tokens: document.tokens.subarray(0, context + 1),
    tables: (length) => reading.tables(length),
    shouldStop,
    onProgress: (progress) => meter.update(progress),
  });
  meter.finish();
  if (shouldStop()) return null;
  const tokens = document.tokens.subarray(0, context + 1);
  const buckets = positionBuckets(nats).map((bucket) => {
    const { from, to, targets } = bucket;
    // The loss at position i is that of token i + 1.
    const bytes = bytesOfTokens(tokenizer, tokens.subarray(from + 1, to + 1));
    const found = lossPerUnit(bucket.nats, targets, bytes);
    return Number.isFinite(found.nats) ? { ...bucket, ...found } : { ...bucket, nats: null, natsPerByte: null };
  });
  return { document: document.name, context, scale: reading.scaleAt(context), buckets };
}

/** The means as lines of a table. */
export function positionTable({ document, context, scale, buckets }: PositionResult, unit: Unit): string {
  const loss = (nats: number | null): string => formatLoss(nats ?? Number.NaN);
  const row = (name: string, cells: readonly string[]): string => [name.padStart(20), ...cells.map((cell) => cell.padStart(12))].join("");
  const lines = buckets.map(({ from, to, nats, natsPerByte }) =>
    row(`${from} … ${to - 1}`, lossColumns(unit, [loss(nats), loss(natsPerByte)])),
  );
  return [
    `loss by position over the first ${context} ${unit} of "${document}", at scale ${scale}`,
    row("position", lossColumns(unit, ["nats/token", "nats/byte"])),
    ...lines,
  ].join("\n");
}

/** Draws the means into a folder, or says what is missing for that. */
export async function savePositions(io: CommandIo, folder: string, figure: PositionFigure): Promise<void> {
  const page = await positionPage(figure);
  if (page === undefined) {
    io.note(`no figure was drawn; ${figuresLine} brings them`);
    return;
  }
  await writeFileAtomic(`${folder}/${positionFile}`, page);
  io.note(`saved to ${folder}/${positionFile}`);
}
