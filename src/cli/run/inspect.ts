import { modelRope } from "../../e2llm/model-frequencies.js";
import { DawngradError } from "../../errors.js";
import { checkAdapter } from "../../nn/adapters.js";
import { countParameters, type LlamaConfig } from "../../nn/config.js";
import { toHfConfig } from "../../nn/config-json.js";
import type { StoredModel, StoredTensor } from "../../nn/stored-model.js";
import type { Tokenizer } from "../../nn/tokenizers.js";
import { type AdapterFiles, adapterIn } from "../adapter-files.js";
import type { InspectOptions } from "../commands/inspect.js";
import { type InspectedNeeds, needsOf } from "../inspect-needs.js";
import type { CommandIo } from "../io.js";
import { formatBytes } from "../machine.js";
import { modelTokenizer } from "../model-tokenizer.js";
import { baseOfAdapter, type OpenedModel, shapeOf, withModel } from "../opened-model.js";
import { formatCount } from "../progress.js";
import { type ModelReading, modelReading } from "../reading.js";
import type { Runner } from "../runner.js";
import { onBackend } from "../session.js";
import { type SavedTraining, savedTraining } from "../training-files.js";
import { unitOf } from "../units.js";

/**
 * What a model is. JSON: { command, model, kind: "model", format, fileBytes, parameters, config (as config.json has it), tensors: [{ name, shape, storedAs,
 * bytes }], adapter (its configuration, or null), rope: { theta, scaling, window (trained) }, reading: { schedule, gMax (or null), how (in words) }, tokenizer: null or { name, vocabSize, bos, eos, stopTokens, specialTokens, chatTemplate }, tokenizerProblem (why it is null, or null), training: null or { step, settings }, metadata, needs: null or { backend, available, dtype,
 * adapterParameters (those that --lora trains), rows: [{ use, options, needed, largestTensor, fits }] } }, of an adapter { command, model, kind: "adapter", fileBytes, parameters, config, tensors,
 * base: { source (or null), format, parameters (null where it cannot be read), problem (why it cannot be read with its base, or null) }, needs }.
 */
export const run: Runner<InspectOptions> = async (options, { io }) => {
  const adapter = await adapterIn(options.model);
  const needsHere = async (stored: OpenedModel): Promise<InspectedNeeds | null> => {
    const needs = options.needs ? await onBackend(options, io, async (_, info) => needsOf(stored, options, info)) : null;
    if (needs !== null) sayNeeds(io, needs);
    return needs;
  };
  if (adapter !== undefined) {
    const base = await baseFacts(options.model);
    const facts = sayAdapter(io, adapter, base, options);
    const needs = base.problem === null ? await withModel(options.model, needsHere) : null;
    io.result({ command: "inspect", model: options.model, kind: "adapter", ...facts, base, needs });
    return undefined;
  }
  await withModel(options.model, async (stored) => {
    const facts = await factsOf(stored, options);
    sayFacts(io, facts, options);
    const needs = await needsHere(stored);
    io.result({ command: "inspect", model: options.model, kind: "model", ...documentOf(facts), needs });
  });
  return undefined;
};

/** What is known of the base of an adapter. */
interface BaseFacts {
  /** Where it is; null where the adapter does not say it. */
  readonly source: string | null;
  readonly format: StoredModel["format"] | null;
  readonly parameters: number | null;
  /** Why the adapter cannot be read with it; null where it can. */
  readonly problem: string | null;
}

/** Holds an adapter against its base, of which no weight is read. */
async function baseFacts(adapter: string): Promise<BaseFacts> {
  let known: Omit<BaseFacts, "problem"> = { source: null, format: null, parameters: null };
  try {
    known = { ...known, source: (await baseOfAdapter(adapter)) ?? null };
    await withModel(adapter, async (stored) => {
      known = { ...known, format: stored.format, parameters: countParameters(stored.config) };
      await checkAdapter(shapeOf(stored, "stored"), adapter);
    });
    return { ...known, problem: null };
  } catch (error) {
    if (!(error instanceof DawngradError)) throw error;
    return { ...known, problem: error.message };
  }
}

interface Facts {
  readonly stored: OpenedModel;
  readonly parameters: number;
  readonly tokenizer: Tokenizer | undefined;
  /** Why there is no tokenizer. */
  readonly tokenizerProblem: string | null;
  readonly training: SavedTraining | undefined;
  readonly reading: ModelReading;
}

