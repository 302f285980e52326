import type { DemoResults, DrawPoint, LedgerResults, ResultRow, TrainPoint, Variant } from "../../src/cli/results.js";

/** Losses at L, 2L, 4L, 8L. */
type Losses = readonly [number, number, number, number];

export interface TableShape {
  readonly base?: Readonly<Record<string, Losses>>;
  readonly plain?: Readonly<Record<string, Losses>>;
  readonly e2?: Readonly<Record<number, Losses>>;
  /** Losses at full length; without it there is no such model. */
  readonly full?: Losses;
  readonly truncation?: Partial<Record<Exclude<Variant, "full">, number>>;
  /** Right answers at 8L; without them there is no ledger. */
  readonly ledger?: Readonly<Record<"base" | "yarn" | "e2" | "full", number>>;
}

/** A table in which E² holds up to g·L, breaks down past it, and beats neither YaRN at 2L nor its own truncation baseline. */
const usual = {
  base: {
    none: [1.338, 2.516, 3.048, 3.127],
    linear: [1.338, 2.242, 2.965, 3.299],
    ntk: [1.338, 1.568, 2.526, 3.185],
    yarn: [1.338, 1.454, 1.549, 1.739],
  },
  plain: { none: [1.297, 2.55, 3.037, 3.164], yarn: [1.297, 1.334, 1.448, 1.701] },
  e2: {
    1: [1.608, 3.291, 3.37, 3.202],
    2: [1.47, 1.48, 3.066, 3.256],
    4: [1.458, 1.464, 1.481, 2.945],
    8: [1.536, 1.546, 1.575, 1.602],
  },
  truncation: { base: 1.338, plain: 1.297, e2: 1.458 },
} satisfies TableShape;

/** Results whose rows are `shape`, the usual ones where it is silent. */
export function syntheticResults(shape: TableShape = {}): DemoResults {
  const window = 64;
  const contexts = [1, 2, 4, 8].map((times) => times * window);
  const rows: ResultRow[] = [];
  const add = (variant: Variant, schedule: string, losses: Losses, scaleAt: (context: number) => number): void => {
    contexts.forEach((context, i) => rows.push({ variant, schedule, scale: scaleAt(context), context, nats: losses[i] ?? 0 }));
  };
  for (const variant of ["base", "plain"] as const) {
    for (const [schedule, losses] of Object.entries(shape[variant] ?? usual[variant])) {
      add(variant, schedule, losses, (context) => (schedule === "none" ? 1 : context / window));
    }
  }
  for (const [scale, losses] of Object.entries(shape.e2 ?? usual.e2)) add("e2", "linear", losses, () => Number(scale));
  if (shape.full !== undefined) add("full", "none", shape.full, () => 1);
  return {
    version: 1,
    backend: "webgpu",
    adapter: "llvmpipe (LLVM 19.1.7, 256 bits)",
    preset: "smoke",
    seed: 0,
    model: {
      architectures: ["LlamaForCausalLM"],
      hidden_size: 64,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 176,
      parameters: 123_456,
    },
    window,
    gMax: 8,
    targets: 512,
    rows,
    truncation: { ...usual.truncation, ...shape.truncation, ...(shape.full === undefined ? {} : { full: shape.full[0] }) },
    ...(shape.ledger === undefined ? {} : { ledger: syntheticLedger(shape.ledger) }),
    train: [...curve("pretrain", 600, 5.5, 1.35), ...curve("plain", 200, 1.4, 1.3), ...curve("e2", 200, 2.6, 1.55)],
    draws: draws(window, 8, 200 * 4),
    seconds: { pretrain: 48.2, plain: 16.1, e2: 16.9, eval: 9.4, total: 92.3 },
    command: "dawngrad demo --preset smoke --out runs/smoke",
  };
}

/** A ledger whose answers at L are .54, and at 8L as given. */
function syntheticLedger(at8: NonNullable<TableShape["ledger"]>): LedgerResults {
  const window = 64;
  const way = (variant: Variant, schedule: string, last: number): LedgerResults["rows"] =>
    [1, 2, 4, 8].flatMap((times) =>
      ["question", "echo1", "echo2"].map((kind) => ({
        variant,
        schedule,
        scale: schedule === "none" ? 1 : times,
        context: times * window,
        kind,
        accuracy: kind === "question" ? 0.54 + ((last - 0.54) * Math.log2(times)) / 3 : kind === "echo1" ? 0.9 : 0.2,
        nats: 1,
        targets: kind === "question" ? 700 : 150,
      })),
    );
  return {
    window,
    gMax: 8,
    parameters: 121_000,
    chance: 0.25,
    perfect: [0.53, 0.73, 0.9, 1].map((accuracy, i) => ({ context: window * 2 ** i, accuracy })),
    rows: [
      ...way("base", "none", at8.base),
      ...way("base", "yarn-turns", at8.yarn),
      ...way("plain", "yarn-turns", at8.yarn),
      ...way("e2", "linear", at8.e2),
      ...way("full", "none", at8.full),
    ],
  };
}

/** A falling curve with a wobble that no random number is needed for. */
function curve(phase: string, steps: number, from: number, to: number): TrainPoint[] {
  return Array.from({ length: steps }, (_, i) => ({
    phase,
    step: i + 1,
    loss: to + (from - to) * Math.exp((-7 * i) / steps) + 0.05 * Math.sin(i * 12.9898),
    tokensPerSecond: i === 0 ? 300 : 12_000 + 500 * Math.sin(i),
  }));
}

function draws(window: number, gMax: number, count: number): DrawPoint[] {
  const fraction = (i: number, factor: number): number => (i * factor) % 1;
  return Array.from({ length: count }, (_, i) => {
    const g = 1 + Math.floor(fraction(i + 1, 0.754_877_666) * gMax);
    return { step: 1 + Math.floor(i / 4), g, t: Math.floor(fraction(i + 1, 0.569_840_291) * ((g - 1) * window + 1)) };
  });
}
