import { realpath, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { OptionError } from "../../errors.js";
import { saveModel } from "../../nn/checkpoint.js";
import { hasTokenizer } from "../../nn/companion-files.js";
import { countParameters, windowOfLayer } from "../../nn/config.js";
import { convertModel } from "../../nn/convert.js";
import { saveGguf } from "../../nn/gguf/save.js";
import { mergeLora } from "../../nn/lora.js";
import type { ModelSource } from "../../nn/model-source.js";
import type { StoredModel, WeightDtype } from "../../nn/stored-model.js";
import { byteTokenizer } from "../../nn/tokenizers.js";
import { type ConvertOptions, isGgufPath, type WrittenDtype } from "../commands/convert.js";
import { exportScale } from "../export-scale.js";
import { formatBytes } from "../machine.js";
import { load, type OpenedModel, withModel } from "../opened-model.js";
import { checkpointIn, needSpace, withOutputs } from "../outputs.js";
import type { CommandContext, Runner } from "../runner.js";
import { onBackend } from "../session.js";
import { placeTokenizerFiles, readTokenizerFiles } from "../tokenizer-files.js";

/**
 * Writes a model in another format, adapters (LoRA) as part of their base; without these it needs no device. JSON: { command, model, from (format), out, format ("safetensors" or "gguf"), dtype, parameters,
 * bytes (of the weights), merged (whether adapters were), exportScale (or null), schedule (or null), window (tokens that the configuration states), seconds }.
 */
export const run: Runner<ConvertOptions> = async (options, context) => {
  await refuseOverwriting(options);
  await withModel(options.model, (stored) => convert(stored, { options, ...context }));
  return undefined;
};

async function convert(stored: OpenedModel, { options, io }: CommandContext & { readonly options: ConvertOptions }): Promise<void> {
  const { model, out, exportScale: g, schedule } = options;
  const begun = performance.now();
  const { config } = stored;
  const scale = g === undefined ? undefined : exportScale(config, g, { schedule, file: `${model}/config.json` });
  const dtype = options.dtype ?? storedDtype(stored);
  const bytes = Math.ceil(countParameters(config) * bytesOf[dtype]);
  const gguf = isGgufPath(out);
  const merges = stored.adapter !== undefined;
  const folder = gguf ? dirname(out) : out;
  await withOutputs([{ folder, files: [] }], { lock: false }, async () => {
    await needSpace(folder, bytes);
    const extra = scale === undefined ? {} : { extraConfig: scale.extraConfig };
    const { tokenizer } = options;
    if (merges) await writeMerged(stored, { out, dtype, io, tokenizer: tokenizer ?? (await besideModel(model)), ...extra });
    else if (gguf && tokenizer !== undefined) await saveGguf(out, stored, { dtype, tokenizer, ...extra });
    else await convertModel(model, out, { dtype, ...extra });
    const window = windowOfLayer(config, 0);
    if (gguf && window !== undefined)
      io.warn(`llama.cpp reads a model of this kind without its window of ${window} tokens, so longer texts are others there`);
    const files = await readTokenizerFiles(tokenizer ?? model);
    // What lay in the folder before may have been another's.
    if (!gguf) await placeTokenizerFiles(out, files);
    // A folder without one becomes another, and a GGUF file brings its own, known or not.
    const isLost = stored.format !== (gguf ? "gguf" : "safetensors") && !(gguf && config.vocab_size === byteTokenizer.vocabSize);
    if (hasTokenizer(files) || !isLost) return;
    const remedy = gguf ? "name it" : `put the tokenizer.json of the model into ${out}, or name it`;
    io.warn(`${model} has no tokenizer that ${gguf ? "the file" : "files"} could say: ${remedy} with --tokenizer`);
  });
  const read = scale === undefined ? "" : `; read by schedule ${scale.schedule} up to ${scale.window} tokens`;
  io.print(`saved to ${out}: ${dtype}, ${formatBytes(bytes)} of weights${merges ? " with the adapters in them" : ""}${read}`);
  io.result({
    command: "convert",
    model,
    from: stored.format,
    out,
    format: gguf ? "gguf" : "safetensors",
    dtype,
    parameters: countParameters(config),
    bytes,
    merged: merges,
    exportScale: g ?? null,
    schedule: scale?.schedule ?? null,
    window: scale?.window ?? config.max_position_embeddings,
    seconds: (performance.now() - begun) / 1000,
  });
}

/** Writes a base with its adapters added to its matrices, which are computed in f32 and rounded once. */
async function writeMerged(
  stored: OpenedModel,
  options: {
    readonly out: string;
    readonly dtype: WrittenDtype;
    readonly io: CommandContext["io"];
    readonly tokenizer: ModelSource | undefined;
    readonly extraConfig?: Readonly<Record<string, unknown>>;
  },
): Promise<void> {
  const { out, dtype, io, tokenizer, ...extra } = options;
  await onBackend({}, io, async () => {
    const model = mergeLora(await load(stored, "f32"));
    if (isGgufPath(out)) await saveGguf(out, model, { dtype, ...(tokenizer === undefined ? {} : { tokenizer }), ...extra });
    else if (dtype !== "q8_0") await saveModel(out, model, { dtype, ...extra });
  });
}

/** The files of a model's tokenizer as a source; undefined where it has none, as models of bytes do. */
async function besideModel(model: string): Promise<ModelSource | undefined> {
  const files = await readTokenizerFiles(model);
  return hasTokenizer(files) ? Object.fromEntries(files) : undefined;
}

/** Bytes of a weight; a block of 32 of q8_0 has 34. */
const bytesOf: Readonly<Record<WrittenDtype, number>> = { f32: 4, f16: 2, bf16: 2, q8_0: 34 / 32 };

/** What most of the weights are stored as. */
function storedDtype({ tensors }: StoredModel): WeightDtype {
  const numbers = { f32: 0, f16: 0, bf16: 0 };
  for (const { dtype, shape } of tensors.values()) numbers[dtype] += shape.reduce((product, extent) => product * extent, 1);
  return (Object.keys(numbers) as WeightDtype[]).reduce((most, dtype) => (numbers[dtype] > numbers[most] ? dtype : most));
}

/** Refuses to write over what is read, and over other models without --force (OptionError). */
async function refuseOverwriting({ model, out, force }: ConvertOptions): Promise<void> {
  const real = async (path: string): Promise<string> => realpath(path).catch(() => resolve(path));
  if ((await real(model)) === (await real(out))) {
    throw new OptionError(`${out} is what is read, and would be written over`, { hint: "choose another folder or file: --out" });
  }
  const gguf = isGgufPath(out);
  const found = await stat(out).catch(() => undefined);
  if (gguf ? found?.isDirectory() : found?.isFile()) {
    throw new OptionError(`${out} is a ${gguf ? "folder, and a file" : "file, and a folder"} of that name has to be written`, {
      hint: gguf ? "choose another name: --out" : "name a folder, or a file that ends in .gguf: --out",
    });
  }
  const models = found === undefined ? [] : gguf ? [out] : await checkpointIn(out);
  if (force || models.length === 0) return;
  throw new OptionError(`${out} holds a model already${gguf ? "" : ` (${models.join(", ")})`}`, {
    hint: "replace it: --force; or choose another place: --out",
  });
}
