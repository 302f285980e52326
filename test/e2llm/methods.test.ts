import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  automaticScale,
  type Backend,
  grad,
  type HostTables,
  KeyValueCache,
  leakyReRopeFactor,
  leakyReRopeTables,
  llamaLoss,
  logNTables,
  lossByPosition,
  OptionError,
  plainPositions,
  type ReadingRequest,
  type ReadingSchedule,
  readingTables,
  realize,
  reRopeTables,
  ropeFrequencies,
  ropeTables,
  ropeTensors,
  ShapeError,
  selfExtendGroup,
  selfExtendReach,
  selfExtendTables,
  streamingTables,
  tensor,
  useBackend,
} from "../../src/index.js";
import { distance, integers, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { backends } from "../support/backends.js";
import { oracleLogits, type Pairing, type Weights } from "./llama-oracle.js";

const { head_dim: D, vocab_size: V, rope_theta: theta } = tinyConfig;
const frequencies = ropeFrequencies({ type: "default" }, { headDim: D, theta });
const plain = (length: number): HostTables => ropeTables(plainPositions({ length }), frequencies);

/** A method as tables, and its own formula. */
interface Method {
  readonly name: string;
  readonly near: number;
  readonly tables: (length: number) => HostTables;
  readonly pairing: Pairing;
}

const logN = (window: number) => (n: number) => Math.max(1, Math.log(n + 1) / Math.log(window));

const selfExtend = (near: number, group: number): Method => ({
  name: `Self-Extend, w = ${near}, G = ${group}`,
  near,
  tables: (length) => selfExtendTables(frequencies, { length, near, group }),
  pairing: {
    distance: (i, j) => (i - j < near ? i - j : Math.floor(i / group) - Math.floor(j / group) + near - Math.floor(near / group)),
  },
});
const reRope = (near: number): Method => ({
  name: `ReRoPE, w = ${near}`,
  near,
  tables: (length) => reRopeTables(frequencies, { length, near }),
  pairing: { distance: (i, j) => Math.min(i - j, near) },
});
const leaky = (near: number, factor: number): Method => ({
  name: `leaky ReRoPE, w = ${near}, k = ${factor}`,
  near,
  tables: (length) => leakyReRopeTables(frequencies, { length, near, factor }),
  pairing: { distance: (i, j) => (i - j < near ? i - j : near + (i - j - near) / factor) },
});
const streaming = (near: number, sinks: number): Method => ({
  name: `StreamingLLM, ${sinks} sinks and ${near} keys`,
  near,
  tables: (length) => streamingTables(frequencies, { length, near, sinks }),
  pairing: { distance: (i, j) => (i - j < near ? i - j : j < sinks ? Math.min(i, sinks + near - 1) - j : undefined) },
});
const withLogN = (method: Method, window: number): Method => ({
  name: `${method.name} with log-n, L = ${window}`,
  near: method.near,
  tables: (length) => logNTables(method.tables(length), { window }),
  pairing: { ...method.pairing, factor: logN(window) },
});

const methods: readonly Method[] = [
  selfExtend(5, 3),
  selfExtend(6, 2),
  reRope(4),
  leaky(5, 2.5),
  streaming(5, 2),
  streaming(3, 0),
  withLogN({ name: "plain RoPE", near: 0, tables: plain, pairing: { distance: (i, j) => i - j } }, 6),
  withLogN(reRope(4), 6),
  withLogN(selfExtend(5, 3), 9),
];

/** A cache gathers rows of all kinds of tables: of far pairs, of queries, of both. */
const cached = methods.filter((_, i) => [0, 4, 6, 8].includes(i));

const rows = (tokens: ArrayLike<number>, batch = 1) => tensor(Int32Array.from(tokens), { shape: [batch, tokens.length / batch] });
const flat = (logits: readonly Float64Array[]): number[] => logits.flatMap((row) => [...row]);

describe.each(backends())("methods that read farther without training, on $name", { timeout: 120_000 }, ({ name, create }) => {
  let backend: Backend;
  let weights: Weights;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
    weights = await valuesOf(await tinyLlama());
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  it.each(methods.map((method) => [method.name, method] as const))("gives the logits of its formula: %s", async (_, method) => {
    const model = await tinyLlama();
    // Lengths around w are a matter of tables: they are tried where programs are made fastest.
    for (const length of name === "reference" ? [Math.max(1, method.near), method.near + 1, 17] : [17]) {
      const text = integers(2 * length, V, length);
      const found = await model.forward(rows(text, 2), ropeTensors(method.tables(length))).data();
      const right = [0, 1].flatMap((b) =>
        flat(oracleLogits(tinyConfig, weights, text.subarray(b * length, (b + 1) * length), method.pairing)),
      );
      expect(distance(found, right), `at ${length} tokens`).toBeLessThan(5e-5);
    }
  });

  it.each(cached.map((method) => [method.name, method] as const))("gives them from a cache, in any parts: %s", async (_, method) => {
    const model = await tinyLlama();
    const text = integers(15, V, 5);
    const right = flat(oracleLogits(tinyConfig, weights, text, method.pairing));
    const tables = ropeTensors(method.tables(18));
    for (const parts of [[15], [7, 1, 1, 5, 1]]) {
      const cache = new KeyValueCache(tinyConfig, { capacity: 18 });
      const found: number[] = [];
      let at = 0;
      for (const part of parts) {
        found.push(...(await model.forward(rows(text.subarray(at, at + part)), tables, cache).data()));
        cache.advance(part);
        await realize(cache);
        at += part;
      }
      expect(distance(found, right), `in parts of ${parts.join(", ")}`).toBeLessThan(5e-5);
    }
  });

  it.each([selfExtend(3, 2), withLogN(leaky(3, 2), 4)].map((method) => [method.name, method] as const))(
    "has the gradients of its formula: %s",
    async (_, method) => {
      const model = await tinyLlama();
      const T = 8;
      const text = integers(T + 1, V, 9);
      const batch = { inputs: rows(text.subarray(0, T)), targets: rows(text.subarray(1)) };
      const tables = ropeTensors(method.tables(T));
      const gradient = await valuesOf(grad((of: typeof model) => llamaLoss(of, batch, tables))(model));
      const loss = (at: Weights): number => {
        const logits = oracleLogits(tinyConfig, at, text.subarray(0, T), method.pairing);
        const nats = logits.map(
          (row, i) => Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - (row[text[i + 1] as number] as number),
        );
        return nats.reduce((sum, x) => sum + x, 0) / T;
      };
      for (const path of ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].map((name) => `model.layers.0.${name}.weight`)) {
        for (const index of [0, 17, 40]) {
          const moved = (by: number): Weights => {
            const values = Float64Array.from(weights.get(path) as ArrayLike<number>);
            values[index] = (values[index] as number) + by;
            return new Map([...weights, [path, values]]);
          };
          const h = 1e-4;
          const right = (loss(moved(h)) - loss(moved(-h))) / (2 * h);
          expect((gradient.get(path) as number[])[index], `${path}[${index}]`).toBeCloseTo(right, 5);
        }
      }
    },
  );
});