async function factsOf(stored: OpenedModel, options: InspectOptions): Promise<Facts> {
  const source = options.model;
  let tokenizer: Tokenizer | undefined;
  let tokenizerProblem: string | null = null;
  try {
    tokenizer = await modelTokenizer(source, stored.config, options.tokenizer);
  } catch (error) {
    if (!(error instanceof DawngradError)) throw error;
    tokenizerProblem = error.message;
  }
  const training = stored.format === "safetensors" || stored.adapter !== undefined ? await savedTraining(source) : undefined;
  const unit = tokenizer === undefined ? "tokens" : unitOf(tokenizer);
  const reading = modelReading(stored.config, source, { schedule: "auto", scale: "auto" }, unit);
  return { stored, parameters: countParameters(stored.config), tokenizer, tokenizerProblem, training, reading };
}

function documentOf({ stored, parameters, tokenizer, tokenizerProblem, training, reading }: Facts): object {
  const { format, fileBytes, config, metadata, adapter } = stored;
  const { scaling, theta, window } = modelRope(config);
  return {
    format,
    fileBytes,
    parameters,
    adapter: adapter === undefined ? null : adapter.config,
    config: toHfConfig(config),
    tensors: [...stored.tensors.values()].map(({ name, shape, storedAs, bytes }) => ({ name, shape, storedAs, bytes })),
    rope: { theta, scaling, window },
    reading: { schedule: reading.schedule, gMax: reading.gMax ?? null, how: reading.chosen ?? null },
    tokenizer: tokenizer === undefined ? null : tokenizerDocument(tokenizer),
    tokenizerProblem,
    training: training ?? null,
    metadata,
  };
}

const tokenizerDocument = ({ name, vocabSize, bos, eos, stopTokens, specialTokens, chatTemplate }: Tokenizer): object => ({
  name,
  vocabSize,
  bos: bos ?? null,
  eos: eos ?? null,
  stopTokens,
  specialTokens: Object.fromEntries(specialTokens),
  chatTemplate: chatTemplate ?? null,
});

function tokenizerInWords(tokenizer: Tokenizer): string {
  const { name, vocabSize, stopTokens, chatTemplate } = tokenizer;
  const ends = stopTokens.length === 0 ? "" : `; texts end with ${stopTokens.map((token) => tokenizer.tokenText(token)).join(" or ")}`;
  return `${name}, ${vocabSize} tokens${ends}${chatTemplate === undefined ? "" : "; with a chat template"}`;
}

/** Lines of two columns. */
const row = (name: string, value: string): string => `  ${name.padEnd(12)}${value}`;

function sayFacts(
  io: CommandIo,
  { stored, parameters, tokenizer, tokenizerProblem, training, reading }: Facts,
  options: InspectOptions,
): void {
  const { config, format, fileBytes, tensors } = stored;
  io.print(`${io.style("bold", options.model)}: ${format}, ${formatBytes(fileBytes)}`);
  io.print(row("model", `${formatCount(parameters)} parameters: ${sizesInWords(config)}`));
  if (stored.adapter !== undefined) {
    const { r, lora_alpha: alpha, target_modules: targets } = stored.adapter.config;
    io.print(
      row(
        "adapter",
        `on the base ${stored.adapter.config.base_model_name_or_path ?? "that it does not name"}: r ${r}, lora_alpha ${alpha}, targets ${JSON.stringify(targets)}`,
      ),
    );
  }
  io.print(row("tensors", kindsInWords([...tensors.values()])));
  if (options.tensors) for (const line of tensorLines([...tensors.values()])) io.print(line);
  io.print(row("positions", positionsInWords(config)));
  io.print(row("reading", reading.chosen ?? reading.schedule));
  io.print(row("tokenizer", tokenizer === undefined ? `none: ${tokenizerProblem}` : tokenizerInWords(tokenizer)));
  if (training !== undefined) io.print(row("training", trainingInWords(training)));
  if (options.verbose)
    for (const [name, value] of Object.entries(stored.metadata)) io.print(row("", `${name} = ${String(value).slice(0, 100)}`));
}

function sizesInWords(config: LlamaConfig): string {
  const { num_hidden_layers: layers, hidden_size: C, num_attention_heads: H, num_key_value_heads: Hkv, head_dim: D } = config;
  const heads = `${H} heads of ${D}${Hkv === H ? "" : ` (${Hkv} for keys and values)`}`;
  const tied = config.tie_word_embeddings ? ", head tied to the embedding" : "";
  return `${layers} ${layers === 1 ? "layer" : "layers"} of width ${C}, ${heads}, feed-forward ${config.intermediate_size}, vocabulary ${config.vocab_size}${tied}`;
}

