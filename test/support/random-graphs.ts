import { dropAxes, type Shape, sizeOf } from "../../src/ir/shape.js";
import type { GraphRecipe } from "./arbitraries.js";
import { type Computation, GraphBuilder, hostTensor } from "./graphs.js";
import { fill, uniformSource } from "./samples.js";
import { quotient, sumBound, transcendental, trigonometric, unitRoundoff } from "./tolerances.js";

/** A value of the graph under construction, with what is known of its numbers. */
interface Known {
  readonly node: number;
  /** No element is larger than this in magnitude. */
  readonly bound: number;
  /** No element of an f32 backend is further than this from exact arithmetic; 0 where all of f32's digits are right. */
  readonly error: number;
}

/** A computation and, for each output, what f32 arithmetic may get wrong in it. */
export interface RandomComputation {
  readonly computation: Computation;
  readonly errors: readonly number[];
}

/** Values above this are scaled down, so that products and exponentials stay tame. */
const tame = 8;
/** Larger results are not made, so that many graphs run in little time. */
const maxElements = 20_000;

/** Builds a random graph along a recipe, and follows how large its values and their rounding errors can become. */
export function randomComputation({ extents, seed, steps }: GraphRecipe): RandomComputation {
  const garden = new Garden(extents, seed);
  for (const { operation, a, b } of steps) garden.grow(operation, a, b);
  return garden.harvest();
}

class Garden {
  private readonly builder = new GraphBuilder();
  private readonly values: Known[] = [];
  private readonly uniform: () => number;

  constructor(
    extents: Shape,
    private seed: number,
  ) {
    this.uniform = uniformSource(seed);
    for (let i = 0; i < 2; i++) this.values.push(this.input(extents));
  }

  /** Adds one operation, or a few that belong together. */
  grow(operation: number, a: number, b: number): void {
    const x = this.values[a % this.values.length] as Known;
    const partners = this.values.filter(({ node }) => this.shape(node).join() === this.shape(x.node).join());
    const y = partners[b % partners.length] as Known;
    const growths = this.growths(x, y);
    const grown = (growths[operation % growths.length] as () => Known)();
    this.values.push(this.tamed(grown));
  }

  /** The last value and up to two others as outputs. */
  harvest(): RandomComputation {
    const last = this.values.length - 1;
    const chosen = [...new Set([last, Math.floor(last / 2) + 1, last - 1])].map((i) => this.values[i] as Known);
    return { computation: this.builder.build(chosen.map(({ node }) => node)), errors: chosen.map(({ error }) => error) };
  }

  private shape(node: number): Shape {
    return this.builder.at(node).shape;
  }

  private input(shape: Shape): Known {
    const value = fill({ shape, dtype: "f32", low: -2, high: 2, step: 0.125 }, this.seed++);
    return { node: this.builder.input(value), bound: 2, error: 0 };
  }

  private constant(value: number, shape: Shape): number {
    return this.builder.operation("const", [], { value, shape, dtype: "f32" });
  }

  /** Everything that can be done with x, and with y, which has the same shape. */
  private growths(x: Known, y: Known): (() => Known)[] {
    return [
      ...this.elementwise(x, y),
      ...(x.error === 0 && y.error === 0 ? this.discontinuous(x, y) : []),
      ...this.movements(x, y),
      ...this.integers(this.shape(x.node)),
      ...(this.shape(x.node).length > 0 ? [...this.reductions(x), ...this.rows(x), ...this.indexed(x)] : []),
      ...(this.shape(x.node).length > 1 ? [() => this.product(x, y)] : []),
    ];
  }

