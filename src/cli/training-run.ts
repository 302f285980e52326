import { trainExtension } from "../e2llm/extension.js";
import type { PositionSource } from "../e2llm/positions/index.js";
import { NonFiniteError } from "../errors.js";
import type { LanguageBatch } from "../nn/batch.js";
import { type SaveTrainingOptions, saveTraining } from "../nn/checkpoint.js";
import { countParameters, type LlamaConfig } from "../nn/config.js";
import type { TokenSource } from "../nn/data.js";
import type { Llama } from "../nn/llama.js";
import { hasAdapters, loraTrainable } from "../nn/lora.js";
import { type AdamWState, adamw, type Optimizer } from "../nn/optimizers.js";
import { type Schedule, warmupCosine } from "../nn/schedules.js";
import { bytesOfTokens } from "../nn/token-bytes.js";
import { byteTokenizer, type Tokenizer } from "../nn/tokenizers.js";
import type { TrainStep } from "../nn/train-step.js";
import type { StepInfo, TrainResult } from "../nn/training.js";
import type { Interrupt } from "./interrupt.js";
import type { CommandIo } from "./io.js";
import { metricsName, openMetrics } from "./metrics.js";
import type { OptimizerOptions, StepOptions } from "./options.js";
import { needSpace } from "./outputs.js";
import type { DrawPoint, TrainPoint } from "./results.js";
import { placeTokenizerFiles, type TokenizerFiles } from "./tokenizer-files.js";

/** Numbers of a learning rule, as they are saved beside a checkpoint. */
export type LearningRule = Pick<OptimizerOptions, "batch" | "steps" | "lr" | "warmup" | "weightDecay" | "clip">;

export const optimizerOf = ({ weightDecay }: Pick<LearningRule, "weightDecay">, betas?: readonly [number, number]): Optimizer<AdamWState> =>
  adamw({ weightDecay, ...(betas === undefined ? {} : { betas }) });

export const scheduleOf = ({ steps, warmup, lr }: LearningRule): Schedule =>
  warmupCosine({ warmup: Math.min(warmup, steps), total: steps, peak: lr });

/** The bound that `train` takes: 0 on the command line is none. */
export const maxNormOf = ({ clip }: Pick<LearningRule, "clip">): number => (clip === 0 ? Infinity : clip);

/** Bytes of a checkpoint: the weights, and once more with the two moments of AdamW. */
export const needCheckpointSpace = (folder: string, config: LlamaConfig): Promise<void> =>
  needSpace(folder, 4 * 4 * countParameters(config));

/** The options of `train` for a step that is computed so. */
export const languageOptions = ({ checkpoint, microBatch }: StepOptions): { checkpoint: boolean; microBatch?: number } => ({
  checkpoint: checkpoint === "blocks",
  ...(microBatch === undefined ? {} : { microBatch }),
});

export interface TrainingRunOptions {
  readonly io: CommandIo;
  readonly stop: Interrupt;
  /** Name of the phase, for the progress line and the points. */
  readonly label: string;
  readonly model: Llama;
  readonly optimizer: Optimizer<AdamWState>;
  readonly optimizerState?: AdamWState;
  readonly startStep?: number;
  readonly rule: LearningRule;
  readonly windows: TokenSource;
  /** What tells how many bytes tokens stand for. Default: one each, tokens being bytes or of no text. */
  readonly tokenizer?: Tokenizer;
  /** Go beside the first checkpoint that is saved. Default: none. */
  readonly tokenizerFiles?: TokenizerFiles;
  readonly positions: PositionSource;
  /** How a step is computed. Default: as the `trainStep` does, or everything at once. */
  readonly computing?: StepOptions;
  readonly trainStep?: TrainStep<Llama, AdamWState, LanguageBatch>;
  /** Where checkpoints and metrics go: every `saveEvery` steps, and at the end, interrupted or not. */
  readonly folder: string;
  /** Folder of the checkpoint that is gone on from. */
  readonly resumed?: string;
  readonly saveEvery: number;
  /** What a checkpoint says beside the numbers. */
  readonly extra: Readonly<Record<string, unknown>>;
  readonly saveOptions?: SaveTrainingOptions;
  /** What dropout of adapters is drawn from. Default 0. */
  readonly dropoutSeed?: number;
  /** Words for the end of the progress line. */
  readonly detail?: (info: StepInfo) => string;
}