/** "272: 211 Q4_1 (80 MiB), 61 F32 (138 KiB)" */
function kindsInWords(tensors: readonly Pick<StoredTensor, "storedAs" | "bytes">[]): string {
  const kinds = new Map<string, { count: number; bytes: number }>();
  for (const { storedAs, bytes } of tensors) {
    const { count, bytes: before } = kinds.get(storedAs) ?? { count: 0, bytes: 0 };
    kinds.set(storedAs, { count: count + 1, bytes: before + bytes });
  }
  const list = [...kinds].map(([kind, { count, bytes }]) => `${count} ${kind} (${formatBytes(bytes)})`);
  return `${tensors.length}: ${list.join(", ")}`;
}

function tensorLines(tensors: readonly Pick<StoredTensor, "name" | "shape" | "storedAs" | "bytes">[]): string[] {
  const width = Math.max(...tensors.map(({ name }) => name.length));
  return tensors.map(
    ({ name, shape, storedAs, bytes }) =>
      `    ${name.padEnd(width)}  ${storedAs.padEnd(5)} ${formatBytes(bytes).padStart(10)}  [${shape.join(", ")}]`,
  );
}

function positionsInWords(config: LlamaConfig): string {
  if (config.position_encoding !== undefined)
    return `${JSON.stringify(config.position_encoding)}; window ${config.max_position_embeddings}`;
  const { scaling, theta, window } = modelRope(config);
  const scaled = scaling.type === "default" ? "not scaled" : `scaled: ${JSON.stringify(scaling)}`;
  const reach = config.max_position_embeddings;
  return `RoPE with theta ${theta}, ${scaled}; trained window L = ${window}${reach === window ? "" : `, reads ${reach}`}`;
}

function trainingInWords({ step, settings }: SavedTraining): string {
  const { command, steps, method, text } = settings;
  const of = typeof steps === "number" ? ` of ${steps}` : "";
  const how = [command, method, text === undefined ? undefined : `on ${String(text)}`].filter((word) => word !== undefined).join(" ");
  return `${how === "" ? "a training" : how}, at step ${step}${of}`;
}

function sayAdapter(
  io: CommandIo,
  { config, tensors, fileBytes, parameters }: AdapterFiles,
  base: BaseFacts,
  options: InspectOptions,
): object {
  const shown = tensors.map(({ name, shape, dtype, bytes }) => ({ name, shape, storedAs: dtype, bytes }));
  const of = (name: string): string => (config[name] === undefined || config[name] === null ? "not said" : JSON.stringify(config[name]));
  io.print(`${io.style("bold", options.model)}: an adapter (${of("peft_type")}), ${formatBytes(fileBytes)}`);
  io.print(row("of", of("base_model_name_or_path")));
  io.print(
    row(
      "base",
      base.problem === null
        ? `${base.source}: ${base.format}, ${formatCount(base.parameters ?? 0)} parameters; the adapter fits it`
        : `cannot be read with it: ${base.problem}`,
    ),
  );
  io.print(
    row("adapter", `${formatCount(parameters)} parameters: r ${of("r")}, lora_alpha ${of("lora_alpha")}, targets ${of("target_modules")}`),
  );
  io.print(row("tensors", kindsInWords(shown)));
  if (options.tensors) for (const line of tensorLines(shown)) io.print(line);
  return { fileBytes, parameters, config, tensors: shown };
}

function sayNeeds(io: CommandIo, { backend, available, dtype, adapterParameters, rows }: InspectedNeeds): void {
  const there = available === null ? "" : `, where ${formatBytes(available)} can be had`;
  io.print(row("needs", `on ${backend}${there}; weights that are only read in ${dtype === "stored" ? "the dtype of the files" : dtype}`));
  io.print(row("", `adapters with ${formatCount(adapterParameters)} parameters, where they are trained (--lora)`));
  const width = Math.max(...rows.map(({ use, options }) => use.length + options.length));
  for (const { use, options, needed, fits } of rows) {
    io.print(`    ${`${use} ${options}`.padEnd(width + 1)}  ${formatBytes(needed).padStart(9)}${fits ? "" : "  does not fit"}`);
  }
}
