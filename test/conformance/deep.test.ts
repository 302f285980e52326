import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { compile, concat, grad, scan, softmax, type Tensor, tensor, useBackend } from "../../src/index.js";
import { usedBackends } from "../support/backends.js";
import { numbersOf } from "../support/floats.js";

const repeat = (times: number, step: (x: Tensor, i: number) => Tensor, x: Tensor): Tensor => {
  let state = x;
  for (let i = 0; i < times; i++) state = step(state, i);
  return state;
};

const row = (): Tensor => tensor([[0.5, -1, 2]]);
const matrix = (): Tensor =>
  tensor([
    [0.3, -0.2, 0.1],
    [0.2, 0.4, -0.5],
    [-0.1, 0.3, 0.2],
  ]);

/** Graphs of some ten thousands of operations whose results are known. */
const chains: Readonly<Record<string, { make: () => Tensor; expected: readonly number[] }>> = {
  "20,000 additions": { make: () => repeat(20_000, (x) => x.add(1), row()), expected: [20_000.5, 19_999, 20_002] },
  "20,000 additions of one of two numbers": {
    make: () => repeat(20_000, (x, i) => x.add(i % 2 === 0 ? 0.25 : -0.25), row()),
    expected: [0.5, -1, 2],
  },
  "20,000 views": { make: () => repeat(20_000, (x) => x.flip(1), row()), expected: [0.5, -1, 2] },
  "6,000 reshapes of transposed views": {
    make: () => repeat(6_000, (x) => x.reshape([3, 2]).transpose().reshape([6]), concat([row(), row()], 1).reshape([6])).slice([[0, 1]]),
    expected: [0.5],
  },
  "4,000 pads and slices": {
    make: () =>
      repeat(
        4_000,
        (x) =>
          x
            .pad([
              [0, 0],
              [1, 0],
            ])
            .slice([
              [0, 1],
              [1, 4],
            ]),
        row(),
      ),
    expected: [0.5, -1, 2],
  },
  "1,000 softmaxes": { make: () => repeat(1_000, (x) => softmax(x), row()), expected: [1 / 3, 1 / 3, 1 / 3] },
  "the gradient through 20,000 additions": {
    make: () => grad((x: Tensor) => repeat(20_000, (at) => at.add(1), x).sum())(row()),
    expected: [1, 1, 1],
  },
  "a loop over 6,000 reshapes of transposed views": {
    make: () => {
      const views = repeat(6_000, (x) => x.reshape([3, 2]).transpose().reshape([6]), concat([row(), row()], 1).reshape([6]));
      return scan((c: Tensor) => [c.add(views), null], views, null, { length: 3 })[0].slice([[0, 1]]);
    },
    expected: [2],
  },
  "the gradient through 20,000 compiled doublings and halvings": {
    make: () => compile(grad((x: Tensor) => repeat(20_000, (at, i) => at.mul(i % 2 === 0 ? 2 : 0.5), x).sum()))(row()),
    expected: [1, 1, 1],
  },
  "the gradient through 1,000 recurrent steps": {
    make: () => grad((w: Tensor) => repeat(1_000, (x) => x.matmul(w).add(0.1).tanh(), row()).sum())(matrix()).sum(),
    expected: [1.34102],
  },
};

describe.each(usedBackends())("$name computes graphs of any depth:", ({ create }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  }, 120_000);
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });

  for (const [name, { make, expected }] of Object.entries(chains)) {
    it(name, { timeout: 120_000 }, async () => {
      const found = await numbersOf(make());
      expect(found.length).toBe(expected.length);
      found.forEach((value, i) => {
        expect(Math.abs(value - (expected[i] as number))).toBeLessThan(1e-3 * Math.max(1, Math.abs(expected[i] as number)));
      });
    });
  }
});
