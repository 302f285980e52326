import { totalmem } from "node:os";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Backend, DeviceBuffer } from "../../src/backend/backend.js";
import { control } from "../../src/backend/wasm/control.js";
import { hasSeveralMemories, surveyWasm } from "../../src/backend/wasm/features.js";
import type { Block } from "../../src/backend/wasm/heap.js";
import { createWasmBackend, type WasmOptions } from "../../src/backend/wasm/index.js";
import { assemble } from "../../src/backend/wasm/program.js";
import { OutOfMemoryError } from "../../src/errors.js";
import * as dg from "../../src/index.js";
import { type Tensor, useBackend } from "../../src/index.js";
import { adamw } from "../../src/nn/optimizers.js";
import { train } from "../../src/nn/training.js";
import { randomBatch, tinyConfig, tinyLlama, valuesOf } from "../nn/tiny.js";
import { graphRecipes } from "../support/arbitraries.js";
import { attentionKernelCases } from "../support/attention-kernel-cases.js";
import { attentionProgram } from "../support/attention-programs.js";
import { compute } from "../support/graphs.js";
import { type LoopProgram, numberedTurns, runSteps, scalarTypes } from "../support/loop-programs.js";
import { expectAgreement } from "../support/program-agreement.js";
import { holdsForPrograms } from "../support/program-runs.js";
import type { Program } from "../support/programs.js";
import { randomComputation } from "../support/random-graphs.js";
import { internalsOf, memoryOf } from "../support/wasm-internals.js";

const MiB = 2 ** 20;
const small = { memoryBytes: 4 * MiB, maximumBytes: 16 * MiB, poison: true } satisfies WasmOptions;

/** Several memories as parts of one, which every engine has, and as the engine's own where it has them. */
const kinds = (["windows", "auto"] as const).filter((kind) => kind === "windows" || hasSeveralMemories());

const normal = (seed: number, shape: readonly number[]): Tensor => dg.randn(dg.key(seed), shape);

/** Kernels of every kind: what they compute from three memories is what they compute from one. */
const computations: Readonly<Record<string, () => () => Tensor[]>> = {
  "maps and rows": () => {
    const [x, y] = [normal(1, [37, 130]), normal(2, [130])];
    const chosen = (): Tensor => dg.where(x.greater(0), x.exp(), y.mul(x).sin());
    return () => [
      chosen(),
      x.softmax(-1),
      x.sum(0),
      x.max(1),
      x.argmax(0),
      x.cumsum(1),
      dg.concat([x, chosen()], 0),
      x.transpose().mean(1),
      x.flip(1),
    ];
  },
  products: () => {
    const [a, b, c] = [normal(1, [70, 90]), normal(2, [90, 64]), normal(3, [90, 61])];
    const [one, two] = [normal(4, [1, 90]), normal(5, [90, 2])];
    const batch = normal(6, [5, 33, 90]);
    return () => [
      a.matmul(b),
      a.matmul(c).relu(),
      one.matmul(c),
      a.matmul(two),
      batch.matmul(b),
      one.matmul(a.transpose()),
      b.transpose().matmul(a.transpose()).tanh(),
    ];
  },
  "products of halves": () => {
    const [x, one] = [normal(2, [40, 90]), normal(3, [2, 90])];
    const halves = (["bf16", "f16"] as const).map((dtype) => normal(1, [90, 64]).cast(dtype));
    return () =>
      halves.flatMap((w) => [
        x.matmul(w.cast("f32")),
        one.matmul(w.cast("f32")),
        w.mul(2).sum(1),
        x.matmul(w.transpose().cast("f32").transpose()),
      ]);
  },
  "scatter and sorting": () => {
    const x = normal(1, [200, 70]);
    const places = dg.randint(dg.key(2), [200], 0, 30);
    const row = normal(4, [70]);
    const gradient = dg.grad((w: Tensor) => dg.gather(w, places).sin().sum());
    return () => [dg.scatterAdd(x, places, 30), dg.gather(x, places), dg.sort(x, 0), gradient(x), dg.setAt(x, [3], row)];
  },
  loops: () => {
    const [x, start, factor] = [normal(1, [12, 64]), normal(2, [64]), normal(3, [64])];
    const product = (w: Tensor): Tensor => dg.scan((c: Tensor, row: Tensor) => [c.mul(w).add(row), null] as const, start, x)[0].sum();
    return () => {
      const [last, all] = dg.scan((carry: Tensor, row: Tensor) => [carry.mul(0.5).add(row), carry.sin()] as const, start, x);
      const [grown, steps] = dg.whileLoop(
        (state: Tensor) => state.abs().max().less(100),
        (state: Tensor) => state.mul(1.5),
        x,
        { maxSteps: 12 },
      );
      const chosen = dg.cond(
        x.sum().greater(0),
        (y) => y.exp(),
        (y) => y.sin(),
        x,
      );
      return [last, all, grown, steps, chosen, dg.grad(product)(factor)];
    };
  },
};

