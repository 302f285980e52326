import { modelRope } from "../../e2llm/model-frequencies.js";
import { createE2Source, createPlainSource, type DrawGranularity, type PositionSource } from "../../e2llm/positions/index.js";
import { OptionError } from "../../errors.js";
import { loadModel, loadTraining } from "../../nn/checkpoint.js";
import { countParameters, type LlamaConfig } from "../../nn/config.js";
import { createWindowSampler } from "../../nn/data.js";
import type { Llama } from "../../nn/llama.js";
import { type AdamWState, adamw } from "../../nn/optimizers.js";
import { type ExtendOptions, refuseUnread } from "../commands/extend.js";
import { loadCorpus } from "../corpus.js";
import { needRoom, roomOf, trainedBatch, trainedModel } from "../fit.js";
import { heldOutLoss } from "../held-out.js";
import { mostItems, type StepOptions } from "../options.js";
import { withRunFolder } from "../outputs.js";
import { formatCount } from "../progress.js";
import { checkText, digestOf, refuseFinished, resumedRule, resumedStep, SavedSettings, settled, stepOptions } from "../resume.js";
import type { Runner } from "../runner.js";
import { needByteModel, onBackend } from "../session.js";
import { sayTrainingNeed } from "../training-need.js";
import { type LearningRule, needCheckpointSpace, optimizerOf, runTraining } from "../training-run.js";

/** What an extension is, as it is saved beside its checkpoint. */
interface ExtensionSettings {
  /** Folder of the model that it began from. */
  readonly from: string;
  readonly text: string;
  readonly seed: number;
  readonly method: "e2" | "plain";
  readonly gMax: number;
  readonly granularity: DrawGranularity;
  readonly sinks: number;
  /** Bytes of a training sequence. */
  readonly length: number;
}

interface Start {
  readonly model: Llama;
  readonly optimizerState?: AdamWState;
  readonly step: number;
  readonly settings: ExtensionSettings;
  /** What the text was when the run began. */
  readonly savedDigest: string | undefined;
  readonly rule: LearningRule;
  readonly computing: StepOptions;
}

/**
 * Goes on training a model by E²-LLM or plainly. JSON: { command, method, out, from, backend, adapter, parameters, window, length, checkpoint,
 * microBatch (null: the whole batch at once), memory (TrainingFigures), gMax, granularity, sinks (the last three null for "plain"), seed, steps, step, interrupted, loss, heldOut, heldOutSkipped, seconds, train: […],
 * draws: [{ step, g, t }] }.
 */
export const run: Runner<ExtendOptions> = (options, { io, onInterrupt }) =>
  withRunFolder(options, () =>
    onBackend(options, io, async (computedOn, info) => {
      const { out } = options;
      const start = options.resume === undefined ? await freshStart(options) : await resumedStart(options, options.resume);
      const { settings, rule, computing } = start;
      const { config } = start.model;
      const { length } = settings;
      const window = config.max_position_embeddings;
      refuseFinished(start.step, rule.steps, out);
      const e2 = settings.method === "e2";
      if (e2) checkReach(settings, window);
      needRoom(roomOf(info), [trainedModel(config), trainedBatch(config, rule.batch, length)]);
      const positions = positionsOf(settings, window);
      const memory = sayTrainingNeed(io, {
        info,
        model: start.model,
        ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
        rule,
        computing,
        length,
        heldOutContext: (length) => (e2 ? window : Math.max(window, length)),
        tableRows: e2 && settings.granularity === "sample" ? rule.batch : 1,
        ...(options.resume === undefined ? ({ shorter: "--length" } as const) : {}),
      });
      const corpus = await loadCorpus(settings.text);
      const textDigest = digestOf(corpus);
      if (options.resume !== undefined)
        checkText(io, options, { saved: settings.text, savedDigest: start.savedDigest, digest: textDigest });
      const windows = createWindowSampler({ documents: corpus.train, length, batch: rule.batch, seed: settings.seed });
      await needCheckpointSpace(out, config);
      const parameters = countParameters(config);
      const sequences = length === window ? "" : `, sequences of ${length}`;
      const how = e2 ? `E²-LLM up to g = ${settings.gMax}, so ${settings.gMax * window} bytes` : "plain steps (the control)";
      io.note(`${formatCount(parameters)} parameters, window of ${window} bytes${sequences}: ${how}`);

      const stop = onInterrupt();
      const result = await runTraining({
        io,
        stop,
        label: settings.method,
        model: start.model,
        optimizer: optimizerOf(rule),
        ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
        startStep: start.step,
        rule,
        computing,
        windows,
        positions,
        folder: out,
        ...(options.resume === undefined ? {} : { resumed: options.resume }),
        saveEvery: options.saveEvery,
        extra: { command: "extend", ...settings, textDigest, ...rule, ...computing },
        saveOptions: { extraConfig: e2 ? e2Notes(settings, window) : windowNotes(config, length) },
      });
      io.note(`saved to ${out}`);
      if (result.interrupted) {
        io.note(`stopped after step ${result.step} of ${rule.steps}; go on with: dawngrad extend --resume ${out}`);
      } else if (e2) io.note(`read long text with: dawngrad eval --model ${out}`);
      const context = e2 ? window : Math.max(window, length);
      const heldOut = await heldOutLoss({ ...result, io, documents: corpus.heldOut, context, how: ", g = 1" });
      io.result({
        command: "extend",
        method: settings.method,
        out,
        from: settings.from,
        ...computedOn,
        parameters,
        window,
        length,
        checkpoint: computing.checkpoint,
        microBatch: computing.microBatch ?? null,
        memory,
        gMax: e2 ? settings.gMax : null,
        granularity: e2 ? settings.granularity : null,
        sinks: e2 ? settings.sinks : null,
        seed: settings.seed,
        steps: rule.steps,
        step: result.step,
        interrupted: result.interrupted,
        loss: result.points.at(-1)?.loss ?? null,
        ...heldOut,
        seconds: result.seconds,
        train: result.points,
        draws: e2 ? result.draws : [],
      });
      return stop.exitCode;
    }),
  );

