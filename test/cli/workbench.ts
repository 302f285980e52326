import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CliEnvironment, runCli } from "../../src/cli/program.js";
import { runners } from "../../src/cli/runners.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import { CapturedStream, FakeSignals } from "./capture.js";

/** A folder with a small text, and the command with its real bodies. */
export interface Workbench {
  readonly folder: string;
  /** A path in the folder. */
  at(name: string): string;
  /** A training of some milliseconds. */
  train(rest: string): string;
  remove(): Promise<void>;
}

export async function createWorkbench(): Promise<Workbench> {
  const folder = await mkdtemp(join(tmpdir(), "dawngrad-work-"));
  const words = ["whale ", "sea ", "ship ", "call me ", "storm ", "boat.\n"];
  const text = Array.from({ length: 400 }, (_, i) => words[threefry2x32(1, 2, i, 0)[0] % words.length]).join("");
  await writeFile(join(folder, "text.txt"), text);
  const at = (name: string): string => join(folder, name);
  return {
    folder,
    at,
    train: (rest) =>
      `train --text ${at("text.txt")} --window 8 --hidden 8 --layers 1 --heads 2 --batch 2 --lr 0.01 --save-every 0 --backend reference ${rest}`,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Runs a command line with the real bodies. */
export async function command(line: string, environment: Partial<CliEnvironment> = {}) {
  const stdout = new CapturedStream();
  const stderr = new CapturedStream();
  const code = await runCli(line.split(" "), { stdout, stderr, env: {}, runners, signals: new FakeSignals(), ...environment });
  return { code, stdout: stdout.text, stderr: (environment.stderr as CapturedStream | undefined)?.text ?? stderr.text };
}
