import { createE2Source, createPlainSource, type DrawGranularity, type PositionSource } from "../../e2llm/positions.js";
import { OptionError } from "../../errors.js";
import { loadModel, loadTraining } from "../../nn/checkpoint.js";
import { countParameters } from "../../nn/config.js";
import { createWindowSampler } from "../../nn/data.js";
import type { Llama } from "../../nn/llama.js";
import { type AdamWState, adamw } from "../../nn/optimizers.js";
import type { ExtendOptions } from "../commands/extend.js";
import { loadCorpus } from "../corpus.js";
import { formatCount } from "../progress.js";
import { pick, resumedRule, SavedSettings } from "../resume.js";
import type { Runner } from "../runners.js";
import { needByteModel, onBackend } from "../session.js";
import { type LearningRule, optimizerOf, runTraining } from "../training-run.js";
import { heldOutLoss, refuseFinished } from "./train.js";

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
}

interface Start {
  readonly model: Llama;
  readonly optimizerState?: AdamWState;
  readonly step: number;
  readonly settings: ExtensionSettings;
  readonly rule: LearningRule;
}

/**
 * Goes on training a model by E²-LLM or plainly. JSON: { command, method, out, from, backend, adapter, parameters, window, gMax, granularity,
 * sinks (the last three null for "plain"), seed, steps, step, interrupted, loss, heldOut, seconds, train: […], draws: [{ step, g, t }] }.
 */
export const run: Runner<ExtendOptions> = (options, { io, onInterrupt }) =>
  onBackend(options, io, async (computedOn) => {
    const { out } = options;
    const start = options.resume === undefined ? await freshStart(options) : await resumedStart(options, options.resume);
    const { settings, rule } = start;
    const { config } = start.model;
    const window = config.max_position_embeddings;
    refuseFinished(start.step, rule.steps, out);
    const e2 = settings.method === "e2";
    const positions = positionsOf(settings, window);
    const corpus = await loadCorpus(settings.text);
    const windows = createWindowSampler({ documents: corpus.train, length: window, batch: rule.batch, seed: settings.seed });
    const parameters = countParameters(config);
    const how = e2 ? `E²-LLM up to g = ${settings.gMax}, so ${settings.gMax * window} bytes` : "plain steps (the control)";
    io.note(`${formatCount(parameters)} parameters, window of ${window} bytes: ${how}`);

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
      windows,
      positions,
      folder: out,
      saveEvery: options.saveEvery,
      extra: { command: "extend", ...settings, ...rule },
      ...(e2 ? { saveOptions: { extraConfig: e2Notes(settings, window) } } : {}),
    });
    io.note(`saved to ${out}`);
    if (result.interrupted) {
      io.note(`stopped after step ${result.step} of ${rule.steps}; go on with: dawngrad extend --resume ${out}`);
    } else if (e2) io.note(`read long text with: dawngrad eval --model ${out} --schedule linear`);
    const heldOut = result.interrupted ? null : await heldOutLoss(result.model, corpus.heldOut);
    if (heldOut !== null) io.print(`held-out loss ${heldOut.toFixed(4)} nats per byte at ${window} bytes of context, g = 1`);
    io.result({
      command: "extend",
      method: settings.method,
      out,
      from: settings.from,
      ...computedOn,
      parameters,
      window,
      gMax: e2 ? settings.gMax : null,
      granularity: e2 ? settings.granularity : null,
      sinks: e2 ? settings.sinks : null,
      seed: settings.seed,
      steps: rule.steps,
      step: result.step,
      interrupted: result.interrupted,
      loss: result.points.at(-1)?.loss ?? null,
      heldOut,
      seconds: result.seconds,
      train: result.points,
      draws: e2 ? result.draws : [],
    });
    return stop.exitCode;
  });

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
      reading: `divide positions by a whole g from 1 to ${gMax} to read g*${window} tokens; elsewhere: rope_scaling {"type": "linear", "factor": g}`,
    },
  };
}

function positionsOf({ method, gMax, granularity, sinks, seed }: ExtensionSettings, window: number): PositionSource {
  return method === "e2" ? createE2Source({ window, gMax, granularity, sinks, seed }) : createPlainSource();
}

async function freshStart(options: ExtendOptions): Promise<Start> {
  const { model: from, text, seed, method, gMax, granularity, sinks, batch, steps, lr, warmup, weightDecay, clip } = options;
  if (from === undefined) throw new OptionError("extend needs a model", { hint: "name its folder: --model runs/base" });
  const model = await loadModel(from);
  needByteModel(model, from);
  return {
    model,
    step: 0,
    settings: { from, text, seed, method, gMax, granularity, sinks },
    rule: { batch, steps, lr, warmup, weightDecay, clip },
  };
}

async function resumedStart(options: ExtendOptions, folder: string): Promise<Start> {
  const { model, optimizerState, step, extra } = await loadTraining(folder, adamw());
  const saved = new SavedSettings(extra, folder);
  saved.oneOf("command", ["extend"]);
  const { given } = options;
  return {
    model,
    optimizerState,
    step,
    settings: {
      from: saved.text("from"),
      text: pick("text", given, options.text, () => saved.text("text")),
      seed: pick("seed", given, options.seed, () => saved.number("seed")),
      method: pick("method", given, options.method, () => saved.oneOf("method", ["e2", "plain"])),
      gMax: pick("gMax", given, options.gMax, () => saved.number("gMax")),
      granularity: pick("granularity", given, options.granularity, () => saved.oneOf("granularity", ["batch", "sample"])),
      sinks: pick("sinks", given, options.sinks, () => saved.number("sinks")),
    },
    rule: resumedRule(options, saved),
  };
}
