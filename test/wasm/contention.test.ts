import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { compute, GraphBuilder, hostTensor } from "../support/graphs.js";
import { fill } from "../support/samples.js";

/** Two layers of a network on rows that are normalised in between: kernels of every family that depend on each other. */
function layers(seed: number) {
  const builder = new GraphBuilder();
  const [rows, width] = [48, 64];
  let x = builder.input(fill({ shape: [rows, width], dtype: "f32", low: -1, high: 1 }, seed));
  for (let layer = 0; layer < 2; layer++) {
    const weights = builder.input(fill({ shape: [width, width], dtype: "f32", low: -0.5, high: 0.5 }, seed + 10 + layer));
    const product = builder.operation("dot", [x, weights], { dtype: "f32" });
    const norm = builder.operation("sum", [builder.operation("mul", [product, product], {})], { axes: [1] });
    const scale = builder.operation("recip", [builder.operation("sqrt", [norm], {})], {});
    const column = builder.operation("reshape", [scale], { shape: [rows, 1] });
    x = builder.operation("mul", [product, builder.operation("expand", [column], { shape: [rows, width] })], {});
  }
  const indices = builder.input(
    hostTensor(
      "i32",
      [rows],
      Array.from({ length: rows }, (_, i) => (i * 7) % 5),
    ),
  );
  return builder.build([x, builder.operation("scatterAdd", [x, indices], { size: 5 }), builder.operation("sum", [x], { axes: [0] })]);
}

describe("with more threads than processors, and others who keep those busy,", { timeout: 60_000 }, () => {
  let crowded: Backend;
  let alone: Backend;
  let busy: Worker[];
  beforeAll(async () => {
    alone = await createWasmBackend({ threads: 1 });
    crowded = await createWasmBackend({ threads: 8, chunks: "finest", poison: true });
    busy = [1, 2].map(() => new Worker("for (;;);", { eval: true }));
  });
  afterAll(async () => {
    await Promise.all(busy.map((worker) => worker.terminate()));
    await Promise.all([crowded.close(), alone.close()]);
  });

  it("results are right to the bit, run after run", async () => {
    for (let seed = 0; seed < 3; seed++) {
      const computation = layers(100 * seed);
      const expected = await compute(alone, computation);
      for (let round = 0; round < 10; round++) expect(await compute(crowded, computation)).toEqual(expected);
    }
  });

  it("a program whose workers were late for the last run is followed by another one at once", async () => {
    const computations = [1, 2, 3, 4].map((seed) => layers(1000 * seed));
    const expected = await Promise.all(computations.map((computation) => compute(alone, computation)));
    for (let round = 0; round < 20; round++) {
      const which = round % computations.length;
      expect(await compute(crowded, computations[which] as (typeof computations)[number])).toEqual(expected[which]);
    }
  });
});
