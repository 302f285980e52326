import { readFile } from "node:fs/promises";
import type { ExperimentDefinition } from "../../e2llm/experiment/definition.js";
import { experimentOfSize, planExperiment } from "../../e2llm/experiment/plan.js";
import type { ExperimentResults } from "../../e2llm/experiment/results.js";
import { type ExperimentProgress, runExperiment } from "../../e2llm/experiment/run-experiment.js";
import { experimentMarkdown, experimentTable } from "../../e2llm/experiment/tables.js";
import { OptionError } from "../../errors.js";
import { writeFileAtomic } from "../../nn/files.js";
import { isObject } from "../../nn/json.js";
import type { ExperimentOptions } from "../commands/experiment.js";
import { loadCorpus } from "../corpus.js";
import { exitCodes } from "../exit.js";
import { readExperiment, shippedExperiments } from "../experiment-file.js";
import { needRoom, roomOf, trainedBatch, trainedModel } from "../fit.js";
import type { CommandIo } from "../io.js";
import { withOutputs } from "../outputs.js";
import { formatLoss, type Progress } from "../progress.js";
import { canDraw, figuresLine } from "../report/draw.js";
import { renderExperiment } from "../report/experiment-report.js";
import type { Runner } from "../runner.js";
import { onBackend } from "../session.js";
import { WorkClock } from "../work-clock.js";

const files = ["experiment.json", "results.json", "results.md", "report.html"] as const;

/**
 * Runs an experiment. JSON: the document of results.json: { command, size, seconds, backend, adapter, … } with all of `runExperiment`'s results,
 * or { command, interrupted: true, out, backend, adapter } after a signal; without a file { command, experiments: [{ name, title, sizes }] }.
 * Exit code 1 where something does not hold that the file requires or expects.
 */
export const run: Runner<ExperimentOptions> = async (options, { io, commandLine, onInterrupt }) => {
  if (options.file === undefined) return list(io);
  const { size, only, seeds, saveEvery } = options;
  const whole = await readExperiment(options.file);
  const sized = size === undefined ? whole : experimentOfSize(whole, size);
  const definition: ExperimentDefinition = seeds === undefined ? sized : { ...sized, seeds };
  const text = typeof definition.text === "string" ? await loadCorpus(definition.text) : definition.text;
  const plan = planExperiment(definition, text);
  const out = options.out ?? `runs/${definition.name}${size === undefined ? "" : `-${size}`}`;
  const identity = { experiment: definition.name, size: size ?? null };

  return withOutputs([{ folder: out, files }], { lock: true }, () =>
    onBackend(options, io, async (computedOn, info) => {
      for (const { training } of plan.variants.values()) {
        const { batch, length, microBatch } = training;
        needRoom(roomOf(info), [
          trainedModel(plan.config),
          trainedBatch(plan.config, { batch: microBatch ?? batch, length, unit: "tokens" }),
        ]);
      }
      if (!options.force) await refuseOther(out, identity);
      await writeFileAtomic(`${out}/experiment.json`, `${JSON.stringify({ ...identity, command: commandLine, definition }, null, 2)}\n`);
      if (!(await canDraw())) io.note(`the report will have no figures; ${figuresLine} brings them`);
      const stop = onInterrupt();
      const begun = performance.now();
      const meter = new GridMeter(io, definition.name);
      const results = await runExperiment(definition, {
        folder: out,
        saveEvery,
        ...(only === undefined ? {} : { only }),
        loadText: async () => text as NonNullable<typeof text>,
        onProgress: (progress) => meter.update(progress),
        shouldStop: () => stop.requested !== undefined,
      });
      meter.finish();
      if (!results.complete) {
        io.note(`stopped after saving to ${out}; go on with the same command: ${commandLine}`);
        io.result({ command: "experiment", interrupted: true, out, ...computedOn });
        return stop.exitCode;
      }
      const seconds = (performance.now() - begun) / 1000;
      const document = { command: "experiment", ...identity, commandLine, seconds, ...results, ...computedOn };
      await writeFileAtomic(`${out}/results.json`, `${JSON.stringify(document, null, 1)}\n`);
      await writeFileAtomic(`${out}/results.md`, `${experimentMarkdown(results)}\nCommand: \`${commandLine}\`\n`);
      await writeFileAtomic(`${out}/report.html`, await renderExperiment(results, { command: commandLine }));
      io.print(experimentTable(results));
      io.result(document);
      io.print(`${out}/report.html`);
      return sayWhatFails(io, results);
    }),
  );
};

async function list(io: CommandIo): Promise<undefined> {
  const names = await shippedExperiments();
  const experiments = await Promise.all(
    names.map(async (name) => {
      const { title = name, sizes = {} } = await readExperiment(name);
      return { name, title, sizes: Object.keys(sizes) };
    }),
  );
  const width = Math.max(...names.map((name) => name.length));
  for (const { name, title, sizes } of experiments) io.print(`${name.padEnd(width)}  ${title} [${sizes.join(", ")}]`);
  io.result({ command: "experiment", experiments });
  return undefined;
}

/** Refuses a folder that holds another experiment, or the same in another size (OptionError). */
async function refuseOther(out: string, mine: { readonly experiment: string; readonly size: string | null }): Promise<void> {
  const text = await readFile(`${out}/experiment.json`, "utf8").catch(() => undefined);
  if (text === undefined) return;
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return; // It is written anew.
  }
  if (!isObject(found) || (found["experiment"] === mine.experiment && found["size"] === mine.size)) return;
  throw new OptionError(
    `${out} holds the experiment "${found["experiment"]}"${found["size"] === null ? "" : ` in size "${found["size"]}"`}`,
    {
      hint: "choose another folder: --out; or replace its results: --force",
    },
  );
}

/** Warns of each thing that does not hold, and says with which code the command ends. */
function sayWhatFails(io: CommandIo, { requirements, expectations, held }: ExperimentResults): number | undefined {
  for (const { name, found } of requirements.filter((one) => !one.held)) io.warn(`required, and not so: ${name} (${found})`);
  for (const { name, found } of expectations.filter((one) => !one.held)) io.warn(`expected, and not so: ${name} (${found})`);
  return held ? undefined : exitCodes.failed;
}

/** One progress line for the whole grid. */
class GridMeter {
  readonly #line: Progress;
  #clock: WorkClock | undefined;
  #work = 0;

  constructor(io: CommandIo, label: string) {
    this.#line = io.progress({ label, total: 100 });
  }

  update({ phase, variant, seed, row, step, steps, loss, tokens, work, totalWork }: ExperimentProgress): void {
    this.#clock ??= new WorkClock(totalWork);
    if (phase === "found") this.#clock.skip(work - this.#work);
    else this.#clock.add(work - this.#work);
    this.#work = work;
    const { secondsLeft } = this.#clock;
    const doing = row === undefined ? `${variant} step ${step}/${steps} loss ${formatLoss(loss ?? Number.NaN)}` : `reading ${row}`;
    this.#line.update({
      step: Math.min(100, Math.floor((100 * work) / totalWork)),
      amount: tokens,
      detail: phase === "found" ? `seed ${seed}: ${variant} is there` : `seed ${seed}: ${doing}`,
      ...(secondsLeft === undefined ? {} : { secondsLeft }),
    });
  }

  finish(): void {
    this.#line.clear();
  }
}
