import { sizeOf } from "../../src/ir/shape.js";

/** One step: which operation, what it takes, by number among the values so far, and the steps of a function that it is given. */
export interface ProgramStep {
  readonly operation: number;
  readonly a: number;
  readonly b: number;
  readonly n: number;
  readonly body: readonly ProgramStep[];
}

type Extents = readonly number[];

/** A value of a program under construction. */
export interface Value {
  readonly name: string;
  readonly shape: Extents;
}

/** A function under construction. */
export interface Block {
  /** Values that its next line may read, the latest last. */
  readonly values: readonly Value[];
  /** Adds a line. */
  define(text: string, shape: Extents): Value;
  /** A function of tensors of these shapes, of the steps of a body, as text; `finish` says what it returns. */
  lambda(parameters: readonly Extents[], body: readonly ProgramStep[], finish: (inside: Block, given: Value[]) => string): string;
  /** The latest value; with a shape, one of that shape that depends on it. */
  last(shape?: Extents): string;
}

interface Place {
  readonly block: Block;
  readonly a: Value;
  /** Of the shape of a. */
  readonly b: Value;
  /** Of any shape. */
  readonly any: Value;
  readonly n: number;
  readonly body: readonly ProgramStep[];
}

interface Operation {
  /** The shapes of a that it takes; all where this is absent. */
  readonly fits?: (shape: Extents) => boolean;
  readonly write: (place: Place) => void;
}

const list = (numbers: Extents): string => `[${numbers.join(", ")}]`;
const hasAxis = (shape: Extents): boolean => shape.length > 0;
const isMatrix = (shape: Extents): boolean => shape.length >= 2;
const isSmall = (shape: Extents): boolean => sizeOf(shape) <= 32;
/** An odd multiple of 2⁻⁹ between −1 and 1: no input is one, and neither is hardly anything that is computed. */
const threshold = (n: number): number => (2 * (n % 256) + 1) / 256 - 1 + 1 / 512;
const axisOf = (shape: Extents, n: number): number => n % shape.length;
const without = (shape: Extents, axis: number): number[] => shape.filter((_, i) => i !== axis);
const replaced = (shape: Extents, axis: number, extent: number): number[] => shape.map((each, i) => (i === axis ? extent : each));
const index = (length: number, below: number, n: number): string =>
  `tensor(${list(Array.from({ length }, (_, i) => (i * (1 + (n % 3)) + n) % below))}, { dtype: "i32" })`;

/** Text of a from its name and that of b, with the shape of a. */
const same = (text: (a: string, b: string, n: number) => string): Operation => ({
  write: ({ block, a, b, n }) => block.define(text(a.name, b.name, n), a.shape),
});

/** A pair of shapes as one, or undefined where they do not broadcast. */
function broadcast(a: Extents, b: Extents): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const of = (shape: Extents, i: number): number => shape[shape.length - rank + i] ?? 1;
  const result = Array.from({ length: rank }, (_, i) => Math.max(of(a, i), of(b, i)));
  return result.every((extent, i) => [of(a, i), of(b, i)].every((each) => each === extent || each === 1)) ? result : undefined;
}

/** Text of a and of any value that broadcasts with it, or else of b. */
const wide = (text: (a: string, b: string) => string): Operation => ({
  write: ({ block, a, b, any }) => {
    const shape = broadcast(a.shape, any.shape);
    const fits = shape !== undefined && isSmall(shape);
    block.define(text(a.name, fits ? any.name : b.name), fits ? shape : a.shape);
  },
});

/** A reduction of one axis, kept or not, or of all of them. */
const reduction = (text: (a: string, args: string) => string): Operation => ({
  write: ({ block, a, n }) => {
    if (a.shape.length === 0 || n % 3 === 0) block.define(text(a.name, ""), []);
    else if (n % 3 === 1) block.define(text(a.name, `${axisOf(a.shape, n >> 2)}`), without(a.shape, axisOf(a.shape, n >> 2)));
    else
      block.define(
        text(a.name, `${-1 - axisOf(a.shape, n >> 2)}, true`),
        replaced(a.shape, a.shape.length - 1 - axisOf(a.shape, n >> 2), 1),
      );
  },
});

const scalarOf = (inside: Block): string => {
  const last = inside.values[inside.values.length - 1] as Value;
  return last.shape.length === 0 ? last.name : `${last.name}.sin().sum()`;
};

