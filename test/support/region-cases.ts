import { add, checkpoint, concat, customVjp, matmul, scan, split, stack, type Tensor, tensor, where, zeros } from "../../src/index.js";
import { headCases } from "./head-cases.js";
import type { RegionCase } from "./region-case.js";

type Step = (carry: Tensor[], x: Tensor[]) => [Tensor[], Tensor[]];

/** What a scan means: its steps, one after another. */
export function written(step: Step, carry: Tensor[], xs: Tensor[], length: number, reverse = false): [Tensor[], Tensor[]] {
  let state = carry;
  const rows: Tensor[][] = [];
  for (let turn = 0; turn < length; turn++) {
    const at = reverse ? length - 1 - turn : turn;
    const slices = xs.map((x) => x.slice([[at, at + 1]]).reshape(x.shape.slice(1)));
    const [next, ys] = step(state, slices);
    state = next;
    rows[at] = ys;
  }
  return [state, (rows[0] as Tensor[]).map((_, k) => stack(rows.map((row) => row[k] as Tensor)))];
}

/** A scan of a step whose parameters come after carry and slices, beside the same written out. */
function scanCase(
  name: string,
  step: (parameters: Tensor[]) => Step,
  shapes: { carry: number[][]; xs: number[][]; parameters?: number[][] },
  options: { length?: number; reverse?: boolean; checkpointEvery?: number } = {},
): RegionCase {
  const { carry, xs, parameters = [] } = shapes;
  const length = options.length ?? (xs[0]?.[0] as number);
  const parts = (args: Tensor[]): [Tensor[], Tensor[], Tensor[]] => [
    args.slice(0, carry.length),
    args.slice(carry.length, carry.length + xs.length),
    args.slice(carry.length + xs.length),
  ];
  return {
    name,
    shapes: [...carry, ...xs, ...parameters],
    f: (...args) => {
      const [c, x, w] = parts(args);
      const [last, ys] = scan((state: Tensor[], slices: Tensor[]) => step(w)(state, slices), c, x, { ...options, length });
      return [...last, ...ys];
    },
    plain: (...args) => {
      const [c, x, w] = parts(args);
      const [last, ys] = written(step(w), c, x, length, options.reverse);
      return [...last, ...ys];
    },
  };
}

const recurrence =
  ([w]: Tensor[]): Step =>
  ([c], [x]) => {
    const next = (c as Tensor).mul(w as Tensor).add(x as Tensor);
    return [[next], [next.sin()]];
  };

const recurrent =
  ([w]: Tensor[]): Step =>
  ([h], [x]) => {
    const next = add(matmul(h as Tensor, w as Tensor), x as Tensor).tanh();
    return [[next], [next.sum(-1)]];
  };

const block = (x: Tensor, w: Tensor): Tensor => matmul(x.softmax(), w).tanh().add(x);

