import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  type Backend,
  checkpoint,
  compile,
  customVjp,
  explain,
  realize,
  scan,
  type Tensor,
  type TensorLike,
  tensor,
  useBackend,
  withBackend,
} from "../../src/index.js";
import { backends } from "../support/backends.js";
import { createRecordingBackend } from "../support/recording-backend.js";

const dtypes = ["f32", "i32", "u32", "bool"] as const;

describe.each(backends())("a scalar tensor on $name", { timeout: 60_000 }, ({ create }) => {
  let backend: Backend | undefined;
  beforeAll(async () => {
    backend = await create();
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend?.close();
  });

  it.each(dtypes)("of %s is one program on the host, on the device, and after item() moved it", async (dtype) => {
    const f = compile((x: Tensor, s: Tensor) => [x.add(s.cast("f32")), s] as const);
    const x = tensor([1, 2]);
    const onDevice = tensor([1, 0])
      .slice([[0, 1]])
      .reshape([])
      .cast(dtype);
    await realize(onDevice);
    const moved = tensor([0, 1])
      .slice([[1, 2]])
      .reshape([])
      .cast(dtype);
    await moved.item();
    for (const s of [tensor(1, { dtype }), onDevice, moved]) {
      const [sum, same] = f(x, s);
      expect([...(await sum.data())]).toEqual([2, 3]);
      expect(same).toBe(s);
    }
    expect(f.traces).toBe(1);
  });

  it("is traced once as the state of a loop that reads it at every step", async () => {
    const step = compile((s: { count: Tensor; mean: Tensor }, x: Tensor) => ({ count: s.count.add(1), mean: s.mean.mul(0.5).add(x) }), {
      donate: [0],
    });
    let state = { count: tensor(0, { dtype: "i32" }), mean: tensor(0) };
    for (let i = 1; i <= 4; i++) {
      state = step(state, 2);
      if (i % 2 === 0) expect(await state.count.item()).toBe(i);
    }
    expect(await state.mean.item()).toBe(3.75);
    expect(step.traces).toBe(1);
  });

  it("keeps a number's weak type and all of its digits, which a tensor's dtype is not", async () => {
    const f = compile((x: Tensor, n: Tensor) => x.add(n));
    const large = 2 ** 30 + 1;
    const ones = tensor([1], { dtype: "i32" });
    expect([...(await f(ones, large).data())]).toEqual([large + 1]);
    expect(f(ones, large).dtype).toBe("i32");
    expect(f(ones, tensor(2)).dtype).toBe("f32");
    expect(f.traces).toBe(2);
  });
});

describe("a number of a compiled function", () => {
  it("keeps its weak type and decides once inside of calls and loops, and is one program for all numbers that decide alike", async () => {
    useBackend(createReferenceBackend());
    const add = (x: Tensor, n: TensorLike): Tensor => x.add(n);
    const f = compile((x: Tensor, n: TensorLike) => [
      checkpoint((y: Tensor) => add(y, n))(x),
      checkpoint(add)(x, n),
      customVjp(
        (y: Tensor) => add(y, n),
        (y: Tensor) => [add(y, n), y] as const,
        (_, ct) => [ct],
      )(x),
      scan((carry: Tensor, row: Tensor) => [carry, add(row, n)], x.sum(0), x)[1],
      checkpoint((y: Tensor) => scan((carry: Tensor, row: Tensor) => [carry, add(row, n)], y.sum(0), y)[1])(x),
    ]);
    const whole = tensor([1, 2], { dtype: "i32" });
    for (const [x, n, dtype, traces] of [
      [whole, 3, "i32", 1],
      [whole, 2 ** 25 + 1, "i32", 1],
      [whole, 0.5, "f32", 2],
      [whole, 1.5, "f32", 2],
      [tensor([1, 2]), 3, "f32", 3],
    ] as const) {
      for (const result of f(x, n)) {
        expect(result.dtype).toBe(dtype);
        expect([...(await result.data())]).toEqual([1 + n, 2 + n]);
      }
      expect(f.traces).toBe(traces);
    }
    useBackend(undefined);
  });
});

describe("realize", () => {
  it("has one program for a scalar tensor wherever it lies", async () => {
    const { backend, recorded } = createRecordingBackend();
    const [x, device] = [tensor([1, 2]), tensor([3]).reshape([])];
    const run = (f: () => Promise<void>): Promise<void> => withBackend(backend, f);
    await run(() => realize(device));
    await run(() => realize(x.mul(tensor(5))));
    const programs = recorded.length;
    await run(() => realize(x.mul(device)));
    await run(() => realize(x.mul(tensor(7))));
    expect(recorded).toHaveLength(programs);
  });
});

describe("a tensor at several places of one argument", () => {
  it("is another signature than two tensors, and the same one wherever it lies", () => {
    const { backend } = createRecordingBackend();
    withBackend(backend, () => {
      const f = compile((t: Record<string, Tensor>) => Object.values(t).reduce((sum, x) => sum.add(x)));
      const [x, y] = [tensor([1]), tensor([2])];
      f({ a: x, b: x, c: y });
      f({ a: y, b: y, c: x });
      expect(f.traces).toBe(1);
      f({ a: x, b: y, c: y });
      f({ a: x, b: y, c: x });
      f({ a: x, b: y, c: tensor([3]) });
      expect(f.traces).toBe(4);
      expect(explain(f, { a: x, b: x, c: y })).toContain("4 times");
    });
  });
});
