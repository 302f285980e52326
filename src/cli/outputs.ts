/** Checks of everything that a command will write, before it begins to work. */
import { randomUUID } from "node:crypto";
import { realpath, rmdir, stat, statfs, unlink, writeFile } from "node:fs/promises";
import { DawngradError, FormatError, OptionError } from "../errors.js";
import { checkpointFiles } from "../nn/checkpoint.js";
import { makeFolder } from "../nn/folders.js";
import { formatBytes } from "./machine.js";
import { metricsName } from "./metrics.js";
import { lockFolder, type RunLock } from "./run-lock.js";

/** A folder that a command will write to. */
export interface OutputFolder {
  readonly folder: string;
  /** Names of the files that will be made or replaced. */
  readonly files: readonly string[];
}

/** The files of a training run. */
export const runFiles: readonly string[] = [...checkpointFiles, metricsName];

/**
 * Runs a training once its folder is there, can be written to and is this process's alone. A fresh run (without `resume`) that would replace
 * another one is refused, and so is going on from a folder without a checkpoint.
 *
 * @throws OptionError for a folder that cannot be used, FormatError where there is nothing to go on from
 */
export async function withRunFolder<R>(
  options: { readonly out: string; readonly resume?: string; readonly force?: boolean },
  body: () => Promise<R>,
): Promise<R> {
  const { out, resume, force = false } = options;
  if (resume !== undefined) await needCheckpoint(resume);
  return withOutputs([{ folder: out, files: runFiles }], { lock: true }, async () => {
    const sameFolder = resume !== undefined && (await realpath(resume)) === (await realpath(out));
    if (!force && !sameFolder) await refuseOtherRun(out);
    return body();
  });
}

/**
 * Runs `body` once the folders are there, can be written to, hold nothing that is in the way of the files, and (with `lock`) are held by
 * this process alone. Folders that were made for it and stayed empty are removed again.
 *
 * @throws OptionError for what is in the way, DawngradError for a full disk
 */
export async function withOutputs<R>(
  outputs: readonly OutputFolder[],
  options: { readonly lock: boolean },
  body: () => Promise<R>,
): Promise<R> {
  const made: string[] = [];
  const locks: RunLock[] = [];
  try {
    for (const { folder, files } of outputs) {
      made.push(...(await makeFolder(folder)));
      await tryWriting(folder);
      for (const file of files) await refuseFolderAt(`${folder}/${file}`);
      if (options.lock) locks.push(await lockFolder(folder));
    }
    return await body();
  } finally {
    for (const lock of locks) lock.release();
    for (const folder of made.reverse()) await rmdir(folder).catch(() => undefined);
  }
}

/** Permissions do not tell all: only a file that was written shows that files can be. */
async function tryWriting(folder: string): Promise<void> {
  const file = `${folder}/.${randomUUID()}.tmp`;
  try {
    await writeFile(file, "dawngrad", { flag: "wx" });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOSPC" || code === "EDQUOT") throw diskFull(folder, "full", cause);
    const reason =
      code === "EACCES" || code === "EPERM"
        ? "no permission"
        : code === "EROFS"
          ? "the disk is read-only"
          : cause instanceof Error
            ? cause.message
            : String(cause);
    throw new OptionError(`${folder} cannot be written to: ${reason}`, { hint: "choose another folder with --out", cause });
  } finally {
    await unlink(file).catch(() => undefined);
  }
}

async function refuseFolderAt(file: string): Promise<void> {
  if (!(await stat(file).catch(() => undefined))?.isDirectory()) return;
  throw new OptionError(`${file} is a folder, and a file of that name has to be written`, {
    hint: "choose another folder with --out, or move that one away",
  });
}

/** Refuses a disk that cannot hold so many bytes more (DawngradError). File systems that do not tell what is free are believed to have it. */
export async function needSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, blocks, bsize } = await statfs(folder).catch(() => ({ bavail: 0, blocks: 0, bsize: 0 }));
  const free = bavail * bsize;
  if (blocks > 0 && free < bytes)
    throw diskFull(folder, `nearly full: ${formatBytes(free)} are free, and a checkpoint takes ${formatBytes(bytes)}`);
}

const diskFull = (folder: string, how: string, cause?: unknown): DawngradError =>
  new DawngradError(`the disk of ${folder} is ${how}`, { hint: "free some space or choose another folder with --out", cause });

/** Which files of a model or a training run a folder holds. */
export async function checkpointIn(folder: string): Promise<string[]> {
  const found = await Promise.all(checkpointFiles.map((name) => stat(`${folder}/${name}`).catch(() => undefined)));
  return checkpointFiles.filter((_, i) => found[i] !== undefined);
}

/** Refuses to replace a model or a run that somebody made (OptionError). */
export async function refuseOtherRun(folder: string): Promise<void> {
  const found = await checkpointIn(folder);
  if (found.length === 0) return;
  const resume = found.includes("training.safetensors") ? `go on with it: --resume ${folder}; ` : "";
  throw new OptionError(`${folder} holds a run already (${found.join(", ")}), which this one would replace`, {
    hint: `${resume}replace it: --force; or choose another folder: --out`,
  });
}

/** Refuses to go on with a run that is not there (FormatError). */
export async function needCheckpoint(folder: string): Promise<void> {
  if ((await checkpointIn(folder)).includes("training.safetensors")) return;
  throw new FormatError("there is no checkpoint to go on from", {
    file: `${folder}/training.safetensors`,
    hint: "check the path; a folder that can be gone on from is one that `dawngrad train` or `dawngrad extend` wrote",
  });
}
