import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  binaryCrossEntropyWithLogits,
  cosineSimilarity,
  crossEntropy,
  grad,
  huberLoss,
  klDiv,
  l1Loss,
  logSoftmax,
  mseLoss,
  nllLoss,
  OptionError,
  ShapeError,
  smoothL1Loss,
  type Tensor,
  tensor,
  useBackend,
  zeros,
} from "../../src/index.js";
import { type CompositeCase, indices, mixed, on, type Plain, testComposites } from "../support/composite-cases.js";
import { transcendental } from "../support/tolerances.js";

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

type Reduction = "mean" | "sum" | "none";
type Loss = (x: Tensor, y: Tensor, options: { reduction: Reduction }) => Tensor;

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const row = (...data: number[]): Plain => ({ shape: [data.length], data });

/** A loss of two arrays in each of the three ways. */
function each(loss: Loss, x: Plain, y: Plain, formula: (x: number, y: number, i: number) => number, smooth = true): CompositeCase[] {
  const losses = x.data.map((value, i) => formula(value, y.data[i] as number, i));
  const by: Readonly<Record<Reduction, Plain>> = {
    none: { shape: x.shape, data: losses },
    sum: { shape: [], data: [total(losses)] },
    mean: { shape: [], data: [total(losses) / losses.length] },
  };
  return Object.entries(by).map(([reduction, expected]) => ({
    ...on((a: Tensor, b: Tensor) => loss(a, b, { reduction: reduction as Reduction }), [x, y], expected, smooth && reduction === "mean"),
    relative: transcendental.relative,
  }));
}

const huber = (d: number, delta: number): number => (Math.abs(d) <= delta ? d ** 2 / 2 : delta * (Math.abs(d) - delta / 2));
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const binary = (x: number, y: number, weight = 1): number =>
  (weight * y === 0 ? 0 : weight * y * softplus(-x)) + (y === 1 ? 0 : (1 - y) * softplus(x));
const klTerm = (logQ: number, p: number): number => (p === 0 ? 0 : p * (Math.log(p) - logQ));

const [x, y] = [mixed([2, 3]), mixed([2, 3], 2)];
/** x, but at none of the differences at which losses bend. */
const off: Plain = { ...x, data: x.data.map((value) => value + 1 / 32) };
const probabilities: Plain = { shape: [2, 3], data: [0.2, 0.3, 0.5, 1, 0.25, 0.75] };
const logarithms: Plain = { shape: [2, 3], data: [-0.5, -1, -2, -0.25, -3, -1.5] };
const classes = indices([2, -100, 0]);

/** Cross-entropy with smoothed targets, as PyTorch defines it. */
function smoothed(logits: readonly number[][], targets: readonly number[], smoothing: number): (number | undefined)[] {
  return logits.map((line, i) => {
    const target = targets[i] as number;
    if (target === -100) return undefined;
    const normalizer = Math.log(total(line.map(Math.exp)));
    const nll = line.map((value) => normalizer - value);
    return (1 - smoothing) * (nll[target] as number) + (smoothing * total(nll)) / line.length;
  });
}

