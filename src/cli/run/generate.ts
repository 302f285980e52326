import { tensorsOf } from "../../autograd/tree.js";
import type { BackendInfo } from "../../backend/backend.js";
import { isMethod } from "../../e2llm/methods/reading.js";
import { OptionError } from "../../errors.js";
import { ropeTensors } from "../../nn/batch.js";
import { generate } from "../../nn/generate.js";
import type { RopeTensors } from "../../nn/llama.js";
import type { StoredModel } from "../../nn/stored-model.js";
import { tensorBytes } from "../../nn/tensor-bytes.js";
import { type GenerateOptions, streamSinks } from "../commands/generate.js";
import { generatedText, needRoom, readModel, roomOf } from "../fit.js";
import { modelTokenizer } from "../model-tokenizer.js";
import { load, readingDtype, shapeOf, withModel } from "../opened-model.js";
import { type ModelReading, modelReading, unseenScale } from "../reading.js";
import type { CommandContext, Runner } from "../runner.js";
import { type ComputedOn, onBackend } from "../session.js";
import { unitOf } from "../units.js";

/**
 * Continues a prompt token by token, at the scale of the length that the text will have, or by "growing" at that of what is there.
 * JSON: { command, model, backend, adapter, tokenizer, unit, window, schedule (what "auto" stands for), scale (of the last token), stream (null without it), seed, temperature, prompt, text (the new part), tokens (how many),
 * interrupted, seconds }.
 */
export const run: Runner<GenerateOptions> = (options, context) =>
  onBackend(options, context.io, (computedOn, info) =>
    withModel(options.model, (stored) => continueText(stored, { options, ...context, computedOn, info })),
  );

interface Circumstances extends CommandContext {
  readonly options: GenerateOptions;
  readonly computedOn: ComputedOn;
  readonly info: BackendInfo;
}

async function continueText(stored: StoredModel, { options, io, onInterrupt, computedOn, info }: Circumstances): Promise<number> {
  const { prompt: text, tokens: wanted, temperature, topK, seed, stream, scale: wantedScale } = options;
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
  const prompt = tokenizer.encode(text);
  const length = prompt.length + wanted;
  // Tokens that one of them sees, at most.
  const planned = stream === undefined ? length : Math.min(length, streamSinks + stream);
  const dtype = readingDtype(stored, options.dtype, info);
  needRoom(roomOf(info), [readModel(config, tensorBytes(shapeOf(stored, dtype))), generatedText(config, planned, unit)]);
  if (schedule === "none" && planned > reading.window) {
    const what = stream === undefined ? "prompt and continuation have" : "--stream keeps";
    io.warn(
      `${what} ${planned} ${unit} and the model was trained on ${reading.window}; ` +
        "see `dawngrad generate --help` for schedules that reach further",
    );
  }
  const unseen = unseenScale(reading, planned, unit);
  if (unseen !== undefined) io.warn(unseen);
  const model = await load(stored, dtype);
  const stop = onInterrupt();
  const decoder = tokenizer.decoder();
  let written = "";
  const say = (piece: string): void => {
    written += piece;
    if (!io.json) io.write(piece);
  };
  if (!io.json) io.write(text);
  const begun = performance.now();
  const found = await generate({
    model,
    prompt,
    tokens: wanted,
    temperature,
    ...(topK === undefined ? {} : { topK }),
    seed,
    ...(stream === undefined ? {} : { cache: { window: stream, sinks: streamSinks } }),
    tables: wantedScale === "growing" ? growingTables(reading) : growingTables(reading, planned),
    onToken: (token) => say(decoder.push([token])),
    shouldStop: () => stop.requested !== undefined || io.outputClosed,
  });
  say(decoder.end());
  if (!io.json) io.write("\n");
  const seconds = (performance.now() - begun) / 1000;
  const scale = reading.scaleAt(wantedScale === "growing" ? Math.min(planned, prompt.length + Math.max(0, found.length - 1)) : planned);
  io.detail(`${found.length} ${unit} in ${seconds.toFixed(1)} s, scale ${scale}`);
  io.result({
    command: "generate",
    model: options.model,
    ...computedOn,
    tokenizer: tokenizer.name,
    unit,
    window: reading.window,
    schedule,
    scale,
    stream: stream ?? null,
    seed,
    temperature,
    prompt: text,
    text: written,
    tokens: found.length,
    interrupted: stop.requested !== undefined,
    seconds,
  });
  return stop.exitCode;
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
