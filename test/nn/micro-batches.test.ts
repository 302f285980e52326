import { fc, test as property } from "@fast-check/vitest";
import { beforeEach, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  createTrainStep,
  OptionError,
  type SgdState,
  ShapeError,
  sgd,
  type Tensor,
  type TensorLike,
  tensor,
  UsageError,
  useBackend,
} from "../../src/index.js";

interface Batch {
  readonly x: Tensor;
  readonly y: Tensor;
  readonly weight?: TensorLike | null;
}

const mse = ({ w }: { w: Tensor }, { x, y, weight }: Batch): Tensor =>
  x
    .mul(w)
    .sub(y)
    .square()
    .mul(weight ?? 1)
    .mean();
const plainMse = (params: { w: Tensor }, { x, y }: { readonly x: Tensor; readonly y: Tensor }): Tensor => mse(params, { x, y });
const batchOf = (...values: number[]): Batch => ({ x: tensor(values), y: tensor(values.map((value) => 3 * value + 1)) });
const model = (): { w: Tensor } => ({ w: tensor(0.5) });

type Model = ReturnType<typeof model>;

async function trained<B>(
  loss: (params: Model, batch: B) => Tensor,
  batch: B | readonly B[],
  cut: { microBatch?: number } = {},
): Promise<number[]> {
  const step = createTrainStep<Model, SgdState, B>({ optimizer: sgd(), loss: loss as never, maxNorm: Number.POSITIVE_INFINITY, ...cut });
  const [params, , metrics] = step(model(), sgd().init(model()), batch, 0.1);
  return [await params.w.item(), await metrics.loss.item(), await metrics.gradNorm.item()];
}

const close = (found: readonly number[], expected: readonly number[]): void =>
  found.forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i] as number, 6);
  });

beforeEach(() => {
  useBackend(createReferenceBackend());
});

describe("micro-batches", () => {
  it("of one size train as one batch of all of them, whether objects or pairs", async () => {
    const whole = await trained(mse, batchOf(1, 2, 3, 4, 5, 6));
    close(await trained(mse, [batchOf(1, 2), batchOf(3, 4), batchOf(5, 6)]), whole);
    const pairs = (params: { w: Tensor }, [x, y]: readonly [Tensor, Tensor]): Tensor => mse(params, { x, y });
    const pair = ({ x, y }: Batch): readonly [Tensor, Tensor] => [x, y];
    close(await trained<readonly [Tensor, Tensor]>(pairs, [pair(batchOf(1, 2, 3)), pair(batchOf(4, 5, 6))]), whole);
  });

  it("that are the same batch again train as that batch", async () => {
    const batch = batchOf(1, 2, 3);
    close(await trained(mse, [batch, batch]), await trained(mse, batch));
  });

  it("are not what a batch that is itself a pair of tensors is taken for", async () => {
    const { x, y } = batchOf(1, 2, 3, 4);
    const loss = (params: { w: Tensor }, batch: readonly Tensor[]): Tensor => {
      expect(batch).toHaveLength(2);
      return mse(params, { x: batch[0] as Tensor, y: batch[1] as Tensor });
    };
    close(await trained(loss, [x, y]), await trained(mse, { x, y }));
  });

  it("may share tensors, and hold numbers that differ", async () => {
    const weight = tensor(2);
    const shared = [1, 2].map((value) => ({ ...batchOf(value, value + 2), weight }));
    close(await trained(mse, shared), await trained(mse, { ...batchOf(1, 3, 2, 4), weight: 2 }));
    const numbered = [batchOf(1, 2), batchOf(3, 4)].map((batch, i) => ({ ...batch, weight: i + 1 }));
    const expected = { ...batchOf(1, 2, 3, 4), weight: tensor([1, 1, 2, 2]) };
    close(await trained(mse, numbered), await trained(mse, expected));
  });

  it("may have losses of another dtype than the parameters", async () => {
    const optimizer = sgd();
    const step = createTrainStep({
      optimizer,
      maxNorm: Number.POSITIVE_INFINITY,
      loss: (p: { w: Tensor }, batch: { x: Tensor }) => p.w.cast("f64").sub(batch.x).square().mean(),
    });
    const batch = (...x: number[]): { x: Tensor } => ({ x: tensor(x, { dtype: "f64" }) });
    const params = { w: tensor([1, 2]) };
    const [next, , metrics] = step(params, optimizer.init(params), [batch(1, 2), batch(3, 2)], 0.5);
    expect([metrics.loss.dtype, await metrics.loss.item(), next.w.dtype, await next.w.array()]).toEqual(["f64", 1, "f32", [1.5, 2]]);
  });

  it("are refused where sizes or fields differ, or where there is none", async () => {
    await expect(trained(mse, [batchOf(1, 2), batchOf(3)])).rejects.toThrow(ShapeError);
    await expect(trained(mse, [])).rejects.toThrow(OptionError);
    const uneven = [
      { ...batchOf(1), weight: null },
      { ...batchOf(2), weight: tensor(1) },
    ];
    await expect(trained(mse, uneven)).rejects.toThrow(UsageError);
  });

  it("are one loop in the program", () => {
    const step = createTrainStep({
      optimizer: sgd(),
      loss: plainMse,
    });
    const text = (count: number): string =>
      step.explain(
        model(),
        sgd().init(model()),
        Array.from({ length: count }, (_, i) => batchOf(i, i + 1)),
        0.1,
      );
    const rest = (all: string): number => all.split("\n").filter((line) => !/concat|reshape|input/.test(line)).length;
    expect(text(8)).toMatch(/count=8/);
    expect(rest(text(8))).toBe(rest(text(2)));
  });
});

