import { beforeAll, describe, expect, it } from "vitest";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { inline } from "../../src/compiler/inline.js";
import { pruneLoops } from "../../src/compiler/prune-loops.js";
import {
  adamw,
  applyLora,
  compile,
  createTrainStep,
  key,
  type LanguageBatch,
  Llama,
  languageBatch,
  languageLoss,
  llamaConfig,
  loraTrainable,
  plainPositions,
  realize,
  ropeFrequencies,
  ropeTables,
  scan,
  type Tensor,
  tensorsOf,
  trainablePart,
  useBackend,
  valueAndGrad,
  zeros,
} from "../../src/index.js";
import type { Graph } from "../../src/ir/graph.js";
import { lowerGraph, planOf, targets } from "../support/plans.js";
import { createRecordingBackend, type Recorded } from "../support/recording-backend.js";

/** The graph that a compiled call would run. */
function graphOf(call: () => unknown): Graph {
  const { backend, recorded } = createRecordingBackend();
  useBackend(backend);
  call();
  return (recorded.at(-1) as Recorded).graph;
}

const length = 64;
const config = (layers: number) =>
  llamaConfig({
    vocab_size: 64,
    hidden_size: 32,
    intermediate_size: 80,
    num_hidden_layers: layers,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: length,
  });
const tables = ropeTables(plainPositions({ length }), ropeFrequencies({ type: "default" }, { headDim: 8, theta: 10_000 }));
const batchOf = (rows: number, seed: number): LanguageBatch => {
  const tokens = (by: number): Int32Array => Int32Array.from({ length: rows * length }, (_, i) => (i * by + seed) % 64);
  return languageBatch({ inputs: tokens(7), targets: tokens(5), batch: rows, length }, tables);
};

describe.each(Object.entries(targets))("the scratch of %s", (_, target) => {
  const scratchOf = (call: () => unknown): number => planOf(lowerGraph(graphOf(call), target), target).scratchBytes;

  it("is that of one micro-batch, however many there are", () => {
    const step = createTrainStep({ optimizer: adamw(), loss: languageLoss });
    const bytes = (count: number): number =>
      scratchOf(() => {
        const model = new Llama(config(2), { key: key(0) });
        const batches = Array.from({ length: count }, (__, i) => batchOf(4, i));
        return step.explain(model, adamw().init(model), count === 1 ? (batches[0] as LanguageBatch) : batches, 0.01);
      });
    const one = bytes(1);
    for (const count of [2, 8]) expect(bytes(count) / one).toBeLessThan(1.15);
  });

  it("is a third at most where each of sixteen layers is checkpointed", () => {
    const bytes = (checkpoint: boolean): number =>
      scratchOf(() => {
        const step = compile((model: Llama, batch: LanguageBatch) =>
          valueAndGrad((at: Llama) => languageLoss(at, batch, { checkpoint }))(model),
        );
        return step.explain(new Llama(config(16), { key: key(0) }), batchOf(2, 0));
      });
    expect(bytes(true) / bytes(false)).toBeLessThan(0.35);
  });

  it("grows by one input of a layer for each that is checkpointed beside adapters", () => {
    const rows = 8;
    const optimizer = adamw();
    const loss = (model: Llama, batch: LanguageBatch): Tensor => languageLoss(model, batch, { checkpoint: true });
    const step = createTrainStep({ optimizer, loss, trainable: loraTrainable });
    const bytes = (layers: number): number =>
      scratchOf(() => {
        const model = applyLora(new Llama(config(layers), { key: key(0) }), { rank: 2 });
        return step.explain(model, optimizer.init(trainablePart(model, loraTrainable)[0]), batchOf(rows, 0), 0.01);
      });
    // A sum that goes on from layer to layer is kept as such: its parts, which come from products, would be three times as much.
    const input = rows * length * 32 * 4;
    const [three, four, five] = [3, 4, 5].map(bytes) as [number, number, number];
    for (const more of [four - three, five - four]) expect(more / input).toBeLessThan(1.5);
  });

  it("grows with the root of the number of steps where every √T-th carry is kept", () => {
    const width = 4096;
    const bytes = (steps: number, checkpointEvery?: number): number =>
      scratchOf(() => {
        const loss = (x: Tensor): Tensor =>
          scan((c: Tensor) => [c.mul(x).sin(), null], x, null, { length: steps, ...(checkpointEvery ? { checkpointEvery } : {}) })[0].sum();
        return compile((x: Tensor) => valueAndGrad(loss)(x)).explain(zeros([width]));
      }) /
      (4 * width);
    expect(bytes(256)).toBeGreaterThan(256);
    expect(bytes(256, 16)).toBeLessThan(2 * 16 + 8);
    expect(bytes(1024, 32)).toBeLessThan(2 * 32 + 8);
  });
});

