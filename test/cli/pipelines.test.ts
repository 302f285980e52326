import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CliEnvironment } from "../../src/cli/program.js";
import { runCli } from "../../src/cli/program.js";
import { runners } from "../../src/cli/runners.js";
import { threefry2x32 } from "../../src/ir/threefry.js";
import { CapturedStream, FakeSignals } from "./capture.js";

let folder = "";
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dawngrad-"));
  const words = ["whale ", "sea ", "ship ", "call me ", "storm ", "boat.\n"];
  const text = Array.from({ length: 400 }, (_, i) => words[threefry2x32(1, 2, i, 0)[0] % words.length]).join("");
  await writeFile(at("text.txt"), text);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a command line with the real bodies. */
async function cli(line: string, environment: Partial<CliEnvironment> = {}) {
  const stdout = new CapturedStream();
  const stderr = new CapturedStream();
  const code = await runCli(line.split(" "), { stdout, stderr, env: {}, runners, signals: new FakeSignals(), ...environment });
  return { code, stdout: stdout.text, stderr: (environment.stderr as CapturedStream | undefined)?.text ?? stderr.text };
}

const onReference = "--backend reference --json";
/** A checkpoint holds f32, and so do the values of this backend; those of the reference are wider. */
const onWasm = "--backend wasm --json";
const rule = "--batch 2 --lr 0.01 --save-every 0";
const tiny = `--text ${"TEXT"} --window 8 --hidden 8 --layers 1 --heads 2 ${rule}`;
const train = (rest: string): string => `train ${tiny.replace("TEXT", at("text.txt"))} ${rest}`;

