import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import {
  adamw,
  compile,
  createTrainStep,
  explain,
  key,
  type LanguageBatch,
  Llama,
  languageBatch,
  languageLoss,
  llamaConfig,
  matmul,
  memory,
  realize,
  scan,
  softmax,
  type Tensor,
  tensor,
  useBackend,
  valueAndGrad,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { leastScratch, lowerGraph, planOf, targets } from "../support/plans.js";
import { createRecordingBackend, type Recorded } from "../support/recording-backend.js";

interface Size {
  readonly layers: number;
  readonly width: number;
  readonly headDim: number;
  readonly batch: number;
  readonly length: number;
}

/** A model and a batch of it, whose numbers nobody computes. */
function setting({ layers, width, headDim, batch, length }: Size): { model: Llama; tokens: LanguageBatch } {
  const heads = width / headDim;
  const config = llamaConfig({
    vocab_size: 256,
    hidden_size: width,
    intermediate_size: Math.ceil((width * 11) / 4),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    head_dim: headDim,
    max_position_embeddings: length,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    initializer_range: 0.02,
  });
  const half = headDim / 2;
  const tables = { cos: new Float32Array(length * half), sin: new Float32Array(length * half), rows: 1, length, half };
  const ids = new Int32Array(batch * length);
  return {
    model: new Llama(config, { key: key(0) }),
    tokens: languageBatch({ inputs: ids, targets: ids, batch, length }, tables),
  };
}

/** The last program that is compiled while a function runs. */
function recordedBy(run: () => void): Recorded {
  const { backend, recorded } = createRecordingBackend();
  useBackend(backend);
  run();
  return recorded.at(-1) as Recorded;
}

const benchmark: Size = { layers: 4, width: 128, headDim: 32, batch: 16, length: 128 };
const deep: Size = { layers: 30, width: 64, headDim: 32, batch: 1, length: 1024 };

/** Loss, gradients and AdamW, as `bench/` has them. */
function step(size: Size): Recorded {
  const { model, tokens } = setting(size);
  const optimizer = adamw({});
  const state = optimizer.init(model);
  const update = compile(
    (params: Llama, moments: typeof state, batch: LanguageBatch, lr: Tensor) => {
      const [loss, grads] = valueAndGrad((at: Llama) => languageLoss(at, batch))(params);
      return [...optimizer.update(params, grads, moments, { lr }), loss];
    },
    { donate: [0, 1] },
  );
  return recordedBy(() => update(model, state, tokens, 1e-3));
}

function trainStep(size: Size, options: { microBatches?: number; checkpointed?: boolean } = {}): Recorded {
  const { microBatches = 1, checkpointed = false } = options;
  const { model, tokens } = setting(size);
  const optimizer = adamw({});
  const loss = (at: Llama, batch: LanguageBatch): Tensor => languageLoss(at, batch, { checkpoint: checkpointed });
  const train = createTrainStep({ optimizer, loss });
  const batch = microBatches === 1 ? tokens : Array.from({ length: microBatches }, () => tokens);
  return recordedBy(() => train(model, optimizer.init(model), batch, 1e-3));
}

function forward(size: Size): Recorded {
  const { model, tokens } = setting(size);
  const logits = compile((params: Llama, { inputs, tables }: LanguageBatch) => params.forward(inputs, tables));
  return recordedBy(() => logits(model, tokens));
}

const programs = {
  "the step of bench/": () => step(benchmark),
  "a step with clipped gradients": () => trainStep(benchmark),
  "a step of four micro-batches": () => trainStep(benchmark, { microBatches: 4 }),
  "a step with checkpointed layers": () => trainStep({ ...benchmark, layers: 8 }, { checkpointed: true }),
  "the forward pass of 30 layers at T = 1024": () => forward(deep),
  "a step of 30 layers at T = 1024": () => step(deep),
};
afterEach(() => useBackend(undefined));

describe.each(Object.entries(programs))("the memory of %s", (_, record) => {
  it.each(Object.entries(targets))("on %s is close to what lives at once, which is no more than before steps were ordered", (_, target) => {
    const { graph, options } = record();
    const lowered = lowerGraph(graph, target);
    const planned = planOf(lowered, target, options.donated);
    const least = Math.max(...planned.liveBytes);
    expect(planned.scratchBytes).toBeLessThanOrEqual((target.scratch === "block" ? 1.1 : 1.3) * least);
    expect(leastScratch({ ...lowered, steps: planned.steps })).toBeLessThanOrEqual(leastScratch(lowered));
    // Weights and moments are updated in place; norms are as small as they are many, and some are not.
    const isCopied = (output: number): boolean => planned.slots[planned.outputs[output] as number]?.use.kind !== "input";
    const matrices = graph.outputs.flatMap((node, i) => (graph.nodes[node]?.shape.length === 2 ? [i] : []));
    if (options.donated?.some(Boolean)) expect(matrices.filter(isCopied)).toEqual([]);
  });
});

describe.each(backends().filter(({ name }) => name === "wasm" || name === "webgpu"))("scratch on $name", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  beforeEach(() => useBackend(backend));
  afterAll(() => backend.close());

  /** Planned bytes, the most that live at once, and where. */
  function planIn(text: string): { planned: number; alive: number; kernel: number } {
    const [, planned, alive, kernel] = /^(\d+) bytes of scratch for (\d+) that are alive at kernel (\d+)/m.exec(text) ?? [];
    return { planned: Number(planned), alive: Number(alive), kernel: Number(kernel) };
  }
  const linesIn = (text: string): string[] => text.split("\n").filter((line) => /^ *\d+ [▸ ] *[\d.]+ [kMG]?B {2}/.test(line));
  const n = 128;
  const square = (): Tensor => tensor(new Float32Array(n * n), { shape: [n, n] });

  it("is shown by explain: what is alive at each kernel, where that is most, and what is planned", () => {
    const f = compile((x: Tensor) =>
      matmul(softmax(matmul(x, x)), x)
        .sub(x)
        .sum(),
    );
    const text = f.explain(square());
    const { planned, alive, kernel } = planIn(text);
    expect(alive).toBe(2 * 4 * n * n);
    expect(planned).toBeGreaterThanOrEqual(alive);
    expect(planned).toBeLessThanOrEqual(1.3 * alive);
    const lines = linesIn(text);
    expect(lines.filter((line) => line.includes("▸"))).toEqual([lines[kernel]]);
    expect(lines[kernel]).toContain("131 kB");
    expect(lines[0]).toContain("65.5 kB");
  });

  it("of a loop is shown with its body once", () => {
    const text = explain((x: Tensor) => scan((c: Tensor) => [matmul(c, x).tanh(), c.sum()], x, undefined, { length: 1000 }), square());
    expect(text.match(/loop × 1000/g)).toHaveLength(1);
    expect(linesIn(text).filter((line) => line.includes("matmul"))).toHaveLength(1);
    expect(planIn(text).planned).toBeGreaterThanOrEqual(4 * n * n);
  });

  it("is counted as the program's while a run uses it, and as idle afterwards", async () => {
    const f = compile((x: Tensor) => matmul(softmax(matmul(x, x)), x).sum());
    const x = square();
    const { planned } = planIn(f.explain(x));
    await realize(x);
    const before = memory();
    for (let run = 0; run < 3; run++) await f(x).data();
    const after = memory();
    expect(after.peakBytes).toBeGreaterThanOrEqual(before.liveBytes + planned);
    expect(after.idleBytes).toBeGreaterThanOrEqual(planned);
    expect(after.byOwner["program"] ?? 0).toBeLessThan(planned);
  });
});
