import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { command, createWorkbench, type Workbench } from "./workbench.js";

let bench: Workbench;
beforeAll(async () => {
  bench = await createWorkbench();
  expect((await command(bench.train(`--steps 2 --heads 1 --out ${bench.at("base")}`))).code).toBe(0);
});
afterAll(() => bench.remove());

const common = "--backend wasm --threads 1 --json";
const extend = (rest: string): string =>
  `extend --model ${bench.at("base")} --text ${bench.at("text.txt")} --g-max 4 --batch 2 --warmup 0 --save-every 0 ${common} ${rest}`;
const lora = "--lora 2 --lora-alpha 4 --lora-dropout 0.2 --lora-targets q_proj,up_proj --train-norms --train-embeddings";

describe("extend --lora", { timeout: 120_000 }, () => {
  it("trains adapters alone, goes on with them, and is read by eval and generate", async () => {
    const whole = await command(extend(`${lora} --steps 4 --out ${bench.at("whole")}`));
    expect(whole.code, whole.stderr).toBe(0);
    const found = JSON.parse(whole.stdout);
    expect(found.lora).toEqual({
      ...{ lora: 2, loraAlpha: 4, loraDropout: 0.2, loraTargets: "q_proj,up_proj", trainNorms: true, trainEmbeddings: true },
    });
    const files = await readdir(bench.at("whole"));
    expect(files).toEqual(
      expect.arrayContaining(["adapter_config.json", "adapter_model.safetensors", "config.json", "training.safetensors"]),
    );
    expect(files).not.toContain("model.safetensors");

    const half = await command(extend(`${lora} --steps 2 --out ${bench.at("half")}`));
    expect(half.code, half.stderr).toBe(0);
    const resumed = await command(`extend --resume ${bench.at("half")} --steps 4 ${common}`);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(JSON.parse(resumed.stdout)).toMatchObject({ step: 4, lora: found.lora });
    const changed = await command(`extend --resume ${bench.at("half")} --steps 6 --lora 3 ${common}`);
    expect(changed.code).toBe(2);
    expect(changed.stderr).toMatch(/--lora 3 was given.*begun with 2/);

    const read = await command(`eval --model ${bench.at("whole")} --text ${bench.at("text.txt")} --contexts 8,16 --targets 8 ${common}`);
    expect(read.code, read.stderr).toBe(0);
    const written = await command(`generate --model ${bench.at("whole")} --prompt ab --tokens 4 ${common}`);
    expect(written.code, written.stderr).toBe(0);
  });

  it("becomes one model by convert, as a folder and as GGUF, that reads as base and adapters do", async () => {
    expect((await command(extend(`${lora} --steps 3 --lr 0.01 --out ${bench.at("tuned")}`))).code).toBe(0);
    const lossOf = async (model: string): Promise<number> => {
      const read = await command(`eval --model ${model} --text ${bench.at("text.txt")} --contexts 16 --targets 8 ${common}`);
      expect(read.code, read.stderr).toBe(0);
      return JSON.parse(read.stdout).rows[0].nats;
    };
    const [tuned, base] = [await lossOf(bench.at("tuned")), await lossOf(bench.at("base"))];
    expect(Math.abs(tuned - base)).toBeGreaterThan(1e-3);
    for (const out of [bench.at("merged"), bench.at("merged.gguf")]) {
      const converted = await command(`convert ${bench.at("tuned")} --out ${out} --json`);
      expect(converted.code, converted.stderr).toBe(0);
      expect(JSON.parse(converted.stdout)).toMatchObject({ merged: true, dtype: "f32" });
      expect(await lossOf(`${out} --schedule linear --scale 1`)).toBeCloseTo(
        await lossOf(`${bench.at("tuned")} --schedule linear --scale 1`),
        5,
      );
    }
    expect(await readdir(bench.at("merged"))).not.toContain("adapter_config.json");
  });

  it("begins where the model is, and its steps need less than those of the whole model", async () => {
    const [adapters, all] = [
      await command(extend(`--lora 1 --steps 1 --out ${bench.at("one")}`)),
      await command(extend(`--steps 1 --out ${bench.at("all")}`)),
    ];
    expect(adapters.code, adapters.stderr).toBe(0);
    const [one, other] = [JSON.parse(adapters.stdout), JSON.parse(all.stdout)];
    expect(one.train[0].loss).toBeCloseTo(other.train[0].loss, 5);
    expect(one.memory.optimizerState).toBeLessThan(other.memory.optimizerState / 2);
    expect(other.lora).toBe(null);
  });

  it("says what does not go together", async () => {
    const alone = await command(extend(`--train-norms --out ${bench.at("no")}`));
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringMatching(/--train-norms is an option of adapters/)]);
    const targets = await command(extend(`--lora 1 --lora-targets c_attn --out ${bench.at("no")}`));
    expect([targets.code, targets.stderr]).toEqual([2, expect.stringMatching(/"c_attn" is the name of no matrix[\s\S]*q_proj/)]);
    const again = await command(`extend --model ${bench.at("one")} --text ${bench.at("text.txt")} --out ${bench.at("no")} ${common}`);
    expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/is an adapter, and extend begins from a whole model/)]);
  });
});