const elementwise: readonly Operation[] = [
  same((a) => `${a}.tanh()`),
  same((a) => `${a}.neg()`),
  same((a) => `zerosLike(${a}).sub(${a})`),
  same((a) => `${a}.mul(onesLike(${a}).mul(0.75).sub(onesLike(${a}).mul(0.25)))`),
  same((a) => `${a}.sin()`),
  same((a) => `${a}.mul(2).cos()`),
  same((a) => `${a}.sigmoid()`),
  same((a) => `${a}.tanh().exp().mul(0.5)`),
  same((a) => `${a}.mul(${a}).add(0.5).log()`),
  same((a) => `${a}.mul(${a}).add(1).sqrt().sub(1)`),
  same((a) => `${a}.mul(${a}).add(0.75).recip()`),
  same((a) => `${a}.erf()`),
  same((a) => `${a}.gelu()`),
  same((a) => `${a}.silu()`),
  same((a) => `${a}.softplus().sub(0.5)`),
  same((a) => `${a}.atan()`),
  same((a) => `expm1(${a}.tanh())`),
  same((a) => `${a}.asinh()`),
  same((a, b) => `${a}.sin().add(1.5).pow(${b}.cos())`),
  same((a, _, n) => `${a}.sub(${threshold(n)}).abs()`),
  same((a, _, n) => `${a}.maximum(${threshold(n)})`),
  same((a, _, n) => `${a}.clip(${-1.25 + threshold(n) / 4}, ${1.25 + threshold(n) / 4})`),
  same((a, _, n) => `${a}.add(${a}.mul(3).add(${threshold(n)}).floor().mul(0.125))`),
  same((a, b, n) => `where(${a}.less(${threshold(n)}), ${a}, ${b}.mul(0.5))`),
  same((a, b, n) => `${b}.mul(${a}.greater(${threshold(n)}).cast(${a}.dtype))`),
  same((a, b) => `${a}.add(stopGradient(${b})).mul(0.5)`),
  same((a, b) => `logAddExp(${a}, ${b})`),
  same((a, b) => `atan2(${a}, ${b}.mul(${b}).add(0.5))`),
  wide((a, b) => `${a}.add(${b}).mul(0.75)`),
  wide((a, b) => `${a}.sub(${b})`),
  wide((a, b) => `${a}.mul(${b}).tanh()`),
  wide((a, b) => `${a}.div(${b}.mul(${b}).add(1))`),
];

const movements: readonly Operation[] = [
  { write: ({ block, a }) => block.define(`${a.name}.reshape([-1])`, [sizeOf(a.shape)]) },
  {
    write: ({ block, a, n }) => {
      // Reversals and rotations, which do not commute.
      const [first, ...others] = a.shape.keys();
      const order = n % 2 || first === undefined ? [...a.shape.keys()].reverse() : [...others, first];
      block.define(
        `${a.name}.permute(${list(order)})`,
        order.map((axis) => a.shape[axis] as number),
      );
    },
  },
  { fits: hasAxis, write: ({ block, a, n }) => block.define(`${a.name}.flip(${axisOf(a.shape, n)})`, a.shape) },
  {
    fits: hasAxis,
    write: ({ block, a, n }) => {
      const [extent] = a.shape as [number];
      const start = extent > 1 ? n % 2 : 0;
      block.define(`${a.name}.slice([[${start}, ${extent}]])`, [extent - start, ...a.shape.slice(1)]);
    },
  },
  {
    fits: (shape) => hasAxis(shape) && isSmall(shape),
    write: ({ block, a, n }) => {
      const axis = axisOf(a.shape, n);
      const sides = a.shape.map((_, i) => (i === axis ? [1, n % 2] : [0, 0]));
      block.define(
        `${a.name}.pad([${sides.map(list).join(", ")}], 0.25)`,
        replaced(a.shape, axis, (a.shape[axis] as number) + 1 + (n % 2)),
      );
    },
  },
  {
    fits: (shape) => isSmall(shape) && shape.length < 3,
    write: ({ block, a }) => block.define(`${a.name}.unsqueeze(0).expand(${list([2, ...a.shape])})`, [2, ...a.shape]),
  },
  {
    fits: (shape) => hasAxis(shape) && sizeOf(shape) <= 16,
    write: ({ block, a, b, n }) => {
      const axis = axisOf(a.shape, n);
      block.define(`concat([${a.name}, ${b.name}], ${axis})`, replaced(a.shape, axis, 2 * (a.shape[axis] as number)));
    },
  },
  {
    fits: (shape) => sizeOf(shape) <= 16 && shape.length < 3,
    write: ({ block, a, b }) => block.define(`stack([${a.name}, ${b.name}])`, [2, ...a.shape]),
  },
  {
    fits: hasAxis,
    write: ({ block, a, n }) => {
      const [rows] = a.shape as [number];
      block.define(`gather(${a.name}, ${index(3, rows, n)})`, [3, ...a.shape.slice(1)]);
    },
  },
  {
    fits: hasAxis,
    write: ({ block, a, n }) => {
      const [rows] = a.shape as [number];
      block.define(`scatterAdd(${a.name}, ${index(rows, 2, n)}, 2).tanh()`, [2, ...a.shape.slice(1)]);
    },
  },
  { fits: isMatrix, write: ({ block, a, n }) => block.define(`${n % 2 ? "tril" : "triu"}(${a.name})`, a.shape) },
];

