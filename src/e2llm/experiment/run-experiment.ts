/** Running an experiment from end to end. */
import { callable, checkOptions, integer, listOf, type OptionKinds, optional, text as textValue } from "../../arguments.js";
import { currentBackend } from "../../autograd/runtime.js";
import { tensorsOf } from "../../autograd/tree.js";
import { countParameters, type LlamaConfig } from "../../nn/config.js";
import type { Llama } from "../../nn/llama.js";
import { checkDefinition } from "./checks.js";
import { isTask } from "./data.js";
import type { ExperimentDefinition, TextData } from "./definition.js";
import { canonicalText, digestOf } from "./digest.js";
import { judgeOf, measureRow, rowDigest, rowWork, type SeedSets, setsOf, tryPlan } from "./evaluating.js";
import { judgeExpectations, judgeRequirements, Numbers } from "./expectations.js";
import { groupsOf, kindOf } from "./kinds.js";
import {
  baseName,
  chosenVariants,
  type ExperimentPlan,
  type PlannedRow,
  type PlannedTraining,
  type PlannedVariant,
  planExperiment,
} from "./plan.js";
import { poolCells } from "./pooling.js";
import { type ExperimentResults, experimentVersion, type RowRecord, type RunRecord } from "./results.js";
import { folderNames, RunFolder, readScores, writeScores } from "./run-folder.js";
import { finishedRun, modelOf, runDigest, type SharedStep, sharedStep, trainRun } from "./training.js";

/** Where an experiment is. */
export interface ExperimentProgress {
  readonly phase: "training" | "measuring" | "found";
  readonly variant: string;
  readonly seed: number;
  /** The row that is measured. */
  readonly row?: string;
  /** Steps of the variant that are done, of all. */
  readonly step?: number;
  readonly steps?: number;
  readonly loss?: number;
  /** Tokens since the last report. */
  readonly tokens: number;
  /** Multiply-adds that are done, of all of the experiment: what an earlier sitting did is counted with the phase "found". */
  readonly work: number;
  readonly totalWork: number;
}

export interface ExperimentOptions {
  /** Where runs are kept, a folder for each seed and variant. Default: nowhere, and nothing can be gone on from. */
  readonly folder?: string;
  /** In place of those of the definition. */
  readonly seeds?: readonly number[];
  /** Names of the variants whose rows are wanted. Default: all that rows name. */
  readonly only?: readonly string[];
  /** Loads the text that the definition names. */
  readonly loadText?: (source: string) => Promise<TextData>;
  /** Steps between checkpoints. Default 250. */
  readonly saveEvery?: number;
  readonly onProgress?: (progress: ExperimentProgress) => void;
  /** Asked before each step and pass; true ends the experiment after saving, and the same call goes on with it. */
  readonly shouldStop?: () => boolean;
}

const optionKinds: OptionKinds<ExperimentOptions> = {
  folder: optional(textValue),
  seeds: optional(listOf(integer(0, 2 ** 32 - 1))),
  only: optional(listOf(textValue)),
  loadText: optional(callable),
  saveEvery: optional(integer(0)),
  onProgress: optional(callable),
  shouldStop: optional(callable),
};

/**
 * Trains a base and its variants for every seed, reads each row by every evaluation, and pools what was measured over the seeds.
 *
 * All variants of a seed begin from the same weights and read the same data in the same order, so they are compared pair by pair. With a
 * `folder`, each run keeps its weights, its record (run.json) and its scores (scores.json) in a folder of its own, `seed-11/e2`: a run whose
 * digest of all settings is equal is taken as it is, and one that was interrupted goes on from its checkpoint. Where the backend computes
 * in f32, an experiment that was interrupted comes to the same bits as one that was not.
 *
 * Everything is a function of the definition and the backend. Throws OptionError for a definition that does not fit together, and
 * NonFiniteError, with variant and seed, where a training diverges.
 */