describe("checkpointed layers", () => {
  beforeAll(async () => {
    useBackend(await createWasmBackend({ threads: 2 }));
  });

  it("have the very bits of the gradients of layers that are not", async () => {
    const model = new Llama(config(4), { key: key(0) });
    await realize(model);
    const gradients = async (checkpoint: boolean): Promise<unknown[]> => {
      const run = compile((at: Llama, batch: LanguageBatch) => valueAndGrad((m: Llama) => languageLoss(m, batch, { checkpoint }))(at));
      const [loss, grads] = run(model, batchOf(2, 0));
      return Promise.all([loss.data(), ...tensorsOf(grads).map(({ tensor }) => tensor.data())]);
    };
    expect(await gradients(true)).toEqual(await gradients(false));
  });
});

describe("loops without what nobody reads", () => {
  /** Carried values, slices and outputs of each loop, and of those inside of it. */
  const loops = (graph: Graph): unknown[] =>
    graph.nodes.flatMap((node) =>
      node.kind === "loop" ? [[node.carried, node.sliced, node.body.outputs.length, ...loops(node.body)]] : [],
    );
  const pruned = (f: (...args: Tensor[]) => unknown, ...args: Tensor[]): unknown[] =>
    loops(pruneLoops(inline(graphOf(() => compile(f as (...all: Tensor[]) => Tensor[])(...args)))));

  it("stack no carried value that the backward pass does not need", () => {
    const steps = (by: (c: Tensor) => Tensor) => (xs: Tensor) =>
      valueAndGrad((at: Tensor) => scan((c: Tensor, x: Tensor) => [by(c).add(x), null], zeros([2]), at)[0].sum())(xs);
    expect(
      pruned(
        steps((c) => c.mul(0.3)),
        zeros([5, 2]),
      ),
    ).toEqual([
      [1, 1, 1],
      [1, 0, 2],
    ]);
    expect(
      pruned(
        steps((c) => c.sin()),
        zeros([5, 2]),
      ),
    ).toEqual([
      [1, 1, 2],
      [1, 1, 2],
    ]);
  });

  it("carry no value that none of the results depends on", () => {
    const f = (x: Tensor, ys: Tensor): Tensor =>
      scan(
        ([a, b, c, d]: Tensor[], y: Tensor) => {
          const [all, both] = scan(
            ([p, q]: Tensor[]) => [[(p as Tensor).add(1), (q as Tensor).sin()], (q as Tensor).exp()],
            [b as Tensor, d as Tensor],
            null,
            { length: 2 },
          );
          return [[(a as Tensor).add(all[0] as Tensor), c as Tensor, (c as Tensor).cos(), (d as Tensor).add(a as Tensor).add(y)], both];
        },
        [x, x.mul(2), x.mul(3), x.mul(4)],
        ys,
      )[0][0] as Tensor;
    // a needs b, which needs c; d, the slices and the stack are for themselves.
    expect(pruned(f, zeros([2]), zeros([3, 2]))).toEqual([[3, 0, 3, [1, 0, 1]]]);
  });
});
