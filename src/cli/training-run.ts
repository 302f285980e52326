import { trainExtension } from "../e2llm/extension.js";
import type { PositionSource } from "../e2llm/positions.js";
import type { LanguageBatch } from "../nn/batch.js";
import { type SaveModelOptions, saveTraining } from "../nn/checkpoint.js";
import type { WindowSampler } from "../nn/data.js";
import type { Llama } from "../nn/llama.js";
import { type AdamWState, adamw, type Optimizer } from "../nn/optimizers.js";
import { type Schedule, warmupCosine } from "../nn/schedules.js";
import type { TrainStep } from "../nn/train-step.js";
import type { StepInfo, TrainResult } from "../nn/training.js";
import type { Interrupt } from "./interrupt.js";
import type { CommandIo } from "./io.js";
import type { OptimizerOptions } from "./options.js";
import type { DrawPoint, TrainPoint } from "./results.js";

/** Numbers of a learning rule, as they are saved beside a checkpoint. */
export type LearningRule = Omit<OptimizerOptions, "saveEvery">;

export const optimizerOf = ({ weightDecay }: Pick<LearningRule, "weightDecay">): Optimizer<AdamWState> => adamw({ weightDecay });

export const scheduleOf = ({ steps, warmup, lr }: LearningRule): Schedule =>
  warmupCosine({ warmup: Math.min(warmup, steps), total: steps, peak: lr });

/** The bound that `train` takes: 0 on the command line is none. */
export const maxNormOf = ({ clip }: Pick<LearningRule, "clip">): number => (clip === 0 ? Infinity : clip);

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
  readonly windows: WindowSampler;
  readonly positions: PositionSource;
  readonly trainStep?: TrainStep<Llama, AdamWState, LanguageBatch>;
  /** Where checkpoints go: every `saveEvery` steps, and at the end, interrupted or not. */
  readonly folder: string;
  readonly saveEvery: number;
  /** What a checkpoint says beside the numbers. */
  readonly extra: Readonly<Record<string, unknown>>;
  readonly saveOptions?: SaveModelOptions;
  /** Words for the end of the progress line. */
  readonly detail?: (info: StepInfo) => string;
}

export interface TrainingRun extends TrainResult<AdamWState> {
  /** At most some thousand points, evenly spread, the last step among them; steps count from 1. */
  readonly points: TrainPoint[];
  readonly draws: DrawPoint[];
  /** Wall-clock seconds of this run. */
  readonly seconds: number;
  /** Whether a signal ended it before its last step. */
  readonly interrupted: boolean;
}

const mostPoints = 1000;

/** Trains with a progress line, saves as it goes and at the end, and stops after the step in which a signal came. */
export async function runTraining(options: TrainingRunOptions): Promise<TrainingRun> {
  const { io, stop, label, rule, startStep = 0, folder, extra, saveOptions = {}, positions, detail } = options;
  const { model, optimizer, optimizerState, windows, trainStep, saveEvery } = options;
  const points: TrainPoint[] = [];
  const draws: DrawPoint[] = [];
  const every = Math.ceil(rule.steps / mostPoints);
  const progress = io.progress({ label, total: rule.steps, start: startStep });
  const begun = performance.now();
  const result = await trainExtension({
    model,
    optimizer,
    ...(optimizerState === undefined ? {} : { optimizerState }),
    ...(trainStep === undefined ? {} : { trainStep }),
    windows,
    positions,
    steps: rule.steps,
    startStep,
    schedule: scheduleOf(rule),
    maxNorm: maxNormOf(rule),
    saveEvery,
    shouldStop: () => stop.requested !== undefined,
    onSave: (state) => saveTraining(folder, { ...state, extra }, saveOptions),
    onDraws: ({ step, draws: drawn }) => {
      for (const { g, t } of drawn) draws.push({ step: step + 1, g, t });
    },
    onStep: (info) => {
      const step = info.step + 1;
      const { loss, tokens, tokensPerSecond } = info;
      if (step % every === 0 || step === 1 || step === rule.steps) points.push({ phase: label, step, loss, tokensPerSecond });
      const words = detail?.(info);
      progress.update({ step, loss, amount: tokens, ...(words === undefined ? {} : { detail: words }) });
    },
  });
  progress.finish();
  await saveTraining(folder, { ...result, extra }, saveOptions);
  return { ...result, points, draws, seconds: (performance.now() - begun) / 1000, interrupted: result.step < rule.steps };
}