testComposites(
  "losses",
  {
    "mseLoss and l1Loss": [
      ...each(mseLoss, x, y, (a, b) => (a - b) ** 2),
      ...each(l1Loss, x, y, (a, b) => Math.abs(a - b)),
      ...each(mseLoss, row(inf, nan), row(1, 1), (a, b) => (a - b) ** 2, false),
      ...each(mseLoss, { shape: [], data: [3] }, { shape: [], data: [1] }, () => 4),
      on((a: Tensor, b: Tensor) => mseLoss(a, b), [indices([1, 2]), indices([3, 2])], { shape: [], data: [2], dtype: "f32" }),
    ],
    "huberLoss and smoothL1Loss": [
      ...each(huberLoss, off, y, (a, b) => huber(a - b, 1)),
      ...each(
        (a, b, options) => huberLoss(a, b, { delta: 2.5, ...options }),
        off,
        y,
        (a, b) => huber(a - b, 2.5),
      ),
      ...each(smoothL1Loss, off, y, (a, b) => huber(a - b, 1)),
      ...each(
        (a, b, options) => smoothL1Loss(a, b, { beta: 0.5, ...options }),
        off,
        y,
        (a, b) => huber(a - b, 0.5) / 0.5,
      ),
      ...each(
        (a, b, options) => smoothL1Loss(a, b, { beta: 0, ...options }),
        off,
        y,
        (a, b) => Math.abs(a - b),
      ),
    ],
    binaryCrossEntropyWithLogits: [
      ...each(binaryCrossEntropyWithLogits, x, probabilities, (a, b) => binary(a, b)),
      ...each(
        (a, b, options) => binaryCrossEntropyWithLogits(a, b, { posWeight: 3, ...options }),
        x,
        probabilities,
        (a, b) => binary(a, b, 3),
      ),
      ...each(
        (a, b, options) => binaryCrossEntropyWithLogits(a, b, { posWeight: tensor([1, 2, 0.5]), ...options }),
        x,
        probabilities,
        (a, b, i) => binary(a, b, [1, 2, 0.5][i % 3]),
      ),
      ...each(binaryCrossEntropyWithLogits, row(1000, -1000, 1000, -80), row(1, 0, 0, 1), (a, b) => binary(a, b), false),
    ],
    klDiv: [
      ...each(klDiv, logarithms, probabilities, klTerm),
      ...each(
        (a, b, options) => klDiv(a, b, { logTarget: true, ...options }),
        logarithms,
        x,
        (a, b) => klTerm(a, Math.exp(b)),
      ),
      ...each(klDiv, row(-inf, -1, -inf), row(0, 0, 0.5), klTerm, false),
      ...each(
        (a, b, options) => klDiv(a, b, { logTarget: true, ...options }),
        row(-inf, -1),
        row(-inf, -inf),
        () => 0,
        false,
      ),
    ],
    "classes as targets": [
      on(
        (q: Tensor, t: Tensor) => nllLoss(q, t, { reduction: "none" }),
        [{ ...logarithms, shape: [3, 2] }, indices([1, 0, 1])],
        row(1, 2, 1.5),
      ),
      on((q: Tensor, t: Tensor) => nllLoss(q, t), [{ ...logarithms, shape: [3, 2] }, indices([1, -100, 0])], { shape: [], data: [2] }),
      on(
        (q: Tensor, t: Tensor) => nllLoss(q, t, { ignoreIndex: 1, reduction: "sum" }),
        [{ ...logarithms, shape: [3, 2] }, indices([1, 0, 0])],
        {
          shape: [],
          data: [5],
        },
      ),
      on(
        (q: Tensor, t: Tensor) => nllLoss(q, t, { reduction: "none" }),
        [row(-1, -inf), { ...indices([1]), shape: [] }],
        { shape: [], data: [inf] },
        false,
      ),
      on(
        (q: Tensor, t: Tensor) => nllLoss(q, t, { reduction: "none" }),
        [{ ...logarithms, shape: [3, 2] }, indices([2, -1, 0])],
        row(nan, nan, 3),
        false,
      ),
      // Smoothed and with targets that do not count.
      ...(["none", "sum", "mean"] as const).map((reduction): CompositeCase => {
        const logits = mixed([3, 4], 5);
        const losses = smoothed(
          [0, 1, 2].map((i) => logits.data.slice(4 * i, 4 * i + 4)),
          classes.data,
          0.3,
        );
        const counted = losses.filter((loss) => loss !== undefined);
        const expected =
          reduction === "none"
            ? row(...losses.map((loss) => loss ?? 0))
            : { shape: [], data: [reduction === "sum" ? total(counted) : total(counted) / 2] };
        return {
          ...on((l: Tensor, t: Tensor) => crossEntropy(l, t, { labelSmoothing: 0.3, reduction }), [logits, classes], expected),
          relative: transcendental.relative,
        };
      }),
    ],
    cosineSimilarity: [
      on(
        (a: Tensor, b: Tensor) => cosineSimilarity(a, b),
        [
          { shape: [2, 2], data: [3, 4, 1, 0] },
          { shape: [2, 2], data: [4, 3, 0, -2] },
        ],
        row(0.96, 0),
      ),
      on(
        (a: Tensor, b: Tensor) => cosineSimilarity(a, b, 0),
        [
          { shape: [2, 1], data: [3, 4] },
          { shape: [2, 2], data: [-3, 4, -4, 3] },
        ],
        row(-1, 0.96),
      ),
      on((a: Tensor, b: Tensor) => cosineSimilarity(a, b), [row(0, 0), row(1, 2)], { shape: [], data: [0] }, false),
      on((a: Tensor, b: Tensor) => cosineSimilarity(a, b), [row(1e30, 0), row(-1e30, 0)], { shape: [], data: [-1] }, false),
    ].map((each) => ({ ...each, relative: transcendental.relative })),
  },
  { thin: true },
);

