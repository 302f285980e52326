import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { hasSeveralMemories } from "../../src/backend/wasm/features.js";
import type { Block } from "../../src/backend/wasm/heap.js";
import { createWasmBackend, type WasmOptions } from "../../src/backend/wasm/index.js";
import { assemble } from "../../src/backend/wasm/program.js";
import * as dg from "../../src/index.js";
import { type Tensor, useBackend } from "../../src/index.js";
import { valuesOf } from "../nn/tiny.js";
import { graphRecipes } from "../support/arbitraries.js";
import { attentionKernelCases } from "../support/attention-kernel-cases.js";
import { attentionProgram } from "../support/attention-programs.js";
import { compute } from "../support/graphs.js";
import { type LoopProgram, runSteps, scalarTypes } from "../support/loop-programs.js";
import { randomComputation } from "../support/random-graphs.js";
import { internalsOf } from "../support/wasm-internals.js";

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

  it("give the same bits: random graphs, and operations one by one", async () => {
    const property = fc.asyncProperty(graphRecipes, async (recipe) => {
      const { computation } = randomComputation(recipe);
      await expectSame((backend) => compute(backend, computation));
    });
    await fc.assert(property, { seed: 7, numRuns: 10 });
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

describe.each(kinds)("a backend of several small memories (%s)", (memories) => {
  const open = (options: WasmOptions = {}): Promise<Backend> => createWasmBackend({ ...small, memories, threads: 2, ...options });

  it("has everything in the first for as long as it has room, and then goes on in the next", async () => {
    const backend = await open();
    const blocks: Block[] = [];
    expect(backend.info).toMatchObject({ maxBytes: 16 * MiB });
    for (let i = 0; i < 12; i++) blocks.push(backend.alloc("f32", MiB / 4, "test") as Block);
    expect(blocks.map(({ memory }) => memory)).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    await backend.close();
  });
});
