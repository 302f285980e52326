import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Backend,
  e2Row,
  languageBatch,
  languageLoss,
  noTarget,
  plainPositions,
  type RopeFrequencies,
  ropeFrequencies,
  ropeTables,
  ropeTensors,
  type Tensor,
  tensor,
  useBackend,
  valueAndGrad,
  withPositionEncoding,
} from "../../src/index.js";
import type { Llama } from "../../src/nn/llama.js";
import { distance, integers, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";

const T = 12;
const shape = { headDim: tinyConfig.head_dim, theta: tinyConfig.rope_theta };
const plain = ropeFrequencies({ type: "default" }, shape);
const draws = [
  { g: 1, t: 0 },
  { g: 3, t: 7 },
  { g: 8, t: 70 },
] as const;

const tokens = (): Tensor => tensor(integers(T, tinyConfig.vocab_size, 3), { shape: [1, T] });
const tablesOf = ({ g, t }: (typeof draws)[number], frequencies: RopeFrequencies = plain) =>
  ropeTables(e2Row({ length: T, g, t }), frequencies);
const logitsOf = async (model: Llama, tables: ReturnType<typeof tablesOf>): Promise<ArrayLike<number>> =>
  model.forward(tokens(), ropeTensors(tables)).data();

describe.each(backends())("a model on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it("M-1: without layers, or without positions in them, does not depend on scale and shift", async () => {
    useBackend(backend);
    const bare = await tinyLlama();
    bare.model.layers = [];
    const nope = withPositionEncoding(await tinyLlama(), { type: "nope" }, { key: tensor(new Uint32Array([1, 2])) });
    for (const model of [bare, nope]) {
      const first = await logitsOf(model, tablesOf(draws[0]));
      for (const draw of draws.slice(1)) expect(distance(await logitsOf(model, tablesOf(draw)), first)).toBe(0);
    }
    const usual = await tinyLlama();
    const [near, far] = [await logitsOf(usual, tablesOf(draws[0])), await logitsOf(usual, tablesOf(draws[1]))];
    expect(distance(near, far)).toBeGreaterThan(1e-3);
  });

  it("M-2: whose frequencies are 0 does not depend on scale and shift, and reads as without rotations", async () => {
    useBackend(backend);
    const model = await tinyLlama();
    const still = { invFreq: new Float64Array(plain.invFreq.length), attentionFactor: 1 };
    const first = await logitsOf(model, tablesOf(draws[0], still));
    for (const draw of draws.slice(1)) expect(distance(await logitsOf(model, tablesOf(draw, still)), first)).toBe(0);
    const nope = withPositionEncoding(model, { type: "nope" }, { key: tensor(new Uint32Array([1, 2])) });
    expect(distance(await logitsOf(nope, tablesOf(draws[0])), first)).toBeLessThan(1e-5);
  });

  it("I-10: does not turn channels whose frequency is 0, whatever the position", async () => {
    const half = 4;
    const part = ropeFrequencies({ type: "proportional", partialRotaryFactor: 0.5 }, { headDim: 2 * half, theta: 10_000 });
    const { cos, sin } = ropeTables(plainPositions({ length: 3, offset: 12_345 }), part);
    for (let row = 0; row < 3; row++) {
      for (let j = half / 2; j < half; j++) expect([cos[row * half + j], sin[row * half + j]]).toEqual([1, 0]);
      expect(cos[row * half]).not.toBe(1);
    }
  });
});

describe.each(backends().filter(({ name }) => name !== "reference"))("numbers in f32 on $name", ({ create }) => {
  it("M-4: are those of f64 for every scale and shift, logits within 1e-4 and gradients within 1e-3 of their norm", async () => {
    const found = [];
    for (const make of [backends().find(({ name }) => name === "reference")?.create, create]) {
      const backend = await (make as typeof create)();
      useBackend(backend);
      const model = await tinyLlama();
      const results = [];
      for (const draw of draws) {
        const inputs = integers(T, tinyConfig.vocab_size, 3);
        const targets = integers(T, tinyConfig.vocab_size, 4);
        targets[5] = noTarget;
        const batch = languageBatch({ inputs, targets, batch: 1, length: T }, tablesOf(draw));
        const [, grads] = valueAndGrad((at: Llama) => languageLoss(at, batch))(model);
        results.push({ logits: Array.from(await logitsOf(model, tablesOf(draw))), grads: await valuesOf(grads) });
      }
      found.push(results);
      useBackend(undefined);
      await backend.close();
    }
    const [exact, rounded] = found as [NonNullable<(typeof found)[0]>, NonNullable<(typeof found)[0]>];
    exact.forEach(({ logits, grads }, i) => {
      expect(distance(rounded[i]?.logits as number[], logits)).toBeLessThan(1e-4);
      for (const [path, values] of grads) {
        const own = rounded[i]?.grads.get(path) as number[];
        const norm = Math.hypot(...values);
        const error = Math.hypot(...values.map((value, j) => value - (own[j] as number)));
        expect(error, path).toBeLessThanOrEqual(1e-3 * norm + 1e-7);
      }
    });
  });
});

describe("docs/invariants.md", () => {
  it("names a test that exists for every invariant, or says why there is none", async () => {
    const page = await readFile("docs/invariants.md", "utf8");
    const rows = [...page.matchAll(/^\| ([IPECSM]-\d+) \| .+ \| (.+) \|$/gm)].map(([, id, where]) => [id as string, where as string]);
    const expected = Object.entries({ I: 19, P: 12, E: 13, C: 7, S: 17, M: 7 }).flatMap(([family, count]) =>
      Array.from({ length: count }, (_, i) => `${family}-${i + 1}`),
    );
    expect(rows.map(([id]) => id)).toEqual(expected);
    for (const [id, where] of rows as [string, string][]) {
      const files = [...where.matchAll(/`(test\/[^`]+)`/g)].map(([, file]) => file as string);
      if (files.length === 0) expect(where.length, `${id}: a reason`).toBeGreaterThan(40);
      for (const file of files) {
        const text = await readFile(file, "utf8");
        expect(new RegExp(`["\`][^"\`]*\\b${id}\\b[^"\`]*:`).test(text), `${id} in ${file}`).toBe(true);
      }
    }
  });
});
