import { readFile, rm } from "node:fs/promises";
import { FormatError, OptionError } from "../errors.js";
import { writeFileAtomic } from "../nn/files.js";
import { checkpointIn, type OutputFolder, runFiles } from "./outputs.js";
import type { DrawPoint, TrainPoint } from "./results.js";

/** The trainings of a demo, in their order, with the folders of their checkpoints. */
const phaseFolders = {
  pretrain: "base",
  plain: "plain",
  e2: "e2",
  full: "full",
  "ledger-pretrain": "ledger/base",
  "ledger-plain": "ledger/plain",
  "ledger-e2": "ledger/e2",
  "ledger-full": "ledger/full",
} as const;
export type DemoPhase = keyof typeof phaseFolders;
export const demoPhases = Object.keys(phaseFolders) as readonly DemoPhase[];

/** What an interrupted demo leaves beside its checkpoints, so that the same command goes on instead of starting again. */
export interface DemoState {
  /** Everything that decides the numbers; a run with other settings starts afresh. */
  readonly fingerprint: string;
  /** Steps that each phase has done. */
  readonly steps: Readonly<Partial<Record<DemoPhase, number>>>;
  readonly train: readonly TrainPoint[];
  readonly draws: readonly DrawPoint[];
  readonly seconds: Readonly<Record<string, number>>;
}

const fileIn = (folder: string): string => `${folder}/unfinished.json`;

/** Folder of a phase's checkpoint. */
export const phaseFolder = (out: string, phase: DemoPhase): string => `${out}/${phaseFolders[phase]}`;

/** Everything that a demo writes. */
export const demoOutputs = (out: string): OutputFolder[] => [
  { folder: out, files: ["results.json", "report.html", "unfinished.json"] },
  ...demoPhases.map((phase) => ({ folder: phaseFolder(out, phase), files: runFiles })),
];

/**
 * The state that an interrupted run with these settings left; undefined where there is none to go on from. A folder that holds the same demo,
 * finished, may be used again: it would get the same numbers.
 *
 * @throws OptionError for a folder that holds other results, another demo or a model, unless `force` is given, FormatError for a damaged file
 */
export async function openDemo(folder: string, fingerprint: string, options: { readonly force?: boolean }): Promise<DemoState | undefined> {
  const state = await readState(folder);
  if (state?.fingerprint === fingerprint) return state;
  if (options.force) return undefined;
  const refuse = (what: string): OptionError =>
    new OptionError(`${folder} holds ${what}, which this demo would replace`, {
      hint: "replace it: --force; or choose another folder: --out",
    });
  if (state !== undefined) throw refuse("an interrupted demo with other settings");
  const finished = await readFingerprint(`${folder}/results.json`);
  if (finished === fingerprint) return undefined;
  if (finished !== undefined) throw refuse("the results of another demo");
  for (const phase of demoPhases) {
    const found = await checkpointIn(phaseFolder(folder, phase));
    if (found.length > 0) throw refuse(`another run (${phaseFolder(folder, phase)})`);
  }
  return undefined;
}

async function readState(folder: string): Promise<DemoState | undefined> {
  const file = fileIn(folder);
  const text = await readIfThere(file);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as DemoState;
  } catch (cause) {
    throw new FormatError("the state of an interrupted demo cannot be read", { file, cause, hint: "remove the file to start again" });
  }
}

/** The settings behind a results.json: empty where it does not tell them, undefined where there is none. */
async function readFingerprint(file: string): Promise<string | undefined> {
  const text = await readIfThere(file);
  if (text === undefined) return undefined;
  try {
    const results = JSON.parse(text) as { readonly fingerprint?: unknown } | null;
    return typeof results?.fingerprint === "string" ? results.fingerprint : "";
  } catch {
    return "";
  }
}

const readIfThere = (file: string): Promise<string | undefined> =>
  readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });

export const writeState = (folder: string, state: DemoState): Promise<void> =>
  writeFileAtomic(fileIn(folder), `${JSON.stringify(state)}\n`);

export const removeState = (folder: string): Promise<void> => rm(fileIn(folder), { force: true });