export async function runExperiment(definition: ExperimentDefinition, options: ExperimentOptions = {}): Promise<ExperimentResults> {
  checkDefinition("runExperiment", definition);
  checkOptions("runExperiment", options, optionKinds);
  const seeded = options.seeds === undefined ? definition : { ...definition, seeds: options.seeds };
  const named = definition.text;
  const text = typeof named === "string" ? await options.loadText?.(named) : named;
  const plan = planExperiment(seeded, text);
  tryPlan(plan);
  return new Experiment(plan, options, await dataDigest(plan)).run();
}

/** The digest of the task as it is written, or of the tokens of the text. */
const dataDigest = ({ definition, data }: ExperimentPlan): Promise<string> =>
  isTask(data)
    ? digestOf(canonicalText(definition.task))
    : digestOf(...[...data.train, ...data.heldOut].flatMap(({ name, tokens }) => [name, tokens]));

class Experiment {
  private readonly step: SharedStep;
  private readonly folders: ReadonlyMap<string, string>;
  private readonly chosen: readonly PlannedVariant[];
  private readonly rows: readonly PlannedRow[];
  private readonly runs: RunRecord[] = [];
  private readonly totalWork: number;
  private work = 0;

  constructor(
    private readonly plan: ExperimentPlan,
    private readonly options: ExperimentOptions,
    private readonly data: string,
  ) {
    this.step = sharedStep(plan);
    this.folders = folderNames([...plan.variants.keys()]);
    this.chosen = chosenVariants(plan, options.only);
    const names = new Set(this.chosen.map(({ name }) => name));
    const required = new Set((plan.definition.requires ?? []).map(({ row }) => row));
    this.rows = plan.rows.filter(({ name, variant }) => names.has(variant) || required.has(name));
    const perSeed =
      this.trained().reduce((sum, { training }) => sum + trainingWork(plan.config, training), 0) +
      this.rows.reduce((sum, row) => sum + rowWork(plan, row), 0);
    this.totalWork = perSeed * plan.seeds.length;
  }

  async run(): Promise<ExperimentResults> {
    const records: RowRecord[][] = [];
    for (const seed of this.plan.seeds) {
      const found = await this.seed(seed);
      if (found === undefined) return this.results(records, false);
      records.push(found);
    }
    return this.results(records, true);
  }

  /**
   * The variants that have to be trained, in the order in which they are: those whose rows are measured, the base that they begin from, and before all
   * others those that judge.
   */
  private trained(): PlannedVariant[] {
    const { plan, rows } = this;
    const judges = this.judges();
    const needed = new Set([...this.chosen.map(({ name }) => name), ...rows.map(({ variant }) => variant), ...judges]);
    const variants = [...plan.variants.values()];
    if (variants.some(({ name, from }) => needed.has(name) && from === "base")) needed.add(baseName);
    const early = (name: string): number => (name === baseName ? 0 : judges.has(name) ? 1 : 2);
    return variants.filter(({ name }) => needed.has(name)).sort((a, b) => early(a.name) - early(b.name));
  }

  /** The variants of the rows that judge what is measured. */
  private judges(): ReadonlySet<string> {
    const { plan, rows } = this;
    const asked = plan.evaluations.filter((evaluation) => rows.some(({ name }) => evaluation.rows.has(name)));
    return new Set(asked.flatMap((evaluation) => judgeOf(plan, evaluation)?.variant ?? []));
  }

