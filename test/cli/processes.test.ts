import { type ChildProcess, spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lockName } from "../../src/cli/run-lock.js";
import { builtCommand } from "./built.js";
import { createWorkbench, type Workbench } from "./workbench.js";

const savedFiles = ["config.json", "metrics.jsonl", "model.safetensors", "training.safetensors"];

/** The command as a process of its own, with streams that a shell opened. */
describe("the command as a process", { timeout: 120_000 }, () => {
  let bench: Workbench;
  let main = "";
  beforeAll(async () => {
    [bench, main] = await Promise.all([createWorkbench(), builtCommand()]);
  }, 240_000);
  afterAll(() => bench.remove());

  const train = (out: string, rest = ""): string => `${process.execPath} ${main} ${bench.train(`--out ${bench.at(out)} ${rest}`)}`;
  const shell = (script: string): ChildProcess => spawn("/bin/sh", ["-c", script], { stdio: ["ignore", "pipe", "pipe"] });

  async function ended(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
    let [stdout, stderr] = ["", ""];
    child.stdout?.on("data", (data) => (stdout += data));
    child.stderr?.on("data", (data) => (stderr += data));
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    return { code, stdout, stderr };
  }

  async function untilRunning(out: string): Promise<void> {
    for (;;) {
      const metrics = await readFile(bench.at(`${out}/metrics.jsonl`), "utf8").catch(() => "");
      if (metrics !== "") return;
      await setTimeout(50);
    }
  }

  const steps = async (out: string): Promise<number[]> =>
    (await readFile(bench.at(`${out}/metrics.jsonl`), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).step);

  it("trains to its end and saves although nobody can be told, because the disk of the log is full", async () => {
    const found = await ended(shell(`${train("full-log", "--steps 5")} 2>/dev/full`));
    expect(found.code).toBe(0);
    expect(found.stdout).toContain("held-out loss");
    expect(await readdir(bench.at("full-log"))).toEqual(savedFiles);
  });

  it("trains to its end and saves although its result cannot be written, and fails then", async () => {
    const found = await ended(shell(`${train("full-output", "--steps 5 --json")} >/dev/full`));
    expect(found.code).toBe(1);
    expect(found.stderr).toContain("standard output could not be written: no space left on the disk");
    expect(await readdir(bench.at("full-output"))).toEqual(savedFiles);
  });

  it("trains to its end and saves although its readers have gone", async () => {
    const found = await ended(
      shell(`{ ${train("no-reader", "--steps 120")}; echo "code $?" >&3; } 3>&1 2>&1 >/dev/null | head -c 1 >/dev/null`),
    );
    expect(found.stdout === "" || found.stdout === "code 0\n").toBe(true);
    // The shell ends with `head`; the training goes on by itself.
    for (let tries = 0; tries < 600 && !(await readdir(bench.at("no-reader"))).includes("training.safetensors"); tries++)
      await setTimeout(50);
    expect((await steps("no-reader")).at(-1)).toBe(120);
  });

  it.each([
    ["SIGHUP", 129],
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("saves when %s comes and exits with %i", async (signal, code) => {
    const child = spawn(process.execPath, [main, ...bench.train(`--steps 1000000 --out ${bench.at(signal)}`).split(" ")]);
    const end = ended(child);
    await untilRunning(signal);
    child.kill(signal);
    if (signal === "SIGHUP") child.kill(signal); // as a terminal does that closes
    expect((await end).code).toBe(code);
    expect(await readdir(bench.at(signal))).toEqual(savedFiles);
  });

  it("is refused a folder in which another writes, and takes it over from one that was killed", async () => {
    const first = spawn(process.execPath, [main, ...bench.train(`--steps 1000000 --out ${bench.at("shared")}`).split(" ")]);
    const end = ended(first);
    await untilRunning("shared");
    const second = await ended(shell(train("shared", "--steps 2 --force")));
    expect(second.code).toBe(2);
    expect(second.stderr).toMatch(new RegExp(`error: [^\\n]+ is in use: process ${first.pid} on [^\\n]+\\nhint: [^\\n]+\\n$`));
    first.kill("SIGKILL");
    await end;
    expect(await readdir(bench.at("shared"))).toContain(lockName);
    expect((await ended(shell(train("shared", "--steps 2")))).code).toBe(0);
    expect(await readdir(bench.at("shared"))).toEqual(savedFiles);
    expect(await steps("shared")).toEqual([1, 2]);
  });

  it("has one line of metrics for each step, however often it was killed", async () => {
    const argv = bench.train(`--steps 1000000 --save-every 7 --out ${bench.at("killed")}`).replace("--save-every 0 ", "");
    let child = spawn(process.execPath, [main, ...argv.split(" ")]);
    for (let kill = 0; kill < 2; kill++) {
      const end = ended(child);
      while (!(await readdir(bench.at("killed")).catch((): string[] => [])).includes("training.safetensors")) await setTimeout(20);
      await setTimeout(1500);
      child.kill("SIGKILL");
      await end;
      child = spawn(process.execPath, [main, "train", "--resume", bench.at("killed"), "--save-every", "7", "--backend", "reference"]);
    }
    const end = ended(child);
    await setTimeout(1500);
    child.kill("SIGTERM");
    expect((await end).code).toBe(143);
    const found = await steps("killed");
    expect(found).toEqual(found.map((_, i) => i + 1));
    expect(found.length).toBeGreaterThan(7);
  });
});
