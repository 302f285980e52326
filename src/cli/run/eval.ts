import { evaluateContexts, slidingWindowPerplexity } from "../../e2llm/evaluation.js";
import { planScoring, type ScoringPlan } from "../../e2llm/scoring.js";
import { loadModel } from "../../nn/checkpoint.js";
import type { TokenDocument } from "../../nn/data.js";
import { writeFileAtomic } from "../../nn/files.js";
import { checkStride, type EvalOptions } from "../commands/eval.js";
import { loadCorpus, planTargets } from "../corpus.js";
import { EvaluationMeter } from "../evaluation-progress.js";
import { exitCodes } from "../exit.js";
import { nonFiniteTensors } from "../model-check.js";
import { mostItems } from "../options.js";
import { type OutputFolder, withOutputs } from "../outputs.js";
import { formatLoss } from "../progress.js";
import { modelReading, unseenScale } from "../reading.js";
import { type ReadingSizes, sayReadingNeed } from "../reading-need.js";
import type { Runner } from "../runner.js";
import { needByteModel, onBackend } from "../session.js";
import { measurePositions, type PositionResult, positionFile, positionTable, savePositions } from "./eval-positions.js";

/** Sliding-window loss of one context length; null where it is no number. */
interface SlidingRow {
  readonly context: number;
  readonly stride: number;
  readonly scale: number;
  readonly nats: number | null;
  readonly perplexity: number | null;
  readonly targets: number;
}

interface ContextRow {
  readonly context: number;
  readonly scale: number;
  readonly nats: number | null;
}

/** JSON knows no NaN and no infinity. */
const orNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

/**
 * Loss at several contexts on the same targets. JSON (and eval.json): { command, model, text, backend, adapter, memory (ReadingFigures), window, schedule (what "auto" stands for), targets,
 * rows: [{ context, scale, nats }], truncation (nats with the last L bytes only, read as trained),
 * sliding: null or { document, rows: [{ context, stride, scale, nats, perplexity, targets }] },
 * positions: null or { document, context, scale, buckets: [{ from, to, nats, targets }] } (means over positions from … to − 1),
 * nonFinite (names of weights that hold NaN or infinities), interrupted, seconds }. A loss that is no number is null, and then the exit code is 1.
 */
