import fc from "fast-check";
import * as dawngrad from "../../src/index.js";
import { type Tensor, tensor } from "../../src/index.js";
import type { DType } from "../../src/ir/dtype.js";
import { sizeOf } from "../../src/ir/shape.js";
import { type Block, operations, type ProgramStep, type Value } from "./program-operations.js";
import { uniformSource } from "./samples.js";

/**
 * Random programs as text: functions of two tensors over the public operations, with functions inside of `grad`, `vmap`, `scan`, … and whatever
 * those close over. What is printed where a law fails is what ran, so that one can paste it.
 */

export type { ProgramStep };

export interface ProgramRecipe {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly seed: number;
  readonly steps: readonly ProgramStep[];
}

/** A program as it is kept: its inputs, and the text between the braces of a function of them. */
export interface Program {
  readonly inputs: readonly { readonly name: string; readonly shape: readonly number[]; readonly values: readonly number[] }[];
  readonly body: string;
  /** A number that decides what is asked of it beside its value. */
  readonly seed: number;
}

const choice = fc.nat({ max: 10_000 });
const stepsOf = (depth: number, least: number, most: number): fc.Arbitrary<ProgramStep[]> =>
  fc.array(
    fc.record({
      operation: choice,
      a: choice,
      b: choice,
      n: choice,
      body: depth === 0 ? fc.constant([]) : stepsOf(depth - 1, 0, depth),
    }),
    { minLength: least, maxLength: most },
  );
const extents = fc.array(fc.constantFrom(1, 2, 3, 4), { minLength: 0, maxLength: 3 }).filter((shape) => sizeOf(shape) <= 24);

/** Programs of up to seven steps, functions in them of up to two, and one more inside of those. */
export const programRecipes: fc.Arbitrary<ProgramRecipe> = fc.record({
  x: extents,
  y: extents,
  seed: fc.nat({ max: 10_000 }),
  steps: stepsOf(2, 1, 7),
});

/** Writes the lines of a function, each of which makes a value of earlier ones. */
class Writer implements Block {
  private readonly lines: string[] = [];

  constructor(
    private readonly names: { next: number },
    readonly values: Value[],
    private readonly indent: string,
  ) {}

  define(text: string, shape: readonly number[]): Value {
    const value = { name: `v${this.names.next++}`, shape };
    this.lines.push(`${this.indent}const ${value.name} = ${text};`);
    this.values.push(value);
    return value;
  }

  grow({ operation, a, b, n, body }: ProgramStep): void {
    const pick = (list: readonly Value[], number: number): Value => list[list.length - 1 - (number % list.length)] as Value;
    const x = pick(this.values, a);
    const alike = this.values.filter(({ shape }) => shape.join() === x.shape.join());
    const fitting = operations.filter(({ fits }) => fits?.(x.shape) ?? true);
    const { write } = fitting[operation % fitting.length] as (typeof operations)[number];
    write({ block: this, a: x, b: pick(alike, b), any: pick(this.values, b), n, body });
  }

  lambda(
    parameters: readonly (readonly number[])[],
    body: readonly ProgramStep[],
    finish: (inside: Block, given: Value[]) => string,
  ): string {
    const given = parameters.map((shape): Value => ({ name: `t${this.names.next++}`, shape }));
    const inside = new Writer(this.names, [...this.values, ...given], `${this.indent}  `);
    for (const step of body) inside.grow(step);
    const result = finish(inside, given);
    const head = `(${given.map(({ name }) => `${name}: Tensor`).join(", ")}) =>`;
    if (inside.lines.length === 0) return `${head} ${result}`;
    return `${head} {\n${inside.lines.join("\n")}\n${this.indent}  return ${result};\n${this.indent}}`;
  }

  last(shape?: readonly number[]): string {
    const value = this.values[this.values.length - 1] as Value;
    if (shape === undefined || value.shape.join() === shape.join()) return value.name;
    // The value's mean, over a value of the shape that is wanted.
    const anchor = this.values.findLast((each) => each.shape.join() === shape.join());
    const mean = value.shape.length === 0 ? value.name : `${value.name}.mean()`;
    return anchor ? `${anchor.name}.mul(${mean}.cos())` : `${mean}.expand([${shape.join(", ")}])`;
  }

  finished(): string {
    const made = this.values.slice(2);
    const results = made.length === 0 ? this.values.slice(0, 1) : made.slice(-2);
    return [...this.lines, `${this.indent}return [${results.map(({ name }) => name).join(", ")}];`].join("\n");
  }
}

/** The program of a recipe. */
export function programOf({ x, y, seed, steps }: ProgramRecipe): Program {
  const uniform = uniformSource(seed);
  // Multiples of 2⁻⁸, which f32 has and which stand briefly in a text.
  const numbers = (shape: readonly number[]): number[] =>
    Array.from({ length: sizeOf(shape) }, () => Math.round(uniform() * 768 - 384) / 256);
  const inputs = [
    { name: "x", shape: x, values: numbers(x) },
    { name: "y", shape: y, values: numbers(y) },
  ];
  const writer = new Writer({ next: 1 }, [...inputs], "  ");
  for (const step of steps) writer.grow(step);
  return { inputs, body: writer.finished(), seed };
}

/** The public functions that a text calls. */
const namesIn = (text: string): string[] =>
  [...new Set([...text.matchAll(/(?<![\w.])([a-zA-Z]\w*)\(/g)].map(([, name]) => name as string))]
    .filter((name) => name in dawngrad)
    .sort();

/** The function that a program is. */
export function functionOf({ inputs, body }: Program): (...xs: Tensor[]) => Tensor[] {
  const text = body.replaceAll(/: Tensor\b/g, "");
  const given = inputs.map(({ name }) => name).join(", ");
  const make = new Function("dawngrad", `const { ${namesIn(body).join(", ")} } = dawngrad;\nreturn (${given}) => {\n${text}\n};`);
  return make(dawngrad) as (...xs: Tensor[]) => Tensor[];
}

/** Its inputs, in a dtype. */
export const inputsOf = ({ inputs }: Program, dtype: DType): Tensor[] =>
  inputs.map(({ shape, values }) => tensor([...values], { shape, dtype }));

/** TypeScript that runs the program as it is and, where `law` names one, holds that law against it. */
export function printed({ inputs, body }: Program, law?: string): string {
  const names = inputs.map(({ name }) => name);
  return [
    `import { ${[...new Set([...namesIn(body), "init", "tensor"])].sort().join(", ")}, type Tensor } from "dawngrad";`,
    ...(law === undefined ? [] : ['import { checkLaws } from "dawngrad/testing";']),
    "",
    `const f = (${names.map((name) => `${name}: Tensor`).join(", ")}): Tensor[] => {`,
    body,
    "};",
    'await init({ backend: "reference" });',
    ...inputs.map(({ name, shape, values }) => `const ${name} = tensor([${values.join(", ")}], { shape: [${shape.join(", ")}] });`),
    `for (const result of f(${names.join(", ")})) console.log(await result.array());`,
    ...(law === undefined ? [] : [`await checkLaws(f, [${names.join(", ")}], { laws: [${JSON.stringify(law)}] });`]),
    "",
  ].join("\n");
}
