import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** A module of bench/, which is JavaScript, with the types that its tests expect of it. */
export const load = <T>(path: string): Promise<T> => import(pathToFileURL(resolve("bench", path)).href);

/** What a script said, and how it ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a script of bench/ in a process of its own. */
export const runBench = (script: string, ...args: readonly string[]): Promise<Ended> =>
  new Promise((done) => {
    execFile(process.execPath, [resolve("bench", script), ...args], (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
