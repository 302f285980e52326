import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  adafactor,
  adagrad,
  adam,
  adamw,
  grad,
  lion,
  muon,
  type Optimizer,
  rmsprop,
  sgd,
  type Tensor,
  tensor,
  useBackend,
} from "../../src/index.js";

/** What test/golden/make_optimizers.py wrote. */
interface Golden {
  readonly x: number[];
  readonly y: number[];
  readonly rates: number[];
  readonly start: Record<Name, { readonly shape: number[]; readonly values: number[] }>;
  readonly cases: { readonly optimizer: string; readonly options: object; readonly first: Numbers; readonly last: Numbers }[];
}
type Name = "w1" | "b1" | "w2" | "b2";
type Numbers = Record<Name, number[]>;
const names: readonly Name[] = ["w1", "b1", "w2", "b2"];
const golden = JSON.parse(readFileSync(new URL("optimizers/optimizers.json", import.meta.url), "utf8")) as Golden;

const makers: Readonly<Record<string, (options: object) => Optimizer<unknown>>> = {
  sgd,
  adagrad,
  rmsprop,
  adam,
  adamw,
  lion,
  adafactor,
  muon,
};
const doubles = (values: readonly number[], shape: readonly number[]): Tensor => tensor(new Float64Array(values), { shape, dtype: "f64" });

describe("ten steps of an optimizer in double precision are those of PyTorch", () => {
  it.each(golden.cases.map((one) => [`${one.optimizer} ${JSON.stringify(one.options)}`, one] as const))("%s", async (_, one) => {
    useBackend(createReferenceBackend());
    const [x, y] = [doubles(golden.x, [5, 3]), doubles(golden.y, [5, 2])];
    const loss = ({ w1, b1, w2, b2 }: Record<Name, Tensor>): Tensor =>
      x.matmul(w1.transpose()).add(b1).tanh().matmul(w2.transpose()).add(b2).sub(y).square().mean();
    const everything = { decayMask: () => true };
    const options = one.optimizer === "muon" ? one.options : { ...one.options, ...everything };
    const optimizer = (makers[one.optimizer] as (options: object) => Optimizer<unknown>)(options);
    let params = Object.fromEntries(names.map((name) => [name, doubles(golden.start[name].values, golden.start[name].shape)])) as Record<
      Name,
      Tensor
    >;
    let state = optimizer.init(params);
    for (const [step, lr] of golden.rates.entries()) {
      [params, state] = optimizer.update(params, grad(loss)(params), state, { lr });
      const expected = step === 0 ? one.first : step === golden.rates.length - 1 ? one.last : undefined;
      for (const name of expected === undefined ? [] : names) {
        const found = await params[name].data();
        (expected as Numbers)[name].forEach((value, i) =>
          expect(Math.abs((found[i] as number) - value), `${name} ${i} of step ${step}`).toBeLessThan(1e-12),
        );
      }
    }
  });
});
