import { execFile } from "node:child_process";
import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { lockFolder, type RunLock } from "../../src/cli/run-lock.js";
import { OptionError } from "../../src/errors.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const main = join(root, "dist/cli/main.js");

/** The script of the built command; built now where it is missing or older than a source. */
export async function builtCommand(): Promise<string> {
  const folder = join(root, "node_modules/.cache/dawngrad-build");
  await mkdir(folder, { recursive: true });
  const lock = await waitForLock(folder);
  try {
    if (await isStale()) {
      await promisify(execFile)(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
        cwd: root,
      });
    }
  } finally {
    lock.release();
  }
  return main;
}

async function isStale(): Promise<boolean> {
  const built = await stat(main).catch(() => undefined);
  if (built === undefined) return true;
  const names = await readdir(join(root, "src"), { recursive: true });
  const times = await Promise.all(names.map(async (name) => (await stat(join(root, "src", name))).mtimeMs));
  return Math.max(...times) > built.mtimeMs;
}

/** Two files of tests may want to build at the same time. */
async function waitForLock(folder: string): Promise<RunLock> {
  for (;;) {
    try {
      return await lockFolder(folder);
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      await setTimeout(100);
    }
  }
}
