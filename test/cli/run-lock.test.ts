import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { lockFolder, lockName } from "../../src/cli/run-lock.js";
import { OptionError } from "../../src/errors.js";

describe("a folder's lock", () => {
  let folder = "";
  const file = () => join(folder, lockName);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "dawngrad-lock-"));
  });
  beforeEach(() => rm(file(), { force: true }));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** What this process would write. */
  async function own(): Promise<Record<string, unknown>> {
    const lock = await lockFolder(folder);
    const holder = JSON.parse(await readFile(file(), "utf8"));
    lock.release();
    return holder;
  }

  it("says who holds it, is given back, and leaves nothing behind", async () => {
    const lock = await lockFolder(folder);
    expect(JSON.parse(await readFile(file(), "utf8"))).toMatchObject({ pid: process.pid, host: hostname() });
    lock.release();
    lock.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it("is held by one of many who want it at the same time", async () => {
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => lockFolder(folder)));
    const held = tries.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(held).toHaveLength(1);
    for (const one of tries) {
      if (one.status === "fulfilled") continue;
      expect(one.reason).toBeInstanceOf(OptionError);
      expect(one.reason.message).toContain(`process ${process.pid} on ${hostname()}`);
      expect(one.reason.hint).toContain(file());
    }
    held[0]?.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it.each([
    ["of a process that is dead", { pid: 2 ** 22 + 12_345 }, 0],
    ["of an earlier process with the number of a living one", { started: "an-earlier-boot/1" }, 0],
    ["of another host that has been silent for long", { host: "elsewhere" }, 3600],
  ])("%s is taken over, by one of many", async (_, change, age) => {
    const text = JSON.stringify({ ...(await own()), ...change, token: "old" });
    await writeFile(file(), text);
    const then = new Date(Date.now() - age * 1000);
    await utimes(file(), then, then);
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
    expect(tries.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const one of tries) if (one.status === "fulfilled") one.value.release();
    expect(await readdir(folder)).toEqual([]);
  });

  it.each([
    ["of a living process", {}, 1e6],
    ["of a living process whose start is not known", { started: null }, 1e6],
    ["of another host that was heard of lately", { host: "elsewhere", pid: 2 ** 22 + 12_345 }, 60],
  ])("%s is respected", async (_, change, age) => {
    await writeFile(file(), JSON.stringify({ ...(await own()), ...change, token: "other" }));
    const then = new Date(Date.now() - age * 1000);
    await utimes(file(), then, then);
    await expect(lockFolder(folder)).rejects.toThrow("is in use");
    expect(JSON.parse(await readFile(file(), "utf8")).token).toBe("other");
  });

  it("that says nothing is being written, and is stale when it still says nothing later", async () => {
    await writeFile(file(), "");
    await expect(lockFolder(folder)).rejects.toThrow("another run is writing there");
    const then = new Date(Date.now() - 60_000);
    await utimes(file(), then, then);
    (await lockFolder(folder)).release();
  });

  it("of a later holder is not removed by an earlier one", async () => {
    const lock = await lockFolder(folder);
    await writeFile(file(), "another's");
    lock.release();
    expect(await readFile(file(), "utf8")).toBe("another's");
  });
});
