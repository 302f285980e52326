import { key } from "../../autograd/random.js";
import type { BackendInfo } from "../../backend/backend.js";
import { type Comparison, compareVariants, comparisonRows, comparisonTokens } from "../../e2llm/comparison.js";
import { NonFiniteError } from "../../errors.js";
import { loadTraining } from "../../nn/checkpoint.js";
import { countParameters } from "../../nn/config.js";
import { toHfConfig } from "../../nn/config-json.js";
import { evaluationTargets } from "../../nn/evaluation-targets.js";
import { writeFileAtomic } from "../../nn/files.js";
import { Llama } from "../../nn/llama.js";
import { copyTree } from "../../nn/module.js";
import type { AdamWState } from "../../nn/optimizers.js";
import type { DemoOptions, PresetName } from "../commands/demo.js";
import { type Corpus, loadCorpus } from "../corpus.js";
import { ledgerReadings, measureLedger } from "../demo-ledger.js";
import { bookSetting, type DemoSetting, type DemoTraining, forwardCost, ledgerSetting } from "../demo-settings.js";
import { type DemoPhase, type DemoState, demoOutputs, openDemo, phaseFolder, removeState, writeState } from "../demo-state.js";
import { EvaluationMeter } from "../evaluation-progress.js";
import { type Need, needRoom, roomOf, trainedBatch, trainedModel } from "../fit.js";
import type { Interrupt } from "../interrupt.js";
import type { CommandIo, JsonValue } from "../io.js";
import { withOutputs } from "../outputs.js";
import { type Preset, presets } from "../presets.js";
import { formatCount, formatDuration } from "../progress.js";
import { canDraw, figuresLine } from "../report/draw.js";
import { renderReport } from "../report/report.js";
import { type DemoResults, type DrawPoint, type LedgerResults, resultsVersion, type TrainPoint, type Variant } from "../results.js";
import type { Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { formatTable } from "../table.js";
import { needCheckpointSpace, runTraining } from "../training-run.js";
import { WorkClock } from "../work-clock.js";

/** The text of the demo. */
const text = "moby-dick";

/**
 * The whole path, on a book and on a ledger: pretrain at window L, extend by E²-LLM and, separately, spend the same steps plainly and on sequences of 8L,
 * then read held-out text at L, 2L, 4L, 8L and, by the preset "small", the book at 16L. Writes results.json, report.html and the
 * checkpoints base, plain, e2 and full, those of the ledger under ledger/. JSON: the document of results.json, or { command, interrupted: true, out, backend, adapter } after a signal.
 */
export const run: Runner<DemoOptions> = (options, { io, commandLine, onInterrupt }) =>
  withOutputs(demoOutputs(options.out), { lock: true }, () =>
    onBackend(options, io, async (computedOn, info) => {
      const preset = options.preset ?? (tooSlowForSmall(info) ? "smoke" : "small");
      if (options.preset === undefined && preset === "smoke") {
        io.note(
          'running the preset "smoke": this backend is too slow for "small" (--backend wasm is faster; --preset small runs it all the same)',
        );
      }
      const demo = new Demo({ ...options, preset }, io, onInterrupt());
      await demo.open();
      needRoom(roomOf(info), demo.needs());
      if (!(await canDraw())) io.note(`the report will have no figures; ${figuresLine} brings them`);
      await needCheckpointSpace(options.out, demo.book.config);
      const outcome = await demo.run(await loadCorpus(text));
      if (outcome === undefined) {
        io.note(`stopped after saving to ${options.out}; go on with the same command: ${commandLine}`);
        io.result({ command: "demo", interrupted: true, out: options.out, ...computedOn });
        return demo.stop.exitCode;
      }
      const results = demo.results(outcome, computedOn, commandLine);
      io.print(formatTable(results));
      requireNumbers(results);
      io.result(results);
      await writeFileAtomic(`${options.out}/results.json`, `${JSON.stringify(results, null, 2)}\n`);
      const report = `${options.out}/report.html`;
      await writeFileAtomic(report, await renderReport(results));
      await removeState(options.out);
      io.print(report);
      return undefined;
    }),
  );

/** Refuses results that JSON cannot hold, after the table has shown the others (NonFiniteError). */
function requireNumbers({ rows }: DemoResults): void {
  const broken = rows.find(({ nats }) => !Number.isFinite(nats));
  if (broken === undefined) return;
  const { variant, schedule, context, nats } = broken;
  throw new NonFiniteError(`the loss of ${variant} (${schedule}) at ${context} bytes is ${nats}, so no results.json was written`, {
    hint: "the models are saved; read them one at a time with: dawngrad eval",
  });
}

/** The backends on which the preset "small" takes far more than five minutes on two cores. */
export const tooSlowForSmall = ({ name, software }: Pick<BackendInfo, "name" | "software">): boolean =>
  name === "reference" || (name === "webgpu" && software);

/** Options whose preset is settled. */
type SettledOptions = DemoOptions & { readonly preset: PresetName };

/** What was measured in both settings. */
interface Outcome {
  readonly book: Comparison;
  readonly ledger: LedgerResults;
}

type Models = Readonly<Record<Variant, Llama>>;

class Demo {
  readonly preset: Preset;
  readonly book: DemoSetting;
  readonly ledger: ReturnType<typeof ledgerSetting>;
  /** Changes with whatever changes the numbers. */
  readonly fingerprint: string;
  private corpus: Corpus | undefined;
  private readonly train: TrainPoint[] = [];
  private readonly draws: DrawPoint[] = [];
  private readonly seconds: Record<string, number> = {};
  private readonly steps: Partial<Record<DemoPhase, number>> = {};
  private readonly clock: WorkClock;

  constructor(
    private readonly options: SettledOptions,
    private readonly io: CommandIo,
    readonly stop: Interrupt,
  ) {
    const preset = presets[options.preset];
    this.preset = preset;
    this.book = bookSetting(preset, { ...options, corpus: () => this.corpus as Corpus });
    this.ledger = ledgerSetting(preset, options);
    const rules = this.trainings().map(({ phase, rule, length }) => ({ phase, rule, length }));
    this.fingerprint = JSON.stringify([resultsVersion, text, preset, rules, options.seed]);
    this.clock = new WorkClock(this.trainings().reduce((sum, { work }) => sum + work, 0) + this.evaluationWork());
  }

  /** Takes up what an interrupted run left, and refuses to replace another one. */
  async open(): Promise<void> {
    const { io, options } = this;
    const left = await openDemo(options.out, this.fingerprint, options);
    if (left === undefined) return;
    io.note(`going on with the run that was interrupted in ${options.out}`);
    this.restore(left);
  }

  /** What has to fit into memory. */
  needs(): Need[] {
    const { batch, window } = this.preset;
    return [trainedModel(this.book.config), trainedBatch(this.book.config, { batch, length: window, unit: "bytes" })];
  }

  /** Trains and measures; undefined where a signal ended it, after saving. */
  async run(corpus: Corpus): Promise<Outcome | undefined> {
    this.corpus = corpus;
    await this.save();
    const models = await this.trainAll(this.book);
    const answering = models && (await this.trainAll(this.ledger));
    const book = answering && (await this.evaluateBook(corpus, models));
    const ledger = book && (await this.evaluateLedger(answering));
    return ledger && { book, ledger };
  }

  /** All models of a setting; undefined where a signal ended it. */
  private async trainAll(setting: DemoSetting): Promise<Models | undefined> {
    const [first, ...others] = setting.trainings as [DemoTraining, ...DemoTraining[]];
    const extended = others[0] as DemoTraining;
    this.io.note(
      `${setting.name}: ${formatCount(countParameters(setting.config))} parameters, L = ${setting.preset.window}: ${first.rule.steps} steps of pretraining, ` +
        `then from there ${extended.rule.steps} plain ones, as many of E²-LLM, and as many on sequences of ${setting.fullLength}`,
    );
    const base = await this.phase(setting, first, new Llama(setting.config, { key: key(this.options.seed) }));
    if (base === undefined) return undefined;
    const models: Partial<Record<Variant, Llama>> = { base };
    for (const training of others) {
      const model = await this.phase(setting, training, copyTree(base));
      if (model === undefined) return undefined;
      models[training.variant] = model;
    }
    return models as Models;
  }

  /** The model after a training; undefined where a signal ended it. The model that it is handed is taken over. */
  private async phase(setting: DemoSetting, training: DemoTraining, fresh: Llama): Promise<Llama | undefined> {
    const { io, options, stop } = this;
    const { phase, variant, rule, seed, positions, notes, work } = training;
    const folder = phaseFolder(options.out, phase);
    const startStep = this.steps[phase] ?? 0;
    let start: { model: Llama; optimizerState?: AdamWState } = { model: fresh };
    if (startStep > 0) {
      const { model, optimizerState } = await loadTraining(folder, setting.optimizer);
      start = { model, optimizerState };
    }
    if (startStep >= rule.steps) return start.model;

    const result = await runTraining({
      io,
      stop,
      label: phase,
      ...start,
      optimizer: setting.optimizer,
      trainStep: setting.trainStep,
      startStep,
      rule,
      windows: setting.windows(training),
      positions,
      folder,
      ...(startStep > 0 ? { resumed: folder } : {}),
      saveEvery: setting.preset.saveEvery,
      extra: { command: "demo", phase, text: setting.name === "book" ? text : setting.name, seed, ...rule },
      ...(notes === undefined ? {} : { saveOptions: { extraConfig: notes } }),
      detail: () => this.timeLeft(work / rule.steps),
    });
    this.train.push(...result.points);
    // Draws of the ledger are those of the same source once more.
    if (variant === "e2" && setting.name === "book") this.draws.push(...result.draws);
    this.steps[phase] = result.step;
    this.addSeconds(phase, result.seconds);
    await this.save();
    return stop.requested === undefined ? result.model : undefined;
  }

  private async evaluateBook(corpus: Corpus, models: Models): Promise<Comparison | undefined> {
    const { preset, book } = this;
    const { window, targetLength, blocks: count, evaluationBytes } = preset;
    const documents = corpus.heldOut;
    const blocks = evaluationTargets({ documents, targetLength, maxContext: book.contexts.at(-1) as number, count });
    return this.measure("evaluate", async (meter, shouldStop) => {
      const comparison = await compareVariants({
        models,
        window,
        rows: this.rows(),
        documents,
        blocks,
        targetLength,
        batch: (context) => Math.max(1, Math.floor(evaluationBytes / context)),
        shouldStop,
        onProgress: ({ row, ...progress }) => meter.update(progress, `${row.variant} ${row.schedule} at ${row.context}`),
      });
      return comparison.complete ? comparison : undefined;
    });
  }

  private evaluateLedger(models: Models): Promise<LedgerResults | undefined> {
    return this.measure("ledger-evaluate", (meter, shouldStop) =>
      measureLedger({ setting: this.ledger, models, seed: this.options.seed, meter, shouldStop }),
    );
  }

  /** Measures with a progress line of its own: passes are slower for their work than the steps of training, and little is left after them. */
  private async measure<R>(
    phase: string,
    body: (meter: EvaluationMeter, shouldStop: () => boolean) => Promise<R | undefined>,
  ): Promise<R | undefined> {
    const begun = performance.now();
    const meter = new EvaluationMeter(this.io, phase);
    const found = await body(meter, () => this.stop.requested !== undefined);
    meter.finish();
    this.addSeconds(phase, (performance.now() - begun) / 1000);
    if (found === undefined) await this.save();
    return found;
  }

  /** The document of results.json. */
  results({ book, ledger }: Outcome, computedOn: ComputedOn, command: string): DemoResults {
    const { preset, options, seconds } = this;
    const { base, plain, e2, full } = book.truncation;
    const { config } = this.book;
    return {
      version: resultsVersion,
      ...computedOn,
      preset: options.preset,
      seed: options.seed,
      model: { ...(toHfConfig(config) as Record<string, JsonValue>), parameters: countParameters(config) },
      window: preset.window,
      gMax: preset.gMax,
      targets: preset.targetLength * preset.blocks,
      rows: book.losses.map(({ variant, schedule, scale, context, nats }) => ({ variant, schedule, scale, context, nats })),
      truncation: { base: base as number, plain: plain as number, e2: e2 as number, ...(full === undefined ? {} : { full }) },
      ledger,
      train: this.train,
      draws: this.draws,
      seconds: { ...seconds, total: Object.values(seconds).reduce((sum, s) => sum + s, 0) },
      command,
      fingerprint: this.fingerprint,
    };
  }

  private trainings(): DemoTraining[] {
    return [...this.book.trainings, ...this.ledger.trainings];
  }

  private rows(): ReturnType<typeof comparisonRows> {
    const { contexts, fullLength } = this.book;
    return comparisonRows({ window: this.preset.window, contexts, fullLength });
  }

  private evaluationWork(): number {
    const { window, blocks } = this.preset;
    const { config } = this.ledger;
    const ledger = ledgerReadings(this.ledger).reduce((sum, { context }) => sum + context * forwardCost(config, context), 0);
    const book = comparisonTokens(this.rows(), { window, blocks, weight: (context) => forwardCost(this.book.config, context) });
    return book + this.preset.ledger.blocks * ledger;
  }

  private timeLeft(work: number): string {
    this.clock.add(work);
    const seconds = this.clock.secondsLeft;
    return seconds === undefined ? "" : `whole demo ${formatDuration(seconds)} left`;
  }

  private addSeconds(phase: string, seconds: number): void {
    this.seconds[phase] = (this.seconds[phase] ?? 0) + seconds;
  }

  private restore({ steps, train, draws, seconds }: DemoState): void {
    Object.assign(this.steps, steps);
    Object.assign(this.seconds, seconds);
    this.train.push(...train);
    this.draws.push(...draws);
    for (const { phase, rule, work } of this.trainings()) this.clock.skip(((steps[phase] ?? 0) / rule.steps) * work);
  }

  private save(): Promise<void> {
    const { fingerprint, steps, train, draws, seconds } = this;
    return writeState(this.options.out, { fingerprint, steps, train, draws, seconds });
  }
}
