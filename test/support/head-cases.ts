import { linearCrossEntropyBy } from "../../src/autograd/cross-entropy.js";
import {
  type CrossEntropyOptions,
  checkpoint,
  crossEntropy,
  gather,
  matmul,
  scan,
  type Tensor,
  tensor,
  transpose,
} from "../../src/index.js";
import type { RegionCase } from "./region-case.js";

/** Cross-entropies of linear layers in blocks of rows, beside the same with all of the logits at once. */

const [rows, width, classes] = [19, 3, 7];
/** Of each place: a class, and now and then the number that does not count. */
const targetsOf = (count: number, ignored = -100): Tensor =>
  tensor(Int32Array.from({ length: count }, (_, i) => (i % 5 === 3 ? ignored : (i * 5) % classes)));

const written = (x: Tensor, weight: Tensor, targets: Tensor, options: CrossEntropyOptions): Tensor =>
  crossEntropy(matmul(x, transpose(weight)), targets, options);

/** Blocks of eight rows, so that three of them hold all, the last one not full. */
const headCase = (name: string, options: CrossEntropyOptions, blockRows = 8, shape: readonly number[] = [rows]): RegionCase => {
  const targets = (): Tensor =>
    targetsOf(
      shape.reduce((a, b) => a * b),
      options.ignoreIndex,
    ).reshape(shape);
  return {
    name: `a head with ${name}`,
    shapes: [
      [...shape, width],
      [classes, width],
    ],
    f: (x, weight) => [linearCrossEntropyBy(blockRows, { x: x as Tensor, weight: weight as Tensor, targets: targets() }, options)],
    plain: (x, weight) => [written(x as Tensor, weight as Tensor, targets(), options)],
  };
};

export const headCases: readonly RegionCase[] = [
  headCase("the mean of its losses", {}),
  headCase("the mean, in one block", {}, 64),
  headCase("the sum of smoothed losses", { reduction: "sum", labelSmoothing: 0.3 }, 8, [2, 9]),
  headCase("single losses", { reduction: "none", ignoreIndex: 2 }, 8, [3, 7]),
  headCase("single smoothed losses, in one block", { reduction: "none", labelSmoothing: 0.1 }, 64),
  {
    name: "a head that is the embedding, in a checkpoint",
    shapes: [[classes, width]],
    f: (weight) => {
      const targets = targetsOf(rows);
      const loss = checkpoint((w: Tensor) => {
        const x = gather(w, targets.maximum(0)).sin();
        return linearCrossEntropyBy(8, { x, weight: w, targets }, {});
      });
      return [loss(weight as Tensor)];
    },
    plain: (weight) => {
      const targets = targetsOf(rows);
      return [written(gather(weight as Tensor, targets.maximum(0)).sin(), weight as Tensor, targets, {})];
    },
  },
  {
    name: "a head in each step of a scan, whose loss is scaled",
    shapes: [
      [3, rows, width],
      [classes, width],
    ],
    f: (xs, weight) => {
      const targets = targetsOf(rows);
      const [, losses] = scan(
        (none: null, x: Tensor) => [none, linearCrossEntropyBy(8, { x, weight: weight as Tensor, targets }, {}).log()],
        null,
        xs as Tensor,
      );
      return [losses];
    },
    plain: (xs, weight) => {
      const x = (xs as Tensor).reshape([3 * rows, width]);
      const targets = tensor(Int32Array.from({ length: 3 * rows }, (_, i) => ((i % rows) % 5 === 3 ? -100 : ((i % rows) * 5) % classes)));
      const counted = [...Array(rows).keys()].filter((i) => i % 5 !== 3).length;
      const losses = written(x, weight as Tensor, targets, { reduction: "none" });
      return [
        losses
          .reshape([3, rows])
          .sum(1)
          .mul(1 / counted)
          .log(),
      ];
    },
  },
];
