import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { divisorsOf } from "../../src/cli/options.js";
import { cli } from "./capture.js";
import { command, createWorkbench, type Workbench } from "./workbench.js";

let bench: Workbench;
beforeAll(async () => {
  bench = await createWorkbench();
});
afterAll(() => bench.remove());

interface Told {
  readonly checkpoint: string;
  readonly microBatch: number | null;
  readonly heldOut: number;
  readonly train: readonly { readonly loss: number; readonly gradNorm: number }[];
}

async function told(line: string): Promise<Told> {
  const { code, stdout, stderr } = await command(`${line} --json`);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

const train = (rest: string): Promise<Told> => told(bench.train(`--batch 4 ${rest}`).replace("--batch 2 ", ""));

describe("how a step is computed", () => {
  it("changes what is said of it and none of its numbers", async () => {
    const plain = await train(`--steps 5 --out ${bench.at("plain")}`);
    expect(plain).toMatchObject({ checkpoint: "none", microBatch: null });
    const ways: readonly (readonly [string, object])[] = [
      ["--checkpoint blocks", { checkpoint: "blocks", microBatch: null }],
      ["--micro-batch 1", { checkpoint: "none", microBatch: 1 }],
      ["--checkpoint blocks --micro-batch 2", { checkpoint: "blocks", microBatch: 2 }],
      ["--checkpoint none --micro-batch 4", { checkpoint: "none", microBatch: 4 }],
    ];
    for (const [way, said] of ways) {
      const found = await train(`--steps 5 --force --out ${bench.at("way")} ${way}`);
      expect(found).toMatchObject(said);
      found.train.forEach(({ loss, gradNorm }, i) => {
        expect(loss).toBeCloseTo(plain.train[i]?.loss as number, 6);
        expect(gradNorm).toBeCloseTo(plain.train[i]?.gradNorm as number, 6);
      });
      expect(found.heldOut).toBeCloseTo(plain.heldOut, 6);
    }
  });

  it("is kept by a run that is gone on with, and may change there", async () => {
    const base = bench.at("kept");
    await train(`--steps 2 --checkpoint blocks --micro-batch 2 --out ${base}`);
    const resume = (rest: string) => told(`train --resume ${base} --backend reference ${rest}`);
    expect(await resume("--steps 3")).toMatchObject({ checkpoint: "blocks", microBatch: 2 });
    expect(await resume("--steps 4 --batch 6")).toMatchObject({ checkpoint: "blocks", microBatch: 2 });
    expect(await resume("--steps 5 --checkpoint none --micro-batch 3")).toMatchObject({ checkpoint: "none", microBatch: 3 });
    const uneven = await command(`train --resume ${base} --steps 6 --batch 4 --backend reference`);
    expect(uneven.code).toBe(2);
    expect(uneven.stderr).toContain("error: --micro-batch 3 does not divide --batch 4\nhint: take --micro-batch 2, or a batch of 6\n");

    const e2 = bench.at("e2");
    const extend = `extend --text ${bench.at("text.txt")} --batch 2 --g-max 4 --backend reference`;
    const made = await told(`${extend} --model ${base} --steps 2 --checkpoint blocks --micro-batch 1 --out ${e2}`);
    expect(made).toMatchObject({ checkpoint: "blocks", microBatch: 1 });
    expect(await told(`extend --resume ${e2} --steps 3 --backend reference`)).toMatchObject({ checkpoint: "blocks", microBatch: 1 });
    await rm(base, { recursive: true });
  });

  it.each(["train", "extend --model m"])("is refused by %s where it says nothing", async (name) => {
    const refused = async (flags: string): Promise<string> => {
      const { code, stderr, calls } = await cli(`${name} ${flags}`.split(" "));
      expect([code, calls]).toEqual([2, []]);
      return stderr;
    };
    for (const [micro, batch, hint] of [
      [3, 8, "take --micro-batch 2, or a batch of 9"],
      [16, 8, "take --micro-batch 8, or a batch of 16"],
      [4, 7, "take --micro-batch 1, or a batch of 8"],
    ] as const) {
      expect(await refused(`--micro-batch ${micro} --batch ${batch}`)).toBe(
        `error: --micro-batch ${micro} does not divide --batch ${batch}\nhint: ${hint}\n`,
      );
    }
    for (const size of ["0", "-1", "1.5", "all"]) expect(await refused(`--micro-batch ${size}`)).toContain("--micro-batch <n>");
    for (const what of ["layers", "true", "runs/base", "Blocks"]) {
      expect(await refused(`--checkpoint ${what}`)).toMatch(/Allowed choices are none, blocks.*--resume/);
    }
  });
});

describe("the divisors of a number", () => {
  it.each([
    [1, [1]],
    [7, [1, 7]],
    [12, [1, 2, 3, 4, 6, 12]],
    [36, [1, 2, 3, 4, 6, 9, 12, 18, 36]],
  ])("%d are all there, in order", (n, all) => expect(divisorsOf(n)).toEqual(all));
});
