import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  type Backend,
  BatchNorm,
  Conv1d,
  Conv2d,
  concat,
  Embedding,
  GroupNorm,
  GruCell,
  grad,
  key,
  LayerNorm,
  Linear,
  LstmCell,
  type LstmState,
  loadTensors,
  MultiHeadAttention,
  RMSNorm,
  Rnn,
  RnnCell,
  scanCell,
  sequential,
  type Tensor,
  tanh,
  tensorsOf,
  torchRnnName,
  useBackend,
} from "../../src/index.js";
import { distance } from "../nn/tiny.js";

/** What test/golden/make_modules.py wrote: names "case.params.weight", "case.x", "case.y", "case.w", "case.grads.weight". */
const golden = readFileSync(new URL("modules.safetensors", import.meta.url));

type Inputs = Readonly<Record<string, Tensor>>;
interface Case<M extends object> {
  readonly make: () => M;
  readonly forward: (module: M, inputs: Inputs) => Tensor;
  /** The name of a parameter in PyTorch. Default: the path. */
  readonly rename?: (path: string) => string;
}
const of = <M extends object>(
  make: () => M,
  forward: (module: M, inputs: Inputs) => Tensor,
  rename?: (path: string) => string,
): Case<object> => ({ make, forward, ...(rename && { rename }) }) as unknown as Case<object>;

const k = key(0);
const layer = <M extends { forward(x: Tensor): Tensor }>(make: () => M): Case<object> =>
  of(make, (module, { x }) => module.forward(x as Tensor));

/** The layer in place 0 of a list of one is what PyTorch calls the module itself. */
const cases: Readonly<Record<string, Case<object>>> = {
  mlp: layer(() => sequential(Linear.create(k, 3, 5), tanh, LayerNorm.create(5), Linear.create(k, 5, 2, { bias: false }))),
  embedding: layer(() => Embedding.create(k, 7, 3)),
  rmsnorm: layer(() => RMSNorm.create(6)),
  groupnorm: layer(() => GroupNorm.create(2, 6)),
  batchnorm: of(
    () => BatchNorm.create(3, { momentum: 0.25 }),
    (module, { x }) => module.train(x as Tensor)[0],
  ),
  "batchnorm-used": layer(() => BatchNorm.create(3)),
  attention: of(
    () => MultiHeadAttention.create(k, 8, 2),
    (module, { x }) => module.forward(x as Tensor, { causal: true }),
  ),
  cross: of(
    () => MultiHeadAttention.create(k, 8, 4, { bias: false }),
    (module, { x, context }) => module.forward(x as Tensor, { context: context as Tensor }),
  ),
  rnn: of(
    () => Rnn.create(k, RnnCell, 3, 4, { layers: 2 }),
    (module, { x }) => module.forward(x as Tensor),
    torchRnnName,
  ),
  gru: of(
    () => Rnn.create(k, GruCell, 3, 4, { layers: 2 }),
    (module, { x }) => module.forward(x as Tensor),
    torchRnnName,
  ),
  lstm: of(
    () => Rnn.create(k, LstmCell, 3, 4, { layers: 2 }),
    (module, { x }) => module.forward(x as Tensor),
    torchRnnName,
  ),
  ...Object.fromEntries(
    Object.entries({ rnn: RnnCell, gru: GruCell }).map(([name, cell]) => [
      `${name}-both`,
      of(
        () => Rnn.create(k, cell, 2, 3, { layers: 2, bidirectional: true }),
        (module, { x }) => module.forward(x as Tensor),
        torchRnnName,
      ),
    ]),
  ),
  "lstm-both": of(
    () => Rnn.create(k, LstmCell, 2, 3, { layers: 2, bidirectional: true }),
    (module, { x, h, c }) => {
      const at = (t: Tensor | undefined, i: number): Tensor => (t as Tensor).slice([[i, i + 1]]).squeeze(0);
      const [ys, ends] = module.run(
        x as Tensor,
        [0, 1, 2, 3].map((i) => ({ h: at(h, i), c: at(c, i) })),
      );
      const states = ends as LstmState[];
      return concat([ys, ...states.map(({ h }) => h), ...states.map(({ c }) => c)].map((t) => t.ravel()));
    },
    torchRnnName,
  ),
  "lstm-state": of(
    () => LstmCell.create(k, 3, 4, { bias: false }),
    (module, { x, h, c }) => {
      const [ys, state] = scanCell(module, x as Tensor, { state: { h: (h as Tensor).squeeze(0), c: (c as Tensor).squeeze(0) } });
      return concat([ys.slice([null, [4, 5]]).squeeze(1), state.c]);
    },
    (path) => `${path}_l0`,
  ),
  conv1d: layer(() => Conv1d.create(k, 4, 6, 3, { stride: 2, padding: 1, groups: 2 })),
  conv2d: layer(() => Conv2d.create(k, 2, 3, [2, 3], { stride: [1, 2], padding: [1, 2], dilation: [2, 1], bias: false })),
  cell: of(
    () => GruCell.create(k, 3, 4),
    (module, { x, h }) => module.advance(module.project(x as Tensor), { h: h as Tensor }).h,
  ),
};

