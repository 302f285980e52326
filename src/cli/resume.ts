import { FormatError } from "../errors.js";
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

  text(name: string): string {
    const value = this.values[name];
    if (typeof value !== "string") this.fail(name, "a text", value);
    return value;
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

/** The learning rule to go on with. */
export function resumedRule(typed: LearningRule & { readonly given: ReadonlySet<string> }, saved: SavedSettings): LearningRule {
  const of = (name: keyof LearningRule): number => pick(name, typed.given, typed[name], () => saved.number(name));
  return { batch: of("batch"), steps: of("steps"), lr: of("lr"), warmup: of("warmup"), weightDecay: of("weightDecay"), clip: of("clip") };
}
