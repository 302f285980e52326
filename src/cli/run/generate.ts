import { tensorsOf } from "../../autograd/tree.js";
import type { BackendInfo } from "../../backend/backend.js";
import { isMethod } from "../../e2llm/methods/reading.js";
import { OptionError } from "../../errors.js";
import { ropeTensors } from "../../nn/batch.js";
import { generate } from "../../nn/generate.js";
import type { Llama, RopeTensors } from "../../nn/llama.js";
import { samplingOptions } from "../../nn/sampling.js";
import type { StoredModel } from "../../nn/stored-model.js";
import { tensorBytes } from "../../nn/tensor-bytes.js";
import type { Tokenizer } from "../../nn/tokenizers.js";
import { type GenerateOptions, streamSinks } from "../commands/generate.js";
import { generatedTexts, needRoom, readModel, roomOf } from "../fit.js";
import { modelTokenizer } from "../model-tokenizer.js";
import { load, readingDtype, shapeOf, withModel } from "../opened-model.js";
import { flagOf } from "../options.js";
import { type Prompt, promptsOf } from "../prompts.js";
import { beyondReach, type ModelReading, modelReading, unseenScale } from "../reading.js";
import { sayGenerationNeed } from "../reading-need.js";
import type { CommandContext, Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { unitOf } from "../units.js";

/**
 * Continues prompts token by token, at the scale of the length that the longest text will have, or by "growing" at that of what is there.
 * JSON: { command, model, backend, adapter, tokenizer, unit, dtype, memory (ReadingFigures), window, schedule (what "auto" stands for), scale (of the last token), stream (null without it),
 * seed, temperature, topK, topP, minP, repetitionPenalty (each null where not given), interrupted, seconds, texts: [{ prompt (as the model reads it), text (the new part), promptTokens, tokens
 * (how many, those of a stop string among them), ended ("length", "stop" or "interrupted") }] }, and of one prompt its fields prompt, text, tokens and ended beside these.
 */
export const run: Runner<GenerateOptions> = (options, context) =>
  onBackend(options, context.io, (computedOn, info) =>
    withModel(options.model, (stored) => continueTexts(stored, { options, ...context, computedOn, info })),
  );

interface Circumstances extends CommandContext {
  readonly options: GenerateOptions;
  readonly computedOn: ComputedOn;
  readonly info: BackendInfo;
}

/** What became of a prompt. */
interface WrittenText {
  readonly prompt: string;
  readonly text: string;
  readonly promptTokens: number;
  readonly tokens: number;
  readonly ended: "length" | "stop" | "interrupted";
}

async function continueTexts(stored: StoredModel, { options, io, onInterrupt, computedOn, info }: Circumstances): Promise<number> {
  const { tokens: wanted, stream, batch, scale: wantedScale } = options;
  const { config } = stored;
  const tokenizer = await modelTokenizer(options.model, config, options.tokenizer);
  const unit = unitOf(tokenizer);
  const reading = modelReading(config, options.model, options, unit);
  const { schedule } = reading;
  if (reading.chosen !== undefined) io.note(reading.chosen);
  if (stream !== undefined && isMethod(schedule)) {
    throw new OptionError(`--stream gives ${unit} their places itself, and so does --schedule ${schedule}`, {
      hint: "leave one of them out",
    });
  }
  const unread = options.temperature === 0 ? (["topK", "topP", "minP"] as const).filter((name) => options[name] !== undefined) : [];
  if (unread.length > 0) io.warn(`${unread.map(flagOf).join(", ")}: no effect with --temperature 0, which takes the most likely token`);
  const prompts = await promptsOf(options, tokenizer, options.model);
  const longest = Math.max(...prompts.map(({ tokens }) => tokens.length));
  const length = longest + wanted;
  // Tokens that one of them sees, at most.
  const planned = stream === undefined ? length : Math.min(length, streamSinks + stream);
  const dtype = readingDtype(stored, options.dtype, info);
  const rows = Math.min(batch, prompts.length);
  const shape = shapeOf(stored, dtype);
  needRoom(roomOf(info), [readModel(config, tensorBytes(shape)), generatedTexts(config, { rows, length: planned, unit })]);
  const memory = sayGenerationNeed(io, { info, model: shape, rows, length: planned, unit, tables: reading.tables(planned) });
  const beyond = beyondReach(config, reading, planned);
  if (beyond !== undefined) {
    const what = stream === undefined ? "prompt and continuation have" : "--stream keeps";
    io.warn(`${what} ${planned} ${unit} and ${beyond}; see \`dawngrad generate --help\` for schedules that reach further`);
  }
  const unseen = unseenScale(reading, planned, unit);
  if (unseen !== undefined) io.warn(unseen);
  const model = await load(stored, dtype);
  const stop = onInterrupt();
  const interrupted = (): boolean => stop.requested !== undefined || io.outputClosed;
  const begun = performance.now();
  const texts: WrittenText[] = [];
  for (let first = 0; first < prompts.length && !interrupted(); first += batch) {
    const group = prompts.slice(first, first + batch);
    texts.push(
      ...(await continueGroup(group, { options, io, model, tokenizer, reading, planned, first, alone: prompts.length === 1, interrupted })),
    );
  }
  const seconds = (performance.now() - begun) / 1000;
  const made = texts.reduce((sum, { tokens }) => sum + tokens, 0);
  const last = Math.max(0, ...texts.map(({ promptTokens, tokens }) => promptTokens + Math.max(0, tokens - 1)));
  const scale = reading.scaleAt(wantedScale === "growing" ? Math.min(planned, last) : planned);
  io.detail(`${made} ${unit} in ${seconds.toFixed(1)} s, scale ${scale}`);
  const [only] = texts;
  io.result({
    command: "generate",
    model: options.model,
    ...computedOn,
    tokenizer: tokenizer.name,
    unit,
    dtype,
    memory,
    window: reading.window,
    schedule,
    scale,
    stream: stream ?? null,
    seed: options.seed,
    temperature: options.temperature,
    topK: options.topK ?? null,
    topP: options.topP ?? null,
    minP: options.minP ?? null,
    repetitionPenalty: options.repetitionPenalty ?? null,
    ...(prompts.length === 1 && only !== undefined ? only : {}),
    texts,
    interrupted: stop.requested !== undefined,
    seconds,
  });
  return stop.exitCode;
}

interface Group extends Pick<Circumstances, "options" | "io"> {
  readonly model: Llama;
  readonly tokenizer: Tokenizer;
  readonly reading: ModelReading;
  readonly planned: number;
  /** Number of the first prompt. */
  readonly first: number;
  /** Whether there is no other prompt: then text is shown as it comes. */
  readonly alone: boolean;
  readonly interrupted: () => boolean;
}

async function continueGroup(prompts: readonly Prompt[], group: Group): Promise<WrittenText[]> {
  const { options, io, model, tokenizer, reading, planned, first, alone, interrupted } = group;
  const { tokens: wanted, stream } = options;
  const shown = ({ text, chat }: Prompt): string => (chat ? "" : text);
  const written = prompts.map(() => "");
  if (alone && !io.json) io.write(shown(prompts[0] as Prompt));
  const found = await generate({
    ...samplingOptions(options),
    model,
    prompts: prompts.map(({ tokens }) => tokens),
    tokens: wanted,
    seed: options.seed + first,
    ...(stream === undefined ? {} : { cache: { window: stream, sinks: streamSinks } }),
    stopTokens: options.ignoreEos ? [] : tokenizer.stopTokens,
    stopStrings: options.stop,
    tokenizer,
    onText: (piece, row) => {
      written[row] += piece;
      if (alone && !io.json) io.write(piece);
    },
    tables: options.scale === "growing" ? growingTables(reading) : growingTables(reading, planned),
    shouldStop: interrupted,
  }).catch((error: unknown) => {
    // What is said of it begins a line of its own.
    if (alone && !io.json) io.write("\n");
    throw error;
  });
  if (!io.json) io.write(alone ? "\n" : prompts.map((prompt, i) => `${shown(prompt)}${written[i]}\n\n`).join(""));
  return prompts.map(({ text, tokens }, i) => {
    const made = (found[i] as Int32Array).length;
    const ended = made === wanted ? "length" : interrupted() ? "interrupted" : "stop";
    return { prompt: text, text: written[i] as string, promptTokens: tokens.length, tokens: made, ended };
  });
}

/**
 * Tables for a text of so many tokens, or without a number for one that grows: made anew when its scale changes, or its length where that
 * decides the frequencies.
 */
function growingTables(reading: ModelReading, planned?: number): (length: number, tokens: number) => RopeTensors {
  let made: { readonly scale: number; readonly tokens: number; readonly tables: RopeTensors } | undefined;
  return (length, sofar) => {
    const tokens = planned ?? sofar;
    const scale = reading.scaleAt(tokens);
    const decisive = reading.followsLength ? Math.max(tokens, reading.window) : 0;
    if (made === undefined || made.scale !== scale || made.tokens !== decisive) {
      for (const { tensor } of tensorsOf(made?.tables)) tensor.dispose();
      made = { scale, tokens: decisive, tables: ropeTensors(reading.tables(length, tokens)) };
    }
    return made.tables;
  };
}