describe("in double precision", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const f64 = (...values: number[]): Tensor => tensor(Float64Array.from(values));

  it("the loss of targets after a softmax is the cross-entropy", async () => {
    const logits = f64(1, 2, -1, 0.5, 3, 0).reshape([2, 3]);
    const targets = tensor([2, 0], { dtype: "i32" });
    const found = await nllLoss(logSoftmax(logits), targets).item();
    expect(found).toBeCloseTo(await crossEntropy(logits, targets).item(), 14);
  });

  it("derivatives where losses bend are those of PyTorch", async () => {
    const slope = async (loss: (a: Tensor, b: Tensor) => Tensor, a: Tensor, b: Tensor): Promise<unknown> =>
      grad((at: Tensor) => loss(at, b))(a).array();
    const sum = { reduction: "sum" } as const;
    expect(await slope((a, b) => l1Loss(a, b, sum), f64(1, 2, 0), f64(1, 1, 1))).toEqual([0, 1, -1]);
    expect(await slope((a, b) => huberLoss(a, b, { delta: 2, ...sum }), f64(2, -2, 5), f64(0, 0, 0))).toEqual([2, -2, 2]);
    expect(await slope((a, b) => smoothL1Loss(a, b, { beta: 2, ...sum }), f64(2, -1, 5), f64(0, 0, 0))).toEqual([1, -0.5, 1]);
    expect(await slope((a, b) => klDiv(a, b, sum), f64(-1, -2), f64(0, 0.5))).toEqual([0, -0.5]);
    expect(await grad((p: Tensor) => klDiv(f64(Number.NEGATIVE_INFINITY, -2), p, sum))(f64(0, 1)).array()).toEqual([0, 3]);
    expect(await slope((a, b) => cosineSimilarity(a, b), f64(0, 0), f64(0, 2))).toEqual([0, 1e8]);
  });

  it.each(["f16", "bf16", "f32", "f64"] as const)("losses of %s", (dtype) => {
    const a = zeros([2, 3], { dtype });
    const found = [mseLoss, l1Loss, huberLoss, smoothL1Loss, binaryCrossEntropyWithLogits, klDiv, cosineSimilarity].map(
      (f) => f(a, a).dtype,
    );
    expect(new Set([...found, nllLoss(a, zeros([2], { dtype: "i32" })).dtype])).toEqual(new Set([dtype]));
  });

  it.each([
    ["targets of another shape", ShapeError, () => mseLoss(zeros([3, 1]), zeros([3]))],
    ["classes of another shape", ShapeError, () => nllLoss(zeros([2, 3]), zeros([3], { dtype: "i32" }))],
    ["classes that are floats", ShapeError, () => nllLoss(zeros([2, 3]), zeros([2]))],
    ["weights that do not repeat", ShapeError, () => binaryCrossEntropyWithLogits(zeros([2]), zeros([2]), { posWeight: zeros([3, 2]) })],
    ["a mean of none", ShapeError, () => mseLoss(zeros([0]), zeros([0]))],
    ["a reduction that is none", OptionError, () => l1Loss(zeros([2]), zeros([2]), { reduction: "batchmean" as never })],
    ["a bend at 0", OptionError, () => huberLoss(zeros([2]), zeros([2]), { delta: 0 })],
    ["an axis that is not there", ShapeError, () => cosineSimilarity(zeros([2]), zeros([2]), 1)],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));
});
