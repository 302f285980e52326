/** One training of an experiment: taken up where it was left, and saved as it goes. */
import { key } from "../../autograd/random.js";
import type { Tensor } from "../../autograd/tensor.js";
import { mapTensors, type Tree, tensorsOf } from "../../autograd/tree.js";
import { NonFiniteError } from "../../errors.js";
import type { LanguageBatch } from "../../nn/batch.js";
import { loadTraining, saveTraining } from "../../nn/checkpoint.js";
import { Llama } from "../../nn/llama.js";
import { copyTree } from "../../nn/module.js";
import { type AdamWState, adamw, type Optimizer } from "../../nn/optimizers.js";
import { warmupCosine } from "../../nn/schedules.js";
import type { TrainStep } from "../../nn/train-step.js";
import { languageStep, type StepInfo, type TrainResult } from "../../nn/training.js";
import { trainingMemory } from "../../nn/training-memory.js";
import { trainExtension } from "../extension.js";
import { seedsOf, trainingData } from "./data.js";
import { canonicalText, digestOf } from "./digest.js";
import { namedSource } from "./named.js";
import type { ExperimentPlan, PlannedTraining, PlannedVariant } from "./plan.js";
import { experimentVersion, type RunRecord } from "./results.js";
import { type RunFolder, readRun, writeRun } from "./run-folder.js";

/** The optimizer of all trainings, and their step: one program for each shape of a batch. */
export interface SharedStep {
  readonly optimizer: Optimizer<AdamWState>;
  readonly stepOf: (training: PlannedTraining) => TrainStep<Llama, AdamWState, LanguageBatch>;
}

export function sharedStep(plan: ExperimentPlan): SharedStep {
  const { betas, weightDecay, eps, clip } = plan.optimizer;
  const optimizer = adamw({ betas, weightDecay, eps });
  const maxNorm = clip === 0 ? Number.POSITIVE_INFINITY : clip;
  const steps = new Map<number | null, TrainStep<Llama, AdamWState, LanguageBatch>>();
  return {
    optimizer,
    stepOf({ microBatch }) {
      const known = steps.get(microBatch);
      if (known !== undefined) return known;
      const made = languageStep<AdamWState>({ optimizer, maxNorm, ...(microBatch === null ? {} : { microBatch }) });
      steps.set(microBatch, made);
      return made;
    },
  };
}

/** The digest of everything that decides the weights of a run. */
export function runDigest(
  plan: ExperimentPlan,
  variant: PlannedVariant,
  seed: number,
  place: { readonly backend: string; readonly data: string },
) {
  const { config, optimizer, variants, window, definition } = plan;
  const base = variant.from === "base" ? variants.get("base")?.training : null;
  const settings = {
    version: experimentVersion,
    own: definition.version,
    ...place,
    window,
    config,
    optimizer,
    base,
    variant: { from: variant.from, ...variant.training },
    seed,
  };
  return digestOf(canonicalText(settings));
}

/** What a training is asked for. */
export interface RunRequest {
  readonly plan: ExperimentPlan;
  readonly variant: PlannedVariant;
  readonly seed: number;
  readonly digest: string;
  readonly folder: RunFolder;
  readonly step: SharedStep;
  readonly saveEvery: number;
  /** The base model of this seed, which is copied; only asked for where the variant begins from it. */
  readonly base: () => Llama;
  /** Called once, with the number of steps that an earlier sitting did. */
  readonly onStart: (done: number) => void;
  /** Called after each step with the number of steps that are done. */
  readonly onStep: (info: StepInfo, done: number) => void;
  readonly shouldStop: () => boolean;
}

/** Points that a curve of losses is thinned to. */
const curvePoints = 100;

/** What a checkpoint holds beside the numbers. */
interface Progress {
  readonly digest: string;
  readonly seconds: number;
  readonly curve: CurveState;
}