const rows: readonly Operation[] = [
  reduction((a, args) => `${a}.sum(${args}).mul(0.5)`),
  reduction((a, args) => `${a}.mean(${args})`),
  reduction((a, args) => `${a}.max(${args})`),
  reduction((a, args) => `${a}.min(${args})`),
  reduction((a, args) => `${a}.logSumExp(${args})`),
  { fits: hasAxis, write: ({ block, a }) => block.define(`softmax(${a.name})`, a.shape) },
  { fits: hasAxis, write: ({ block, a, n }) => block.define(`${a.name}.logSoftmax(${axisOf(a.shape, n)}).mul(0.5)`, a.shape) },
  {
    fits: hasAxis,
    write: ({ block, a }) =>
      block.define(`${a.name}.sub(${a.name}.mean(-1, true)).div(${a.name}.mul(${a.name}).mean(-1, true).add(0.5).sqrt())`, a.shape),
  },
];

const products: readonly Operation[] = [
  {
    fits: isMatrix,
    write: ({ block, a, b }) => {
      const m = a.shape[a.shape.length - 2] as number;
      block.define(`matmul(${a.name}, transpose(${b.name})).mul(0.5).tanh()`, [...a.shape.slice(0, -1), m]);
    },
  },
  {
    fits: isMatrix,
    write: ({ block, a, b }) => block.define(`matmul(softmax(matmul(${a.name}, transpose(${b.name}))), ${a.name})`, a.shape),
  },
  {
    fits: (shape) => shape.length === 2,
    write: ({ block, a, b }) => {
      const four = (x: Value): string => `${x.name}.reshape(${list([1, 1, ...a.shape])})`;
      block.define(`attention(${four(a)}, ${four(b)}, ${four(a)}, { causal: true }).reshape(${list(a.shape)})`, a.shape);
    },
  },
  {
    fits: (shape) => shape.length === 1,
    write: ({ block, a, b }) =>
      block.define(`einsum("i,j->ij", ${a.name}, ${b.name}).tanh()`, [a.shape[0] as number, a.shape[0] as number]),
  },
];

const draws: readonly Operation[] = [
  same((a, _, n) => `${a}.mul(uniform(key(${n}), ${a}.shape).add(0.5))`),
  same((a, _, n) => `dropout(key(${n}), ${a}, 0.25)`),
];

/** Functions of one tensor of the shape of a, with a result of that shape. */
const endo = ({ block, a, body }: Place): string => block.lambda([a.shape], body, (inside) => inside.last(a.shape));
const scalar = ({ block, a, body }: Place): string => block.lambda([a.shape], body, (inside) => scalarOf(inside));

