/** One run in a folder at a time: a lock file that says who holds it. */
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFileSync, unlinkSync } from "node:fs";
import { link, readFile, stat, unlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout } from "node:timers/promises";
import { OptionError } from "../errors.js";

/** Name of the lock file in the folder of a run. */
export const lockName = "run.lock";

/** A lock of another host, whose processes cannot be asked for, is stale when its holder has not touched it for so long. */
const silenceMilliseconds = 15 * 60_000;
/** How often a holder touches its lock. */
const touchMilliseconds = 60_000;
/** A lock file that says nothing is being written, or its writer died at that moment. */
const unreadableMilliseconds = 10_000;

/** How long another is waited for that removes a stale lock, which takes it a few calls to the system. */
const guardMilliseconds = 20;

/** What a lock file says about its holder. */
export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** When the process of that number started, so that another process with the same number is told apart; null where it cannot be known. */
  readonly started: string | null;
  /** Tells two holders with equal data apart. */
  readonly token: string;
}

export interface RunLock {
  /** Removes the lock file, if it is still this holder's. */
  release(): void;
}

/**
 * Takes the lock of a folder, which exists. A lock that a dead process left (by its number and start on this host, by its silence on
 * another) is taken over. It is given back by `release`, and at the latest when the process exits.
 *
 * @throws OptionError naming the process that holds it; errors of the system where the folder may not be written to
 */
export async function lockFolder(folder: string): Promise<RunLock> {
  const file = `${folder}/${lockName}`;
  const mine: LockHolder = { pid: process.pid, host: hostname(), started: startOf(process.pid), token: randomUUID() };
  const text = `${JSON.stringify(mine)}\n`;
  const draft = `${file}.${mine.token}.tmp`;
  await writeFile(draft, text, { flag: "wx" });
  try {
    // The clock of the file system, which on a network may be another than ours.
    const [written, begun] = [(await stat(draft)).mtimeMs, performance.now()];
    const now = (): number => written + performance.now() - begun;
    while (!(await create(file, draft, text))) {
      const found = await readLock(file);
      if (found === undefined) continue; // given back meanwhile
      if (!isStale(found, now())) throw heldBy(folder, file, found.holder);
      await removeStale(file, found.text, { draft, text, now });
    }
  } finally {
    await unlink(draft).catch(() => undefined);
  }

  const timer = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), touchMilliseconds);
  timer.unref();
  const release = (): void => {
    clearInterval(timer);
    process.removeListener("exit", release);
    try {
      if (readFileSync(file, "utf8") === text) unlinkSync(file);
    } catch {
      // It is gone, or the folder is: nothing is left to give back.
    }
  };
  process.on("exit", release);
  return { release };
}

/** Makes the lock file, whole, unless there is one. */
async function create(file: string, draft: string, text: string): Promise<boolean> {
  try {
    await link(draft, file);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
  }
  // Some file systems have no hard links.
  try {
    await writeFile(file, text, { flag: "wx" });
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

interface FoundLock {
  readonly text: string;
  /** Undefined where the file says nothing that can be read. */
  readonly holder: LockHolder | undefined;
  readonly touched: number;
}

async function readLock(file: string): Promise<FoundLock | undefined> {
  try {
    const text = await readFile(file, "utf8");
    return { text, holder: parseHolder(text), touched: (await stat(file)).mtimeMs };
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function parseHolder(text: string): LockHolder | undefined {
  try {
    const { pid, host, started, token } = JSON.parse(text) as Record<keyof LockHolder, unknown>;
    if (!Number.isInteger(pid) || typeof host !== "string" || typeof token !== "string") return undefined;
    return { pid: pid as number, host, started: typeof started === "string" ? started : null, token };
  } catch {
    return undefined;
  }
}

function isStale({ holder, touched }: FoundLock, now: number): boolean {
  if (holder === undefined) return now - touched > unreadableMilliseconds;
  if (holder.host !== hostname()) return now - touched > silenceMilliseconds;
  if (!isAlive(holder.pid)) return true;
  const started = startOf(holder.pid);
  return holder.started !== null && started !== null && holder.started !== started;
}

/**
 * Removes a stale lock. Of several that found it, one at a time: the second looks again and finds that it is gone or another's. Without that
 * a late one would remove the lock of the first.
 */
async function removeStale(
  file: string,
  stale: string,
  own: { readonly draft: string; readonly text: string; readonly now: () => number },
): Promise<void> {
  const guard = `${file}.guard`;
  if (!(await create(guard, own.draft, own.text))) {
    const found = await readLock(guard);
    if (found !== undefined && own.now() - found.touched > unreadableMilliseconds) await unlink(guard).catch(() => undefined);
    else await setTimeout(guardMilliseconds);
    return;
  }
  try {
    if ((await readLock(file))?.text === stale) await unlink(file);
  } finally {
    await unlink(guard).catch(() => undefined);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasCode(error, "ESRCH");
  }
}

/** When a process started: with its number, a name that no other process ever has. Null where the system does not tell. */
function startOf(pid: number): string | null {
  try {
    if (process.platform !== "linux") return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim() || null;
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name before the last parenthesis may hold anything; what follows is field 3 on, and the start in clock ticks is field 22.
    const start = fields.slice(fields.lastIndexOf(")") + 2).split(" ")[19];
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return start === undefined ? null : `${boot}/${start}`;
  } catch {
    return null;
  }
}

function heldBy(folder: string, file: string, holder: LockHolder | undefined): OptionError {
  const who = holder === undefined ? "another run" : `process ${holder.pid} on ${holder.host}`;
  return new OptionError(`${folder} is in use: ${who} is writing there`, {
    hint: `wait for it, choose another folder with --out, or remove ${file} if you are sure that nothing runs`,
  });
}

const hasCode = (error: unknown, code: string): boolean => error instanceof Error && "code" in error && error.code === code;
