import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { decode, encode } from "../../src/backend/host-data.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { compile, DtypeError, full, matmul, ones, type Tensor, tensor, useBackend } from "../../src/index.js";
import { promote, representable } from "../../src/ir/dtype.js";
import { type Half, halfUnit, halfValue, halves, toNearestHalf } from "../support/halves.js";
import { uniformSource } from "../support/samples.js";

const everyHalf = (half: Half): Float32Array => Float32Array.from({ length: 2 ** 16 }, (_, i) => halfValue(i, half));

/** Numbers on, between and next to halves of every size, beyond the largest, and bits at random. */
function floats(half: Half): Float32Array {
  const values: number[] = [0, -0, Infinity, -Infinity, NaN, 65519.996, 65520, 3.4e38, 3.3961775e38, 2 ** -149];
  for (const value of everyHalf(half)) {
    if (!Number.isFinite(value)) continue;
    const unit = halfUnit(value, half);
    for (const part of [0.25, 0.5, 0.5 + 2 ** -9, 0.5 - 2 ** -9]) values.push(value + Math.sign(value || 1) * part * unit);
  }
  const uniform = uniformSource(3);
  const words = Uint32Array.from({ length: 50_000 }, () => uniform() * 2 ** 32);
  return Float32Array.from([...values, ...new Float32Array(words.buffer)]);
}

/** Where two arrays differ first; signs of zeros count, payloads of NaN do not. */
function firstDifference(found: ArrayLike<number>, expected: ArrayLike<number>): readonly number[] | undefined {
  if (found.length !== expected.length) return [found.length, expected.length];
  for (let i = 0; i < expected.length; i++) {
    if (!Object.is(found[i], expected[i])) return [i, found[i] as number, expected[i] as number];
  }
  return undefined;
}

describe.each(halves)("%s", (half) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWasmBackend({ threads: 1, poison: true });
    useBackend(backend);
  });
  afterAll(async () => {
    useBackend(undefined);
    await backend.close();
  });
  const expected = (values: Float32Array): Float32Array => Float32Array.from(values, (x) => toNearestHalf(x, half));

  it("every pattern of bits is read as its number and written back as the same bits; NaN stays NaN", () => {
    const patterns = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
    const numbers = decode(half, patterns.buffer, patterns.length);
    expect(firstDifference(numbers, everyHalf(half))).toBeUndefined();
    const back = encode(half, numbers) as Uint16Array;
    expect(back.byteLength).toBe(2 ** 17);
    back.forEach((pattern, i) => {
      if (Number.isNaN(numbers[i])) expect(halfValue(pattern, half)).toBeNaN();
      else if (pattern !== i) expect([i, pattern]).toEqual([i, i]);
    });
  });

  it("every number goes through a buffer of two bytes for each unchanged", async () => {
    const values = everyHalf(half);
    const before = backend.memory().liveBytes;
    const buffer = backend.alloc(half, values.length, "test");
    expect(backend.memory().liveBytes - before).toBe(2 * values.length);
    backend.write(buffer, half, values);
    expect(firstDifference(await backend.read(buffer, half, values.length), values)).toBeUndefined();
    backend.free(buffer);
  });

  it("floats are rounded to nearest, ties to even, by a write, by a cast and by representable()", async () => {
    const values = floats(half);
    const wanted = expected(values);
    const encoded = encode(half, values);
    expect(firstDifference(decode(half, encoded.buffer, values.length), wanted)).toBeUndefined();
    expect(firstDifference(await tensor(values, { dtype: half }).data(), wanted)).toBeUndefined();
    expect(firstDifference(await tensor(values).cast(half).data(), wanted)).toBeUndefined();
    expect(
      firstDifference(
        Array.from(values, (x) => representable(half, x)),
        wanted,
      ),
    ).toBeUndefined();
  });

  it("a cast there and back in one kernel rounds", async () => {
    const values = floats(half);
    expect(firstDifference(await tensor(values).cast(half).cast("f32").data(), expected(values))).toBeUndefined();
  });

  it("constants are rounded by a cast as data are", async () => {
    for (const value of [0.1, -1.003, 1e-42, 70_000, 3.4e38]) {
      const wanted = toNearestHalf(Math.fround(value), half);
      expect(await full([], value).cast(half).cast("f32").item()).toBe(wanted);
      const compiled = compile((x: Tensor) => x.mul(full([], value).cast(half).cast("f32")));
      expect(await compiled(tensor([1])).item()).toBe(wanted);
      expect(await full([], value, { dtype: half }).cast("f32").item()).toBe(wanted);
    }
  });

  it("integers and bools become halves and go back", async () => {
    const integers = tensor(Int32Array.of(-3, 0, 255, 257, 2049, 70_000));
    const wanted = Float32Array.from([-3, 0, 255, 257, 2049, 70_000], (x) => toNearestHalf(x, half));
    expect(await integers.cast(half).data()).toEqual(wanted);
    expect([...(await tensor([-1.5, 2.75, 200], { dtype: half }).cast("i32").data())]).toEqual([-1, 2, 200]);
    expect([...(await tensor([true, false]).cast(half).data())]).toEqual([1, 0]);
    expect([...(await tensor([0.5, 0, NaN], { dtype: half }).cast("bool").data())]).toEqual([1, 0, 1]);
  });

  it("the other kind of half is reached by a rounding of its own", async () => {
    const other: Half = half === "f16" ? "bf16" : "f16";
    const wanted = Float32Array.from(everyHalf(half), (x) => toNearestHalf(x, other));
    expect(firstDifference(await tensor(everyHalf(half), { dtype: half }).cast(other).data(), wanted)).toBeUndefined();
  });

  it("is not offered by the reference, which says so", async () => {
    const reference = createReferenceBackend();
    useBackend(reference);
    await expect(async () => ones([2], { dtype: half }).data()).rejects.toThrow(DtypeError);
    useBackend(backend);
    await reference.close();
  });
});

describe("promotion of halves", () => {
  it("wins over integers and bools, loses to f32 and f64", () => {
    for (const half of halves) {
      for (const narrower of ["bool", "i32", "u32", half] as const)
        expect([promote(half, narrower), promote(narrower, half)]).toEqual([half, half]);
      for (const wider of ["f32", "f64"] as const) expect([promote(half, wider), promote(wider, half)]).toEqual([wider, wider]);
    }
  });

  it("f16 and bf16 meet in f32, in sums, products and matrices", () => {
    const [a, b]: [Tensor, Tensor] = [ones([2, 2], { dtype: "f16" }), ones([2, 2], { dtype: "bf16" })];
    expect([promote("f16", "bf16"), promote("bf16", "f16")]).toEqual(["f32", "f32"]);
    expect([a.add(b), b.mul(a), matmul(a, b)].map(({ dtype }) => dtype)).toEqual(["f32", "f32", "f32"]);
    expect(b.mul(2.5).dtype).toBe("bf16");
  });
});