export interface TrainingRun extends TrainResult<AdamWState> {
  /** At most some thousand points, evenly spread, the last step among them; steps count from 1. */
  readonly points: TrainPoint[];
  /** Of the last step, in nats; null where no step was done. */
  readonly lossPerByte: number | null;
  readonly draws: DrawPoint[];
  /** Wall-clock seconds of this run. */
  readonly seconds: number;
  /** Whether a signal ended it before its last step. */
  readonly interrupted: boolean;
}

/** The loss of the last step in both units, null where no step was done. */
export const lastLoss = ({ points, lossPerByte }: Pick<TrainingRun, "points" | "lossPerByte">) => ({
  loss: points.at(-1)?.loss ?? null,
  lossPerByte,
});

const mostPoints = 1000;

/**
 * Trains with a progress line, saves as it goes and at the end, and stops after the step in which a signal came. Every step has a line in
 * the folder's metrics file. Where training diverges the checkpoint before stays, and the remark says which.
 */
export async function runTraining(options: TrainingRunOptions): Promise<TrainingRun> {
  const { io, stop, label, rule, startStep = 0, folder, resumed, extra, saveOptions = {}, positions, detail } = options;
  const {
    model,
    optimizer,
    optimizerState,
    windows,
    computing,
    trainStep,
    saveEvery,
    tokenizer = byteTokenizer,
    tokenizerFiles,
    dropoutSeed = 0,
  } = options;
  const points: TrainPoint[] = [];
  const draws: DrawPoint[] = [];
  const every = Math.ceil(rule.steps / mostPoints);
  const metrics = await openMetrics({
    folder,
    startStep,
    ...(resumed === undefined ? {} : { from: resumed }),
    onFailure: (error) => io.warn(`${folder}/${metricsName} cannot be written any more, training goes on without it: ${error.message}`),
  });
  const progress = io.progress({ label, total: rule.steps, start: startStep });
  const begun = performance.now();
  let savedIn = resumed;
  let savedStep = startStep;
  let lossPerByte: number | null = null;
  const save = async (state: TrainResult<AdamWState>): Promise<void> => {
    metrics.flush();
    if (tokenizerFiles !== undefined && savedIn !== folder) await placeTokenizerFiles(folder, tokenizerFiles);
    await saveTraining(folder, { ...state, extra }, saveOptions);
    savedIn = folder;
    savedStep = state.step;
  };
  try {
    const result = await trainExtension({
      model,
      optimizer,
      ...(optimizerState === undefined ? {} : { optimizerState }),
      ...(trainStep === undefined ? {} : { trainStep }),
      ...(computing === undefined ? {} : languageOptions(computing)),
      ...(hasAdapters(model) && { trainable: loraTrainable, dropoutSeed }),
      windows,
      positions,
      steps: rule.steps,
      startStep,
      schedule: scheduleOf(rule),
      maxNorm: maxNormOf(rule),
      saveEvery,
      shouldStop: () => stop.requested !== undefined,
      onSave: save,
      onDraws: ({ step, draws: drawn }) => {
        for (const draw of drawn) draws.push({ ...draw, step: step + 1 });
      },
      onStep: (info) => {
        const step = info.step + 1;
        const { loss, gradNorm, lr, tokens } = info;
        const words = detail?.(info);
        progress.update({ step, loss, amount: tokens, ...(words === undefined ? {} : { detail: words }) });
        const tokensPerSecond = progress.rate ?? null;
        const targets = Int32Array.from(windows.at(info.step).targets);
        lossPerByte = tokenizer === byteTokenizer ? loss : (loss * targets.length) / bytesOfTokens(tokenizer, targets);
        if (step % every === 0 || step === 1 || step === rule.steps)
          points.push({ phase: label, step, loss, gradNorm, lr, tokensPerSecond });
        metrics.add({
          step,
          loss,
          lossPerByte,
          gradNorm,
          lr,
          tokens,
          tokensPerSecond,
          seconds: (performance.now() - begun) / 1000,
        });
      },
    });
    progress.finish();
    await save(result);
    return { ...result, lossPerByte, points, draws, seconds: (performance.now() - begun) / 1000, interrupted: result.step < rule.steps };
  } catch (error) {
    metrics.flush();
    if (error instanceof NonFiniteError) {
      io.note(savedIn === undefined ? "nothing was saved yet" : `the checkpoint of step ${savedStep} in ${savedIn} is as it was`);
    }
    throw error;
  }
}
