import { ropeTensors } from "../../nn/batch.js";
import { loadModel } from "../../nn/checkpoint.js";
import { generate } from "../../nn/generate.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import type { GenerateOptions } from "../commands/generate.js";
import { modelReading } from "../reading.js";
import type { Runner } from "../runners.js";
import { needByteModel, onBackend } from "../session.js";

/**
 * Continues a prompt byte by byte. The scale is that of the planned length, prompt and new bytes together, for the whole text.
 * JSON: { command, model, backend, adapter, window, schedule, scale, seed, temperature, prompt, text (the new part), tokens (how many),
 * interrupted, seconds }.
 */
export const run: Runner<GenerateOptions> = (options, { io, onInterrupt }) =>
  onBackend(options, io, async (computedOn) => {
    const { prompt: text, tokens: wanted, temperature, topK, seed, schedule } = options;
    const model = await loadModel(options.model);
    needByteModel(model, options.model);
    const reading = modelReading(model.config, options.model, options);
    const prompt = byteTokenizer.encode(text);
    const planned = prompt.length + wanted;
    const scale = reading.scaleAt(planned);
    if (schedule === "none" && planned > reading.window) {
      io.warn(
        `prompt and continuation have ${planned} bytes and the model was trained on ${reading.window}; ` +
          "see `dawngrad generate --help` for schedules that reach further",
      );
    }
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
      tables: (length) => ropeTensors(reading.tables(length, planned)),
      onToken: (token) => say(decoder.push([token])),
      shouldStop: () => stop.requested !== undefined || io.outputClosed,
    });
    say(decoder.end());
    if (!io.json) io.write("\n");
    const seconds = (performance.now() - begun) / 1000;
    io.detail(`${found.length} bytes in ${seconds.toFixed(1)} s, scale ${scale}`);
    io.result({
      command: "generate",
      model: options.model,
      ...computedOn,
      window: reading.window,
      schedule,
      scale,
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