/**
 * What `config.json` of an extended model says beside the usual fields: how it was extended and how to read with it. The window stays the
 * trained one, because the scale is chosen when reading.
 */
export function e2Notes(settings: Pick<ExtensionSettings, "gMax" | "sinks" | "granularity">, window: number): Record<string, unknown> {
  const { gMax, sinks, granularity } = settings;
  return {
    e2llm: {
      trained_window: window,
      g_max: gMax,
      sinks,
      granularity,
      schedule: "linear",
      reading: `divide positions by a whole g from 1 to ${gMax} to read g*${window} tokens; elsewhere: rope_scaling {"type": "linear", "factor": g}, times the factor of a linear scaling that the model had`,
    },
  };
}

/**
 * What `config.json` of a model says that was trained on longer sequences. Scalings other than "linear" may take their trained window from
 * `max_position_embeddings`, and would be others beside a larger one.
 */
function windowNotes(config: LlamaConfig, length: number): Record<string, unknown> {
  const { max_position_embeddings: window } = config;
  const widens = length > window && ["default", "linear"].includes(modelRope(config).scaling.type);
  return { max_position_embeddings: widens ? length : window };
}

function positionsOf({ method, gMax, granularity, sinks, seed }: ExtensionSettings, window: number): PositionSource {
  return method === "e2" ? createE2Source({ window, gMax, granularity, sinks, seed }) : createPlainSource();
}

/** Refuses scales and lengths that do not fit together (OptionError). */
function checkReach({ gMax, length }: Pick<ExtensionSettings, "gMax" | "length">, window: number): void {
  if (gMax * window > mostItems) {
    throw new OptionError(`--g-max ${gMax} times the window of ${window} is more positions than can be counted`, {
      hint: `take --g-max ${Math.floor(mostItems / window)} at most`,
    });
  }
  if (length > gMax * window) {
    throw new OptionError(`--length ${length} is longer than --g-max ${gMax} times the window of ${window}, so no scale can hold it`, {
      hint: `take --length ${gMax * window} at most, or --g-max ${Math.ceil(length / window)}`,
    });
  }
}

async function freshStart(options: ExtendOptions): Promise<Start> {
  const { model: from, text, seed, method, gMax, granularity, sinks, batch, steps, lr, warmup, weightDecay, clip } = options;
  if (from === undefined) throw new OptionError("extend needs a model", { hint: "name its folder: --model runs/base" });
  const model = await loadModel(from);
  needByteModel(model, from);
  const { length = model.config.max_position_embeddings } = options;
  return {
    model,
    step: 0,
    settings: { from, text, seed, method, gMax, granularity, sinks, length },
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
  const method = settled("method", given, options.method, saved.oneOf("method", ["e2", "plain"]), folder);
  refuseUnread(method, given);
  const length = saved.optionalNumber("length") ?? model.config.max_position_embeddings;
  const rule = resumedRule(options, saved);
  return {
    model,
    optimizerState,
    step,
    settings: {
      from: saved.text("from"),
      text: given.has("text") ? options.text : saved.text("text"),
      seed: settled("seed", given, options.seed, saved.number("seed"), folder),
      method,
      gMax: settled("gMax", given, options.gMax, saved.number("gMax"), folder),
      granularity: settled("granularity", given, options.granularity, saved.oneOf("granularity", ["batch", "sample"]), folder),
      sinks: settled("sinks", given, options.sinks, saved.number("sinks"), folder),
      length: settled("length", given, options.length, length, folder),
    },
    savedDigest: saved.optionalText("textDigest"),
    rule,
    computing: resumedStep(options, saved, rule),
  };
}