it("evaluations take the tables of methods as they take any, whole or in blocks", async () => {
  useBackend(createReferenceBackend());
  const model = await tinyLlama();
  const { tables, pairing } = selfExtend(5, 3);
  const tokens = integers(22, V, 8);
  const right = oracleLogits(tinyConfig, await valuesOf(model), tokens.subarray(0, 21), pairing).map(
    (row, i) => Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - (row[tokens[i + 1] as number] as number),
  );
  for (const block of [21, 8]) {
    expect(distance((await lossByPosition({ model, tokens, tables, block })).nats[0] ?? [], right)).toBeLessThan(1e-5);
  }
});

describe("tables of methods that read farther", () => {
  const length = 9;

  it("S-15: are plain to the bit within the near window, and for any number of near keys that reaches all", () => {
    for (const near of [length, length + 1, 100]) {
      for (const tables of [
        selfExtendTables(frequencies, { length, near, group: 3 }),
        reRopeTables(frequencies, { length, near }),
        leakyReRopeTables(frequencies, { length, near, factor: 4 }),
        streamingTables(frequencies, { length, near }),
      ]) {
        expect(tables).toEqual(plain(length));
      }
    }
    expect(logNTables(plain(length), { window: length })).toEqual(plain(length));
  });

  it("are plain to the bit where a group is one token, and where distances leak wholly", () => {
    expect(selfExtendTables(frequencies, { length, near: 4, group: 1 })).toEqual(plain(length));
    expect(leakyReRopeTables(frequencies, { length, near: 4, factor: 1 })).toEqual(plain(length));
  });

  it("make longer queries from log-n, for near and far keys alike, and leave keys as they are", () => {
    const base = reRopeTables(frequencies, { length: 20, near: 4 });
    const tables = logNTables(base, { window: 6 });
    expect([tables.cos, tables.sin, tables.far?.key]).toEqual([base.cos, base.sin, base.far?.key]);
    const half = D / 2;
    for (const [found, plainly] of [
      [tables.query, base],
      [tables.far?.query, base.far?.query],
    ] as const) {
      for (const n of [0, 5, 6, 19]) {
        for (let j = n * half; j < (n + 1) * half; j++) {
          expect(found?.cos[j]).toBeCloseTo(logN(6)(n) * (plainly?.cos[j] as number), 6);
          expect(found?.sin[j]).toBeCloseTo(logN(6)(n) * (plainly?.sin[j] as number), 6);
        }
      }
    }
    expect(tables.query?.cos.subarray(0, 6 * half)).toEqual(base.cos.subarray(0, 6 * half));
  });

  it("tell how far groups of G reach: the next token would be at distance L", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 9 }),
        (window, near, group) => {
          fc.pre(near < window);
          const { distance } = selfExtend(near, group).pairing;
          const reach = selfExtendReach({ window, near, group });
          const farthest = (length: number): number =>
            Math.max(...Array.from({ length }, (_, i) => Array.from({ length: i + 1 }, (_, j) => distance(i, j) as number)).flat());
          expect(farthest(reach)).toBe(window - 1);
          expect(farthest(reach + 1)).toBe(window);
          if (near % group === 0) expect(reach).toBe((window - near) * group + near);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("find the smallest group, and the smallest leak, that keep a text within the window", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 3, max: 60 }),
        fc.integer({ min: 1, max: 58 }),
        (length, window, near) => {
          fc.pre(near < window - 1);
          const group = selfExtendGroup({ length, window, near });
          if (length > near) expect(selfExtendReach({ window, near, group })).toBeGreaterThanOrEqual(length);
          if (group > 1) expect(selfExtendReach({ window, near, group: group - 1 })).toBeLessThan(length);
          const factor = leakyReRopeFactor({ length, window, near });
          const farthest = leaky(near, factor).pairing.distance(length - 1, 0) as number;
          expect(farthest).toBeLessThan(window - 1 + 1e-9);
          if (factor > 1) expect(farthest).toBeCloseTo(window - 1, 9);
        },
      ),
    );
  });

  it("are refused for what makes no sense", () => {
    expect(() => selfExtendTables(frequencies, { length, near: 0, group: 2 })).toThrow(OptionError);
    expect(() => selfExtendTables(frequencies, { length, near: 2, group: 1.5 })).toThrow(OptionError);
    expect(() => leakyReRopeTables(frequencies, { length, near: 2, factor: 0.5 })).toThrow(OptionError);
    expect(() => logNTables(plain(length), { window: 1 })).toThrow(OptionError);
    expect(() => selfExtendGroup({ length: 20, window: 8, near: 8 })).toThrow(/leaves no distances/);
    expect(() => leakyReRopeFactor({ length: 20, window: 8, near: 7 })).toThrow(/leaves no distances/);
  });

  it("must all fit the tokens, those for far keys too", async () => {
    const model = await tinyLlama();
    const tables = ropeTensors(reRopeTables(frequencies, { length, near: 2 }));
    const short = ropeTensors(plain(length - 1));
    const far = tables.far as NonNullable<typeof tables.far>;
    expect(() => model.forward(rows(integers(length, V, 1)), { ...tables, far: { ...far, key: short } })).toThrow(ShapeError);
    expect(() => model.forward(rows(integers(length, V, 1)), { ...tables, query: short })).toThrow(/query.cos/);
    const cache = new KeyValueCache(tinyConfig, { capacity: length });
    expect(() => model.forward(rows([1]), { ...tables, far: { ...far, query: short } }, cache)).toThrow(/a cache of 9 places/);
  });
});

