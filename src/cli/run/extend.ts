import type { BackendInfo } from "../../backend/backend.js";
import { extensionNotes } from "../../e2llm/extension-notes.js";
import { modelRope } from "../../e2llm/model-frequencies.js";
import { createPositionSource, type DrawnScaling, type PositionSourceOptions } from "../../e2llm/positions/index.js";
import { OptionError } from "../../errors.js";
import { loadTraining } from "../../nn/checkpoint.js";
import { countParameters, type LlamaConfig } from "../../nn/config.js";
import { createWindowSampler } from "../../nn/data.js";
import type { Llama } from "../../nn/llama.js";
import type { ModelSource } from "../../nn/model-source.js";
import { type AdamWState, adamw } from "../../nn/optimizers.js";
import type { Tokenizer } from "../../nn/tokenizers.js";
import {
  type ExtendMethod,
  type ExtendOptions,
  extendMethods,
  type MethodOptions,
  refuseUnread,
  type ScalingName,
  scalingNames,
} from "../commands/extend.js";
import { loadCorpus } from "../corpus.js";
import { exportScale } from "../export-scale.js";
import { needRoom, roomOf, trainedBatch, trainedModel } from "../fit.js";
import { heldOutLoss } from "../held-out.js";
import { type LoraFlags, loraFlags, resumedLora, withLora } from "../lora.js";
import { modelTokenizer } from "../model-tokenizer.js";
import { load, type OpenedModel, readingDtype, shapeOf, withModel } from "../opened-model.js";
import { mostItems, type StepOptions } from "../options.js";
import { withRunFolder } from "../outputs.js";
import { formatCount } from "../progress.js";
import { checkText, digestOf, refuseFinished, resumedRule, resumedStep, SavedSettings, settled, stepOptions } from "../resume.js";
import type { CommandContext, Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { readTokenizerFiles } from "../tokenizer-files.js";
import { sayTrainingNeed } from "../training-need.js";
import { type LearningRule, lastLoss, needCheckpointSpace, optimizerOf, runTraining } from "../training-run.js";
import { type Unit, unitOf } from "../units.js";

/** What an extension is, as it is saved beside its checkpoint. */
interface ExtensionSettings extends MethodOptions, LoraFlags {
  /** Folder of the model that it began from. */
  readonly from: string;
  readonly text: string;
  readonly seed: number;
  /** Tokens of a training sequence. */
  readonly length: number;
  /** The scale that config.json states for other programs. */
  readonly exportScale?: number;
}

interface Start {
  /** Its shapes, and its numbers only where a checkpoint was loaded. */
  readonly model: Llama;
  load(): Promise<Llama>;
  /** Where the files of its tokenizer are. */
  readonly tokenizerSource: ModelSource;
  readonly tokenizer: Tokenizer;
  readonly optimizerState?: AdamWState;
  readonly step: number;
  readonly settings: ExtensionSettings;
  /** What the text was when the run began. */
  readonly savedDigest: string | undefined;
  readonly rule: LearningRule;
  readonly computing: StepOptions;
}

/**
 * Goes on training a model at positions of a source. JSON: { command, method, out, from, backend, adapter, parameters, tokenizer, unit, bytesPerToken, window, length, checkpoint,
 * microBatch (null: the whole batch at once), memory (TrainingFigures), gMax, granularity (both null for "plain"), sinks (null where nothing is shifted),
 * positions (as createPositionSource takes them), seed, steps, step, interrupted, loss, lossPerByte, heldOut, heldOutPerByte, heldOutSkipped, seconds, train: […],
 * draws: [{ step, g, t }], or what else the source draws }.
 */
export const run: Runner<ExtendOptions> = (options, context) =>
  withRunFolder(options, () =>
    onBackend(options, context.io, async (computedOn, info) => {
      const circumstances = { options, ...context, computedOn, info };
      const { model, resume } = options;
      if (resume !== undefined) return extend(await resumedStart(options, resume), circumstances);
      if (model === undefined) throw new OptionError("extend needs a model", { hint: "name its folder: --model runs/base" });
      return withModel(model, async (stored) => extend(await freshStart(options, model, stored, info), circumstances));
    }),
  );

interface Circumstances extends CommandContext {
  readonly options: ExtendOptions;
  readonly computedOn: ComputedOn;
  readonly info: BackendInfo;
}

async function extend(start: Start, { options, io, onInterrupt, computedOn, info }: Circumstances): Promise<number> {
  const { out } = options;
  const { settings, rule, computing, tokenizer } = start;
  const unit = unitOf(tokenizer);
  const { config } = start.model;
  const { length } = settings;
  const window = config.max_position_embeddings;
  refuseFinished(start.step, rule.steps, out);
  const { method, gMax, granularity } = settings;
  const extends_ = method !== "plain";
  if (extends_) checkReach(settings, window, unit);
  const whole = settings.lora === undefined ? [trainedModel(config, "a smaller model")] : [];
  needRoom(roomOf(info), [...whole, trainedBatch(config, { batch: rule.batch, length, unit })]);
  const positions = positionsOf(settings, window);
  const source = createPositionSource(positions, config);
  const notes = extensionNotes(positions, config);
  const memory = sayTrainingNeed(io, {
    info,
    model: start.model,
    ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
    rule,
    computing,
    length,
    unit,
    heldOutContext: (length) => (extends_ ? window : Math.max(window, length)),
    tableRows: extends_ && granularity === "sample" ? rule.batch : 1,
    ...(options.resume === undefined ? ({ shorter: "--length" } as const) : {}),
  });
  const corpus = await loadCorpus(settings.text, { tokenizer, io });
  const textDigest = digestOf(corpus);
  if (options.resume !== undefined) checkText(io, options, { saved: settings.text, savedDigest: start.savedDigest, digest: textDigest });
  const windows = createWindowSampler({ documents: corpus.train, length, batch: rule.batch, seed: settings.seed });
  const extraConfig = notes === null ? windowNotes(config, length) : { e2llm: notes, ...exported({ ...config, e2llm: notes }, settings) };
  if (settings.lora === undefined) await needCheckpointSpace(out, config);
  const parameters = countParameters(config);
  const sequences = length === window ? "" : `, sequences of ${length}`;
  const how = extends_ ? `${nameOf[method]} up to g = ${gMax}, so ${gMax * window} ${unit}` : nameOf.plain;
  io.note(`${formatCount(parameters)} parameters, window of ${window} ${unit}${sequences}: ${how}`);

  const model = await start.load();
  const stop = onInterrupt();
  const result = await runTraining({
    io,
    stop,
    label: method,
    model,
    optimizer: optimizerOf(rule),
    ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
    startStep: start.step,
    rule,
    computing,
    windows,
    tokenizer,
    tokenizerFiles: await readTokenizerFiles(start.tokenizerSource),
    positions: source,
    folder: out,
    ...(options.resume === undefined ? {} : { resumed: options.resume }),
    saveEvery: options.saveEvery,
    extra: { command: "extend", ...settings, positions, textDigest, ...rule, ...computing },
    saveOptions: { extraConfig, ...(settings.lora === undefined ? {} : { base: settings.from }) },
    dropoutSeed: settings.seed,
  });
  io.note(`saved to ${out}`);
  if (result.interrupted) {
    io.note(`stopped after step ${result.step} of ${rule.steps}; go on with: dawngrad extend --resume ${out}`);
  } else if (extends_) io.note(`read long text with: dawngrad eval --model ${out}`);
  const context = extends_ ? window : Math.max(window, length);
  const heldOut = await heldOutLoss({ ...result, io, corpus, context, how: ", g = 1" });
  io.result({
    command: "extend",
    method,
    out,
    from: settings.from,
    ...computedOn,
    parameters,
    tokenizer: tokenizer.name,
    unit,
    bytesPerToken: corpus.bytesPerToken,
    window,
    length,
    checkpoint: computing.checkpoint,
    microBatch: computing.microBatch ?? null,
    memory,
    gMax: extends_ ? gMax : null,
    granularity: extends_ ? granularity : null,
    sinks: shifts(method) ? settings.sinks : null,
    positions,
    lora: settings.lora === undefined ? null : loraFlags(settings),
    seed: settings.seed,
    steps: rule.steps,
    step: result.step,
    interrupted: result.interrupted,
    ...lastLoss(result),
    ...heldOut,
    seconds: result.seconds,
    train: result.points,
    draws: extends_ ? result.draws : [],
  });
  return stop.exitCode;
}

/**
 * What `config.json` of a model says that was trained on longer sequences. Scalings other than "linear" may take their trained window from
 * `max_position_embeddings`, and would be others beside a larger one. What it says of an extension stays: after plain steps too the model is
 * read by the schedule that it was extended for.
 */
function windowNotes(config: LlamaConfig, length: number): Record<string, unknown> {
  const { max_position_embeddings: window } = config;
  const widens = length > window && ["default", "linear"].includes(modelRope(config).scaling.type);
  return { max_position_embeddings: widens ? length : window };
}

/** What `config.json` says beside the notes where other programs shall read the model at one scale. */
const exported = (config: LlamaConfig, { exportScale: g }: ExtensionSettings): Readonly<Record<string, unknown>> =>
  g === undefined ? {} : exportScale(config, g, { schedule: "auto", file: "config.json" }).extraConfig;

const nameOf: { readonly [M in ExtendMethod]: string } = {
  e2: "E²-LLM",
  "e2-yarn": "E²-YaRN",
  pose: "PoSE",
  randomized: "randomized positions",
  "random-scale": "random scales",
  plain: "plain steps (the control)",
};

/** Whether a method draws the shift of E²-LLM. */
const shifts = (method: ExtendMethod): method is "e2" | "e2-yarn" => method === "e2" || method === "e2-yarn";

/** The positions of a method, as `createPositionSource` takes them. */
function positionsOf(settings: ExtensionSettings, window: number): PositionSourceOptions {
  const { method, gMax, granularity, sinks, seed, g, t, chunks, scaling } = settings;
  const drawn = { window, granularity, seed };
  const scaled = scaling === undefined ? {} : { scaling: drawnScaling(scaling) };
  const shifted = { ...drawn, sinks, ...(g === undefined ? { gMax } : { g }), ...(t === undefined ? {} : { t }) };
  switch (method) {
    case "plain":
      return { type: method };
    case "e2":
      return { type: method, ...shifted, ...scaled };
    case "e2-yarn":
      return { type: method, ...shifted, ...(scaling === "yarn-turns" ? turns : {}) };
    case "pose":
      return { type: method, ...drawn, scale: gMax, ...(chunks === undefined ? {} : { chunks }), ...scaled };
    case "randomized":
      return { type: method, ...drawn, lMax: gMax * window, scaling: "linear", ...scaled };
    case "random-scale":
      return { type: method, ...drawn, gMax, ...scaled };
  }
}

/** Parameters of the reading "yarn-turns". */
const turns = { ramp: "turns", betaFast: 4, betaSlow: 1 } as const;
const drawnScaling = (name: ScalingName): DrawnScaling => (name === "yarn-turns" ? { type: "yarn", ...turns } : name);

/** Refuses scales and lengths that do not fit together (OptionError). */
function checkReach({ method, g, gMax, length, chunks = 2 }: ExtensionSettings, window: number, unit: Unit): void {
  const flag = g === undefined ? "--g-max" : "--g";
  if (gMax * window > mostItems) {
    throw new OptionError(`${flag} ${gMax} times the window of ${window} is more positions than can be counted`, {
      hint: `take ${flag} ${Math.floor(mostItems / window)} at most`,
    });
  }
  if (method === "pose" && chunks > length) {
    throw new OptionError(`--chunks ${chunks} are more than the ${length} ${unit} of a sequence`, {
      hint: `take --chunks ${length} at most`,
    });
  }
  if (method === "random-scale" && length > window) {
    throw new OptionError(`--length ${length} is longer than the window of ${window}, beyond which its scales would not reach far enough`, {
      hint: `take --length ${window} at most`,
    });
  }
  if (length > gMax * window) {
    throw new OptionError(`--length ${length} is longer than ${flag} ${gMax} times the window of ${window}, so no scale can hold it`, {
      hint: `take --length ${gMax * window} at most, or ${flag} ${Math.ceil(length / window)}`,
    });
  }
}

const exportedAt = (exportScale: number | undefined): Pick<ExtensionSettings, "exportScale"> =>
  exportScale === undefined ? {} : { exportScale };

type Absent = "g" | "t" | "chunks" | "scaling";

/** The options of the method alone. With one scale for every draw that is the largest one, too. */
function methodOf(
  options: { readonly [K in keyof MethodOptions]: K extends Absent ? MethodOptions[K] | undefined : MethodOptions[K] },
): MethodOptions {
  const { method, gMax, granularity, sinks, g, t, chunks, scaling } = options;
  return {
    method,
    gMax: g ?? gMax,
    granularity,
    sinks,
    ...(g === undefined ? {} : { g }),
    ...(t === undefined ? {} : { t }),
    ...(chunks === undefined ? {} : { chunks }),
    ...(scaling === undefined ? {} : { scaling }),
  };
}

/** Steps of AdamW are far smaller than what halves can tell apart. */
const trainedDtype = "f32";

async function freshStart(options: ExtendOptions, from: string, stored: OpenedModel, info: BackendInfo): Promise<Start> {
  const { text, seed, batch, steps, lr, warmup, weightDecay, clip } = options;
  const flags = loraFlags(options);
  if (stored.adapter !== undefined) {
    throw new OptionError(`${from} is an adapter, and extend begins from a whole model`, {
      hint: `go on with its training by --resume ${from}, or make it part of its base first`,
    });
  }
  // A base that stays what it is needs no more digits than its file has.
  const dtype = flags.lora === undefined ? trainedDtype : readingDtype(stored, undefined, info);
  const model = withLora(shapeOf(stored, dtype), flags, seed);
  const tokenizer = await modelTokenizer(from, stored.config, options.tokenizer);
  const { length = model.config.max_position_embeddings } = options;
  return {
    model,
    load: async () => withLora(await load(stored, dtype), flags, seed),
    tokenizer,
    tokenizerSource: options.tokenizer ?? from,
    step: 0,
    settings: { from, text, seed, ...methodOf(options), ...flags, length, ...exportedAt(options.exportScale) },
    savedDigest: undefined,
    rule: { batch, steps, lr, warmup, weightDecay, clip },
    computing: stepOptions(options),
  };
}

async function resumedStart(options: ExtendOptions, folder: string): Promise<Start> {
  const { model, optimizerState, step, extra } = await loadTraining(folder, adamw());
  const saved = new SavedSettings(extra, folder);
  saved.oneOf("command", ["extend"]);
  const { given } = options;
  const method = settled("method", given, options.method, saved.oneOf("method", extendMethods), folder);
  refuseUnread({ ...options, method }, given);
  const length = saved.optionalNumber("length") ?? model.config.max_position_embeddings;
  const rule = resumedRule(options, saved);
  return {
    model,
    load: async () => model,
    tokenizer: await modelTokenizer(folder, model.config),
    tokenizerSource: folder,
    optimizerState,
    step,
    settings: {
      from: saved.text("from"),
      text: given.has("text") ? options.text : saved.text("text"),
      seed: settled("seed", given, options.seed, saved.number("seed"), folder),
      ...resumedLora(options, given, saved, folder),
      ...methodOf({
        method,
        gMax: settled("gMax", given, options.gMax, saved.number("gMax"), folder),
        granularity: settled("granularity", given, options.granularity, saved.oneOf("granularity", ["batch", "sample"]), folder),
        sinks: settled("sinks", given, options.sinks, saved.number("sinks"), folder),
        g: settled("g", given, options.g, saved.optionalNumber("g"), folder),
        t: settled("t", given, options.t, saved.optionalNumberOrName("t", ["uniform", "largest"]), folder),
        chunks: settled("chunks", given, options.chunks, saved.optionalNumber("chunks"), folder),
        scaling: settled("scaling", given, options.scaling, saved.optionalName("scaling", scalingNames), folder),
      }),
      length: settled("length", given, options.length, length, folder),
      ...exportedAt(options.exportScale ?? saved.optionalNumber("exportScale")),
    },
    savedDigest: saved.optionalText("textDigest"),
    rule,
    computing: resumedStep(options, saved, rule),
  };
}