async function bitsOf(backend: Backend, computation: () => () => Tensor[]): Promise<unknown> {
  useBackend(backend);
  const results = dg.compile(computation())();
  return await Promise.all(results.map((each) => each.cast("f32").data()));
}

describe.each(kinds)("blocks that are spread over memories (%s)", (memories) => {
  const opened: Backend[] = [];
  let one: Backend;
  beforeAll(async () => {
    one = await createWasmBackend({ threads: 1, poison: true });
    for (const options of [{ threads: 1 }, { threads: 2, chunks: "finest" }] as const) {
      opened.push(await createWasmBackend({ ...small, memories, spread: true, ...options }));
    }
  });
  afterAll(async () => {
    useBackend(undefined);
    await Promise.all([one, ...opened].map((backend) => backend.close()));
  });

  async function expectSame(values: (backend: Backend) => Promise<unknown>): Promise<void> {
    const expected = await values(one);
    for (const backend of opened) {
      expect(internalsOf(backend).memories.length).toBe(4);
      expect(isDeepStrictEqual(await values(backend), expected)).toBe(true);
    }
  }

  it.each(Object.entries(computations))("give the same bits: %s", (_, computation) =>
    expectSame((backend) => bitsOf(backend, computation)),
  );

  it("give the same bits: attention and its derivatives", async () => {
    for (const each of attentionKernelCases.filter((_, i) => i % 11 === 0)) {
      for (const pass of ["attention", "attentionBackward"] as const) {
        const program: LoopProgram = attentionProgram(pass, each);
        await expectSame((backend) =>
          runSteps(backend, program, (graph) => {
            const { executable, printing } = bound(backend);
            return executable(graph, assemble(program.lowered, scalarTypes(program), printing()), {});
          }),
        );
      }
    }
  });

  it("have the iterations of loops where each thread finds its own", async () => {
    const [, backend] = opened as [Backend, Backend];
    const program = numberedTurns(16, 64);
    const helpers = (): number => Atomics.load(new Int32Array(memoryOf(backend).buffer), control.helpers);
    let together = 0;
    for (let round = 0; round < 200 && together < 3; round++) {
      const { executable, printing } = bound(backend);
      const [found] = await runSteps(backend, program, (graph) => executable(graph, assemble(program.lowered, [], printing()), {}));
      expect([...(found as Float64Array)]).toEqual(program.expected[0]);
      together += helpers();
    }
    expect(together).toBeGreaterThanOrEqual(3);
  });

  it("give the same bits: random graphs and programs, and operations one by one", async () => {
    const property = fc.asyncProperty(graphRecipes, async (recipe) => {
      const { computation } = randomComputation(recipe);
      await expectSame((backend) => compute(backend, computation));
    });
    await fc.assert(property, { seed: 7, numRuns: 10 });
    const tally = { compared: 0, passedOver: 0 };
    const agrees = (program: Program): Promise<void> =>
      expectAgreement(program, opened[1] as Backend, { othersEvery: 1, relative: 1e-5 }, tally);
    await holdsForPrograms(agrees, { seed: 8, runs: 4, keeps: false });
    expect(tally.compared).toBeGreaterThan(0);
    await expectSame(async (backend) => {
      useBackend(backend);
      return await valuesOf(dg.valueAndGrad((x: Tensor) => x.matmul(x.transpose()).exp().mean())(normal(1, [20, 30]).mul(0.1)));
    });
  });
});

/** Private methods with their backend. */
function bound(backend: Backend) {
  const internals = internalsOf(backend);
  return { executable: internals.executable.bind(internals), printing: internals.printing.bind(internals) };
}

const blockOf = (buffer: DeviceBuffer): Block => buffer as Block;