export const regionCases: readonly RegionCase[] = [
  scanCase("a linear recurrence", recurrence, { carry: [[3]], xs: [[5, 3]], parameters: [[3]] }),
  scanCase("a linear recurrence from the end", recurrence, { carry: [[3]], xs: [[5, 3]], parameters: [[3]] }, { reverse: true }),
  scanCase("a recurrence in chunks", recurrence, { carry: [[3]], xs: [[7, 3]], parameters: [[3]] }, { checkpointEvery: 3 }),
  scanCase(
    "a recurrence in chunks from the end",
    recurrence,
    { carry: [[3]], xs: [[7, 3]], parameters: [[3]] },
    { checkpointEvery: 2, reverse: true },
  ),
  scanCase("one step", recurrence, { carry: [[2]], xs: [[1, 2]], parameters: [[2]] }),
  scanCase("a recurrent network", recurrent, { carry: [[2, 6]], xs: [[4, 2, 6]], parameters: [[6, 6]] }),
  scanCase(
    "layers with stacked weights, some of them transposed",
    () =>
      ([x], [w, v]) => [[matmul(matmul((x as Tensor).softmax(), w as Tensor).tanh(), (v as Tensor).transpose()).add(x as Tensor)], []],
    {
      carry: [[5, 4]],
      xs: [
        [3, 4, 8],
        [3, 4, 8],
      ],
    },
  ),
  scanCase(
    "carries that change places",
    () =>
      ([a, b], [x]) => [[b as Tensor, (a as Tensor).add(x as Tensor)], [(a as Tensor).mul(b as Tensor)]],
    { carry: [[3], [3]], xs: [[5, 3]] },
  ),
  scanCase(
    "a carry that stays and one that nobody reads",
    () =>
      ([a], [x]) => [[a as Tensor, (x as Tensor).exp()], [(a as Tensor).mul(x as Tensor)]],
    {
      carry: [[3], [3]],
      xs: [[4, 3]],
    },
  ),
  scanCase(
    "steps without slices",
    ([w]) =>
      ([c]) => [[(c as Tensor).mul(w as Tensor).cos()], [c as Tensor]],
    { carry: [[4]], xs: [], parameters: [[4]] },
    { length: 6 },
  ),
  scanCase(
    "sums without a carry",
    () =>
      (_, [x]) => [[], [(x as Tensor).exp().sum(), (x as Tensor).max(-1)]],
    { carry: [], xs: [[4, 2, 3]] },
  ),
  scanCase(
    "a scan in a scan",
    ([w]) =>
      ([c], [x]) => {
        const [last, ys] = scan(
          (state: Tensor, slice: Tensor) => {
            const next = state.mul(w as Tensor).add(slice);
            return [next, next.square()];
          },
          c as Tensor,
          x as Tensor,
        );
        return [[last], [ys]];
      },
    { carry: [[2]], xs: [[3, 4, 2]], parameters: [[2]] },
  ),
  {
    name: "running totals of an axis",
    shapes: [[6, 3]],
    f: (x) => {
      const [total, sums] = scan(
        (sofar: Tensor, row: Tensor) => {
          const next = sofar.add(row);
          return [next, next];
        },
        zeros([3], { dtype: (x as Tensor).dtype }),
        x as Tensor,
      );
      return [total, sums];
    },
    plain: (x) => {
      const earlier = tensor(Array.from({ length: 6 }, (_, i) => Array.from({ length: 6 }, (_, j) => (j <= i ? 1 : 0))));
      return [(x as Tensor).sum(0), matmul(earlier, x as Tensor)];
    },
  },
  {
    name: "a checkpoint",
    shapes: [
      [3, 4],
      [4, 4],
    ],
    f: (x, w) => [checkpoint(block)(x as Tensor, w as Tensor)],
    plain: (x, w) => [block(x as Tensor, w as Tensor)],
  },
  {
    name: "checkpoints one after another and inside of each other",
    shapes: [
      [3, 4],
      [4, 4],
    ],
    f: (x, w) => {
      const twice = (a: Tensor, b: Tensor): Tensor => checkpoint(block)(checkpoint(block)(a, b), b);
      return [checkpoint(twice)(checkpoint(block)(x as Tensor, w as Tensor), w as Tensor)];
    },
    plain: (x, w) => [block(block(block(x as Tensor, w as Tensor), w as Tensor), w as Tensor)],
  },
  {
    name: "a checkpoint that closes over its weight, in a scan",
    shapes: [[2, 4], [3, 4, 4], [4]],
    f: (x, weights, b) => {
      const [last] = scan(
        (h: Tensor, w: Tensor) => [checkpoint((inner: Tensor) => block(inner, w).mul(b as Tensor))(h), null],
        x as Tensor,
        weights as Tensor,
      );
      return [last];
    },
    plain: (x, weights, b) => {
      const parts = split(weights as Tensor, [1, 1, 1], 0).map((w) => w.reshape([4, 4]));
      return [parts.reduce((h, w) => block(h, w).mul(b as Tensor), x as Tensor)];
    },
  },
  {
    name: "a scan in a checkpoint",
    shapes: [[3], [5, 3], [3]],
    f: (c, xs, w) => {
      const all = (start: Tensor, rows: Tensor): Tensor[] => {
        const [last, ys] = scan((state: Tensor[], x: Tensor[]) => recurrence([w as Tensor])(state, x), [start], [rows]);
        return [...last, ...ys];
      };
      return checkpoint(all)(c as Tensor, xs as Tensor);
    },
    plain: (c, xs, w) => {
      const [last, ys] = written(recurrence([w as Tensor]), [c as Tensor], [xs as Tensor], 5);
      return [...last, ...ys];
    },
  },
  {
    name: "a function with a rule of its own, in a scan and in a checkpoint",
    shapes: [[3], [4, 3]],
    f: (c, xs) => {
      const logistic = customVjp(
        (x: Tensor) => x.sigmoid(),
        (x: Tensor) => {
          const y = x.sigmoid();
          return [y, y];
        },
        (y: Tensor, ct: Tensor) => [ct.mul(y.sub(y.square()))],
      );
      const [last, ys] = scan(
        (state: Tensor, x: Tensor) => [checkpoint((a: Tensor) => logistic(a.add(state)))(x), logistic(state)],
        c as Tensor,
        xs as Tensor,
      );
      return [last, ys];
    },
    plain: (c, xs) => {
      const [last, ys] = written(
        ([s], [x]) => [[(x as Tensor).add(s as Tensor).sigmoid()], [(s as Tensor).sigmoid()]],
        [c as Tensor],
        [xs as Tensor],
        4,
      );
      return [...last, ...ys];
    },
  },
  {
    name: "results that are chosen from and joined",
    shapes: [[4], [3, 4]],
    f: (c, xs) => {
      const [last, ys] = scan((s: Tensor, x: Tensor) => [where(s.less(x), s.mul(2), x), concat([s, x])], c as Tensor, xs as Tensor);
      return [last, ys.sum(0)];
    },
    plain: (c, xs) => {
      const [last, ys] = written(
        ([s], [x]) => [[where((s as Tensor).less(x as Tensor), (s as Tensor).mul(2), x as Tensor)], [concat([s as Tensor, x as Tensor])]],
        [c as Tensor],
        [xs as Tensor],
        3,
      );
      return [...last, (ys[0] as Tensor).sum(0)];
    },
  },
  ...headCases,
];
