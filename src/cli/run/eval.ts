import { evaluateContexts, slidingWindowPerplexity } from "../../e2llm/evaluation.js";
import { OptionError } from "../../errors.js";
import { loadModel } from "../../nn/checkpoint.js";
import type { TokenDocument } from "../../nn/data.js";
import { writeFileAtomic } from "../../nn/files.js";
import type { EvalOptions } from "../commands/eval.js";
import { loadCorpus, planTargets } from "../corpus.js";
import { modelReading } from "../reading.js";
import type { Runner } from "../runners.js";
import { needByteModel, onBackend } from "../session.js";

/** Sliding-window loss of one context length. */
interface SlidingRow {
  readonly context: number;
  readonly stride: number;
  readonly scale: number;
  readonly nats: number;
  readonly perplexity: number;
  readonly targets: number;
}

interface ContextRow {
  readonly context: number;
  readonly scale: number;
  readonly nats: number;
}

/**
 * Loss at several contexts on the same targets. JSON (and eval.json): { command, model, text, backend, adapter, window, schedule, targets,
 * rows: [{ context, scale, nats }], truncation (nats with the last L bytes only, read as trained),
 * sliding: null or { document, rows: [{ context, stride, scale, nats, perplexity, targets }] }, interrupted, seconds }.
 */
export const run: Runner<EvalOptions> = (options, { io, onInterrupt }) =>
  onBackend(options, io, async (computedOn) => {
    const begun = performance.now();
    const model = await loadModel(options.model);
    needByteModel(model, options.model);
    const reading = modelReading(model.config, options.model, options);
    const asTrained = modelReading(model.config, options.model, { schedule: "none", scale: 1 });
    const { window } = reading;
    const contexts = options.contexts ?? [1, 2, 4, 8].map((times) => times * window);
    const { heldOut: documents } = await loadCorpus(options.text);
    const reach = [window, ...contexts];
    const plan = planTargets({ documents, targets: options.targets, shortest: Math.min(...reach), longest: Math.max(...reach) });
    const targets = plan.blocks.length * plan.targetLength;

    const stop = onInterrupt();
    const shouldStop = (): boolean => stop.requested !== undefined;
    const common = { model, documents, ...plan, batch: options.batch, shouldStop };
    const [baseline] = await evaluateContexts({ ...common, contexts: [window], tables: (length) => asTrained.tables(length) });
    const progress = io.progress({
      label: "eval",
      total: contexts.length * Math.ceil(plan.blocks.length / Math.min(options.batch, plan.blocks.length)),
    });
    const found = await evaluateContexts({
      ...common,
      contexts,
      tables: (length) => reading.tables(length),
      onProgress: ({ done, tokens }) => progress.update({ step: done, amount: tokens }),
    });
    progress.finish();
    const rows: ContextRow[] = found.map(({ context, nats }) => ({ context, scale: reading.scaleAt(context), nats }));

    const document = longest(documents);
    const sliding: SlidingRow[] = [];
    for (const context of options.sliding ? contexts : []) {
      if (shouldStop()) break;
      const stride = options.stride ?? Math.max(1, Math.floor(context / 2));
      const bar = io.progress({
        label: `sliding ${context}`,
        total: Math.max(1, Math.ceil((document.tokens.length - context) / stride / options.batch)) + 1,
      });
      const loss = await slidingWindowPerplexity({
        model,
        tokens: document.tokens,
        window: context,
        stride,
        batch: options.batch,
        shouldStop,
        tables: (length) => reading.tables(length, context),
        onProgress: ({ done, tokens }) => bar.update({ step: done, amount: tokens }),
      });
      bar.finish();
      if (!shouldStop()) sliding.push({ context, stride, scale: reading.scaleAt(context), ...loss });
    }

    const result = {
      command: "eval",
      model: options.model,
      text: options.text,
      ...computedOn,
      window,
      schedule: options.schedule,
      targets,
      rows,
      truncation: baseline?.nats ?? null,
      sliding: options.sliding ? { document: document.name, rows: sliding } : null,
      interrupted: shouldStop(),
      seconds: (performance.now() - begun) / 1000,
    };
    if (shouldStop())
      io.note("stopped: what was complete is shown; an evaluation saves nothing to go on from, so run the same command again");
    io.print(table(result));
    if (options.out !== undefined) {
      await writeEval(options.out, result);
      io.note(`saved to ${options.out}/eval.json`);
    }
    io.result(result);
    return stop.exitCode;
  });

const longest = (documents: readonly TokenDocument[]): TokenDocument =>
  documents.reduce((best, document) => (document.tokens.length > best.tokens.length ? document : best));

async function writeEval(folder: string, result: object): Promise<void> {
  const { mkdir } = await import("node:fs/promises");
  await mkdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw new OptionError(`the folder ${folder} cannot be made`, { cause, hint: "choose another folder" });
  });
  await writeFileAtomic(`${folder}/eval.json`, `${JSON.stringify(result, null, 2)}\n`);
}

function table(result: {
  readonly window: number;
  readonly schedule: string;
  readonly targets: number;
  readonly rows: readonly ContextRow[];
  readonly truncation: number | null;
  readonly sliding: { readonly document: string; readonly rows: readonly SlidingRow[] } | null;
}): string {
  const { window, schedule, targets, rows, truncation, sliding } = result;
  const line = (cells: readonly (string | number)[]): string => cells.map((cell) => String(cell).padStart(10)).join("");
  const lines = [
    `the same ${targets} target bytes at every context; schedule ${schedule}, trained window L = ${window}`,
    line(["context", "scale", "nats/byte"]),
    ...rows.map(({ context, scale, nats }) => line([context, format(scale), nats.toFixed(4)])),
  ];
  if (truncation !== null) lines.push(`${line([window, 1, truncation.toFixed(4)])}   last L bytes only, as trained: the line to beat`);
  if (sliding !== null && sliding.rows.length > 0) {
    lines.push(
      "",
      `sliding window over "${sliding.document}", each byte once`,
      line(["window", "stride", "scale", "nats/byte", "ppl/byte"]),
    );
    for (const { context, stride, scale, nats, perplexity } of sliding.rows) {
      lines.push(line([context, stride, format(scale), nats.toFixed(4), perplexity.toFixed(3)]));
    }
  }
  return lines.join("\n");
}

const format = (scale: number): string => (Number.isInteger(scale) ? String(scale) : scale.toFixed(2));
