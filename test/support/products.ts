import { type DType, isHalf } from "../../src/ir/dtype.js";
import type { Shape } from "../../src/ir/shape.js";
import { type Computation, GraphBuilder, type HostTensor, hostTensor } from "./graphs.js";
import { toNearestHalf } from "./halves.js";
import { fill } from "./samples.js";

/** How an operand [..., rows, columns] of a product lies in memory. */
export type Lie =
  | "rows"
  /** Its transpose lies there. */
  | "turned"
  /** Rows in a wider matrix, from an element on that no vector of four starts at. */
  | "off the vectors"
  /** [B, rows, H, columns] with the heads moved in front of the rows, as in attention. */
  | "heads"
  /** One matrix for the whole batch. */
  | "shared";

/** A product A [..., M, K] · B [..., K, N] with views under it and work behind it. */
export interface ProductCase {
  readonly title: string;
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly a: Lie;
  readonly b: Lie;
  /** Whether a bias and a factor follow in the same graph. */
  readonly epilogue: boolean;
}

const isBatched = ({ a, b }: Pick<ProductCase, "a" | "b">): boolean => [a, b].some((lie) => lie === "heads" || lie === "shared");

/** Sizes on both sides of where kernels change: rows held at once, whole vectors, tiles, slabs of k. */
const sizes: readonly (readonly [M: number, K: number, N: number])[] = [
  ...[1, 3, 4, 7, 8, 9, 16].map((M) => [M, 8, 12] as const),
  [1, 7, 12],
  [8, 9, 12],
  [8, 8, 13],
  [8, 9, 13],
  [4, 1, 4],
  [3, 6, 1],
  [1, 5, 1],
  [16, 20, 32],
  [17, 16, 33],
  [63, 15, 66],
  [64, 17, 64],
  [65, 16, 68],
  // Depths that are taken in blocks, and those that are cut into pieces.
  [2, 300, 9],
  [9, 523, 12],
  [3, 9001, 4],
];

const lies: readonly (readonly [Lie, Lie])[] = [
  ["rows", "rows"],
  ["rows", "turned"],
  ["turned", "rows"],
  ["turned", "turned"],
  ["off the vectors", "rows"],
  ["rows", "off the vectors"],
  ["heads", "heads"],
  ["heads", "turned"],
  ["turned", "heads"],
  ["heads", "shared"],
  ["shared", "turned"],
];

/** Every size with every way to lie. */
export const productCases: readonly ProductCase[] = sizes.flatMap(([M, K, N], i) =>
  lies.map(([a, b], j) => {
    const epilogue = (i + j) % 2 === 0;
    return { title: `${M} × ${K} × ${N}, A ${a}, B ${b}${epilogue ? ", with an epilogue" : ""}`, M, K, N, a, b, epilogue };
  }),
);

/** A batch of two samples with three heads. */
const [samplesInBatch, heads] = [2, 3];

function operand(
  builder: GraphBuilder,
  lie: Lie,
  batched: boolean,
  rows: number,
  columns: number,
  value: (shape: Shape) => HostTensor,
): number {
  const batch = batched ? [samplesInBatch, heads] : [];
  const order = [...batch.map((_, axis) => axis), batch.length + 1, batch.length];
  switch (lie) {
    case "rows":
      return builder.input(value([...batch, rows, columns]));
    case "turned":
      return builder.operation("permute", [builder.input(value([...batch, columns, rows]))], { order });
    case "off the vectors": {
      const wide = builder.input(value([...batch, rows, columns + 3]));
      const [starts, stops] = [
        [...batch.map(() => 0), 0, 1],
        [...batch, rows, columns + 1],
      ];
      return builder.operation("slice", [wide], { starts, stops, steps: starts.map(() => 1) });
    }
    case "heads": {
      const held = builder.input(value([samplesInBatch, rows, heads, columns]));
      return builder.operation("permute", [held], { order: [0, 2, 1, 3] });
    }
    case "shared": {
      const one = builder.operation("reshape", [builder.input(value([rows, columns]))], { shape: [1, 1, rows, columns] });
      return builder.operation("expand", [one], { shape: [samplesInBatch, heads, rows, columns] });
    }
  }
}

export interface ProductOptions {
  /** Of the operands, the result and the epilogue. Default f32. */
  readonly dtype?: DType;
  /** Of the operands A and B alone, whose numbers are those that these dtypes hold. */
  readonly operands?: readonly [DType, DType];
  /** The numbers of `operands`, but in `dtype`. */
  readonly widened?: boolean;
  /** Changes the values of the operands, but not those of the epilogue. */
  readonly transform?: (x: HostTensor) => HostTensor;
  /** Leave the epilogue out. */
  readonly bare?: boolean;
}

/** The factor and the largest bias of an epilogue. */
export const epilogue = { factor: 0.5, bias: 2 } as const;

/** The graph of a case: one output, (A·B)·½ + bias [N] where it has an epilogue. */
export function productComputation(product: ProductCase, options: ProductOptions = {}): Computation {
  const { dtype = "f32", transform = (x) => x, bare = false } = options;
  const { M, K, N } = product;
  const builder = new GraphBuilder();
  const batched = isBatched(product);
  const { operands = [dtype, dtype], widened = false } = options;
  const drawn = (side: 0 | 1, seed: number) => (shape: Shape) => {
    const held = operands[side];
    const numbers = transform(fill({ shape, dtype, low: -2, high: 2 }, seed));
    const data = isHalf(held) && held !== dtype ? Float32Array.from(numbers.data, (x) => toNearestHalf(x, held)) : numbers.data;
    return hostTensor(widened ? dtype : held, shape, data);
  };
  const a = operand(builder, product.a, batched, M, K, drawn(0, 7 * M + K));
  const b = operand(builder, product.b, batched, K, N, drawn(1, 5 * N + K));
  const result = builder.operation("dot", [a, b], { dtype });
  if (!product.epilogue || bare) return builder.build([result]);
  const { shape } = builder.at(result);
  const row = builder.input(fill({ shape: [N], dtype, low: -epilogue.bias, high: epilogue.bias }, N));
  const spread = builder.operation("expand", [builder.operation("reshape", [row], { shape: [...shape.slice(0, -1).map(() => 1), N] })], {
    shape,
  });
  const half = builder.operation("const", [], { value: epilogue.factor, shape, dtype });
  return builder.build([builder.operation("add", [builder.operation("mul", [result, half], {}), spread], {})]);
}