export const run: Runner<EvalOptions> = (options, { io, onInterrupt }) =>
  withOutputs(outputsOf(options), { lock: false }, () =>
    onBackend(options, io, async (computedOn, info) => {
      const begun = performance.now();
      const model = await loadModel(options.model);
      needByteModel(model, options.model);
      const reading = modelReading(model.config, options.model, options);
      const asTrained = modelReading(model.config, options.model, { schedule: "auto", scale: "auto" });
      const { window } = reading;
      if (reading.chosen !== undefined) io.note(reading.chosen);
      const contexts = options.contexts ?? [1, 2, 4, 8].map((times) => times * window);
      if (options.stride !== undefined) checkStride(options.stride, contexts);
      const { heldOut: documents } = await loadCorpus(options.text);
      const reach = [window, ...contexts];
      const plan = planTargets({ documents, targets: options.targets, shortest: Math.min(...reach), longest: Math.max(...reach) });
      const targets = plan.blocks.length * plan.targetLength;
      const document = longest(documents);
      const strideAt = (context: number): number => options.stride ?? Math.max(1, Math.floor(context / 2));
      const batch = options.batch === undefined ? {} : { batch: options.batch };
      const longestContext = Math.max(...contexts);
      const unseen = unseenScale(reading, longestContext);
      if (unseen !== undefined) io.warn(unseen);
      /** The plan of every reading that is to come. */
      const plansOf = (sizes: ReadingSizes): ScoringPlan[] => {
        const planned = (context: number, targetLength: number, count: number): ScoringPlan =>
          planScoring(model.config, { context, targetLength, count, batch: sizes.batch });
        return [
          ...[window, ...sizes.contexts].map((context) => planned(context, plan.targetLength, plan.blocks.length)),
          ...(options.sliding ? sizes.contexts.map((context) => planned(context, strideAt(context), mostItems)) : []),
          ...(options.byPosition ? [planned(Math.max(...sizes.contexts), Math.max(...sizes.contexts), 1)] : []),
        ];
      };
      const memory = sayReadingNeed(io, { info, model, sizes: { contexts, ...batch }, plansOf });
      const nonFinite = await nonFiniteTensors(model);
      if (nonFinite.length > 0) {
        io.warn(
          `${options.model}: weights are NaN or infinite in ${nonFinite.slice(0, 3).join(", ")}${nonFinite.length > 3 ? ` and ${nonFinite.length - 3} more` : ""}`,
        );
      }

      const stop = onInterrupt();
      const shouldStop = (): boolean => stop.requested !== undefined;
      const common = { model, documents, ...plan, ...batch, shouldStop };
      const [baseline] = await evaluateContexts({ ...common, contexts: [window], tables: (length) => asTrained.tables(length) });
      const meter = new EvaluationMeter(io, "eval");
      const found = await evaluateContexts({
        ...common,
        contexts,
        tables: (length) => reading.tables(length),
        onProgress: (progress) => meter.update(progress),
      });
      meter.finish();
      const measured: ContextRow[] = found.map(({ context, nats }) => ({ context, scale: reading.scaleAt(context), nats: orNull(nats) }));

      const sliding: SlidingRow[] = [];
      for (const context of options.sliding ? contexts : []) {
        if (shouldStop()) break;
        const stride = strideAt(context);
        const bar = new EvaluationMeter(io, `sliding ${context}`);
        const {
          nats,
          perplexity,
          targets: scored,
        } = await slidingWindowPerplexity({
          model,
          tokens: document.tokens,
          window: context,
          stride,
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
          perplexity: orNull(perplexity),
          targets: scored,
        });
      }

      const positions =
        options.byPosition && !shouldStop()
          ? await measurePositions({ io, model, document, context: longestContext, reading, shouldStop })
          : null;

      const result = {
        command: "eval",
        model: options.model,
        text: options.text,
        ...computedOn,
        memory,
        window,
        schedule: reading.schedule,
        targets,
        rows: measured,
        truncation: baseline === undefined ? null : orNull(baseline.nats),
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
          await savePositions(io, options.out, { ...positions, model: options.model, schedule: reading.schedule, window });
        }
      }
      const lostPositions = positions?.buckets.some(({ nats }) => nats === null) ? [{ context: positions.context }] : [];
      const lost = [...[...measured, ...sliding].filter(({ nats }) => nats === null), ...lostPositions];
      if (lost.length === 0 && (baseline === undefined || result.truncation !== null)) return stop.exitCode;
      const where = [...new Set(lost.map(({ context }) => context))].join(", ");
      io.warn(
        `the loss is not a number${where === "" ? "" : ` at ${where} bytes of context`}` +
          (nonFinite.length > 0 ? ", because the weights are not" : "; the numbers of the forward pass overflow"),
      );
      return stop.exitCode || exitCodes.failed;
    }),
  );

const outputsOf = ({ out, byPosition }: EvalOptions): OutputFolder[] =>
  out === undefined ? [] : [{ folder: out, files: byPosition ? ["eval.json", positionFile] : ["eval.json"] }];

const longest = (documents: readonly TokenDocument[]): TokenDocument =>
  documents.reduce((best, document) => (document.tokens.length > best.tokens.length ? document : best));

function table(result: {
  readonly window: number;
  readonly schedule: string;
  readonly targets: number;
  readonly rows: readonly ContextRow[];
  readonly truncation: number | null;
  readonly truncationScale: number;
  readonly sliding: { readonly document: string; readonly rows: readonly SlidingRow[] } | null;
  readonly positions: PositionResult | null;
}): string {
  const { window, schedule, targets, rows, truncation, sliding, positions } = result;
  const line = (cells: readonly (string | number)[]): string => cells.map((cell) => String(cell).padStart(10)).join("");
  const lines = [
    `the same ${targets} target bytes at every context; schedule ${schedule}, trained window L = ${window}`,
    line(["context", "scale", "nats/byte"]),
    ...rows.map(({ context, scale, nats }) => line([context, format(scale), lossText(nats)])),
  ];
  if (truncation !== null)
    lines.push(`${line([window, format(result.truncationScale), lossText(truncation)])}   last L bytes only, as trained: the line to beat`);
  if (sliding !== null && sliding.rows.length > 0) {
    lines.push(
      "",
      `sliding window over "${sliding.document}", each byte once`,
      line(["window", "stride", "scale", "nats/byte", "ppl/byte"]),
    );
    for (const { context, stride, scale, nats, perplexity } of sliding.rows) {
      lines.push(line([context, stride, format(scale), lossText(nats), perplexity === null ? "NaN" : perplexity.toFixed(3)]));
    }
  }
  if (positions !== null) lines.push("", positionTable(positions));
  return lines.join("\n");
}

const format = (scale: number): string => (Number.isInteger(scale) ? String(scale) : scale.toFixed(2));

const lossText = (nats: number | null): string => formatLoss(nats ?? Number.NaN);