describe("readings by the name of a method", () => {
  const window = 16;
  const read = (schedule: ReadingSchedule, scale: number, options: Partial<ReadingRequest> = {}): HostTables =>
    readingTables(tinyConfig, { schedule, scale, length: 60, window, ...options });

  it("choose what is not given so that s·L tokens are read at trained distances", () => {
    const near = window / 2;
    const length = 60;
    // Groups of 7 reach 63 tokens.
    expect(read("self-extend", 4)).toEqual(selfExtendTables(frequencies, { length, near, group: 8 }));
    expect(read("rerope", 4)).toEqual(reRopeTables(frequencies, { length, near }));
    expect(read("leaky-rerope", 4)).toEqual(
      leakyReRopeTables(frequencies, { length, near, factor: (64 - 1 - near) / (window - 1 - near) }),
    );
    expect(read("log-n", 1)).toEqual(logNTables(plain(length), { window }));
    expect(read("streaming", 1)).toEqual(streamingTables(frequencies, { length, near: window - 4, sinks: 4 }));
    for (const schedule of ["self-extend", "rerope", "leaky-rerope"] as const) expect(read(schedule, 1)).toEqual(plain(length));
  });

  it("take what is given, and log-n on top of any", () => {
    const length = 60;
    expect(read("self-extend", 4, { near: 5, group: 9 })).toEqual(selfExtendTables(frequencies, { length, near: 5, group: 9 }));
    expect(read("leaky-rerope", 4, { near: 4, factor: 16 })).toEqual(leakyReRopeTables(frequencies, { length, near: 4, factor: 16 }));
    expect(read("streaming", 1, { near: 6, sinks: 1 })).toEqual(streamingTables(frequencies, { length, near: 6, sinks: 1 }));
    for (const schedule of ["ntk-mixed", "rerope"] as const) {
      expect(read(schedule, 4, { logN: true })).toEqual(logNTables(read(schedule, 4), { window }));
    }
    expect(() => read("linear", 4, { group: 2 })).toThrow(/schedule "linear" has no option "group"/);
    expect(() => read("streaming", 1, { factor: 2 })).toThrow(/schedule "streaming" has no option "factor"/);
  });

  it("take their scale from the length, but those that need none", () => {
    expect(
      (["self-extend", "rerope", "leaky-rerope", "log-n", "streaming"] as const).map((name) => automaticScale(name, 60, window)),
    ).toEqual([4, 4, 4, 1, 1]);
  });
});
