import type { BackendInfo } from "../../backend/backend.js";
import { evaluateContexts, slidingWindowPerplexity } from "../../e2llm/evaluation.js";
import { planScoring, type ScoringPlan } from "../../e2llm/scoring.js";
import type { TokenDocument } from "../../nn/data.js";
import { writeFileAtomic } from "../../nn/files.js";
import type { StoredModel } from "../../nn/stored-model.js";
import { bytesOfTokens } from "../../nn/token-bytes.js";
import { checkStride, type EvalOptions } from "../commands/eval.js";
import { type LossPerUnit, loadCorpus, lossPerUnit, planTargets, targetBytes } from "../corpus.js";
import { EvaluationMeter } from "../evaluation-progress.js";
import { exitCodes } from "../exit.js";
import { nonFiniteTensors } from "../model-check.js";
import { modelTokenizer } from "../model-tokenizer.js";
import { load, readingDtype, shapeOf, withModel } from "../opened-model.js";
import { mostItems } from "../options.js";
import { type OutputFolder, withOutputs } from "../outputs.js";
import { formatLoss } from "../progress.js";
import { modelReading, unseenScale } from "../reading.js";
import { type ReadingSizes, sayReadingNeed } from "../reading-need.js";
import type { CommandContext, Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { lossColumns, oneOf, type Unit, unitOf } from "../units.js";
import { measurePositions, type PositionResult, positionFile, positionTable, savePositions } from "./eval-positions.js";

/** A loss in nats per token, and the same nats per byte of the text; null where it is no number. */
interface Losses {
  readonly nats: number | null;
  readonly natsPerByte: number | null;
}

/** Sliding-window loss of one context length; null where it is no number. */
interface SlidingRow extends Losses {
  readonly context: number;
  readonly stride: number;
  readonly scale: number;
  /** By token. */
  readonly perplexity: number | null;
  readonly bitsPerByte: number | null;
  readonly targets: number;
}

interface ContextRow extends Losses {
  readonly context: number;
  readonly scale: number;
}

/** JSON knows no NaN and no infinity. */
const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);
const losses = ({ nats, natsPerByte }: LossPerUnit): Losses => ({ nats: orNull(nats), natsPerByte: orNull(natsPerByte) });

/**
 * Loss at several contexts on the same targets. JSON (and eval.json): { command, model, text, part, backend, adapter, tokenizer (its name), unit ("bytes" or "tokens", which all lengths count), memory (ReadingFigures), window, schedule (what "auto" stands for), targets,
 * targetBytes (what the targets stand for), rows: [{ context, scale, nats (per token), natsPerByte }], truncation (nats with the last L tokens only, read as trained; null where no context is as long), truncationPerByte,
 * sliding: null or { document, rows: [{ context, stride, scale, nats, natsPerByte, perplexity (per token), bitsPerByte, targets }] },
 * positions: null or { document, context, scale, buckets: [{ from, to, nats, natsPerByte, targets }] } (means over positions from … to − 1),
 * nonFinite (names of weights that hold NaN or infinities), interrupted, seconds }. A loss that is no number is null, and then the exit code is 1.
 */
export const run: Runner<EvalOptions> = (options, context) =>
  withOutputs(outputsOf(options), { lock: false }, () =>
    onBackend(options, context.io, (computedOn, info) =>
      withModel(options.model, (stored) => evaluate(stored, { options, ...context, computedOn, info })),
    ),
  );

interface Circumstances extends CommandContext {
  readonly options: EvalOptions;
  readonly computedOn: ComputedOn;
  readonly info: BackendInfo;
}