  private elementwise(x: Known, y: Known): (() => Known)[] {
    const { builder } = this;
    const shape = this.shape(x.node);
    const plusOne = (v: Known): Known => ({
      node: builder.operation("add", [builder.operation("abs", [v.node], {}), this.constant(1, shape)], {}),
      bound: v.bound + 1,
      error: v.error + unitRoundoff * (v.bound + 1),
    });
    const unary = (
      primitive: "neg" | "abs" | "tanh" | "erf" | "sin" | "cos" | "exp" | "log" | "sqrt" | "recip",
      v: Known,
      bound: number,
      error: number,
    ) => ({ node: builder.operation(primitive, [v.node], {}), bound, error });
    const binary = (primitive: "add" | "sub" | "mul" | "div" | "max" | "min", bound: number, error: number, right = y): Known => ({
      node: builder.operation(primitive, [x.node, right.node], {}),
      bound,
      error,
    });
    const curve = (v: Known, bound: number, slope: number): number =>
      slope * v.error + transcendental.relative * bound + transcendental.absolute;
    const added = x.error + y.error + unitRoundoff * (x.bound + y.bound);
    const grown = Math.exp(x.bound);
    return [
      () => unary("neg", x, x.bound, x.error),
      () => unary("abs", x, x.bound, x.error),
      () => unary("tanh", x, 1, curve(x, 1, 1)),
      () => unary("erf", x, 1, curve(x, 1, 1.13)),
      ...(x.bound <= 3
        ? [() => unary("sin", x, 1, x.error + trigonometric.absolute), () => unary("cos", x, 1, x.error + trigonometric.absolute)]
        : []),
      () => unary("exp", x, grown, curve(x, grown, grown)),
      () => unary("log", plusOne(x), Math.log1p(x.bound), curve(plusOne(x), Math.log1p(x.bound), 1)),
      () => unary("sqrt", plusOne(x), Math.sqrt(1 + x.bound), plusOne(x).error + quotient.relative * (1 + x.bound)),
      () => unary("recip", plusOne(x), 1, plusOne(x).error + quotient.relative),
      () => binary("add", x.bound + y.bound, added),
      () => binary("sub", x.bound + y.bound, added),
      () => binary("max", Math.max(x.bound, y.bound), Math.max(x.error, y.error)),
      () => binary("min", Math.max(x.bound, y.bound), Math.max(x.error, y.error)),
      () => binary("mul", x.bound * y.bound, x.bound * y.error + y.bound * x.error + x.error * y.error + unitRoundoff * x.bound * y.bound),
      () => {
        const divisor = plusOne(y);
        return binary("div", x.bound, x.error + x.bound * divisor.error + quotient.relative * x.bound, divisor);
      },
      () => {
        const factor = this.builder.scalar("f32", Math.fround(this.uniform() * 2 - 1));
        const spread = builder.operation("reshape", [factor], { shape: shape.map(() => 1) });
        return binary("mul", x.bound, x.error + unitRoundoff * x.bound, { ...y, node: builder.operation("expand", [spread], { shape }) });
      },
    ];
  }

  /** Operations that jump, on values that every backend knows exactly. */
  private discontinuous(x: Known, y: Known): (() => Known)[] {
    const { builder } = this;
    const less = (): number => builder.operation("lt", [x.node, y.node], {});
    return [
      () => ({ node: builder.operation("floor", [x.node], {}), bound: x.bound + 1, error: 0 }),
      () => ({ node: builder.operation("sign", [x.node], {}), bound: 1, error: 0 }),
      () => ({ node: builder.operation("cast", [less()], { dtype: "f32" }), bound: 1, error: 0 }),
      () => ({
        node: builder.operation("where", [builder.operation("not", [less()], {}), x.node, y.node], {}),
        bound: Math.max(x.bound, y.bound),
        error: 0,
      }),
      () => {
        const same = builder.operation("and", [builder.operation("eq", [x.node, y.node], {}), less()], {});
        return { node: builder.operation("where", [same, y.node, x.node], {}), bound: Math.max(x.bound, y.bound), error: 0 };
      },
    ];
  }