  /** All rows of a seed; undefined where it was interrupted. */
  private async seed(seed: number): Promise<RowRecord[] | undefined> {
    const sets = lazily(() => setsOf(this.plan, seed));
    const variants = this.trained();
    const judges = this.judges();
    // What variants begin from and what judges is there until the seed is done.
    const held = new Map([baseName, ...judges].map((name) => [name, new HeldModel()]));
    const records: RowRecord[] = [];
    try {
      const runs = new Map<string, Run>();
      for (const variant of judges.size === 0 ? [] : variants.filter(({ name }) => held.has(name))) {
        const run = await this.train(variant, seed, held);
        if (run === undefined) return undefined;
        runs.set(variant.name, run);
      }
      for (const variant of variants) {
        const run = runs.get(variant.name) ?? (await this.train(variant, seed, held));
        const found = run && (await this.measure(run, seed, sets, held));
        if (!held.has(variant.name)) run?.model.release();
        if (found === undefined) return undefined;
        records.push(...found);
      }
      return records;
    } finally {
      for (const model of held.values()) model.release();
    }
  }

  /** The run of a variant, trained where that is still to be done; undefined where it was interrupted. */
  private async train(variant: PlannedVariant, seed: number, held: ReadonlyMap<string, HeldModel>): Promise<Run | undefined> {
    const { plan, options, step } = this;
    const { training } = variant;
    const folder = this.folderOf(variant.name, seed);
    const digest = await this.digestOf(variant, seed);
    const run: Run = { variant, digest, folder, model: held.get(variant.name) ?? new HeldModel() };
    const work = trainingWork(plan.config, training);
    const known = await finishedRun(folder, digest);
    if (known !== undefined) {
      this.runs.push(known);
      this.report({ phase: "found", variant: variant.name, seed, tokens: 0 }, work);
      return run;
    }
    const base = held.get(baseName) as HeldModel;
    if (variant.from === "base") await base.get(() => modelOf(plan, this.folderOf(baseName, seed), step));
    const before = this.work;
    const perStep = work / training.steps;
    const tokens = training.batch * training.length;
    let reported = 0;
    const trained = await trainRun({
      plan,
      variant,
      seed,
      digest,
      folder,
      step,
      saveEvery: options.saveEvery ?? defaultSaveEvery,
      base: () => base.model as Llama,
      shouldStop: () => this.stopped(),
      onStart: (done) => {
        reported = done;
        if (done > 0) this.report({ phase: "found", variant: variant.name, seed, tokens: 0 }, done * perStep);
      },
      onStep: ({ loss }, done) => {
        const fresh = done - reported;
        this.report(
          { phase: "training", variant: variant.name, seed, step: done, steps: training.steps, loss, tokens: fresh * tokens },
          fresh * perStep,
        );
        reported = done;
      },
    });
    if (trained === undefined) return undefined;
    this.work = before + work;
    run.model.hold(trained.model);
    this.runs.push(trained.record);
    return run;
  }

  private folderOf(variant: string, seed: number): RunFolder {
    const { folder: root } = this.options;
    return new RunFolder(root === undefined ? undefined : `${root}/seed-${seed}/${this.folders.get(variant)}`);
  }

  private digestOf(variant: PlannedVariant, seed: number): Promise<string> {
    return runDigest(this.plan, variant, seed, { backend: currentBackend().info.name, data: this.data });
  }

  /** The rows of a run, measured where that is still to be done; undefined where it was interrupted. */
  private async measure(
    run: Run,
    seed: number,
    sets: () => SeedSets,
    held: ReadonlyMap<string, HeldModel>,
  ): Promise<RowRecord[] | undefined> {
    const { plan, step } = this;
    const { name } = run.variant;
    const modelOfVariant = (variant: string): Promise<Llama> =>
      (held.get(variant) as HeldModel).get(() => modelOf(plan, this.folderOf(variant, seed), step));
    const records: RowRecord[] = [];
    const kept = await readScores(run.folder);
    for (const row of this.rows) {
      if (row.variant !== name) continue;
      const digest = await rowDigest(plan, row, run.digest, (variant) => this.digestOf(plan.variants.get(variant) as PlannedVariant, seed));
      const known = kept.get(row.name);
      const work = rowWork(plan, row);
      if (known?.digest === digest) {
        records.push(known);
        this.report({ phase: "found", variant: name, seed, row: row.name, tokens: 0 }, work);
        continue;
      }
      const before = this.work;
      const found = await measureRow({
        plan,
        row,
        digest,
        model: await run.model.get(() => modelOf(plan, run.folder, step)),
        modelOf: modelOfVariant,
        sets: sets(),
        shouldStop: () => this.stopped(),
        onPass: (passWork, tokens) => {
          this.report({ phase: "measuring", variant: name, seed, row: row.name, tokens }, passWork);
        },
      });
      if (found === undefined) return undefined;
      // What a pass costs was estimated before it was known where the first question stands.
      this.report({ phase: "measuring", variant: name, seed, row: row.name, tokens: 0 }, before + work - this.work);
      records.push(found);
      kept.set(row.name, found);
      await writeScores(run.folder, kept.values());
    }
    return records;
  }

