import type { DrawRecord } from "../e2llm/positions/index.js";
import { FormatError } from "../errors.js";
import type { JsonValue } from "./io.js";

/** Format version of results.json; raised when a field changes its meaning or goes away. */
export const resultsVersion = 1;

export const variantNames = ["base", "plain", "e2", "full"] as const;
/**
 * "base": after pretraining; "plain": after as many further plain steps as E² took; "e2": after E²-LLM; "full": after as many steps on
 * sequences of full length, the upper bound.
 */
export type Variant = (typeof variantNames)[number];

/** One measured loss. */
export interface ResultRow {
  readonly variant: Variant;
  /** RoPE schedule when reading. */
  readonly schedule: string;
  /** Scale that the schedule was given; 1 for "none". */
  readonly scale: number;
  /** Bytes of context before each target. */
  readonly context: number;
  /** Mean loss over the targets in nats per byte. */
  readonly nats: number;
}

/** One point of a training curve. */
export interface TrainPoint {
  readonly phase: string;
  readonly step: number;
  /** Nats per byte. */
  readonly loss: number;
  /** Norm of the gradients before clipping; absent from files that an older version wrote. */
  readonly gradNorm?: number;
  /** Learning rate; absent like `gradNorm`. */
  readonly lr?: number;
  /** Smoothed over some seconds; null until enough steps were timed. */
  readonly tokensPerSecond: number | null;
}

/** What was drawn for a batch or for a sample; several share a step when draws are per sample. E²-LLM draws { g, t }. */
export type DrawPoint = { readonly step: number } & DrawRecord;

/** How one variant, read in one way, answers the questions of one kind in the ledger. */
export interface LedgerRow {
  readonly variant: Variant;
  readonly schedule: string;
  readonly scale: number;
  /** Tokens of context. */
  readonly context: number;
  /** "question": recall of what was last written for a name; "echo1", "echo2": the token one or two places back. */
  readonly kind: string;
  /** Share of right answers. */
  readonly accuracy: number;
  /** Mean loss in nats. */
  readonly nats: number;
  /** Questions behind the row, the same at every context. */
  readonly targets: number;
}

/** The second setting of the demo, in which context beyond the window is worth something; see `ledgerTask`. */
export interface LedgerResults {
  /** L in tokens. */
  readonly window: number;
  readonly gMax: number;
  readonly parameters: number;
  /** Share of right guesses at questions. */
  readonly chance: number;
  /** What perfect recall of each context gives on questions, guesses beyond it included. */
  readonly perfect: readonly { readonly context: number; readonly accuracy: number }[];
  readonly rows: readonly LedgerRow[];
}

/** The contents of results.json. */
export interface DemoResults {
  readonly version: number;
  readonly backend: string;
  /** Name of the GPU adapter, or of the way in which the processor is used; null on the reference backend. */
  readonly adapter: string | null;
  readonly preset: string;
  readonly seed: number;
  /** The model's configuration with Hugging Face's field names, and its number of parameters. */
  readonly model: { readonly [field: string]: JsonValue } & { readonly parameters: number };
  /** Trained window L in bytes. */
  readonly window: number;
  readonly gMax: number;
  /** Number of target bytes behind every row. */
  readonly targets: number;
  readonly rows: readonly ResultRow[];
  /** Loss on the same targets when only the last L bytes are read, unscaled: the line that long context has to beat. */
  readonly truncation: Readonly<Record<Exclude<Variant, "full">, number>> & { readonly full?: number };
  /** The ledger; absent from files that an older version wrote. */
  readonly ledger?: LedgerResults;
  readonly train: readonly TrainPoint[];
  readonly draws: readonly DrawPoint[];
  /** Wall-clock seconds by phase; "total" where present is the whole run. */
  readonly seconds: Readonly<Record<string, number>>;
  /** The command line that reproduces the file. */
  readonly command: string;
  /** Everything that decides the numbers but the backend; absent from files that an older version wrote. */
  readonly fingerprint?: string;
}

/** Seconds of the whole run: the entry "total", else the sum of all phases. */
export function totalSeconds(results: DemoResults): number {
  return results.seconds["total"] ?? Object.values(results.seconds).reduce((sum, s) => sum + s, 0);
}

/**
 * Reads the parsed JSON of a results.json. Throws FormatError with the path of the first field that is wrong; unknown fields
 * are kept out.
 */
