import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { compile, ema, mapTensors, type Tensor, tensor, useBackend } from "../../src/index.js";

const paramsOf = (step: number) => ({ w: tensor([step, -1, 0.5 * step]), count: tensor([step], { dtype: "i32" }), none: null });
type Params = ReturnType<typeof paramsOf>;

describe("the moving average of parameters", () => {
  beforeAll(() => useBackend(createReferenceBackend()));
  afterAll(() => useBackend(undefined));

  it("follows its formula, with and without correction", async () => {
    for (const biasCorrected of [false, true]) {
      const average = ema({ decay: 0.75, biasCorrected });
      let state = average.init(paramsOf(0));
      let expected = 0;
      for (let step = 1; step <= 6; step++) {
        state = average.update(state, paramsOf(step));
        expected = 0.75 * expected + 0.25 * step;
        const corrected = biasCorrected ? expected / (1 - 0.75 ** step) : expected;
        const found = average.average(state, paramsOf(step));
        expect([...(await found.w.data())]).toEqual([corrected, -1, corrected / 2].map((x) => expect.closeTo(x, 6)));
        expect(await found.count.item()).toBe(step);
        expect(found.none).toBe(null);
      }
    }
  });

  it("is the last parameters without decay, and refuses decays of 1", async () => {
    const average = ema({ decay: 0 });
    const state = average.update(average.init(paramsOf(1)), paramsOf(5));
    expect([...(await average.average(state, paramsOf(5)).w.data())]).toEqual([5, -1, 2.5]);
    expect(() => ema({ decay: 1 })).toThrow("ema: decay must be a number with 0 ≤ x < 1");
  });

  it.each([false, true])("is part of a compiled step that takes state over, biasCorrected %s", async (biasCorrected) => {
    const average = ema({ decay: 0.5, biasCorrected });
    const step = compile((state: ReturnType<typeof average.init>, params: Params) => average.update(state, params), { donate: [0] });
    let [state, plain] = [average.init(paramsOf(1)), average.init(paramsOf(1))];
    for (let i = 2; i < 5; i++) {
      state = step(state, paramsOf(i));
      plain = average.update(plain, paramsOf(i));
    }
    expect(step.traces).toBe(1);
    const values = (s: typeof state): Promise<unknown> => average.average(s, paramsOf(9)).w.array();
    expect(await values(state)).toEqual(await values(plain));
  });

  it("keeps halves in f32 and does not hold on to the parameters", async () => {
    const backend = await createWasmBackend({ threads: 1 });
    useBackend(backend);
    const halves = (step: number): { w: Tensor } => mapTensors({ w: tensor([step, 3]) }, (w) => w.cast("bf16"));
    const average = ema({ decay: 0.999 });
    const first = halves(1);
    let state = average.init(first);
    await first.w.data();
    first.w.dispose();
    for (let i = 0; i < 8; i++) state = average.update(state, halves(2));
    const found = average.average(state, halves(2));
    expect(found.w.dtype).toBe("bf16");
    expect((state.mean as { w: Tensor }).w.dtype).toBe("f32");
    expect((await (state.mean as { w: Tensor }).w.data())[0]).toBeCloseTo(2 - 0.999 ** 8, 6);
    useBackend(createReferenceBackend());
    await backend.close();
  });
});
