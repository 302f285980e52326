import { key } from "../../autograd/random.js";
import { createPlainSource } from "../../e2llm/positions/index.js";
import { loadTraining } from "../../nn/checkpoint.js";
import { countParameters } from "../../nn/config.js";
import { type LlamaOptions, llamaConfig } from "../../nn/config-options.js";
import { createWindowSampler } from "../../nn/data.js";
import { Llama } from "../../nn/llama.js";
import type { ModelSource } from "../../nn/model-source.js";
import { type AdamWState, adamw } from "../../nn/optimizers.js";
import { byteTokenizer, loadTokenizer, type Tokenizer } from "../../nn/tokenizers.js";
import type { TrainOptions } from "../commands/train.js";
import { loadCorpus } from "../corpus.js";
import { needRoom, type Room, roomOf, trainedBatch, trainedModel } from "../fit.js";
import { heldOutLoss } from "../held-out.js";
import { modelTokenizer } from "../model-tokenizer.js";
import type { StepOptions } from "../options.js";
import { withRunFolder } from "../outputs.js";
import { formatCount } from "../progress.js";
import { checkText, digestOf, refuseFinished, resumedRule, resumedStep, SavedSettings, settled, stepOptions } from "../resume.js";
import type { Runner } from "../runner.js";
import { onBackend } from "../session.js";
import { readTokenizerFiles } from "../tokenizer-files.js";
import { sayTrainingNeed } from "../training-need.js";
import { type LearningRule, lastLoss, needCheckpointSpace, optimizerOf, runTraining } from "../training-run.js";
import { unitOf } from "../units.js";

/** Where a training begins: at step 0, or where a checkpoint ends. */
interface Start {
  readonly model: Llama;
  readonly tokenizer: Tokenizer;
  /** Where its files are; undefined for bytes, which have none. */
  readonly tokenizerSource: ModelSource | undefined;
  readonly optimizerState?: AdamWState;
  readonly step: number;
  readonly text: string;
  /** What the text was when the run began. */
  readonly savedDigest: string | undefined;
  readonly seed: number;
  /** Tokens of a training sequence. */
  readonly length: number;
  readonly rule: LearningRule;
  readonly computing: StepOptions;
}

/**
 * Trains a Llama from its beginning, on bytes or on the tokens of a tokenizer. JSON: { command, out, backend, adapter, parameters, tokenizer (its name), unit ("bytes" or "tokens", which all lengths count), bytesPerToken, window, length, checkpoint, microBatch (null: the whole batch at once), memory (TrainingFigures), seed, steps (asked for), step (reached),
 * interrupted, loss (last step, nats per token), lossPerByte, heldOut (nats per token at a context of the shorter of window and length, or null), heldOutPerByte, heldOutSkipped (why it is
 * null, or null), seconds, train: [{ phase, step, loss, gradNorm, lr, tokensPerSecond (or null) }] }.
 */