async function evaluate(stored: StoredModel, { options, io, onInterrupt, computedOn, info }: Circumstances): Promise<number> {
  const begun = performance.now();
  const { config } = stored;
  const tokenizer = await modelTokenizer(options.model, config, options.tokenizer);
  const unit = unitOf(tokenizer);
  const reading = modelReading(config, options.model, options, unit);
  const asTrained = modelReading(config, options.model, { schedule: "auto", scale: "auto" }, unit);
  const { window } = reading;
  if (reading.chosen !== undefined) io.note(reading.chosen);
  const contexts = options.contexts ?? [1, 2, 4, 8].map((times) => times * window);
  if (options.stride !== undefined) checkStride(options.stride, contexts, unit);
  const corpus = await loadCorpus(options.text, { tokenizer, join: options.join, io });
  const documents = options.part === "all" ? corpus.whole : corpus.heldOut;
  // The last L tokens alone are no less than what shorter contexts have.
  const truncated = Math.max(...contexts) < window ? [] : [window];
  const reach = [...truncated, ...contexts];
  const plan = planTargets({ documents, targets: options.targets, shortest: Math.min(...reach), longest: Math.max(...reach) });
  const targets = plan.blocks.length * plan.targetLength;
  const bytes = targetBytes(tokenizer, documents, plan);
  const lossOf = (nats: number): Losses => losses(lossPerUnit(nats, targets, bytes));
  const document = longest(documents);
  const strideAt = (context: number): number => options.stride ?? Math.max(1, Math.floor(context / 2));
  const batch = options.batch === undefined ? {} : { batch: options.batch };
  const longestContext = Math.max(...contexts);
  const unseen = unseenScale(reading, longestContext, unit);
  if (unseen !== undefined) io.warn(unseen);
  /** The plan of every reading that is to come. */
  const plansOf = (sizes: ReadingSizes): ScoringPlan[] => {
    const planned = (context: number, targetLength: number, count: number): ScoringPlan =>
      planScoring(config, { context, targetLength, count, batch: sizes.batch });
    return [
      ...[...truncated, ...sizes.contexts].map((context) => planned(context, plan.targetLength, plan.blocks.length)),
      ...(options.sliding ? sizes.contexts.map((context) => planned(context, strideAt(context), mostItems)) : []),
      ...(options.byPosition ? [planned(Math.max(...sizes.contexts), Math.max(...sizes.contexts), 1)] : []),
    ];
  };
  const dtype = readingDtype(stored, options.dtype, info);
  const memory = sayReadingNeed(io, {
    info,
    model: shapeOf(stored, dtype),
    sizes: { contexts, ...batch },
    unit,
    plansOf,
    tables: reading.tables,
  });
  const model = await load(stored, dtype);
  const nonFinite = await nonFiniteTensors(model);
  if (nonFinite.length > 0) {
    io.warn(
      `${options.model}: weights are NaN or infinite in ${nonFinite.slice(0, 3).join(", ")}${nonFinite.length > 3 ? ` and ${nonFinite.length - 3} more` : ""}`,
    );
  }

  const stop = onInterrupt();
  const shouldStop = (): boolean => stop.requested !== undefined;
  const common = { model, documents, ...plan, ...batch, shouldStop };
  const [baseline] =
    truncated.length === 0 ? [] : await evaluateContexts({ ...common, contexts: truncated, tables: (length) => asTrained.tables(length) });
  const meter = new EvaluationMeter(io, "eval");
  const found = await evaluateContexts({
    ...common,
    contexts,
    tables: (length) => reading.tables(length),
    onProgress: (progress) => meter.update(progress),
  });
  meter.finish();
  const measured: ContextRow[] = found.map(({ context, nats }) => ({ context, scale: reading.scaleAt(context), ...lossOf(nats) }));

  const truncation = baseline === undefined ? { nats: null, natsPerByte: null } : lossOf(baseline.nats);

  const sliding: SlidingRow[] = [];
  for (const context of options.sliding ? contexts : []) {
    if (shouldStop()) break;
    const stride = strideAt(context);
    const bar = new EvaluationMeter(io, `sliding ${context}`);
    const {
      nats,
      perplexity,
      targets: scored,
      bitsPerByte = Number.NaN,
    } = await slidingWindowPerplexity({
      model,
      tokens: document.tokens,
      window: context,
      stride,
      bytes: bytesOfTokens(tokenizer, document.tokens.subarray(1)),
      ...batch,
      shouldStop,
      tables: (length) => reading.tables(length, context),
      onProgress: (progress) => bar.update(progress),
    });
    bar.finish();
    if (shouldStop()) break;
    sliding.push({
      context,
      stride,
      scale: reading.scaleAt(context),
      nats: orNull(nats),
      natsPerByte: orNull(bitsPerByte * Math.LN2),
      perplexity: orNull(perplexity),
      bitsPerByte: orNull(bitsPerByte),
      targets: scored,
    });
  }

  const positions =
    options.byPosition && !shouldStop()
      ? await measurePositions({ io, model, tokenizer, document, context: longestContext, reading, shouldStop })
      : null;

  const result = {
    command: "eval",
    model: options.model,
    text: options.text,
    part: options.part,
    ...computedOn,
    tokenizer: tokenizer.name,
    unit,
    memory,
    window,
    schedule: reading.schedule,
    targets,
    targetBytes: bytes,
    rows: measured,
    truncation: truncation.nats,
    truncationPerByte: truncation.natsPerByte,
    sliding: options.sliding ? { document: document.name, rows: sliding } : null,
    positions,
    nonFinite,
    interrupted: shouldStop(),
    seconds: (performance.now() - begun) / 1000,
  };
  if (shouldStop())
    io.note("stopped: what was complete is shown; an evaluation saves nothing to go on from, so run the same command again");
  io.print(table({ ...result, truncationScale: asTrained.scaleAt(window) }));
  io.result(result);
  if (options.out !== undefined) {
    await writeFileAtomic(`${options.out}/eval.json`, `${JSON.stringify(result, null, 2)}\n`);
    io.note(`saved to ${options.out}/eval.json`);
    if (positions !== null) {
      await savePositions(io, options.out, { ...positions, model: options.model, schedule: reading.schedule, window, unit });
    }
  }
  const lostPositions = positions?.buckets.some(({ nats }) => nats === null) ? [{ context: positions.context }] : [];
  const lost = [...[...measured, ...sliding].filter(({ nats }) => nats === null), ...lostPositions];
  if (lost.length === 0 && (baseline === undefined || result.truncation !== null)) return stop.exitCode;
  const where = [...new Set(lost.map(({ context }) => context))].join(", ");
  io.warn(
    `the loss is not a number${where === "" ? "" : ` at ${where} ${unit} of context`}` +
      (nonFinite.length > 0 ? ", because the weights are not" : "; the numbers of the forward pass overflow"),
  );
  return stop.exitCode || exitCodes.failed;
}