export function parseDemoResults(value: unknown, file = "results.json"): DemoResults {
  const reader = new Reader(file);
  const root = reader.object(value, "the document");
  const version = reader.number(root["version"], "version");
  if (version !== resultsVersion) {
    throw new FormatError(`version: ${version} was found, and ${resultsVersion} is what this program reads`, {
      file,
      hint: "read it with the dawngrad that wrote it",
    });
  }
  const truncation = reader.object(root["truncation"], "truncation");
  const model = reader.object(root["model"], "model");
  return {
    version,
    backend: reader.text(root["backend"], "backend"),
    adapter: root["adapter"] === null ? null : reader.text(root["adapter"], "adapter"),
    preset: reader.text(root["preset"], "preset"),
    seed: reader.number(root["seed"], "seed"),
    model: { ...(model as { [field: string]: JsonValue }), parameters: reader.count(model["parameters"], "model.parameters") },
    window: reader.count(root["window"], "window"),
    gMax: reader.count(root["gMax"], "gMax"),
    targets: reader.count(root["targets"], "targets"),
    rows: reader.list(root["rows"], "rows").map((item, i) => {
      const at = `rows[${i}]`;
      const row = reader.object(item, at);
      return {
        variant: reader.oneOf(row["variant"], variantNames, `${at}.variant`),
        schedule: reader.text(row["schedule"], `${at}.schedule`),
        scale: reader.number(row["scale"], `${at}.scale`),
        context: reader.count(row["context"], `${at}.context`),
        nats: reader.number(row["nats"], `${at}.nats`),
      };
    }),
    truncation: {
      base: reader.number(truncation["base"], "truncation.base"),
      plain: reader.number(truncation["plain"], "truncation.plain"),
      e2: reader.number(truncation["e2"], "truncation.e2"),
      ...(truncation["full"] === undefined ? {} : { full: reader.number(truncation["full"], "truncation.full") }),
    },
    ...(root["ledger"] === undefined ? {} : { ledger: parseLedger(reader, root["ledger"]) }),
    train: reader.list(root["train"], "train").map((item, i) => {
      const at = `train[${i}]`;
      const point = reader.object(item, at);
      return {
        phase: reader.text(point["phase"], `${at}.phase`),
        step: reader.number(point["step"], `${at}.step`),
        loss: reader.number(point["loss"], `${at}.loss`),
        ...(point["gradNorm"] === undefined ? {} : { gradNorm: reader.number(point["gradNorm"], `${at}.gradNorm`) }),
        ...(point["lr"] === undefined ? {} : { lr: reader.number(point["lr"], `${at}.lr`) }),
        tokensPerSecond: point["tokensPerSecond"] === null ? null : reader.number(point["tokensPerSecond"], `${at}.tokensPerSecond`),
      };
    }),
    draws: reader.list(root["draws"], "draws").map((item, i) => {
      const at = `draws[${i}]`;
      const draw = reader.object(item, at);
      return {
        step: reader.number(draw["step"], `${at}.step`),
        g: reader.number(draw["g"], `${at}.g`),
        t: reader.number(draw["t"], `${at}.t`),
      };
    }),
    seconds: Object.fromEntries(
      Object.entries(reader.object(root["seconds"], "seconds")).map(([phase, s]) => [phase, reader.number(s, `seconds.${phase}`)]),
    ),
    command: reader.text(root["command"], "command"),
    ...(root["fingerprint"] === undefined ? {} : { fingerprint: reader.text(root["fingerprint"], "fingerprint") }),
  };
}

function parseLedger(reader: Reader, value: unknown): LedgerResults {
  const ledger = reader.object(value, "ledger");
  return {
    window: reader.count(ledger["window"], "ledger.window"),
    gMax: reader.count(ledger["gMax"], "ledger.gMax"),
    parameters: reader.count(ledger["parameters"], "ledger.parameters"),
    chance: reader.number(ledger["chance"], "ledger.chance"),
    perfect: reader.list(ledger["perfect"], "ledger.perfect").map((item, i) => {
      const at = `ledger.perfect[${i}]`;
      const one = reader.object(item, at);
      return { context: reader.count(one["context"], `${at}.context`), accuracy: reader.number(one["accuracy"], `${at}.accuracy`) };
    }),
    rows: reader.list(ledger["rows"], "ledger.rows").map((item, i) => {
      const at = `ledger.rows[${i}]`;
      const row = reader.object(item, at);
      return {
        variant: reader.oneOf(row["variant"], variantNames, `${at}.variant`),
        schedule: reader.text(row["schedule"], `${at}.schedule`),
        scale: reader.number(row["scale"], `${at}.scale`),
        context: reader.count(row["context"], `${at}.context`),
        kind: reader.text(row["kind"], `${at}.kind`),
        accuracy: reader.number(row["accuracy"], `${at}.accuracy`),
        nats: reader.number(row["nats"], `${at}.nats`),
        targets: reader.count(row["targets"], `${at}.targets`),
      };
    }),
  };
}

/** Checks of single values, each naming the field that failed. */
class Reader {
  constructor(private readonly file: string) {}

  object(value: unknown, at: string): Readonly<Record<string, unknown>> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) this.#fail(at, "an object", value);
    return value as Readonly<Record<string, unknown>>;
  }

  list(value: unknown, at: string): readonly unknown[] {
    if (!Array.isArray(value)) this.#fail(at, "a list", value);
    return value;
  }

  number(value: unknown, at: string): number {
    if (typeof value !== "number" || !Number.isFinite(value)) this.#fail(at, "a finite number", value);
    return value;
  }

  count(value: unknown, at: string): number {
    const n = this.number(value, at);
    if (!Number.isSafeInteger(n) || n < 1) this.#fail(at, "a whole number of at least 1", value);
    return n;
  }

  text(value: unknown, at: string): string {
    if (typeof value !== "string") this.#fail(at, "a text", value);
    return value;
  }

  oneOf<T extends string>(value: unknown, names: readonly T[], at: string): T {
    const found = names.find((name) => name === value);
    if (found === undefined) this.#fail(at, names.map((name) => `"${name}"`).join(" or "), value);
    return found;
  }

  #fail(at: string, expected: string, found: unknown): never {
    const shown = found === undefined ? "nothing" : (JSON.stringify(found)?.slice(0, 60) ?? typeof found);
    throw new FormatError(`${at}: expected ${expected}, found ${shown}`, {
      file: this.file,
      hint: "the file is damaged, or of another program; run the command again",
    });
  }
}
