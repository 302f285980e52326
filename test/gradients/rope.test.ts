import { type Complex, complex, conj, exp, multiply } from "mathjs";
import { beforeAll, describe, expect, it } from "vitest";
import { checkGrads } from "../../src/autograd/check-grads.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { grad, jvp, rope, type Tensor, tensor, useBackend, vjp } from "../../src/index.js";
import { floats, numbersOf } from "../support/floats.js";
import { law } from "../support/law.js";

const [batch, heads, time, half] = [2, 2, 3, 4];
const shape = [batch, heads, time, 2 * half];
const frequency = (j: number): number => 100 ** (-j / half);
const positions = floats([batch, time], { low: 0, high: 50, seed: 7 });

/** cos and sin of positions × frequencies, [B, T, D/2]. */
function tables(p: Tensor): [Tensor, Tensor] {
  const theta = tensor(Float64Array.from({ length: half }, (_, j) => frequency(j)));
  const angles = p.unsqueeze(2).mul(theta);
  return [angles.cos(), angles.sin()];
}

const norm = (values: readonly number[]): number => Math.hypot(...values);
const [x, dy] = [floats(shape, { seed: 1 }), floats(shape, { seed: 2 })];

beforeAll(() => {
  useBackend(createReferenceBackend());
});

law(
  "RoPE is complex multiplication",
  "A rotary embedding multiplies the complex number x[j] + i·x[j + D/2] by e^(iθ), and its pullback multiplies by the conjugate.",
  async () => {
    const [cos, sin] = tables(positions);
    const [y, found] = [await numbersOf(rope(x, cos, sin)), await numbersOf(vjp((at: Tensor) => rope(at, cos, sin), x)[1](dy)[0])];
    const [from, back, p] = [await numbersOf(x), await numbersOf(dy), await numbersOf(positions)];
    for (let row = 0; row < batch * heads * time; row++) {
      const position = p[Math.floor(row / (heads * time)) * time + (row % time)] as number;
      for (let j = 0; j < half; j++) {
        const [re, im] = [2 * half * row + j, 2 * half * row + j + half];
        const turn = exp(multiply(complex(0, 1), position * frequency(j)) as Complex);
        const of = (values: readonly number[]): Complex => complex(values[re] as number, values[im] as number);
        for (const [result, expected] of [
          [of(y), multiply(of(from), turn) as Complex],
          [of(found), multiply(of(back), conj(turn)) as Complex],
        ] as const) {
          expect(result.re).toBeCloseTo(expected.re, 12);
          expect(result.im).toBeCloseTo(expected.im, 12);
        }
      }
    }
  },
);

describe("the derivative of a rotary embedding", () => {
  it("I-11: is the rotation by the negated sine, bit for bit", async () => {
    const [cos, sin] = tables(positions);
    const [dx] = vjp((at: Tensor) => rope(at, cos, sin), x)[1](dy);
    expect(await numbersOf(dx)).toEqual(await numbersOf(rope(dy, cos, sin.neg())));
  });

  it("I-7, I-12: is the adjoint: ⟨R x, y⟩ = ⟨x, Rᵀ y⟩, and R is its own Jacobian", async () => {
    const [cos, sin] = tables(positions);
    const rotate = (at: Tensor): Tensor => rope(at, cos, sin);
    const [dx] = vjp(rotate, x)[1](dy);
    const [left, right] = [await rotate(x).mul(dy).sum().item(), await x.mul(dx).sum().item()];
    expect(Math.abs(left - right)).toBeLessThan(1e-13 * norm(await numbersOf(x)) * norm(await numbersOf(dy)));
    expect(await numbersOf(jvp(rotate, [x], [dy])[1])).toEqual(await numbersOf(rotate(dy)));
  });

  it("I-13: preserves the norm of the cotangent", async () => {
    const [cos, sin] = tables(positions);
    const [dx] = vjp((at: Tensor) => rope(at, cos, sin), x)[1](dy);
    expect(norm(await numbersOf(dx)) / norm(await numbersOf(dy))).toBeCloseTo(1, 14);
  });

  it("I-14: equals differences with a step of 1, because a rotation is linear", async () => {
    const [cos, sin] = tables(positions);
    await checkGrads((at: Tensor) => rope(at, cos, sin), [x], { step: 1, relative: 1e-12, absolute: 1e-12 });
  });

  it("I-15: does not reach the tables unless it is asked for", async () => {
    const table = (p: Tensor): Tensor =>
      rope(x, ...tables(p))
        .mul(dy)
        .sum();
    const [cos, sin] = tables(positions);
    const loss = (at: Tensor): Tensor => rope(at, cos, sin).mul(dy).sum();
    // The captured tables are constants for a gradient by x; a gradient by positions goes through them.
    expect(grad(loss)(x).shape).toEqual(shape);
    expect((await numbersOf(grad(table)(positions))).every((value) => value !== 0)).toBe(true);
  });

  it("I-15: by the position turns each pair by a right angle and scales it with its frequency", async () => {
    const rotated = (p: Tensor): Tensor => rope(x, ...tables(p));
    const tangent = await numbersOf(jvp(rotated, [positions], [positions.mul(0).add(1)])[1]);
    const y = await numbersOf(rotated(positions));
    tangent.forEach((found, i) => {
      const channel = i % (2 * half);
      const expected = channel < half ? -frequency(channel) * (y[i + half] as number) : frequency(channel - half) * (y[i - half] as number);
      expect(found).toBeCloseTo(expected, 12);
    });
  });
});