  /** Comparisons of integers from end to end of their dtype, whose arithmetic wraps around. */
  private integers(shape: Shape): (() => Known)[] {
    const { builder } = this;
    return (["i32", "u32"] as const).map((dtype) => () => {
      const [lowest, highest] = dtype === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
      const near = [lowest, lowest + 1, 0, 1, 2 ** 24 + 1, highest - 1, highest, 2 ** 31 - 1];
      const operand = (): number => {
        const values = Array.from({ length: sizeOf(shape) }, () =>
          this.uniform() < 0.7
            ? (near[Math.floor(this.uniform() * near.length)] as number)
            : lowest + Math.floor(this.uniform() * (highest - lowest)),
        );
        return builder.input(hostTensor(dtype, shape, values));
      };
      const literal = near[Math.floor(this.uniform() * near.length)] as number;
      const [a, b, c] = [operand(), operand(), builder.operation("const", [], { value: literal, shape, dtype })];
      const pick = <T>(list: readonly T[]): T => list[Math.floor(this.uniform() * list.length)] as T;
      const binary = ["add", "sub", "mul", "max", "min", "and", "or"] as const;
      const inner = builder.operation(pick(binary), [a, pick([b, c])], {});
      const outer = builder.operation(pick(binary), [inner, pick([a, b, c])], {});
      const truth = builder.operation(pick(["lt", "eq"] as const), [outer, pick([b, c, inner])], {});
      return { node: builder.operation("cast", [truth], { dtype: "f32" }), bound: 1, error: 0 };
    });
  }

  private movements(x: Known, y: Known): (() => Known)[] {
    const { builder } = this;
    const shape = this.shape(x.node);
    const size = sizeOf(shape);
    const axes = shape.map((_, axis) => axis);
    const half = shape.map((extent) => Math.floor(extent / 3));
    return [
      () => ({ ...x, node: builder.operation("permute", [x.node], { order: [...axes].reverse() }) }),
      () => ({ ...x, node: builder.operation("reshape", [x.node], { shape: [size] }) }),
      () => ({ ...x, node: builder.operation("reshape", [x.node], { shape: size % 2 === 0 ? [2, size / 2] : [1, size] }) }),
      () => ({ ...x, node: builder.operation("flip", [x.node], { axes: axes.filter((axis) => axis % 2 === 0) }) }),
      () => ({
        ...x,
        node: builder.operation("slice", [x.node], { starts: half, stops: shape, steps: axes.map((axis) => 1 + (axis % 2)) }),
      }),
      () => ({ ...x, node: builder.operation("alias", [x.node], {}) }),
      ...(size < maxElements / 8
        ? [
            () => ({ ...x, node: builder.operation("pad", [x.node], { low: axes.map(() => 1), high: axes, value: 0.5 }) }),
            () => {
              const thin = builder.operation("reshape", [x.node], { shape: [1, ...shape] });
              return { ...x, node: builder.operation("expand", [thin], { shape: [3, ...shape] }) };
            },
          ]
        : []),
      ...(shape.length > 0 && size < maxElements / 2
        ? [
            () => ({
              node: builder.operation("concat", [x.node, y.node], { axis: shape.length - 1 }),
              bound: Math.max(x.bound, y.bound),
              error: Math.max(x.error, y.error),
            }),
          ]
        : []),
    ];
  }

  private reductions(x: Known): (() => Known)[] {
    const shape = this.shape(x.node);
    const axis = Math.floor(this.uniform() * shape.length);
    return [[axis], shape.map((_, i) => i)].flatMap((axes) => [
      () => this.total(x, axes),
      () => this.spread(this.total(x, axes), shape, axes),
      () => ({ ...x, node: this.builder.operation("maxReduce", [x.node], { axes }) }),
      () => this.spread({ ...x, node: this.builder.operation("minReduce", [x.node], { axes }) }, shape, axes),
    ]);
  }

  private total(x: Known, axes: readonly number[]): Known {
    const terms = sizeOf(axes.map((axis) => this.shape(x.node)[axis] as number));
    const bound = terms * x.bound;
    return { node: this.builder.operation("sum", [x.node], { axes }), bound, error: terms * x.error + sumBound(terms, bound) };
  }

