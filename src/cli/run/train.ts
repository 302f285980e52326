import { key } from "../../autograd/random.js";
import { evaluateContexts } from "../../e2llm/evaluation.js";
import { createPlainSource } from "../../e2llm/positions.js";
import { OptionError } from "../../errors.js";
import { loadTraining } from "../../nn/checkpoint.js";
import { countParameters, llamaConfig } from "../../nn/config.js";
import { createWindowSampler, type TokenDocument } from "../../nn/data.js";
import { Llama } from "../../nn/llama.js";
import { type AdamWState, adamw } from "../../nn/optimizers.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import type { TrainOptions } from "../commands/train.js";
import { loadCorpus, planTargetsWithin } from "../corpus.js";
import { formatCount, formatLoss } from "../progress.js";
import { pick, resumedRule, SavedSettings } from "../resume.js";
import type { Runner } from "../runners.js";
import { onBackend } from "../session.js";
import { type LearningRule, optimizerOf, runTraining } from "../training-run.js";

/** Target bytes of the held-out loss that is reported at the end. */
const heldOutTargets = 2048;

/** Where a training begins: at step 0, or where a checkpoint ends. */
interface Start {
  readonly model: Llama;
  readonly optimizerState?: AdamWState;
  readonly step: number;
  readonly text: string;
  readonly seed: number;
  readonly rule: LearningRule;
}

/**
 * Trains a byte-level Llama. JSON: { command, out, backend, adapter, parameters, window, seed, steps (asked for), step (reached),
 * interrupted, loss (last step), heldOut (nats per byte at context L, or null), seconds, train: [{ phase, step, loss, tokensPerSecond }] }.
 */
export const run: Runner<TrainOptions> = (options, { io, onInterrupt }) =>
  onBackend(options, io, async (computedOn) => {
    const { out } = options;
    const start = options.resume === undefined ? freshStart(options) : await resumedStart(options, options.resume);
    const { rule, text, seed } = start;
    const { config } = start.model;
    const window = config.max_position_embeddings;
    refuseFinished(start.step, rule.steps, out);
    const corpus = await loadCorpus(text);
    const windows = createWindowSampler({ documents: corpus.train, length: window, batch: rule.batch, seed });
    const parameters = countParameters(config);
    io.note(`${formatCount(parameters)} parameters, window of ${window} bytes, ${formatCount(windows.counts.tokens)} bytes to train on`);

    const stop = onInterrupt();
    const result = await runTraining({
      io,
      stop,
      label: "train",
      model: start.model,
      optimizer: optimizerOf(rule),
      ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
      startStep: start.step,
      rule,
      windows,
      positions: createPlainSource(),
      folder: out,
      saveEvery: options.saveEvery,
      extra: { command: "train", text, seed, ...rule },
    });
    io.note(`saved to ${out}`);
    if (result.interrupted) {
      io.note(`stopped after step ${result.step} of ${rule.steps}; go on with: dawngrad train --resume ${out}`);
    }
    const heldOut = result.interrupted ? null : await heldOutLoss(result.model, corpus.heldOut);
    if (heldOut !== null) io.print(`held-out loss ${formatLoss(heldOut)} nats per byte at ${window} bytes of context`);
    io.result({
      command: "train",
      out,
      ...computedOn,
      parameters,
      window,
      seed,
      steps: rule.steps,
      step: result.step,
      interrupted: result.interrupted,
      loss: result.points.at(-1)?.loss ?? null,
      heldOut,
      seconds: result.seconds,
      train: result.points,
    });
    return stop.exitCode;
  });

function freshStart(options: TrainOptions): Start {
  const { text, seed, batch, steps, lr, warmup, weightDecay, clip } = options;
  const config = llamaConfig({
    vocab_size: byteTokenizer.vocabSize,
    hidden_size: options.hidden,
    intermediate_size: options.intermediate,
    num_hidden_layers: options.layers,
    num_attention_heads: options.heads,
    num_key_value_heads: options.kvHeads,
    max_position_embeddings: options.window,
    tie_word_embeddings: true,
  });
  return { model: new Llama(config, { key: key(seed) }), step: 0, text, seed, rule: { batch, steps, lr, warmup, weightDecay, clip } };
}

async function resumedStart(options: TrainOptions, folder: string): Promise<Start> {
  const { model, optimizerState, step, extra } = await loadTraining(folder, adamw());
  const saved = new SavedSettings(extra, folder);
  saved.oneOf("command", ["train"]);
  return {
    model,
    optimizerState,
    step,
    text: pick("text", options.given, options.text, () => saved.text("text")),
    seed: pick("seed", options.given, options.seed, () => saved.number("seed")),
    rule: resumedRule(options, saved),
  };
}

/** Refuses to go on with a run that is at its end. */
export function refuseFinished(step: number, steps: number, folder: string): void {
  if (step < steps) return;
  throw new OptionError(`the checkpoint in ${folder} is at step ${step} already, and ${steps} were asked for`, {
    hint: `ask for more, --steps ${2 * step} for example`,
  });
}

/** Loss on held-out text at context L; null where that text is too short. */
export async function heldOutLoss(model: Llama, documents: readonly TokenDocument[]): Promise<number | null> {
  const context = model.config.max_position_embeddings;
  const plan = planTargetsWithin({ documents, targets: heldOutTargets, context });
  if (plan === undefined) return null;
  const [loss] = await evaluateContexts({ model, documents, ...plan, contexts: [context] });
  return loss?.nats ?? null;
}
