import { key } from "../../autograd/random.js";
import type { BackendInfo } from "../../backend/backend.js";
import { type Comparison, compareVariants, comparisonRows, comparisonTokens } from "../../e2llm/comparison.js";
import { extensionNotes } from "../../e2llm/extension-notes.js";
import { createE2Source, createPlainSource } from "../../e2llm/positions/index.js";
import { NonFiniteError } from "../../errors.js";
import type { LanguageBatch } from "../../nn/batch.js";
import { loadTraining } from "../../nn/checkpoint.js";
import { countParameters, type LlamaConfig, llamaConfig, toHfConfig } from "../../nn/config.js";
import { createWindowSampler } from "../../nn/data.js";
import { evaluationTargets } from "../../nn/evaluation-targets.js";
import { writeFileAtomic } from "../../nn/files.js";
import { Llama } from "../../nn/llama.js";
import { copyTree } from "../../nn/module.js";
import { type AdamWState, adamw, type Optimizer } from "../../nn/optimizers.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import { createTrainStep, type TrainStep } from "../../nn/train-step.js";
import { languageLoss } from "../../nn/training.js";
import type { DemoOptions, PresetName } from "../commands/demo.js";
import { type Corpus, loadCorpus } from "../corpus.js";
import { type DemoPhase, type DemoState, demoOutputs, demoPhases, openDemo, phaseFolder, removeState, writeState } from "../demo-state.js";
import { EvaluationMeter } from "../evaluation-progress.js";
import { type Need, needRoom, roomOf, trainedBatch, trainedModel } from "../fit.js";
import type { Interrupt } from "../interrupt.js";
import type { CommandIo, JsonValue } from "../io.js";
import { withOutputs } from "../outputs.js";
import { type Preset, presets } from "../presets.js";
import { formatCount, formatDuration } from "../progress.js";
import { canDraw, figuresLine } from "../report/draw.js";
import { renderReport } from "../report/report.js";
import { type DemoResults, type DrawPoint, resultsVersion, type TrainPoint } from "../results.js";
import type { Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { formatTable } from "../table.js";
import { type LearningRule, maxNormOf, needCheckpointSpace, optimizerOf, runTraining } from "../training-run.js";
import { WorkClock } from "../work-clock.js";

/** The text of the demo. */
const text = "moby-dick";

/**
 * The whole path: pretrain at window L, extend by E²-LLM and, separately, spend the same steps plainly, then read held-out text at L, 2L, 4L,
 * 8L and, by the preset "small", 16L. Writes results.json, report.html and the checkpoints base, plain and e2. JSON: the document of
 * results.json, or { command, interrupted: true, out, backend, adapter } after a signal.
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
      const corpus = await loadCorpus(text);
      if (!(await canDraw())) io.note(`the report will have no figures; ${figuresLine} brings them`);
      await needCheckpointSpace(options.out, demo.config);
      const outcome = await demo.run(corpus);
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

class Demo {
  readonly preset: Preset;
  readonly config: LlamaConfig;
  readonly rules: Readonly<Record<DemoPhase, LearningRule>>;
  /** Changes with whatever changes the numbers. */
  readonly fingerprint: string;
  private readonly train: TrainPoint[] = [];
  private readonly draws: DrawPoint[] = [];
  private readonly seconds: Record<string, number> = {};
  private readonly steps: Partial<Record<DemoPhase, number>> = {};
  private readonly clock: WorkClock;
  private readonly optimizer: Optimizer<AdamWState>;
  /** One step for all phases, so that its program is compiled once. */
  private readonly trainStep: TrainStep<Llama, AdamWState, LanguageBatch>;

  constructor(
    private readonly options: SettledOptions,
    private readonly io: CommandIo,
    readonly stop: Interrupt,
  ) {
    const preset = presets[options.preset];
    this.preset = preset;
    this.config = llamaConfig({
      vocab_size: byteTokenizer.vocabSize,
      hidden_size: preset.hidden,
      intermediate_size: preset.intermediate,
      num_hidden_layers: preset.layers,
      num_attention_heads: preset.heads,
      num_key_value_heads: preset.kvHeads,
      max_position_embeddings: preset.window,
      rope_theta: preset.ropeTheta,
      initializer_range: preset.initializerRange,
      tie_word_embeddings: true,
    });
    const { batch, weightDecay, clip } = preset;
    const rule = (part: Preset["pretrain"], steps = part.steps): LearningRule => ({
      ...part,
      steps,
      warmup: Math.min(part.warmup, steps),
      batch,
      weightDecay,
      clip,
    });
    const extend = rule(preset.extend, options.extendSteps);
    this.rules = { pretrain: rule(preset.pretrain, options.steps), plain: extend, e2: extend };
    this.fingerprint = JSON.stringify([resultsVersion, text, preset, this.rules, options.seed]);
    this.optimizer = optimizerOf(preset);
    this.trainStep = createTrainStep({ optimizer: this.optimizer, loss: languageLoss, maxNorm: maxNormOf(preset) });
    this.clock = new WorkClock(this.trainingWork() + this.evaluationWork());
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
    return [trainedModel(this.config), trainedBatch(this.config, batch, window)];
  }

  /** Trains and measures; undefined where a signal ended it, after saving. */
  async run(corpus: Corpus): Promise<Comparison | undefined> {
    const { io, options, rules } = this;
    await this.save();
    io.note(
      `${formatCount(countParameters(this.config))} parameters, L = ${this.preset.window}: ${rules.pretrain.steps} steps of pretraining, ` +
        `then ${rules.e2.steps} of E²-LLM and, separately, ${rules.e2.steps} plain ones`,
    );
    const base = await this.phase("pretrain", corpus, new Llama(this.config, { key: key(options.seed) }));
    const plain = base && (await this.phase("plain", corpus, copyTree(base)));
    const e2 = base && plain && (await this.phase("e2", corpus, copyTree(base)));
    if (!base || !plain || !e2) return undefined;
    return this.evaluate(corpus, { base, plain, e2 });
  }

  /** The model after a phase; undefined where a signal ended it. The model that it is handed is taken over. */
  private async phase(phase: DemoPhase, corpus: Corpus, fresh: Llama): Promise<Llama | undefined> {
    const { preset, io, options, stop } = this;
    const rule = this.rules[phase];
    const folder = phaseFolder(options.out, phase);
    const startStep = this.steps[phase] ?? 0;
    let start: { model: Llama; optimizerState?: AdamWState } = { model: fresh };
    if (startStep > 0) {
      const { model, optimizerState } = await loadTraining(folder, adamw());
      start = { model, optimizerState };
    }
    if (startStep >= rule.steps) return start.model;

    // The two continued trainings read the same bytes in the same order.
    const seed = phase === "pretrain" ? 2 * options.seed : 2 * options.seed + 1;
    const e2 = { window: preset.window, gMax: preset.gMax, granularity: preset.granularity, sinks: preset.sinks, seed };
    const windows = createWindowSampler({ documents: corpus.train, length: preset.window, batch: rule.batch, seed });
    const result = await runTraining({
      io,
      stop,
      label: phase,
      ...start,
      optimizer: this.optimizer,
      trainStep: this.trainStep,
      startStep,
      rule,
      windows,
      positions: phase === "e2" ? createE2Source(e2) : createPlainSource(),
      folder,
      ...(startStep > 0 ? { resumed: folder } : {}),
      saveEvery: preset.saveEvery,
      extra: { command: "demo", phase, text, seed, ...rule },
      ...(phase === "e2" ? { saveOptions: { extraConfig: { e2llm: extensionNotes({ type: "e2", ...e2 }, start.model.config) } } } : {}),
      detail: ({ tokens }) => this.timeLeft(tokens * this.trainingCost),
    });
    this.train.push(...result.points);
    if (phase === "e2") this.draws.push(...result.draws);
    this.steps[phase] = result.step;
    this.addSeconds(phase, result.seconds);
    await this.save();
    return stop.requested === undefined ? result.model : undefined;
  }

  private async evaluate(corpus: Corpus, models: Readonly<Record<"base" | "plain" | "e2", Llama>>): Promise<Comparison | undefined> {
    const { preset, io, stop } = this;
    const { window, targetLength, blocks: count, evaluationBytes } = preset;
    const documents = corpus.heldOut;
    const blocks = evaluationTargets({ documents, targetLength, maxContext: this.contexts().at(-1) as number, count });
    const begun = performance.now();
    // Its passes are slower for their work than the steps of training, and it is all that is left.
    const meter = new EvaluationMeter(io, "evaluate");
    const comparison = await compareVariants({
      models,
      window,
      rows: this.rows(),
      documents,
      blocks,
      targetLength,
      batch: (context) => Math.max(1, Math.floor(evaluationBytes / context)),
      shouldStop: () => stop.requested !== undefined,
      onProgress: ({ row, ...progress }) => meter.update(progress, `${row.variant} ${row.schedule} at ${row.context}`),
    });
    meter.finish();
    this.addSeconds("evaluate", (performance.now() - begun) / 1000);
    if (comparison.complete) return comparison;
    await this.save();
    return undefined;
  }

  /** The document of results.json. */
  results({ losses, truncation }: Comparison, computedOn: ComputedOn, command: string): DemoResults {
    const { preset, options, seconds } = this;
    const { base, plain, e2 } = truncation;
    return {
      version: resultsVersion,
      ...computedOn,
      preset: options.preset,
      seed: options.seed,
      model: { ...(toHfConfig(this.config) as Record<string, JsonValue>), parameters: countParameters(this.config) },
      window: preset.window,
      gMax: preset.gMax,
      targets: preset.targetLength * preset.blocks,
      rows: losses.map(({ variant, schedule, scale, context, nats }) => ({ variant, schedule, scale, context, nats })),
      truncation: { base: base as number, plain: plain as number, e2: e2 as number },
      train: this.train,
      draws: this.draws,
      seconds: { ...seconds, total: Object.values(seconds).reduce((sum, s) => sum + s, 0) },
      command,
      fingerprint: this.fingerprint,
    };
  }

  private contexts(): number[] {
    return this.preset.reaches.map((times) => times * this.preset.window);
  }

  private rows(): ReturnType<typeof comparisonRows> {
    return comparisonRows({ window: this.preset.window, contexts: this.contexts() });
  }

  /**
   * Work of a byte in a forward pass over sequences of W bytes, in multiply-adds: P for the weights, and W·hidden a layer for attention,
   * because a byte sees half of its sequence on average.
   */
  private forwardCost(context: number): number {
    const { hidden, layers } = this.preset;
    return countParameters(this.config) + context * hidden * layers;
  }

  /** Work of a byte in a step of training: a forward pass, and twice as much backward. */
  private get trainingCost(): number {
    return 3 * this.forwardCost(this.preset.window);
  }

  private trainingWork(): number {
    const { preset, rules } = this;
    const steps = demoPhases.reduce((sum, phase) => sum + rules[phase].steps, 0);
    return steps * preset.batch * preset.window * this.trainingCost;
  }

  private evaluationWork(): number {
    const { window, blocks } = this.preset;
    return comparisonTokens(this.rows(), { window, blocks, weight: (context) => this.forwardCost(context) });
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
    for (const phase of demoPhases) this.clock.skip((steps[phase] ?? 0) * this.preset.batch * this.preset.window * this.trainingCost);
  }

  private save(): Promise<void> {
    const { fingerprint, steps, train, draws, seconds } = this;
    return writeState(this.options.out, { fingerprint, steps, train, draws, seconds });
  }
}