  /** A reduced value over its group again, as composites do with a row's maximum. */
  private spread(x: Known, shape: Shape, axes: readonly number[]): Known {
    const kept = this.builder.operation("reshape", [x.node], { shape: shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent)) });
    return { ...x, node: this.builder.operation("expand", [kept], { shape }) };
  }

  /** Softmax and root-mean-square normalisation of the last axis, which backends take for one kernel. */
  private rows(x: Known): (() => Known)[] {
    const { builder } = this;
    const shape = this.shape(x.node);
    const last = [shape.length - 1];
    const extent = shape[shape.length - 1] as number;
    return [
      () => {
        const largest = this.spread({ ...x, node: builder.operation("maxReduce", [x.node], { axes: last }) }, shape, last);
        const weights = builder.operation("exp", [builder.operation("sub", [x.node, largest.node], {})], {});
        const sum = this.spread(this.total({ node: weights, bound: 1, error: 0 }, last), shape, last);
        // Each weight is off by a factor of e^(±2 error), and so is their sum.
        return { node: builder.operation("div", [weights, sum.node], {}), bound: 1, error: Math.expm1(4 * x.error) + 5e-5 };
      },
      () => {
        const squares = this.total({ node: builder.operation("mul", [x.node, x.node], {}), bound: 1, error: 0 }, last);
        const mean = builder.operation("mul", [squares.node, this.constant(1 / extent, dropAxes(shape, last))], {});
        const shifted = builder.operation("add", [mean, this.constant(1, dropAxes(shape, last))], {});
        const scale = builder.operation("recip", [builder.operation("sqrt", [shifted], {})], {});
        const spread = this.spread({ node: scale, bound: 1, error: 0 }, shape, last);
        // |∂y/∂x| ≤ 2, as the scale is at most 1 and at most 1/rms(x).
        const error = 2 * Math.sqrt(extent) * x.error + 1e-5 * (1 + x.bound);
        return { node: builder.operation("mul", [x.node, spread.node], {}), bound: x.bound, error };
      },
    ];
  }

  private indexed(x: Known): (() => Known)[] {
    const { builder } = this;
    const shape = this.shape(x.node);
    const rows = shape[0] as number;
    const indices = (length: number, below: number): number =>
      builder.input(fill({ shape: [length], dtype: "i32", low: 0, high: below - 1 }, this.seed++));
    const gather = (): Known => ({ ...x, node: builder.operation("gather", [x.node, indices(5, rows)], {}) });
    const scatter = (): Known => ({
      node: builder.operation("scatterAdd", [x.node, indices(rows, 4)], { size: 4 }),
      bound: rows * x.bound,
      error: rows * x.error + sumBound(rows, rows * x.bound),
    });
    return rows === 0 ? [] : [gather, scatter];
  }

  /** x · yᵀ or xᵀ · y, whichever is the smaller. */
  private product(x: Known, y: Known): Known {
    const { builder } = this;
    const shape = this.shape(x.node);
    const rank = shape.length;
    const order = [...shape.map((_, axis) => axis).slice(0, -2), rank - 1, rank - 2];
    const [m, n] = shape.slice(-2) as [number, number];
    const turned = (v: Known): number => builder.operation("permute", [v.node], { order });
    const [a, b, terms] = m <= n ? [x.node, turned(y), n] : [turned(x), y.node, m];
    const bound = terms * x.bound * y.bound;
    const error = terms * (x.bound * y.error + y.bound * x.error + x.error * y.error) + sumBound(terms, bound);
    return { node: builder.operation("dot", [a, b], { dtype: "f32" }), bound, error };
  }

  /** The value, scaled by a power of two if it could be large. */
  private tamed(x: Known): Known {
    if (x.bound <= tame) return x;
    const factor = 2 ** -Math.ceil(Math.log2(x.bound / tame));
    const node = this.builder.operation("mul", [x.node, this.constant(factor, this.shape(x.node))], {});
    return { node, bound: x.bound * factor, error: x.error * factor };
  }
}
