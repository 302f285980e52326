import { evaluateContexts } from "../e2llm/evaluation.js";
import { readingTables } from "../e2llm/reading.js";
import { planScoring, type ScoringPlan } from "../e2llm/scoring.js";
import type { HostTables } from "../nn/batch.js";
import type { LlamaConfig } from "../nn/config.js";
import type { Llama } from "../nn/llama.js";
import { blockLength, type Corpus, lossPerUnit, planTargetsWithin, targetBytes } from "./corpus.js";
import { EvaluationMeter } from "./evaluation-progress.js";
import type { CommandIo } from "./io.js";
import { lossInWords, unitOf } from "./units.js";

/** Target tokens of the held-out loss that is reported at the end of a training. */
const heldOutTargets = 2048;
/** Milliseconds after which somebody who waits is told how far it is. */
const worthShowing = 2000;

/** How the held-out text is read at a context, where there is enough of it. */
export function heldOutPlan(config: LlamaConfig, context: number): ScoringPlan {
  const targetLength = blockLength(heldOutTargets, context);
  return planScoring(config, { context, targetLength, count: Math.floor(heldOutTargets / targetLength) });
}

/** The held-out loss, or why there is none. */
export interface HeldOut {
  /** Nats per token. */
  readonly heldOut: number | null;
  readonly heldOutPerByte: number | null;
  readonly heldOutSkipped: string | null;
}

/** Measures the loss on held-out text at one context and says it, or says why it was left out. */
export async function heldOutLoss(options: {
  readonly io: CommandIo;
  readonly model: Llama;
  readonly corpus: Pick<Corpus, "heldOut" | "tokenizer">;
  /** Tokens of context. */
  readonly context: number;
  readonly interrupted: boolean;
  /** Words for the end of the line. */
  readonly how?: string;
}): Promise<HeldOut> {
  const { io, model, corpus, context, interrupted, how = "" } = options;
  const { heldOut: documents, tokenizer } = corpus;
  const unit = unitOf(tokenizer);
  const skip = (reason: string): HeldOut => {
    io.note(`held-out loss not measured: ${reason}`);
    return { heldOut: null, heldOutPerByte: null, heldOutSkipped: reason };
  };
  if (interrupted) return skip("the training was interrupted");
  const plan = planTargetsWithin({ documents, targets: heldOutTargets, context });
  if (plan === undefined) {
    const longest = Math.max(...documents.map(({ tokens }) => tokens.length));
    return skip(`the held-out text has ${longest} ${unit} in one piece, too few for targets with ${context} ${unit} before them`);
  }
  // As it was trained, also where that was beyond the window that its configuration states.
  const window = model.config.max_position_embeddings;
  const tables = (length: number): HostTables => readingTables(model.config, { schedule: "none", scale: 1, length, window });
  const meter = new EvaluationMeter(io, "held-out");
  const begun = performance.now();
  const [loss] = await evaluateContexts({
    ...{ model, documents, ...plan, contexts: [context], tables },
    onProgress: (progress) => {
      if (performance.now() - begun > worthShowing) meter.update(progress);
    },
  });
  meter.finish();
  if (loss === undefined || !Number.isFinite(loss.nats)) return skip(`it is ${loss?.nats}`);
  const measured = lossPerUnit(loss.nats, loss.targets, targetBytes(tokenizer, documents, plan));
  io.print(`held-out loss ${lossInWords(unit, measured)} at ${context} ${unit} of context${how}`);
  return { heldOut: measured.nats, heldOutPerByte: measured.natsPerByte, heldOutSkipped: null };
}
