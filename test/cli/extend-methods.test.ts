import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPositionSource, type PositionSourceOptions } from "../../src/index.js";
import { cli } from "./capture.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

let bench: Workbench;
beforeAll(async () => {
  bench = await createWorkbench();
  expect((await command(bench.train(`--steps 2 --heads 1 --out ${bench.at("base")}`))).code).toBe(0);
});
afterAll(() => bench.remove());

const extend = (rest: string): string =>
  `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --batch 2 --save-every 0 --backend wasm --threads 1 --json ${rest}`;
const configOf = async (name: string): Promise<Record<string, unknown> & { e2llm: Record<string, unknown> }> =>
  JSON.parse(await readFile(bench.at(`${name}/config.json`), "utf8"));

describe("a method of extension", { timeout: 120_000 }, () => {
  it.each<readonly [string, string, PositionSourceOptions, string]>([
    ["e2", "--granularity sample", { type: "e2", window: 8, granularity: "sample", seed: 0, sinks: 4, gMax: 4 }, "linear"],
    ["e2", "--g 2 --t 0 --sinks 1", { type: "e2", window: 8, granularity: "batch", seed: 0, sinks: 1, g: 2, t: 0 }, "linear"],
    [
      "e2",
      "--scaling yarn-turns --t largest",
      {
        type: "e2",
        window: 8,
        granularity: "batch",
        seed: 0,
        sinks: 4,
        gMax: 4,
        t: "largest",
        scaling: { type: "yarn", ramp: "turns", betaFast: 4, betaSlow: 1 },
      },
      "yarn-turns",
    ],
    ["e2-yarn", "", { type: "e2-yarn", window: 8, granularity: "batch", seed: 0, sinks: 4, gMax: 4 }, "yarn"],
    ["pose", "--chunks 3", { type: "pose", window: 8, granularity: "batch", seed: 0, scale: 4, chunks: 3 }, "linear"],
    ["pose", "--scaling ntk", { type: "pose", window: 8, granularity: "batch", seed: 0, scale: 4, scaling: "ntk" }, "ntk"],
    ["randomized", "", { type: "randomized", window: 8, granularity: "batch", seed: 0, lMax: 32, scaling: "linear" }, "linear"],
    ["random-scale", "", { type: "random-scale", window: 8, granularity: "batch", seed: 0, gMax: 4 }, "ntk"],
  ])("%s %s trains at its positions, goes on with them, and is read by its schedule", async (method, flags, positions, schedule) => {
    const max = flags.includes("--g ") ? "" : "--g-max 4 ";
    const whole = await command(
      extend(`--method ${method} ${max}${flags} --steps 3 --warmup 0 --out ${bench.at("whole")} --force`.replace("  ", " ")),
    );
    expect(whole.code, whole.stderr).toBe(0);
    const found = JSON.parse(whole.stdout);
    const gMax = flags.includes("--g ") ? 2 : 4;
    expect(found).toMatchObject({
      method,
      gMax,
      positions,
      granularity: positions.type === "plain" ? null : (positions.granularity as string),
    });

    const config = await configOf("whole");
    expect(config).toMatchObject({ max_position_embeddings: 8, e2llm: { method, trained_window: 8, g_max: gMax, schedule } });
    const source = createPositionSource(positions, { head_dim: 8, rope_theta: 10_000, max_position_embeddings: 8 });
    const drawn = [0, 1, 2].flatMap((step) => source({ batch: 2, length: 8, step }).draws.map((draw) => ({ ...draw, step: step + 1 })));
    expect(found.draws).toEqual(drawn);

    // Half of it, and the rest by a resumed run that is told nothing of the method.
    const part = bench.at("part");
    await command(extend(`--method ${method} ${max}${flags} --steps 2 --warmup 0 --out ${part} --force`.replace("  ", " ")));
    const rest = await command(`extend --resume ${part} --steps 3 --backend wasm --threads 1 --json`);
    expect(rest.code, rest.stderr).toBe(0);
    expect(JSON.parse(rest.stdout)).toMatchObject({ positions, draws: drawn.filter(({ step }) => step === 3) });
    expect((await configOf("part")).e2llm).toEqual(config.e2llm);

    const read = await command(
      `eval --model ${bench.at("whole")} --text ${bench.at("text.txt")} --targets 8 --contexts 8,16 --backend reference --json`,
    );
    // A method of one scale is read at that one.
    const scale = method === "pose" || method === "randomized" ? 4 : 2;
    const table = JSON.parse(read.stdout);
    expect(table).toMatchObject({
      schedule,
      rows: [
        { context: 8, scale: scale === 4 ? 4 : expect.anything() },
        { context: 16, scale },
      ],
    });
    // The truncation baseline is what the model makes of L bytes, by the reading that it was trained for.
    expect(table.truncation).toBe(table.rows[0].nats);
  });

  it("keeps its options in a resumed run", async () => {
    const out = bench.at("kept");
    await command(extend(`--method pose --g-max 4 --chunks 3 --scaling ntk --steps 1 --out ${out}`));
    for (const [flags, words] of [
      ["--chunks 2", "begun with 3"],
      ["--scaling linear", "begun with ntk"],
      ["--method e2", "begun with pose"],
      ["--t 0", "draws other things"],
      ["--sinks 4", "draws other things"],
    ] as const) {
      const found = await command(`extend --resume ${out} --steps 3 --backend reference ${flags}`);
      expect([found.code, found.stderr]).toEqual([2, expect.stringContaining(words)]);
    }
    const e2 = bench.at("kept-e2");
    await command(extend(`--g-max 4 --steps 1 --out ${e2}`));
    const found = await command(`extend --resume ${e2} --steps 3 --backend reference --t 0`);
    expect([found.code, found.stderr]).toEqual([2, expect.stringContaining("--t 0 was given, and the run in")]);
  });

  it.each([
    ["--method pose --sinks 2", "--sinks would have no effect", "--method e2 or e2-yarn"],
    ["--method pose --g 2 --chunks 2", "--g would have no effect", "--method e2 or e2-yarn"],
    ["--method e2 --chunks 2", "--chunks would have no effect", "--method pose"],
    ["--method plain --scaling ntk", "draws no scale and no shift", "--method e2"],
    ["--g 2 --g-max 4", "--g-max would have no effect", "give one of them"],
    ["--method e2-yarn --scaling ntk", "found --scaling ntk", "--method e2 --scaling ntk"],
    ["--method yarn", "Allowed choices are e2, e2-yarn", "extend --help"],
    ["--t often", '"uniform", "largest" or a whole number', "extend --help"],
    ["--t -1", '"uniform", "largest" or a whole number', "extend --help"],
    ["--chunks 1", "A whole number of at least 2", "extend --help"],
  ])("is refused with options that it does not read: %s", async (flags, problem, advice) => {
    const { code, stderr, calls } = await cli(`extend --model m ${flags}`.split(" "));
    expect([code, calls]).toEqual([2, []]);
    expect(stderr).toContain(problem);
    expect(stderr).toContain(advice);
  });

  it("is refused for lengths that no scale holds", async () => {
    for (const [flags, words] of [
      ["--g 2 --length 17", "--g 2"],
      ["--method pose --g-max 2 --length 17", "--g-max 2"],
      ["--method random-scale --length 9", "longer than the window of 8"],
      ["--method pose --chunks 9", "--chunks 9 are more than the 8 bytes"],
      ["--method pose --length 3 --chunks 4", "--chunks 4 are more than the 3 bytes"],
    ] as const) {
      const found = await command(extend(`${flags} --steps 1 --out ${bench.at("long")}`));
      expect([found.code, found.stderr]).toEqual([2, expect.stringContaining(words)]);
    }
  });
});
