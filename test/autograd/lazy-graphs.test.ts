import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { compile, grad, realize, Tensor, tensor, useBackend } from "../../src/index.js";

/** A loop that never asks for its state: each step is three operations on top of the one before. */
const unrolled = (steps: number): Tensor => {
  let x = tensor([1, 2]);
  for (let i = 0; i < steps; i++) x = x.mul(0.5).add(1).neg();
  return x;
};

beforeEach(() => {
  useBackend(createReferenceBackend());
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("a lazy graph", () => {
  it("that contains all earlier steps of a loop is computed, with one warning that names the line to write", async () => {
    const warnings = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    await unrolled(2000).data();
    expect(warnings).not.toHaveBeenCalled();
    const values = await unrolled(7000).data();
    expect(values[0]).toBeCloseTo(-2 / 3, 6);
    expect(warnings).toHaveBeenCalledTimes(1);
    expect(warnings.mock.calls[0]?.[0]).toMatch(/2100\d operations deep.*compile\(\.\.\.\).*await realize\(params, state\)/s);
    await unrolled(7001).data();
    expect(warnings).toHaveBeenCalledTimes(1);
  });

  it("is cut by realising: the state becomes a leaf", async () => {
    let x = unrolled(10);
    expect(x.depth).toBeGreaterThanOrEqual(30);
    await realize(x);
    expect(x.isRealised).toBe(true);
    x = x.add(1);
    expect(x.source.kind === "operation" && x.source.inputs[0]?.isRealised).toBe(true);
    // A loop that realises its state never looks like one that forgot to.
    expect(x.depth).toBeLessThan(5);
  });

  it("of any depth can be differentiated and compiled without a stack overflow", async () => {
    const f = (x: Tensor): Tensor => {
      let y = x;
      for (let i = 0; i < 6000; i++) y = y.mul(0.9999).add(1e-4);
      return y.sum();
    };
    const expected = 0.9999 ** 6000;
    const g = grad(f)(tensor([1, 2]));
    const compiled = compile(grad(f))(tensor([1, 2]));
    for (const found of [...(await g.data()), ...(await compiled.data())]) expect(found).toBeCloseTo(expected, 6);
  });

  it("shows itself as text", () => {
    expect(String(tensor([1, 2]).add(1))).toBe("Tensor f32[2] = add(…)");
    expect(String(tensor([1, 2]))).toBe("Tensor f32[2] (host)");
    expect(tensor([1])).toBeInstanceOf(Tensor);
  });
});
