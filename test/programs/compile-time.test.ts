import { describe, expect, it } from "vitest";
import type { BufferInfo, Kernel, Lowered } from "../../src/compiler/program.js";
import {
  adamw,
  compile,
  key,
  type LanguageBatch,
  Llama,
  languageBatch,
  languageLoss,
  llamaConfig,
  type Tensor,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import { variable } from "../../src/ir/index-expression.js";
import { lowerGraph, planOf, targets } from "../support/plans.js";
import type { Recorded } from "../support/recording-backend.js";
import { createRecordingBackend } from "../support/recording-backend.js";

/** Seconds that the processor works for this process while f runs. */
function seconds(f: () => unknown): number {
  const before = process.cpuUsage();
  f();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** Four times as much work takes this many times as long at most; it would be sixteen times if time grew with the square. */
const mostGrowth = 10;

/**
 * How many times as long `large` takes as `small`, the least of some tries: collectors and other processes disturb one or the other, but
 * what grows with the square does so at every try.
 */
function growth(large: () => unknown, small: () => unknown): number {
  let least = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 6 && least >= mostGrowth; tries++) {
    least = Math.min(least, seconds(large) / Math.min(seconds(small), seconds(small)));
  }
  return least;
}

/** A forward pass of so many layers, each of which keeps something for the backward pass after it, and updates of what they hold. */
function layers(count: number): { lowered: Lowered; donated: boolean[] } {
  const buffers = new Map<number, BufferInfo>();
  const fresh = (length: number): number => {
    buffers.set(buffers.size, { dtype: "f32", length });
    return buffers.size - 1;
  };
  const inputs = Array.from({ length: count }, (_, i) => fresh(64 + (i % 3)));
  const steps: Kernel[] = [];
  const run = (reads: readonly number[], length: number): number => {
    const buffer = fresh(length);
    const index = variable("o", length);
    const loads = reads.map((read, id) => ({ kind: "load", id, dtype: "f32", buffer: read, index }) as const);
    const value = { kind: "operation", id: loads.length, dtype: "f32", operation: "where", args: loads } as const;
    const stores = [{ buffer, index, value, inner: false }];
    steps.push({ kind: "map", label: "kernel", values: [...loads, value], stores, outer: { name: "o", extent: length } });
    return buffer;
  };
  let x = run([inputs[0] as number], 100);
  const kept = inputs.map((weight, i) => {
    const inside = run([x, weight], 200 + (i % 5));
    x = run([inside, x], 100);
    return inside;
  });
  let gradient = run([x], 100);
  const gradients = kept.map(() => 0);
  for (let i = count - 1; i >= 0; i--) {
    gradients[i] = run([gradient, kept[i] as number], 64 + (i % 3));
    gradient = run([gradient, kept[i] as number, inputs[i] as number], 100);
  }
  const outputs = inputs.map((weight, i) => run([weight, gradients[i] as number], 64 + (i % 3)));
  return { lowered: { steps, buffers, inputs, outputs }, donated: inputs.map(() => true) };
}

/** Loss, gradients and AdamW of a model of width 4. */
function step(depth: number): Recorded {
  const { backend, recorded } = createRecordingBackend();
  useBackend(backend);
  const config = llamaConfig({
    vocab_size: 16,
    hidden_size: 4,
    intermediate_size: 12,
    num_hidden_layers: depth,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: 4,
    max_position_embeddings: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    initializer_range: 0.02,
  });
  const model = new Llama(config, { key: key(0) });
  const optimizer = adamw({});
  const state = optimizer.init(model);
  const [tokens, angles] = [new Int32Array(8), new Float32Array(16)];
  const batch = languageBatch(
    { inputs: tokens, targets: tokens, batch: 1, length: 8 },
    { cos: angles, sin: angles, rows: 1, length: 8, half: 2 },
  );
  const update = compile(
    (params: Llama, moments: typeof state, at: LanguageBatch, lr: Tensor) => {
      const [loss, grads] = valueAndGrad((each: Llama) => languageLoss(each, at))(params);
      return [...optimizer.update(params, grads, moments, { lr }), loss];
    },
    { donate: [0, 1] },
  );
  update(model, state, batch, 1e-3);
  useBackend(undefined);
  return recorded.at(-1) as Recorded;
}

const compared = Object.entries(targets).filter(([name]) => name !== "webgpu on a GPU");

describe("time grows with the layers", () => {
  it("that are traced", () => {
    step(4);
    expect(
      growth(
        () => step(24),
        () => step(6),
      ),
    ).toBeLessThan(mostGrowth);
  });

  it.each(compared)("that are compiled for %s", (_, target) => {
    const [small, large] = [step(6), step(24)];
    const compiled = ({ graph, options }: Recorded): unknown => planOf(lowerGraph(graph, target), target, options.donated);
    compiled(small);
    expect(
      growth(
        () => compiled(large),
        () => compiled(small),
      ),
    ).toBeLessThan(mostGrowth);
  });

  it.each(compared)("whose kernels are put in order and get their places on %s", (_, target) => {
    const planned = ({ lowered, donated }: ReturnType<typeof layers>): number => planOf(lowered, target, donated).scratchBytes;
    const [small, large] = [layers(1000), layers(4000)];
    expect(large.lowered.steps.length).toBeGreaterThan(20_000);
    planned(small);
    expect(
      growth(
        () => planned(large),
        () => planned(small),
      ),
    ).toBeLessThan(mostGrowth);
    // Gradients are used up as they come, so all that grows with the layers is what the forward pass keeps.
    expect(planned(large)).toBeLessThan(4.1 * planned(small));
  });
});
