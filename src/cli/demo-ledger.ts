/** Answers in the ledger, of every model in every way that it is read. */
import { readingTables } from "../e2llm/reading.js";
import { PassCounter, planScoring, type ScoringCost, scoringCost } from "../e2llm/scoring.js";
import { evaluateTargets } from "../e2llm/target-evaluation.js";
import { summarizeTargets } from "../e2llm/target-summaries.js";
import { cutExample, evaluationExamples, type Task } from "../e2llm/tasks/task.js";
import { countParameters } from "../nn/config.js";
import type { Llama } from "../nn/llama.js";
import type { DemoSetting } from "./demo-settings.js";
import type { EvaluationMeter } from "./evaluation-progress.js";
import type { LedgerResults, LedgerRow, Variant } from "./results.js";

type LedgerReading = Pick<LedgerRow, "variant" | "schedule" | "scale" | "context"> & {
  readonly schedule: "none" | "linear" | "yarn-turns";
};

/** How each model is read: unscaled, and what has no further training by dividing positions and by YaRN, at scale context / L. */
const schedulesOf: Readonly<Record<Variant, readonly LedgerReading["schedule"][]>> = {
  base: ["none", "linear", "yarn-turns"],
  plain: ["none", "yarn-turns"],
  e2: ["linear"],
  full: ["none"],
};

/** Every model at every context in every way. At L all of them read unscaled. */
export function ledgerReadings({ contexts, preset, fullLength }: DemoSetting): LedgerReading[] {
  return (["base", "plain", "e2", "full"] as const).flatMap((variant) =>
    schedulesOf[variant].flatMap((schedule) =>
      contexts
        .filter((context) => context <= fullLength)
        .map((context) => ({ variant, schedule, scale: schedule === "none" ? 1 : context / preset.window, context })),
    ),
  );
}

/** At scale 1 every schedule is one measurement. */
const jobOf = ({ variant, schedule, scale, context }: LedgerReading): string =>
  scale === 1 ? `${variant}/${context}` : `${variant}/${schedule}/${context}`;

/** Measures all of it on the same questions; undefined where `shouldStop` ended it. */
export async function measureLedger(options: {
  readonly setting: DemoSetting & { readonly task: Task };
  readonly models: Readonly<Record<Variant, Llama>>;
  readonly seed: number;
  readonly meter: EvaluationMeter;
  readonly shouldStop: () => boolean;
}): Promise<LedgerResults | undefined> {
  const { setting, models, seed, meter, shouldStop } = options;
  const { task, config, preset, fullLength } = setting;
  const { window, blocks: count, evaluationBytes } = preset;
  const examples = evaluationExamples({ task, length: fullLength, count, seed });
  const readings = ledgerReadings(setting);
  const jobs = new Map(readings.map((reading) => [jobOf(reading), reading]));
  const batchAt = (context: number): number => Math.max(1, Math.floor(evaluationBytes / context));
  const costOf = ({ context }: LedgerReading): ScoringCost =>
    scoringCost(config, planScoring(config, { context, targetLength: Math.min(context, lastPlaces), count, batch: batchAt(context) }));
  const counter = new PassCounter([...jobs.values()].map(costOf), (progress) =>
    meter.update(progress, `ledger, ${progress.done} of ${progress.total} passes`),
  );
  const measured = new Map<string, ReturnType<typeof summarizeTargets>>();
  for (const [job, reading] of jobs) {
    const { variant, schedule, scale, context } = reading;
    let before = 0;
    const scores = await evaluateTargets({
      model: models[variant],
      examples: examples.map((example) => cutExample(task, example, context)),
      batch: batchAt(context),
      tables: (length) => readingTables({ ...config, max_position_embeddings: window }, { schedule, scale, length, window }),
      shouldStop,
      onProgress: ({ tokens, work }) => {
        counter.add({ tokens, work: work - before });
        before = work;
      },
    });
    if (shouldStop()) return undefined;
    measured.set(job, summarizeTargets(scores));
  }
  const questions = examples.flatMap(({ questions: asked }) => asked.filter(({ kind }) => kind === "question"));
  const chance = task.kinds["question"]?.chance ?? 0;
  return {
    window,
    gMax: preset.gMax,
    parameters: countParameters(config),
    chance,
    perfect: setting.contexts
      .filter((context) => context <= fullLength)
      .map((context) => {
        const known = questions.filter(({ place, distance = Infinity }) => distance < place - (fullLength - context)).length;
        return { context, accuracy: (known + chance * (questions.length - known)) / questions.length };
      }),
    rows: readings.flatMap((reading) =>
      (measured.get(jobOf(reading)) ?? []).map(({ kind, accuracy, nats, targets }) => ({ ...reading, kind, accuracy, nats, targets })),
    ),
  };
}

/** Places at the end of a sequence that the work of its head is counted for. */
const lastPlaces = 16;
