import { tensorsOf } from "../../autograd/tree.js";
import { isMethod } from "../../e2llm/methods/reading.js";
import { OptionError } from "../../errors.js";
import { ropeTensors } from "../../nn/batch.js";
import { loadModel } from "../../nn/checkpoint.js";
import { generate } from "../../nn/generate.js";
import type { RopeTensors } from "../../nn/llama.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import { type GenerateOptions, streamSinks } from "../commands/generate.js";
import { generatedText, needRoom, readModel, roomOf } from "../fit.js";
import { type ModelReading, modelReading, unseenScale } from "../reading.js";
import type { Runner } from "../runner.js";
import { needByteModel, onBackend } from "../session.js";

/**
 * Continues a prompt byte by byte, at the scale of the length that the text will have, or by "growing" at that of what is there.
 * JSON: { command, model, backend, adapter, window, schedule (what "auto" stands for), scale (of the last byte), stream (null without it), seed, temperature, prompt, text (the new part), tokens (how many),
 * interrupted, seconds }.
 */
export const run: Runner<GenerateOptions> = (options, { io, onInterrupt }) =>
  onBackend(options, io, async (computedOn, info) => {
    const { prompt: text, tokens: wanted, temperature, topK, seed, stream, scale: wantedScale } = options;
    const model = await loadModel(options.model);
    needByteModel(model, options.model);
    const reading = modelReading(model.config, options.model, options);
    const { schedule } = reading;
    if (reading.chosen !== undefined) io.note(reading.chosen);
    if (stream !== undefined && isMethod(schedule)) {
      throw new OptionError(`--stream gives bytes their places itself, and so does --schedule ${schedule}`, {
        hint: "leave one of them out",
      });
    }
    const prompt = byteTokenizer.encode(text);
    const length = prompt.length + wanted;
    // Bytes that one of them sees, at most.
    const planned = stream === undefined ? length : Math.min(length, streamSinks + stream);
    needRoom(roomOf(info), [readModel(model.config), generatedText(model.config, planned)]);
    if (schedule === "none" && planned > reading.window) {
      const what = stream === undefined ? "prompt and continuation have" : "--stream keeps";
      io.warn(
        `${what} ${planned} bytes and the model was trained on ${reading.window}; ` +
          "see `dawngrad generate --help` for schedules that reach further",
      );
    }
    const unseen = unseenScale(reading, planned);
    if (unseen !== undefined) io.warn(unseen);
    const stop = onInterrupt();
    const decoder = byteTokenizer.decoder();
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
    io.detail(`${found.length} bytes in ${seconds.toFixed(1)} s, scale ${scale}`);
    io.result({
      command: "generate",
      model: options.model,
      ...computedOn,
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
  });

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