/** The trained model with its record; undefined where `shouldStop` ended it, after saving. */
export async function trainRun(request: RunRequest): Promise<{ readonly model: Llama; readonly record: RunRecord } | undefined> {
  const { plan, variant, seed, digest, folder, step, saveEvery, onStep, shouldStop } = request;
  const { training } = variant;
  const { optimizer } = step;
  const left = await unfinished(request);
  const curve = new LossCurve(training.steps, left?.extra.curve);
  request.onStart(left?.step ?? 0);
  const begun = performance.now();
  const secondsSoFar = (): number => (left?.extra.seconds ?? 0) + (performance.now() - begun) / 1000;
  const save = async (state: TrainResult<AdamWState>): Promise<void> => {
    if (folder.path === undefined) return;
    const extra: Progress = { digest, seconds: secondsSoFar(), curve: curve.state };
    await saveTraining(folder.path, { ...state, extra: { ...extra } });
  };

  const { base, extension } = seedsOf(seed);
  // What starts from scratch reads what the base reads.
  const dataSeed = variant.from === "base" ? extension : base;
  let result: TrainResult<AdamWState>;
  try {
    result = await trainExtension({
      model: left?.model ?? startModel(request),
      optimizer,
      ...(left === undefined ? {} : { optimizerState: left.optimizerState }),
      trainStep: step.stepOf(training),
      windows: trainingData(plan.data, training, dataSeed),
      positions: namedSource(training.positions, { config: plan.config, window: plan.window, seed: dataSeed }),
      steps: training.steps,
      startStep: left?.step ?? 0,
      schedule: warmupCosine({ warmup: training.warmup, total: training.steps, peak: training.lr, floor: training.floor * training.lr }),
      ...(folder.path === undefined ? {} : { onSave: save, saveEvery }),
      shouldStop,
      onStep: (info) => {
        curve.add(info.step + 1, info.loss);
        onStep(info, info.step + 1);
      },
    });
  } catch (error) {
    if (!(error instanceof NonFiniteError)) throw error;
    throw new NonFiniteError(`variant "${variant.name}", seed ${seed}: ${error.message}`, {
      ...(error.step === undefined ? {} : { step: error.step }),
      hint: error.hint,
      cause: error,
    });
  }
  await save(result);
  if (result.step < training.steps) return undefined;
  const record: RunRecord = {
    version: experimentVersion,
    digest,
    variant: variant.name,
    seed,
    steps: training.steps,
    tokens: training.steps * training.batch * training.length,
    seconds: secondsSoFar(),
    losses: curve.state.points,
    ...(plan.definition.memory === true ? { bytes: bytesOf(request, result.model) } : {}),
  };
  await writeRun(folder, record);
  return { model: result.model, record };
}

/** A run that is done already, by its record. */
export async function finishedRun(folder: RunFolder, digest: string): Promise<RunRecord | undefined> {
  const record = await readRun(folder);
  return record?.version === experimentVersion && record.digest === digest ? record : undefined;
}

/** The model of a finished run. */
export async function modelOf(plan: ExperimentPlan, folder: RunFolder, { optimizer }: SharedStep): Promise<Llama> {
  return refilled(blank(plan), (await loadTraining(folder.path as string, optimizer)).model);
}

/** A fresh model of the plan's configuration: programs are shared by models of one configuration object. */
const blank = ({ config }: ExperimentPlan): Llama => new Llama(config, { key: key(0) });

/** A tree of the form of `blank` with the tensors of another one that has the same paths. */
function refilled<T extends Tree>(blank: T, filled: Tree): T {
  const tensors = new Map(tensorsOf(filled).map(({ path, tensor }) => [path, tensor]));
  return mapTensors(blank, (_, path) => tensors.get(path) as Tensor);
}

/** The state that an interrupted run of this digest left; undefined where it has to begin. */
async function unfinished({ plan, folder, digest, step }: RunRequest) {
  if (!(await folder.has("training.safetensors"))) return undefined;
  const state = await loadTraining(folder.path as string, step.optimizer).catch(() => undefined);
  // What cannot be read, or belongs to other settings, is replaced by the run that is asked for.
  if (state === undefined || state.extra["digest"] !== digest) return undefined;
  const model = blank(plan);
  return {
    model: refilled(model, state.model),
    optimizerState: refilled(step.optimizer.init(model), state.optimizerState),
    step: state.step,
    extra: state.extra as unknown as Progress,
  };
}

/** Fresh weights of a seed, or a copy of the base. */
function startModel({ plan, variant, seed, base }: RunRequest): Llama {
  return variant.from === "base" ? copyTree(base()) : new Llama(plan.config, { key: key(seed) });
}

function bytesOf({ step, variant, plan }: RunRequest, model: Llama): number {
  const { batch, length, microBatch } = variant.training;
  const { clip } = plan.optimizer;
  const { peakBytes } = trainingMemory<AdamWState>({
    model,
    optimizer: step.optimizer,
    maxNorm: clip === 0 ? Number.POSITIVE_INFINITY : clip,
    batch,
    length,
    ...(microBatch === null ? {} : { microBatch }),
  });
  return peakBytes;
}

/** Points of a curve, and what belongs to the next one. */
interface CurveState {
  readonly points: RunRecord["losses"];
  readonly sum: number;
  readonly count: number;
}

/** Means of the loss over equal stretches of steps. */
class LossCurve {
  private readonly stretch: number;
  state: CurveState;

  constructor(steps: number, state: CurveState = { points: [], sum: 0, count: 0 }) {
    this.state = state;
    this.stretch = Math.max(1, Math.ceil(steps / curvePoints));
  }

  add(step: number, loss: number): void {
    const { points, sum, count } = this.state;
    const [nextSum, nextCount] = [sum + loss, count + 1];
    this.state =
      step % this.stretch === 0
        ? { points: [...points, { step, loss: Number((nextSum / nextCount).toPrecision(6)) }], sum: 0, count: 0 }
        : { points, sum: nextSum, count: nextCount };
  }
}