describe("a batch that is cut into micro-batches of so many rows", () => {
  const divisors = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 4 }));

  property.prop([divisors, fc.constantFrom("one", "each", "number", "none")])(
    "trains as the whole batch, whatever is shared by its rows",
    async ([count, size], kind) => {
      const rows = count * size;
      const values = Array.from({ length: rows }, (_, i) => [i + 1, 1 / (i + 1)]);
      const x = tensor(values);
      const weight = { one: tensor([[2, 3]]), each: x.add(1), number: 2, none: null }[kind];
      const batch = { x, y: x.mul(2).sub(1), weight };
      close(await trained(mse, batch, { microBatch: size }), await trained(mse, batch));
    },
  );

  it("is the list of its pieces, to the same bits", async () => {
    const rows = (from: number): Batch => batchOf(from, from + 1);
    expect(await trained(mse, batchOf(1, 2, 3, 4), { microBatch: 2 })).toEqual(await trained(mse, [rows(1), rows(3)]));
  });

  it("is refused where rows are left over, where tensors have other rows, and where it is a list already", async () => {
    const refusal = (batch: Batch | Batch[], microBatch: number) =>
      trained(mse, batch, { microBatch }).then(
        () => undefined,
        (error: Error) => error,
      );
    for (const [rows, size] of [
      [3, 2],
      [2, 4],
      [1, 2],
    ] as const) {
      const error = await refusal(batchOf(...Array.from({ length: rows }, (_, i) => i)), size);
      expect(error).toBeInstanceOf(OptionError);
      expect(error?.message).toContain(`micro-batches of ${size} rows do not make up a batch of ${rows}`);
    }
    expect(await refusal({ ...batchOf(1, 2, 3, 4), weight: tensor([1, 2]) }, 2)).toBeInstanceOf(ShapeError);
    expect(await refusal([batchOf(1, 2), batchOf(3, 4)], 1)).toBeInstanceOf(OptionError);
    expect(() => createTrainStep({ optimizer: sgd(), loss: plainMse, microBatch: 0 })).toThrow(OptionError);
  });

  it("copies no tensor of the batch: the loop reads its rows where they are", () => {
    const step = createTrainStep({ optimizer: sgd(), loss: plainMse, microBatch: 1 });
    const text = step.explain(model(), sgd().init(model()), batchOf(1, 2, 3, 4, 5, 6, 7, 8), 0.1);
    expect(text).toMatch(/count=8/);
    expect(text).not.toMatch(/concat/);
  });
});