  private stopped(): boolean {
    return this.options.shouldStop?.() === true;
  }

  /** Counts work that is done and tells of it. */
  private report(progress: Omit<ExperimentProgress, "work" | "totalWork">, work: number): void {
    this.work += work;
    this.options.onProgress?.({ ...progress, work: this.work, totalWork: this.totalWork });
  }

  private results(records: readonly RowRecord[][], complete: boolean): ExperimentResults {
    const { plan, rows, runs } = this;
    const { definition, config, window, evaluations, data, reference } = plan;
    const seeds = plan.seeds.slice(0, records.length);
    const cells = records.length === 0 ? [] : poolCells(records, { rows: rows.map(({ name }) => name), reference, shared: !isTask(data) });
    const numbers = new Numbers(plan, cells);
    const requirements = judgeRequirements(definition.requires ?? [], numbers);
    const expectations = judgeExpectations(definition.expectations ?? [], numbers);
    return {
      version: experimentVersion,
      name: definition.name,
      title: definition.title ?? definition.name,
      description: definition.description ?? "",
      backend: currentBackend().info.name,
      window,
      parameters: countParameters(config),
      seeds,
      reference,
      rows: rows.map(({ name, variant, readingName }) => ({ name, variant, reading: readingName })),
      evaluations: evaluations.map((evaluation) => {
        const { name, type, contexts } = evaluation;
        const groups = groupsOf(plan, evaluation).filter((group) => cells.some((cell) => cell.evaluation === name && cell.group === group));
        const { measures, shown } = evaluation;
        return { name, type, contexts, groups, byPlace: kindOf(evaluation).byPlace(plan, evaluation), measures, shown };
      }),
      chance: isTask(data) ? Object.fromEntries(Object.entries(data.kinds).map(([kind, { chance }]) => [kind, chance])) : {},
      cells,
      requirements,
      expectations,
      runs: runs.map(({ version: _, ...run }) => run),
      complete,
      held: [...requirements, ...expectations].every(({ held }) => held),
    };
  }
}

const defaultSaveEvery = 250;

/** A training that is done, and where its model is. */
interface Run {
  readonly variant: PlannedVariant;
  readonly digest: string;
  readonly folder: RunFolder;
  readonly model: HeldModel;
}

/**
 * Multiply-adds of a training: each token's share of a forward pass over R tokens, P for the weights and R·C a layer for attention, which sees
 * half of the sequence on average, and twice as much backward.
 */
function trainingWork(config: LlamaConfig, { steps, batch, length }: PlannedTraining): number {
  const forward = countParameters(config) + length * config.hidden_size * config.num_hidden_layers;
  return 3 * steps * batch * length * forward;
}

/** A model that is made or loaded when it is first needed, and whose memory is given back when it is no more. */
class HeldModel {
  model: Llama | undefined;

  async get(load: () => Promise<Llama>): Promise<Llama> {
    this.model ??= await load();
    return this.model;
  }

  hold(model: Llama): void {
    this.model = model;
  }

  release(): void {
    if (this.model === undefined) return;
    for (const { tensor } of tensorsOf(this.model)) tensor.dispose();
    this.model = undefined;
  }
}

function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
