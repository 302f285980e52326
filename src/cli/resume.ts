import { createHash } from "node:crypto";
import { FormatError, OptionError } from "../errors.js";
import { byteTokenizer } from "../nn/tokenizers.js";
import type { Corpus } from "./corpus.js";
import type { CommandIo } from "./io.js";
import { type CheckpointName, checkMicroBatch, checkpointNames, flagOf, type StepOptions } from "./options.js";
import type { LearningRule } from "./training-run.js";

/** Reads what an earlier run wrote beside its checkpoint, field by field. Throws FormatError for what is missing or of another type. */
export class SavedSettings {
  constructor(
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly folder: string,
  ) {}

  number(name: string): number {
    const value = this.values[name];
    if (typeof value !== "number" || !Number.isFinite(value)) this.fail(name, "a number", value);
    return value;
  }

  /** A number that older runs did not write. */
  optionalNumber(name: string): number | undefined {
    return this.values[name] === undefined ? undefined : this.number(name);
  }

  /** True or false, which older runs did not write. */
  optionalFlag(name: string): boolean {
    const value = this.values[name] ?? false;
    if (typeof value !== "boolean") this.fail(name, "true or false", value);
    return value;
  }

  /** A text that older runs did not write. */
  optionalText(name: string): string | undefined {
    return this.values[name] === undefined ? undefined : this.text(name);
  }

  text(name: string): string {
    const value = this.values[name];
    if (typeof value !== "string") this.fail(name, "a text", value);
    return value;
  }

  /** One of a few names, or the first of them where older runs did not write it. */
  optionalOneOf<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    return this.values[name] === undefined ? choices[0] : this.oneOf(name, choices);
  }

  /** One of a few names that only some runs write. */
  optionalName<T extends string>(name: string, choices: readonly T[]): T | undefined {
    return this.values[name] === undefined ? undefined : this.oneOf(name, choices);
  }

  /** A number or one of a few names, which only some runs write. */
  optionalNumberOrName<T extends string>(name: string, choices: readonly T[]): number | T | undefined {
    return typeof this.values[name] === "number" ? this.number(name) : this.optionalName(name, choices);
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.text(name);
    const found = choices.find((choice) => choice === value);
    if (found === undefined) this.fail(name, choices.map((choice) => `"${choice}"`).join(" or "), value);
    return found;
  }

  private fail(name: string, expected: string, found: unknown): never {
    throw new FormatError(
      `the settings of the earlier run should hold ${expected} as "${name}", found ${JSON.stringify(found) ?? "nothing"}`,
      {
        file: `${this.folder}/training.safetensors`,
        hint: "only a checkpoint that the same command of dawngrad wrote can be gone on from",
      },
    );
  }
}

/** A setting of the command line where the user typed it, else the one of the earlier run. */
export function pick<T>(name: string, given: ReadonlySet<string>, typed: T, saved: () => T): T {
  return given.has(name) ? typed : saved();
}

/** A setting that a run keeps from its first step to its last. Throws OptionError where another one was typed. */
export function settled<T extends string | number | undefined>(
  name: string,
  given: ReadonlySet<string>,
  typed: T | undefined,
  saved: T,
  folder: string,
): T {
  if (!given.has(name) || typed === saved) return saved;
  throw new OptionError(`${flagOf(name)} ${typed} was given, and the run in ${folder} was begun with ${saved ?? "none"}`, {
    hint: `leave ${flagOf(name)} out to go on with that run, or begin another one without --resume`,
  });
}

/** The learning rule to go on with: what was typed changes it from here on. */
export function resumedRule(typed: LearningRule & { readonly given: ReadonlySet<string> }, saved: SavedSettings): LearningRule {
  const of = (name: keyof LearningRule): number => pick(name, typed.given, typed[name], () => saved.number(name));
  return { batch: of("batch"), steps: of("steps"), lr: of("lr"), warmup: of("warmup"), weightDecay: of("weightDecay"), clip: of("clip") };
}

/** How the steps to come are computed: as before where nothing else was typed. Throws OptionError for micro-batches that do not make up the batch. */
export function resumedStep(
  typed: StepOptions & { readonly given: ReadonlySet<string> },
  saved: SavedSettings,
  rule: Pick<LearningRule, "batch">,
): StepOptions {
  const checkpoint = pick("checkpoint", typed.given, typed.checkpoint, () => saved.optionalOneOf("checkpoint", checkpointNames));
  const microBatch = pick("microBatch", typed.given, typed.microBatch, () => saved.optionalNumber("microBatch"));
  checkMicroBatch(microBatch, rule.batch);
  return stepOptions({ checkpoint, microBatch });
}

/** The part of options that says how a step is computed, without what is absent. */
export const stepOptions = ({
  checkpoint,
  microBatch,
}: {
  readonly checkpoint: CheckpointName;
  readonly microBatch?: number | undefined;
}): StepOptions => (microBatch === undefined ? { checkpoint } : { checkpoint, microBatch });

/** SHA-256 of a text that is trained on, its division into documents included. */
export function digestOf({ train, tokenizer }: Pick<Corpus, "train" | "tokenizer">): string {
  const hash = createHash("sha256");
  for (const { tokens } of train) {
    hash.update(`${tokens.length}:`);
    hash.update(
      tokenizer === byteTokenizer ? Uint8Array.from(tokens) : new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength),
    );
  }
  return hash.digest("hex");
}

/**
 * Holds the text of a run that is gone on with against the one that it began with. Another path to the same text is fine.
 *
 * @throws OptionError where another text was named; a text that changed under its name is worth a warning
 */
export function checkText(
  io: CommandIo,
  options: { readonly given: ReadonlySet<string>; readonly text: string; readonly resume?: string },
  found: { readonly saved: string; readonly savedDigest: string | undefined; readonly digest: string },
): void {
  if (found.savedDigest === undefined || found.savedDigest === found.digest) return;
  const { given, text, resume } = options;
  if (given.has("text")) {
    throw new OptionError(`--text ${text} was given, and the run in ${resume} was begun with another text`, {
      hint: `leave --text out to go on with that run, or train its model on: dawngrad extend --method plain --model ${resume} --text ${text}`,
    });
  }
  io.warn(`the text ${found.saved} has changed since the run in ${resume} began`);
}

/** Refuses to go on with a run that is at its end. */
export function refuseFinished(step: number, steps: number, folder: string): void {
  if (step < steps) return;
  throw new OptionError(`the checkpoint in ${folder} is at step ${step} already, and ${steps} were asked for`, {
    hint: `ask for more, --steps ${2 * step} for example`,
  });
}
