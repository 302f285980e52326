import { derivative, evaluate, type MathNode, parse } from "mathjs";
import { beforeAll, describe, expect, it } from "vitest";
import { apply } from "../../src/autograd/tensor.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { grad, type Tensor, tensor, useBackend } from "../../src/index.js";
import type { PrimitiveParams, PrimitivesWithTag } from "../../src/ir/primitives.js";
import { law } from "../support/law.js";

type Elementwise = PrimitivesWithTag<"elementwise">;
/** What takes or gives something else than floats. */
type WithoutFormula = "not" | "lt" | "eq" | "and" | "or" | "where" | "cast" | "bitcast";
type WithFormula = Exclude<Elementwise, WithoutFormula>;

interface Formula {
  /** In x, or in x and y. */
  readonly text: string;
  /** The derivatives by x and by y, where mathjs knows no rule for `text`; what jumps in them has the derivative 0. */
  readonly slopes?: readonly [byX: string, byY?: string];
  readonly at: readonly (readonly [x: number, y: number])[];
}

const anywhere = [-1.7, -0.3, 0.2, 1.1, 2.4].map((x) => [x, 0] as const);
const positive = [0.1, 0.7, 1, 2.9].map((x) => [x, 0] as const);
const pairs = [
  [0.5, 1.5],
  [2, -0.7],
  [1.2, 3],
] as const;

const formulas: { readonly [P in WithFormula]: Formula } = {
  neg: { text: "-x", at: anywhere },
  exp: { text: "exp(x)", at: anywhere },
  log: { text: "log(x)", at: positive },
  sin: { text: "sin(x)", at: anywhere },
  cos: { text: "cos(x)", at: anywhere },
  tanh: { text: "tanh(x)", at: anywhere },
  erf: { text: "erf(x)", slopes: ["2 / sqrt(pi) * exp(-x^2)"], at: anywhere },
  sqrt: { text: "sqrt(x)", at: positive },
  recip: { text: "1 / x", at: anywhere },
  abs: { text: "abs(x)", at: anywhere },
  add: { text: "x + y", at: pairs },
  sub: { text: "x - y", at: pairs },
  mul: { text: "x * y", at: pairs },
  div: { text: "x / y", at: pairs },
  pow: { text: "x ^ y", at: pairs },
  sign: { text: "sign(x)", slopes: ["0"], at: anywhere },
  floor: { text: "floor(x)", slopes: ["0"], at: anywhere },
  max: { text: "max(x, y)", slopes: ["larger(x, y) ? 1 : 0", "larger(x, y) ? 0 : 1"], at: pairs },
  min: { text: "min(x, y)", slopes: ["larger(x, y) ? 0 : 1", "larger(x, y) ? 1 : 0"], at: pairs },
  mod: {
    text: "mod(x, y)",
    slopes: ["1", "-floor(x / y)"],
    at: [
      [0.5, 1.5],
      [2.2, 0.7],
      [-1.2, 3],
    ],
  },
};

const number = (value: number): Tensor => tensor(Float64Array.from([value]), { shape: [] });
const close = (found: number, expected: number): void => {
  expect(Math.abs(found - expected)).toBeLessThanOrEqual(1e-11 * Math.max(1, Math.abs(expected)));
};

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("the symbolic derivatives of mathjs are those of the primitives, and of", () => {
  law(
    "symbolic derivatives",
    "The derivatives of every elementwise primitive, to the third order and by each operand, are those that computer algebra finds: f′, f″, f‴ = derivative(f, x).",
    async () => {
      for (const name of Object.keys(formulas) as WithFormula[]) {
        const { text, slopes, at } = formulas[name];
        const binary = /\by\b/.test(text);
        const f = (x: Tensor, y: Tensor): Tensor => apply(name, binary ? [x, y] : [x], {} as PrimitiveParams[typeof name]);
        for (const by of binary ? ([0, 1] as const) : ([0] as const)) {
          const letter = by === 0 ? "x" : "y";
          const slope = slopes?.[by];
          const first: MathNode = slope === undefined ? derivative(text, letter) : parse(slope);
          const jumps = /larger|floor/.test(slope ?? "");
          const again = (of: MathNode): MathNode => (jumps ? parse("0") : derivative(of, letter));
          const expressions = [parse(text), first, again(first), again(again(first))];
          const functions = [f];
          for (let order = 1; order <= 3; order++) functions.push(grad(functions[order - 1] as typeof f, by) as typeof f);
          for (const [x, y] of at) {
            for (const [order, expression] of expressions.entries()) {
              const found = await (functions[order] as typeof f)(number(x), number(y)).item();
              const expected = evaluate(expression.toString(), { x, y }) as number;
              if (!(Math.abs(found - expected) <= 1e-11 * Math.max(1, Math.abs(expected))))
                expect.fail(`derivative ${order} of ${name} by ${letter} at (${x}, ${y}) is ${found}, not ${expected}`);
            }
          }
        }
      }
    },
  );

  it("a product of several of them", async () => {
    const text = "sin(x) * exp(-x^2) / (1 + tanh(x))";
    const f = (x: Tensor): Tensor => x.sin().mul(x.mul(x).neg().exp()).div(x.tanh().add(1));
    const second = derivative(derivative(text, "x"), "x");
    for (const x of [-0.4, 0.3, 1.2]) {
      close(await grad(f)(number(x)).item(), evaluate(derivative(text, "x").toString(), { x }) as number);
      close(await grad(grad(f))(number(x)).item(), evaluate(second.toString(), { x }) as number);
    }
  });
});