export const run: Runner<TrainOptions> = (options, { io, onInterrupt }) =>
  withRunFolder(options, () =>
    onBackend(options, io, async (computedOn, info) => {
      const { out } = options;
      const room = roomOf(info);
      const start = options.resume === undefined ? await freshStart(options, room) : await resumedStart(options, options.resume);
      const { rule, computing, text, seed, length, tokenizer } = start;
      const { config } = start.model;
      const unit = unitOf(tokenizer);
      const window = config.max_position_embeddings;
      refuseFinished(start.step, rule.steps, out);
      needRoom(room, [trainedModel(config), trainedBatch(config, { batch: rule.batch, length, unit })]);
      const memory = sayTrainingNeed(io, {
        info,
        model: start.model,
        ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
        rule,
        computing,
        length,
        unit,
        tableRows: 1,
        heldOutContext: (length) => (options.resume === undefined && !options.given.has("length") ? length : Math.min(length, window)),
        ...(options.resume !== undefined ? {} : ({ shorter: options.given.has("length") ? "--length" : "--window" } as const)),
      });
      const corpus = await loadCorpus(text, { tokenizer, io });
      const textDigest = digestOf(corpus);
      if (options.resume !== undefined) checkText(io, options, { saved: text, savedDigest: start.savedDigest, digest: textDigest });
      const windows = createWindowSampler({ documents: corpus.train, length, batch: rule.batch, seed });
      const parameters = countParameters(config);
      await needCheckpointSpace(out, config);
      const sequences = length === window ? "" : `, sequences of ${length}`;
      io.note(
        `${formatCount(parameters)} parameters, window of ${window} ${unit}${sequences}, ${formatCount(windows.counts.tokens)} ${unit} to train on`,
      );

      const stop = onInterrupt();
      const result = await runTraining({
        io,
        stop,
        label: "train",
        model: start.model,
        optimizer: optimizerOf(rule),
        ...(start.optimizerState === undefined ? {} : { optimizerState: start.optimizerState }),
        startStep: start.step,
        rule,
        computing,
        windows,
        tokenizer,
        tokenizerFiles: start.tokenizerSource === undefined ? new Map() : await readTokenizerFiles(start.tokenizerSource),
        positions: createPlainSource(),
        folder: out,
        ...(options.resume === undefined ? {} : { resumed: options.resume }),
        saveEvery: options.saveEvery,
        extra: { command: "train", text, textDigest, seed, length, ...rule, ...computing },
      });
      io.note(`saved to ${out}`);
      if (result.interrupted) {
        io.note(`stopped after step ${result.step} of ${rule.steps}; go on with: dawngrad train --resume ${out}`);
      }
      const heldOut = await heldOutLoss({ ...result, io, corpus, context: Math.min(length, window) });
      io.result({
        command: "train",
        out,
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
        seed,
        steps: rule.steps,
        step: result.step,
        interrupted: result.interrupted,
        ...lastLoss(result),
        ...heldOut,
        seconds: result.seconds,
        train: result.points,
      });
      return stop.exitCode;
    }),
  );

/** The tokens that begin and end a text, as config.json names them. */
const specialTokens = ({ bos, eos }: Tokenizer): Pick<LlamaOptions, "bos_token_id" | "eos_token_id"> => ({
  ...(bos === undefined ? {} : { bos_token_id: bos }),
  ...(eos === undefined ? {} : { eos_token_id: eos }),
});

async function freshStart(options: TrainOptions, room: Room): Promise<Start> {
  const tokenizers = options.tokenizer;
  const tokenizer = tokenizers === undefined ? byteTokenizer : await loadTokenizer(tokenizers);
  const { text, seed, batch, steps, lr, warmup, weightDecay, clip, window, length = window } = options;
  const sizes = {
    vocab_size: tokenizer.vocabSize,
    hidden_size: options.hidden,
    intermediate_size: options.intermediate,
    num_hidden_layers: options.layers,
    num_attention_heads: options.heads,
    num_key_value_heads: options.kvHeads,
    head_dim: options.hidden / options.heads,
    tie_word_embeddings: true,
  };
  // Before there is a model, whose parts have bounds of their own and other words for them.
  needRoom(room, [trainedModel(sizes), trainedBatch(sizes, { batch, length, unit: unitOf(tokenizer) })]);
  const config = llamaConfig({ ...sizes, max_position_embeddings: window, ...specialTokens(tokenizer) });
  return {
    model: new Llama(config, { key: key(seed) }),
    tokenizer,
    tokenizerSource: tokenizers,
    step: 0,
    text,
    savedDigest: undefined,
    seed,
    length,
    rule: { batch, steps, lr, warmup, weightDecay, clip },
    computing: stepOptions(options),
  };
}

async function resumedStart(options: TrainOptions, folder: string): Promise<Start> {
  const { model, optimizerState, step, extra } = await loadTraining(folder, adamw());
  const saved = new SavedSettings(extra, folder);
  saved.oneOf("command", ["train"]);
  const { given } = options;
  const length = saved.optionalNumber("length") ?? model.config.max_position_embeddings;
  const rule = resumedRule(options, saved);
  return {
    model,
    tokenizer: await modelTokenizer(folder, model.config),
    tokenizerSource: folder,
    optimizerState,
    step,
    text: given.has("text") ? options.text : saved.text("text"),
    savedDigest: saved.optionalText("textDigest"),
    seed: settled("seed", given, options.seed, saved.number("seed"), folder),
    length: settled("length", given, options.length, length, folder),
    rule,
    computing: resumedStep(options, saved, rule),
  };
}
