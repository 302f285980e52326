import { mkdir, readFile, rm } from "node:fs/promises";
import { FormatError, OptionError } from "../errors.js";
import { writeFileAtomic } from "../nn/files.js";
import type { DrawPoint, TrainPoint } from "./results.js";

export const demoPhases = ["pretrain", "plain", "e2"] as const;
export type DemoPhase = (typeof demoPhases)[number];

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
export const phaseFolder = (out: string, phase: DemoPhase): string => `${out}/${phase === "pretrain" ? "base" : phase}`;

/** Makes the folder for results. Throws OptionError where it cannot be made. */
export async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw new OptionError(`the folder ${folder} cannot be made`, { cause, hint: "choose another folder with --out" });
  });
}

/** The state that an interrupted run with these settings left; undefined where there is none. Throws FormatError for a damaged file. */
export async function readState(folder: string, fingerprint: string): Promise<DemoState | undefined> {
  const file = fileIn(folder);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  try {
    const state = JSON.parse(text) as DemoState;
    return state.fingerprint === fingerprint ? state : undefined;
  } catch (cause) {
    throw new FormatError("the state of an interrupted demo cannot be read", { file, cause, hint: "remove the file to start again" });
  }
}

export const writeState = (folder: string, state: DemoState): Promise<void> =>
  writeFileAtomic(fileIn(folder), `${JSON.stringify(state)}\n`);

export const removeState = (folder: string): Promise<void> => rm(fileIn(folder), { force: true });
