import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { checkGrads } from "../../src/autograd/check-grads.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { grad, hvp, jvp, type Tensor, useBackend, vjp } from "../../src/index.js";
import { type FunctionRecipe, functionRecipes } from "../support/arbitraries.js";
import { floats, numbersOf, weighted } from "../support/floats.js";
import { type RandomFunction, randomFunction } from "../support/random-functions.js";
import { lawF64 } from "../support/tolerances.js";

const seed = 41;
const pairsOf = fc
  .tuple(functionRecipes, functionRecipes)
  .map(([first, second]): [FunctionRecipe, FunctionRecipe] => [first, { ...second, rows: first.rows, columns: first.columns }]);

/** Inputs of a recipe's shape, different for each `offset`. */
const inputs = ({ rows, columns, seed: start }: FunctionRecipe, offset = 0): [Tensor, Tensor] => [
  floats([rows, columns], { seed: start + 1 + offset }),
  floats([rows, columns], { seed: start + 2 + offset }),
];

/** Throws unless two tensors agree to nearly all digits of f64. */
async function expectSame(found: Tensor, expected: Tensor): Promise<void> {
  expect(found.shape).toEqual(expected.shape);
  const [a, b] = [await numbersOf(found), await numbersOf(expected)];
  const scale = Math.max(1, ...b.map(Math.abs));
  for (const [i, value] of b.entries()) expect(Math.abs((a[i] as number) - value)).toBeLessThanOrEqual(lawF64 * scale);
}

beforeAll(() => {
  useBackend(createReferenceBackend());
});

describe("for random functions", () => {
  it("derivatives equal central differences", async () => {
    const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
      await checkGrads(randomFunction(recipe), inputs(recipe), { places: 3, relative: 1e-5, absolute: 1e-5, seed: recipe.seed });
    });
    await fc.assert(holds, { seed, numRuns: 60 });
  });

  it("second derivatives equal central differences", async () => {
    const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
      await checkGrads(randomFunction(recipe), inputs(recipe), { order: 2, places: 2, relative: 1e-4, absolute: 1e-4, seed: recipe.seed });
    });
    await fc.assert(holds, { seed, numRuns: 12 });
  });

  it("⟨v, J u⟩ = ⟨Jᵀ v, u⟩", async () => {
    const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
      const f = randomFunction(recipe);
      const at = inputs(recipe);
      const [u, w] = [inputs(recipe, 10), inputs(recipe, 20)[0]];
      const [, forward] = jvp(f, at, u);
      const [dx, dy] = vjp(f, ...at)[1](w);
      await expectSame(dx.mul(u[0]).sum().add(dy.mul(u[1]).sum()), forward.mul(w).sum());
    });
    await fc.assert(holds, { seed, numRuns: 60 });
  });

  it("the Hessian is symmetric", async () => {
    const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
      const f = randomFunction(recipe);
      const [x, y] = inputs(recipe);
      const [u, v] = inputs(recipe, 10);
      const loss = (at: Tensor): Tensor => weighted(f(at, y));
      await expectSame(hvp(loss, x, u).mul(v).sum(), hvp(loss, x, v).mul(u).sum());
    });
    await fc.assert(holds, { seed, numRuns: 20 });
  });

  it("the gradient of a sum is the sum of gradients, and a factor comes out", async () => {
    const holds = fc.asyncProperty(pairsOf, fc.integer({ min: -8, max: 8 }), async ([first, second], factor) => {
      const [f, g] = [randomFunction(first), randomFunction(second)];
      const [x, y] = inputs(first);
      const loss = (h: RandomFunction) => (at: Tensor) => weighted(h(at, y));
      const together = grad((at: Tensor) => loss(f)(at).mul(factor).add(loss(g)(at)))(x);
      await expectSame(
        together,
        grad(loss(f))(x)
          .mul(factor)
          .add(grad(loss(g))(x)),
      );
    });
    await fc.assert(holds, { seed, numRuns: 30 });
  });

  it("the Jacobian of a composition is the product of Jacobians", async () => {
    const holds = fc.asyncProperty(pairsOf, async ([first, second]) => {
      const [f, g] = [randomFunction(first), randomFunction(second)];
      const [x, y] = inputs(first);
      const w = inputs(first, 10)[0];
      const whole = vjp((at: Tensor) => g(f(at, y), y), x)[1](w)[0];
      const [middle, throughF] = vjp((at: Tensor) => f(at, y), x);
      const [, throughG] = vjp((at: Tensor) => g(at, y), middle);
      await expectSame(whole, throughF(throughG(w)[0])[0]);
    });
    await fc.assert(holds, { seed, numRuns: 30 });
  });

  it("the pullback is linear in the cotangent", async () => {
    const holds = fc.asyncProperty(functionRecipes, async (recipe) => {
      const [, pullback] = vjp(randomFunction(recipe), ...inputs(recipe));
      const [v, w] = inputs(recipe, 10);
      const [[a], [b], [c]] = [pullback(v), pullback(w), pullback(v.mul(3).sub(w))];
      await expectSame(c, a.mul(3).sub(b));
    });
    await fc.assert(holds, { seed, numRuns: 30 });
  });
});