const outputsOf = ({ out, byPosition }: EvalOptions): OutputFolder[] =>
  out === undefined ? [] : [{ folder: out, files: byPosition ? ["eval.json", positionFile] : ["eval.json"] }];

const longest = (documents: readonly TokenDocument[]): TokenDocument =>
  documents.reduce((best, document) => (document.tokens.length > best.tokens.length ? document : best));

function table(result: {
  readonly unit: Unit;
  readonly window: number;
  readonly schedule: string;
  readonly targets: number;
  readonly rows: readonly ContextRow[];
  readonly truncation: number | null;
  readonly truncationPerByte: number | null;
  readonly truncationScale: number;
  readonly sliding: { readonly document: string; readonly rows: readonly SlidingRow[] } | null;
  readonly positions: PositionResult | null;
}): string {
  const { unit, window, schedule, targets, rows, truncation, sliding, positions } = result;
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell) => String(cell).padStart(12))
      .join("")
      .slice(2);
  const lossCells = ({ nats, natsPerByte }: Losses): string[] => lossColumns(unit, [lossText(nats), lossText(natsPerByte)]);
  const heads = lossColumns(unit, ["nats/token", "nats/byte"]);
  const lines = [
    `the same ${targets} target ${unit} at every context; schedule ${schedule}, trained window L = ${window}`,
    line(["context", "scale", ...heads]),
    ...rows.map(({ context, scale, ...loss }) => line([context, format(scale), ...lossCells(loss)])),
  ];
  if (truncation !== null) {
    const cells = lossCells({ nats: truncation, natsPerByte: result.truncationPerByte });
    lines.push(`${line([window, format(result.truncationScale), ...cells])}   last L ${unit} only, as trained: the line to beat`);
  }
  if (sliding !== null && sliding.rows.length > 0) {
    lines.push(
      "",
      `sliding window over "${sliding.document}", each ${oneOf(unit)} once`,
      line(["window", "stride", "scale", ...heads, `ppl/${oneOf(unit)}`]),
    );
    for (const { context, stride, scale, perplexity, ...loss } of sliding.rows) {
      lines.push(line([context, stride, format(scale), ...lossCells(loss), perplexity === null ? "NaN" : perplexity.toFixed(3)]));
    }
  }
  if (positions !== null) lines.push("", positionTable(positions, unit));
  return lines.join("\n");
}

const format = (scale: number): string => (Number.isInteger(scale) ? String(scale) : scale.toFixed(2));

const lossText = (nats: number | null): string => formatLoss(nats ?? Number.NaN);