describe("train, extend, eval and generate", { timeout: 120_000 }, () => {
  it("compute on as many threads as were asked for, and as the reference does", async () => {
    const lossOn = async (where: string) => {
      const found = await cli(train(`${where} --json --steps 4 --force --out ${at("threads")}`));
      expect(found).toMatchObject({ code: 0 });
      return JSON.parse(found.stdout);
    };
    const wasm = await lossOn("--threads 3");
    expect(wasm).toMatchObject({ backend: "wasm", adapter: "WebAssembly SIMD, 3 threads, fused multiply-add" });
    expect((await lossOn("--backend wasm --threads 1")).adapter).toBe("WebAssembly SIMD, 1 thread, fused multiply-add");
    expect(Math.abs(wasm.loss - (await lossOn("--backend reference")).loss)).toBeLessThan(1e-4);
  });

  it("work on each other's folders", async () => {
    const trained = await cli(train(`${onReference} --steps 6 --out ${at("base")}`));
    expect(trained).toMatchObject({ code: 0 });
    const base = JSON.parse(trained.stdout);
    expect(base).toMatchObject({ command: "train", backend: "reference", adapter: null, window: 8, steps: 6, step: 6, interrupted: false });
    expect(base.train.map(({ step }: { step: number }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(base.heldOut).toBeGreaterThan(0);

    const extended = await cli(
      `extend --model ${at("base")} --text ${at("text.txt")} ${rule} --steps 3 --g-max 4 --out ${at("e2")} ${onReference}`,
    );
    expect(extended).toMatchObject({ code: 0 });
    const e2 = JSON.parse(extended.stdout);
    expect(e2).toMatchObject({
      command: "extend",
      method: "e2",
      from: at("base"),
      window: 8,
      gMax: 4,
      granularity: "batch",
      sinks: 4,
      step: 3,
    });
    expect(e2.draws).toHaveLength(3);
    for (const { g, t } of e2.draws) expect(g >= 1 && g <= 4 && t >= 0 && t <= 8 * g - 8).toBe(true);
    const config = JSON.parse(await readFile(at("e2/config.json"), "utf8"));
    expect(config).toMatchObject({ max_position_embeddings: 8, e2llm: { trained_window: 8, g_max: 4, schedule: "linear" } });

    const measured = await cli(
      `eval --model ${at("e2")} --text ${at("text.txt")} --targets 32 --sliding --by-position --out ${at("measured")} ${onReference}`,
    );
    expect(measured).toMatchObject({ code: 0 });
    const table = JSON.parse(measured.stdout);
    expect(table.rows.map(({ context, scale }: { context: number; scale: number }) => [context, scale])).toEqual([
      [8, 1],
      [16, 2],
      [32, 4],
      [64, 8],
    ]);
    expect(table).toMatchObject({ targets: 32, schedule: "linear" });
    expect(measured.stderr).toContain(
      "read by schedule linear at g = ceil(bytes / 8), for which config.json says it was extended, up to g = 4",
    );
    expect(measured.stderr).toContain("64 bytes are read at scale 8, and the model was extended up to 4");
    expect(table.truncation).toBe(table.rows[0].nats);
    expect(table.sliding.rows).toHaveLength(4);
    expect(table.positions).toMatchObject({ context: 64, scale: 8, buckets: [{ from: 0, to: 64, targets: 64 }] });
    expect(await readFile(at("measured/by-position.html"), "utf8")).toContain("<svg");
    expect(JSON.parse(await readFile(at("measured/eval.json"), "utf8"))).toEqual(table);
    expect(measured.stderr).toContain("the line to beat");

    const written = await cli(`generate --model ${at("e2")} --prompt sea --tokens 12 ${onReference}`);
    expect(written).toMatchObject({ code: 0 });
    expect(JSON.parse(written.stdout)).toMatchObject({ command: "generate", schedule: "linear", scale: 2, tokens: 12, interrupted: false });
    const again = await cli(`generate --model ${at("e2")} --prompt sea --tokens 12 --backend reference`);
    expect(again.stdout).toBe(`sea${JSON.parse(written.stdout).text}\n`);

    const trainedAs = await cli(`eval --model ${at("base")} --text ${at("text.txt")} --targets 32 --contexts 16 ${onReference}`);
    expect(JSON.parse(trainedAs.stdout)).toMatchObject({ schedule: "none", rows: [{ context: 16, scale: 1 }] });
    expect(trainedAs.stderr).toContain("read as it was trained");
    const refused = await cli(`eval --model ${at("base")} --text ${at("text.txt")} --scale 2 ${onReference}`);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.stderr).toContain("--scale 2 has no effect");
  });

  it("the control takes plain steps and draws nothing", async () => {
    await cli(train(`${onReference} --steps 1 --out ${at("for-plain")}`));
    const { stdout } = await cli(
      `extend --model ${at("for-plain")} --method plain --text ${at("text.txt")} ${rule} --steps 2 --out ${at("plain")} ${onReference}`,
    );
    expect(JSON.parse(stdout)).toMatchObject({ method: "plain", gMax: null, draws: [], step: 2 });
    expect(JSON.parse(await readFile(at("plain/config.json"), "utf8"))).not.toHaveProperty("e2llm");
  });
});

/** Sends SIGINT when a progress line of that step is written. */
class InterruptingStream extends CapturedStream {
  constructor(
    readonly signals: FakeSignals,
    readonly pattern: RegExp,
  ) {
    super(true); // a terminal: every step is drawn sooner or later, and the first at once
  }
  override write(text: string): boolean {
    super.write(text);
    if (this.pattern.test(text)) this.signals.send("SIGINT");
    return true;
  }
}

describe("an interrupted training", { timeout: 180_000 }, () => {
  it.each(["train", "extend"])("(%s) saves, exits with 130, and goes on to the same bits", async (command) => {
    const name = (rest: string): string => at(`${command}-${rest}`);
    if (command === "extend") await cli(train(`${onWasm} --steps 1 --out ${name("start")}`));
    const line = (out: string): string =>
      command === "train"
        ? train(`${onWasm} --steps 8 --out ${out}`)
        : `extend --model ${name("start")} --text ${at("text.txt")} ${rule} --g-max 4 ${onWasm} --steps 8 --out ${out}`;
    const whole = await cli(line(name("whole")));
    expect(whole).toMatchObject({ code: 0 });

    const signals = new FakeSignals();
    const stderr = new InterruptingStream(signals, /1\/8/);
    const part = await cli(line(name("part")), { signals, stderr });
    expect(part.code).toBe(130);
    const stopped = JSON.parse(part.stdout);
    expect(stopped.interrupted).toBe(true);
    expect(stopped.step).toBeGreaterThanOrEqual(1);
    expect(stopped.step).toBeLessThan(8);
    expect(part.stderr).toContain(`go on with: dawngrad ${command} --resume ${name("part")}`);
    expect(signals.exits).toEqual([]);

    const rest = await cli(`${command} --resume ${name("part")} ${onWasm}`);
    expect(rest).toMatchObject({ code: 0 });
    expect(JSON.parse(rest.stdout)).toMatchObject({ step: 8, interrupted: false, heldOut: JSON.parse(whole.stdout).heldOut });
    const weights = (run: string) => readFile(join(name(run), "model.safetensors"));
    expect((await weights("part")).equals(await weights("whole"))).toBe(true);

    const finished = await cli(`${command} --resume ${name("part")}`);
    expect(finished.code).toBe(2);
    expect(finished.stderr).toMatch(/at step 8 already[^\n]*\nhint: [^\n]+\n$/);
  });
});

describe("bad input", { timeout: 60_000 }, () => {
  const oneLineAndHint = /(^|\n)error: [^\n]+\nhint: [^\n]+\n$/;
  beforeAll(async () => {
    await cli(train(`${onReference} --steps 1 --out ${at("whole")}`));
    await cli(train(`${onReference} --steps 1 --out ${at("cut")}`));
    const weights = at("cut/model.safetensors");
    await truncate(weights, (await stat(weights)).size - 5);
  });

  it.each([
    [
      "a text that does not exist",
      () => train(`--backend reference --out ${at("x")}`).replace(at("text.txt"), "/no/such/file.txt"),
      2,
      "/no/such/file.txt",
    ],
    ["a model that does not exist", () => "eval --model /no/such/model --backend reference", 2, "/no/such/model"],
    ["a checkpoint that does not exist", () => "train --resume /no/such/run --backend reference", 2, "/no/such/run"],
    ["a truncated weights file", () => `generate --model ${at("cut")} --prompt a --backend reference`, 2, "cut/model.safetensors"],
    ["a window longer than the text", () => train("--backend reference").replace("--window 8", "--window 5000"), 2, "5000"],
    [
      "contexts longer than the held-out text",
      () => `eval --model ${at("whole")} --text ${at("text.txt")} --contexts 9999 --backend reference`,
      2,
      "9999",
    ],
    ["a wrong option", () => "train --window none", 2, "whole number"],
    ["an adapter that is not there", () => `eval --model ${at("whole")} --adapter no-such-adapter`, 1, "no-such-adapter"],
  ])("%s is one line and a hint", async (_, line, code, named) => {
    const found = await cli(line());
    expect(found.stderr).toMatch(oneLineAndHint);
    expect(found.stderr).toContain(named);
    expect(found.stderr).not.toMatch(/\n\s+at /);
    expect(found.code).toBe(code);
    expect(found.stdout).toBe("");
  });
});
