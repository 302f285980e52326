import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { data } from "../../src/autograd/realize.js";
import { tensor } from "../../src/autograd/tensor.js";
import { modelReading } from "../../src/cli/reading.js";
import { streamingTables } from "../../src/e2llm/methods/index.js";
import { modelFrequencies } from "../../src/e2llm/model-frequencies.js";
import type { ReadingSchedule } from "../../src/e2llm/reading.js";
import { init } from "../../src/init.js";
import { ropeTensors } from "../../src/nn/batch.js";
import { loadModel } from "../../src/nn/checkpoint.js";
import { byteTokenizer } from "../../src/nn/tokenizers.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

const schedules: readonly ReadingSchedule[] = ["none", "linear", "ntk", "yarn", "dynamic"];

describe("generated text", { timeout: 120_000 }, () => {
  let bench: Workbench;
  beforeAll(async () => {
    bench = await createWorkbench();
    expect((await command(bench.train(`--steps 40 --out ${bench.at("base")}`))).code).toBe(0);
  });
  afterAll(() => bench.remove());

  const generate = async (rest: string): Promise<{ text: string; scale: number; stream: number | null }> => {
    const found = await command(`generate --model ${bench.at("base")} --json ${rest}`);
    expect(found).toMatchObject({ code: 0 });
    return JSON.parse(found.stdout);
  };

  it.each(schedules.flatMap((schedule) => ["reference", "wasm"].map((backend) => [schedule, backend] as const)))(
    "begins at a growing scale with the same bytes however many are asked for (%s, %s)",
    async (schedule, backend) => {
      for (const [prompt, sampling] of [
        ["sea", "--temperature 0"],
        ["whale-whale-whale", "--temperature 0.9 --seed 3"],
      ]) {
        const texts: string[] = [];
        for (const tokens of [3, 8, 40]) {
          texts.push(
            (
              await generate(
                `--backend ${backend} --schedule ${schedule} --scale growing --prompt ${prompt} ${sampling} --tokens ${tokens}`,
              )
            ).text,
          );
        }
        const [shortest, short, long] = texts as [string, string, string];
        expect(long.startsWith(short.replace(/\uFFFD+$/, ""))).toBe(true);
        expect(short.startsWith(shortest.replace(/\uFFFD+$/, ""))).toBe(true);
      }
    },
  );

  const scales = ["auto", "growing"] as const;
  it.each(schedules.flatMap((schedule) => scales.map((scale) => [schedule, scale] as const)))(
    "is what whole passes over the text so far give (%s, scale %s)",
    async (schedule, wanted) => {
      const tokens = 20;
      const { text, scale } = await generate(
        `--backend reference --schedule ${schedule} --scale ${wanted} --prompt sea --temperature 0 --tokens ${tokens}`,
      );
      const backend = await init({ backend: "reference" });
      const model = await loadModel(bench.at("base"));
      const reading = modelReading(model.config, "base", { schedule, scale: schedule === "none" ? 1 : "auto" });
      const bytes = [...byteTokenizer.encode("sea")];
      for (let i = 0; i < tokens; i++) {
        const T = bytes.length;
        const logits = model.forward(
          tensor(Int32Array.from(bytes), { shape: [1, T] }),
          ropeTensors(reading.tables(T, wanted === "auto" ? 3 + tokens : T)),
        );
        const last = [...(await data(logits))].slice(-byteTokenizer.vocabSize);
        bytes.push(last.indexOf(Math.max(...last)));
      }
      await backend.close();
      expect(text).toBe(new TextDecoder().decode(Uint8Array.from(bytes.slice(3))));
      expect(scale).toBe(schedule === "none" || schedule === "dynamic" ? 1 : Math.ceil((3 + tokens - (wanted === "growing" ? 1 : 0)) / 8));
    },
  );

  it("sees the first four bytes and the last w alone with --stream, at positions among these", async () => {
    const tokens = 30;
    const greedy = `--backend reference --prompt sea-whale --temperature 0 --tokens ${tokens}`;
    const { text, scale, stream } = await generate(`${greedy} --stream 3`);
    expect([scale, stream]).toEqual([1, 3]);
    const backend = await init({ backend: "reference" });
    const model = await loadModel(bench.at("base"));
    const bytes = byteTokenizer.encode(`sea-whale${text}`);
    const tables = streamingTables(modelFrequencies(model.config), { length: bytes.length, near: 3 });
    const logits = await data(model.forward(tensor(bytes, { shape: [1, bytes.length] }), ropeTensors(tables)));
    await backend.close();
    const V = byteTokenizer.vocabSize;
    for (let at = 9; at < bytes.length; at++) {
      const row = [...logits.subarray((at - 1) * V, at * V)];
      expect(row.indexOf(Math.max(...row))).toBe(bytes[at]);
    }
    // A w that holds all of it changes nothing, and one that fits into the trained window needs no warning.
    const whole = await command(`generate --model ${bench.at("base")} --schedule none ${greedy} --stream 100`);
    const plain = await command(`generate --model ${bench.at("base")} --schedule none ${greedy}`);
    expect(whole.stdout).toBe(plain.stdout);
    expect(plain.stderr).toContain("prompt and continuation have 39 bytes and the model was trained on 8");
    expect((await command(`generate --model ${bench.at("base")} --schedule none ${greedy} --stream 4`)).stderr).not.toContain(
      "was trained on",
    );
    expect((await command(`generate --model ${bench.at("base")} ${greedy} --stream 0`)).code).toBe(2);
    for (const schedule of ["self-extend", "rerope", "leaky-rerope", "log-n", "streaming"]) {
      const both = await command(`generate --model ${bench.at("base")} ${greedy} --stream 3 --schedule ${schedule}`);
      expect([both.code, both.stdout]).toEqual([2, ""]);
      expect(both.stderr).toContain(`--schedule ${schedule}`);
    }
  });

  it("has a scale that is given for the whole of it", async () => {
    expect((await generate("--backend reference --schedule linear --scale 3 --prompt sea --tokens 4")).scale).toBe(3);
  });
});
