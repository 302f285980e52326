import { beforeAll, describe, expect, it } from "vitest";
import { builtCommand } from "../cli/built.js";
import { runBench } from "./load.js";

beforeAll(builtCommand);

interface Printed {
  readonly cases: Readonly<Record<string, readonly number[]>>;
  readonly losses: readonly number[];
  readonly peakBytes: number;
}

/** The JSON that a script of dawngrad prints. */
async function printed<T = Printed>(script: string, ...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await runBench(`dawngrad/${script}`, "--seconds", "0.01", ...args);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout) as T;
}

describe("scripts of dawngrad", () => {
  it("a step learns the same with checkpoints", async () => {
    const size = ["--length", "16", "--tokens", "32", "--compared", "3"];
    const [plain, checkpointed] = [await printed("step.mjs", ...size), await printed("step.mjs", ...size, "--checkpoint")];
    expect(plain.losses).toHaveLength(3);
    plain.losses.forEach((loss, i) => expect(checkpointed.losses[i]).toBeCloseTo(loss, 5));
    expect(plain.cases["step"]?.length).toBeGreaterThanOrEqual(3);
    expect(plain.peakBytes).toBeGreaterThan(2 ** 24);
  });

  it("a text longer than the tokens of a step is one row, whose loss a reading finds as well", async () => {
    const length = ["--length", "96"];
    const step = await printed<Printed & { batch: number }>("step.mjs", ...length, "--tokens", "32", "--compared", "1");
    const reading = await printed("evaluation.mjs", ...length);
    expect(step.batch).toBe(1);
    expect(reading.losses[0]).toBeCloseTo(step.losses[0] ?? Number.NaN, 4);
  });

  it("attention is timed forward and with gradients, and against its definition", async () => {
    const { cases } = await printed("attention.mjs", "--length", "32");
    expect(Object.keys(cases)).toEqual(["forward", "both", "square"]);
    const { lengths } = await printed<{ lengths: { length: number; milliseconds: object }[] }>(
      "attention-definition.mjs",
      "--lengths",
      "8,16",
    );
    expect(lengths.map(({ length }) => length)).toEqual([8, 16]);
    expect(Object.keys(lengths[0]?.milliseconds ?? {})).toEqual(["call forward", "call both", "written forward", "written both"]);
  });
});