const transformations: readonly Operation[] = [
  { write: (place) => place.block.define(`checkpoint(${endo(place)})(${place.a.name})`, place.a.shape) },
  { write: (place) => place.block.define(`compile(${endo(place)})(${place.a.name})`, place.a.shape) },
  { write: (place) => place.block.define(`grad(${scalar(place)})(${place.a.name}).tanh()`, place.a.shape) },
  { write: (place) => place.block.define(`jvp(${endo(place)}, [${place.a.name}], [${place.b.name}])[1].tanh()`, place.a.shape) },
  { write: (place) => place.block.define(`vjp(${endo(place)}, ${place.a.name})[1](${place.b.name})[0].tanh()`, place.a.shape) },
  { write: (place) => place.block.define(`hvp(${scalar(place)}, ${place.a.name}, ${place.b.name}).tanh()`, place.a.shape) },
  {
    fits: hasAxis,
    write: ({ block, a, body }) => {
      const rest = a.shape.slice(1);
      const f = block.lambda([rest], body, (inside) => inside.last(rest));
      block.define(`vmap(${f})(${a.name})`, a.shape);
    },
  },
  {
    fits: hasAxis,
    write: ({ block, a, body }) => {
      const rest = a.shape.slice(0, -1);
      const f = block.lambda([rest, a.shape], body, (inside) => inside.last(rest));
      block.define(`vmap(${f}, { inAxes: [-1, null], outAxes: -1 })(${a.name}, ${a.name})`, a.shape);
    },
  },
  {
    fits: hasAxis,
    write: ({ block, a, body }) => {
      const rest = a.shape.slice(1);
      const f = block.lambda([rest], body, (inside) => scalarOf(inside));
      block.define(`vmap(grad(${f}))(${a.name}).tanh()`, a.shape);
    },
  },
  {
    fits: (shape) => sizeOf(shape) <= 6,
    write: (place) => {
      const { block, a, n } = place;
      const axes = list(a.shape.map((_, i) => i));
      block.define(`jacobian(${endo(place)}, { mode: "${n % 2 ? "forward" : "reverse"}" })(${a.name}).sum(${axes}).tanh()`, a.shape);
    },
  },
  {
    fits: (shape) => sizeOf(shape) <= 4,
    write: (place) => {
      const { block, a } = place;
      block.define(`hessian(${scalar(place)})(${a.name}).sum(${list(a.shape.map((_, i) => i))}).tanh()`, a.shape);
    },
  },
  {
    write: ({ block, a, any, n, body }) => {
      // The slices of a value, or as many steps without slices.
      const steps = any.shape[0] ?? 3;
      const slice = any.shape.slice(1);
      const next = (inside: Block, [carry]: Value[]): string => `[${inside.last(a.shape)}.add(${carry?.name}).mul(0.5), ${inside.last()}]`;
      const f = block.lambda(any.shape.length > 0 ? [a.shape, slice] : [a.shape], body, next);
      const options = `{ length: ${steps}${n % 2 ? ", reverse: true" : ""}${n % 3 === 0 ? ", checkpointEvery: 2" : ""} }`;
      block.define(`scan(${f}, ${a.name}, ${any.shape.length > 0 ? any.name : "null"}, ${options})[${0}]`, a.shape);
    },
  },
  {
    fits: (shape) => hasAxis(shape) && shape.length < 3,
    write: ({ block, a, b, n, body }) => {
      const slice = a.shape.slice(1);
      const f = block.lambda([a.shape, slice], body, (inside, [carry]) => `[${carry?.name}.mul(0.75).sin(), ${inside.last(slice)}]`);
      block.define(`scan(${f}, ${b.name}, ${a.name}${n % 2 ? ", { reverse: true }" : ""})[1]`, a.shape);
    },
  },
  {
    write: ({ block, a, b, n, body }) => {
      const yes = block.lambda([a.shape], body, (inside) => inside.last(a.shape));
      const no = block.lambda([a.shape], body.slice(1), (inside) => `${inside.last(a.shape)}.mul(0.5)`);
      block.define(`cond(${b.name}.sum().less(${threshold(n)}), ${yes}, ${no}, ${a.name})`, a.shape);
    },
  },
  {
    write: ({ block, a, n, body }) => {
      const step = block.lambda([a.shape], body, (inside) => `${inside.last(a.shape)}.mul(0.75)`);
      const test = block.lambda([a.shape], [], (_, [carry]) => `${carry?.name}.square().mean().greater(${Math.abs(threshold(n)) / 4})`);
      block.define(`whileLoop(${test}, ${step}, ${a.name}, { maxSteps: 3 })[0]`, a.shape);
    },
  },
  same((a) => `customVjp((s: Tensor) => s.sin(), (s: Tensor) => [s.sin(), s], (s: Tensor, ct: Tensor) => [ct.mul(s.cos())])(${a})`),
];

/** What a step of a program may do: every kind of primitive, composites that have kernels, and all transformations, more often than their number says. */
export const operations: readonly Operation[] = [
  ...elementwise,
  ...movements,
  ...rows,
  ...products,
  ...draws,
  ...transformations,
  ...transformations,
];