/** The tensors of a case by what follows its name. */
const partOf = (all: Inputs, prefix: string): Inputs =>
  Object.fromEntries(
    Object.entries(all).flatMap(([name, tensor]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : [])),
  );

/** The backends with the cases that they are held to: all of what a layer is made of has tests of its own on each of them. */
const backends: readonly [string, () => Promise<Backend>, readonly string[]][] = [
  ["reference", async () => createReferenceBackend(), Object.keys(cases)],
  ["wasm", () => createWasmBackend({ threads: 1 }), ["cross", "lstm-state"]],
  ["webgpu", () => createWebGpuBackend(), ["mlp"]],
];

describe.each(backends)("layers of PyTorch from their files, on %s", (_, create, held) => {
  let all: Inputs;
  beforeAll(async () => {
    const backend = await create();
    useBackend(backend);
    all = await loadTensors(golden);
    return async () => {
      useBackend(undefined);
      await backend.close();
    };
  });

  it.each(held.map((one) => [one, cases[one] as Case<object>] as const))("%s", async (one, { make, forward, rename }) => {
    const module = await loadTensors(golden, {
      like: make(),
      rename: (path) => `${one}.params.${rename?.(path) ?? path}`,
      strict: false,
    });
    const inputs = partOf(all, `${one}.`);
    for (const [path, tensor] of Object.entries(partOf(all, `${one}.params.`))) {
      if (path === "num_batches_tracked") continue;
      const places = tensorsOf(module).filter((place) => (rename?.(place.path) ?? place.path) === path);
      expect(
        places.map((place) => place.tensor.shape),
        path,
      ).toEqual([tensor.shape]);
    }
    const bound = 3e-5;
    expect(distance(await forward(module, inputs).data(), await (inputs["y"] as Tensor).data())).toBeLessThan(bound);
    const gradients = grad((m: object) =>
      forward(m, inputs)
        .mul(inputs["w"] as Tensor)
        .sum(),
    )(module);
    const expected = partOf(inputs, "grads.");
    let compared = 0;
    for (const { path, tensor } of tensorsOf(gradients)) {
      const found = expected[rename?.(path) ?? path];
      if (found === undefined) continue;
      expect(distance(await tensor.data(), await found.data()), path).toBeLessThan(bound);
      compared++;
    }
    expect(compared).toBe(Object.keys(expected).length);
    if (module instanceof BatchNorm && one === "batchnorm") {
      const next = module.train(inputs["x"] as Tensor)[1];
      for (const [path, after] of Object.entries(partOf(inputs, "after."))) {
        if (path === "num_batches_tracked") continue;
        const found = next[path as "running_mean"];
        expect(distance(await found.data(), await after.data()), path).toBeLessThan(1e-6);
      }
    }
  });
});