describe.each(kinds)("a backend of several small memories (%s)", (memories) => {
  let backend: Backend;
  beforeEach(async () => {
    backend = await createWasmBackend({ ...small, memories, threads: 2, chunks: "finest" });
  });
  afterEach(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const alloc = (bytes: number): Block => blockOf(backend.alloc("f32", bytes / 4, "test"));

  it("has everything in the first for as long as it has room, then goes on in the next, and comes back", () => {
    const blocks = Array.from({ length: 12 }, () => alloc(MiB));
    expect(blocks.map(({ memory }) => memory)).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    expect(backend.info).toMatchObject({ maxBytes: 16 * MiB });
    for (const i of [7, 1]) backend.free(blocks[i] as Block);
    expect([alloc(MiB), alloc(MiB)].map(({ memory }) => memory)).toEqual([0, 2]);
    expect(backend.memory()).toMatchObject({ liveBytes: 12 * MiB, peakBytes: 12 * MiB, byOwner: { test: 12 * MiB } });
  });

  it("leaves room for programs in the first, however full the others are", async () => {
    const held: Block[] = [];
    for (let bytes = 2 * MiB; bytes >= 64; bytes /= 2) {
      try {
        for (;;) held.push(alloc(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(OutOfMemoryError);
        expect((error as OutOfMemoryError).message).toContain("the 4 memories hold 16 MiB at most, none of them so much in one piece now");
      }
    }
    // For the result and the scratch; the tables and the code of the program are not there.
    const last = held.filter(({ memory, bytes }) => memory === 3 && bytes >= MiB);
    for (const block of last) backend.free(block);
    useBackend(backend);
    expect([...(await dg.tensor([1, 2, 3]).mul(2).data())]).toEqual([2, 4, 6]);
  });

  it("has temporaries in several blocks where one memory is too small for them", async () => {
    const parts = 6;
    const sizes = (x: Tensor): Tensor =>
      dg
        .stack(Array.from({ length: parts }, (_, i) => x.matmul(x).add(i)))
        .mul(x)
        .sum(0)
        .matmul(x);
    const run = async (on: Backend): Promise<unknown> => {
      useBackend(on);
      const x = normal(1, [512, 512]).mul(0.05);
      const step = dg.compile((y: Tensor) => {
        const products = Array.from({ length: parts }, (_, i) => y.matmul(y.add(i)));
        return products.reduce((sum, product, i) => sum.add(product.matmul(products[(i + 1) % parts] as Tensor)), y);
      });
      expect(dg.memoryOf(step, x).scratchBytes).toBeGreaterThan(5 * MiB);
      return [await step(x).data(), await sizes(x).data()];
    };
    const one = await createWasmBackend({ threads: 2, chunks: "finest" });
    const expected = await run(one);
    await one.close();
    expect(isDeepStrictEqual(await run(backend), expected)).toBe(true);
    expect(internalsOf(backend).memories.length).toBe(4);
  });

  it("refuses a tensor that is larger than one memory, and says what one holds", () => {
    const { maxTensorBytes } = backend.info;
    expect(maxTensorBytes).toBeGreaterThan(3.9 * MiB);
    expect(() => alloc(maxTensorBytes + 64)).toThrow(`a tensor of ${maxTensorBytes + 64} bytes is larger than the wasm backend holds`);
    expect(alloc(maxTensorBytes)).toMatchObject({ memory: 1 });
  });

  it("trains with parameters, state and temporaries that are in different memories", async () => {
    const course = async (on: Backend, held: number): Promise<unknown> => {
      useBackend(on);
      for (let i = 0; i < held; i++) on.alloc("f32", MiB / 8, "test");
      const losses: number[] = [];
      const { model } = await train({
        model: await tinyLlama(),
        optimizer: adamw(),
        batches: (step) => randomBatch(tinyConfig, { batch: 2, time: 8, seed: 100 + step }),
        schedule: () => 0.01,
        steps: 4,
        // What is allocated in between moves what the next steps make to other places.
        onStep: ({ loss, step }) => {
          losses.push(loss);
          if (held > 0 && step === 1) on.alloc("f32", MiB / 4, "test");
        },
      });
      return [losses, await valuesOf(model)];
    };
    const one = await createWasmBackend({ threads: 1 });
    const expected = await course(one, 0);
    await one.close();
    const found = await course(backend, 7);
    expect(isDeepStrictEqual(found, expected)).toBe(true);
  });
});

describe("what there is of memories", () => {
  it("is told with what to do where it is one only", async () => {
    const survey = await surveyWasm();
    expect(survey.severalMemories).toBe(hasSeveralMemories());
    expect(survey.memoryBytes).toBe(hasSeveralMemories() ? Math.min(16, Math.ceil(totalmem() / 2 ** 32)) * 2 ** 32 : 2 ** 32);
    const backend = await createWasmBackend({ threads: 1 });
    expect(backend.info.maxBytes).toBe(survey.memoryBytes);
    const held = backend.alloc("f32", 2 ** 29 + 2 ** 28, "test");
    expect(blockOf(held)).toMatchObject({ memory: 0, bytes: 3 * 2 ** 30 });
    if (hasSeveralMemories()) expect(blockOf(backend.alloc("f32", 2 ** 29, "test"))).toMatchObject({ memory: 1 });
    else expect(() => backend.alloc("f32", 2 ** 29, "test")).toThrow(expect.objectContaining({ hint: expect.stringContaining("Node 22") }));
    await backend.close();
  });
});
