import { erf as mathjsErf } from "mathjs";
import { describe, expect, it } from "vitest";
import type { DeviceBuffer } from "../../src/backend/backend.js";
import { erf } from "../../src/backend/reference/erf.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { DtypeError, OutOfMemoryError, UsageError } from "../../src/errors.js";
import { compute, GraphBuilder, type HostTensor, hostTensor } from "../support/graphs.js";

const f64 = (...values: number[]): HostTensor => hostTensor("f64", [values.length], values);

/** A graph that negates a vector of two. */
function negation() {
  const builder = new GraphBuilder();
  return builder.build([builder.operation("neg", [builder.input(hostTensor("f32", [2], [1, 2]))], {})]).graph;
}

describe("erf", () => {
  it("has the values of the tables to 15 digits", () => {
    // Abramowitz and Stegun, Handbook of Mathematical Functions, table 7.1, and erf 3 from table 7.2.
    const table: readonly [number, number][] = [
      [0.1, 0.1124629160182849],
      [0.5, 0.5204998778130465],
      [1, 0.8427007929497149],
      [1.5, 0.9661051464753108],
      [2, 0.9953222650189527],
      [3, 0.9999779095030014],
    ];
    for (const [x, value] of table) expect(Math.abs(erf(x) - value)).toBeLessThan(3e-16);
  });

  it("agrees with an independent rational approximation everywhere", () => {
    for (let x = -6.5; x <= 6.5; x += 0.01) expect(Math.abs(erf(x) - mathjsErf(x))).toBeLessThan(1e-14);
  });

  it("keeps its relative accuracy near 0, is odd, and saturates", () => {
    for (const x of [1e-300, 1e-20, 1e-8]) expect(erf(x) / ((2 / Math.sqrt(Math.PI)) * x)).toBeCloseTo(1, 15);
    expect(erf(-0.7)).toBe(-erf(0.7));
    expect([erf(40), erf(-40), erf(Number.NaN)]).toEqual([1, -1, Number.NaN]);
  });
});

describe("the reference backend", () => {
  it("keeps f32 values unrounded until they are read", async () => {
    const builder = new GraphBuilder();
    const x = builder.input({ shape: [1], dtype: "f32", data: new Float64Array([1 + 2 ** -40]) });
    const one = builder.operation("const", [], { value: 1, shape: [1], dtype: "f32" });
    const rest = builder.operation("sub", [x, one], {});
    const found = await compute(createReferenceBackend(), builder.build([x, rest]));
    expect(found.map(({ data }) => data)).toEqual([new Float32Array([1]), new Float32Array([2 ** -40])]);
  });

  it("computes f64 to the last digits", async () => {
    const builder = new GraphBuilder();
    const x = builder.input(f64(0.1, 0.2, 0.3));
    const found = await compute(createReferenceBackend(), builder.build([builder.operation("sum", [x], { axes: [0] })]));
    expect(found[0]?.data).toEqual(new Float64Array([0.1 + 0.2 + 0.3]));
  });

  it("refuses f16 wherever it could enter", () => {
    const backend = createReferenceBackend();
    const builder = new GraphBuilder();
    const { graph } = builder.build([builder.operation("const", [], { value: 1, shape: [], dtype: "f16" })]);
    expect(() => backend.compile(graph)).toThrow(DtypeError);
    expect(() => backend.alloc("f16", 4, "test")).toThrow(DtypeError);
  });

  it("drops intermediates after their last use", async () => {
    const backend = createReferenceBackend();
    const builder = new GraphBuilder();
    let x = builder.input(hostTensor("f64", [1000], new Float64Array(1000)));
    for (let i = 0; i < 50; i++) x = builder.operation("neg", [x], {});
    await compute(backend, builder.build([x]));
    // The input, two intermediates and the output.
    expect(backend.memory().peakBytes).toBeLessThanOrEqual(4 * 8000);
    expect(backend.memory().liveBytes).toBe(0);
  });

  it("reports live bytes by owner", () => {
    const backend = createReferenceBackend();
    const a = backend.alloc("f64", 10, "value");
    const b = backend.alloc("i32", 10, "staging");
    expect(backend.memory()).toEqual({ liveBytes: 120, liveBuffers: 2, peakBytes: 120, byOwner: { value: 80, staging: 40 }, idleBytes: 0 });
    backend.free(a);
    expect(backend.memory()).toEqual({ liveBytes: 40, liveBuffers: 1, peakBytes: 120, byOwner: { staging: 40 }, idleBytes: 0 });
    backend.free(b);
    expect(backend.memory().byOwner).toEqual({});
  });

  it("refuses every use of a buffer after it was freed or donated", async () => {
    const backend = createReferenceBackend();
    const freed = backend.alloc("f32", 2, "test");
    backend.free(freed);
    const donated = backend.alloc("f32", 2, "test");
    backend.run(backend.compile(negation(), { donated: [true] }), [donated], []);
    for (const buffer of [freed, donated]) {
      expect(() => backend.free(buffer)).toThrow(UsageError);
      expect(() => backend.write(buffer, "f32", new Float32Array(2))).toThrow(/was freed/);
      await expect(backend.read(buffer, "f32", 2)).rejects.toThrow(UsageError);
      expect(() => backend.run(backend.compile(negation()), [buffer], [])).toThrow(UsageError);
    }
  });

  it("refuses buffers and programs of another backend", () => {
    const [one, other] = [createReferenceBackend(), createReferenceBackend()];
    const buffer: DeviceBuffer = other.alloc("f32", 2, "test");
    expect(() => one.free(buffer)).toThrow(/another backend/);
    expect(() => one.run({ graph: negation(), describe: () => "" }, [buffer], [])).toThrow(UsageError);
  });

  it("refuses sizes, counts and dtypes that do not fit the program", async () => {
    const backend = createReferenceBackend();
    const program = backend.compile(negation(), { label: "negation" });
    const [three, integers] = [backend.alloc("f32", 3, "test"), backend.alloc("i32", 2, "test")];
    expect(() => backend.run(program, [], [])).toThrow(/negation takes 1 buffers/);
    expect(() => backend.run(program, [three], [1])).toThrow(UsageError);
    expect(() => backend.run(program, [three], [])).toThrow(/3 elements/);
    expect(() => backend.run(program, [integers], [])).toThrow(/holds i32, not f32/);
    expect(() => backend.write(three, "f32", new Float32Array(4))).toThrow(UsageError);
    await expect(backend.read(three, "f32", 4)).rejects.toThrow(UsageError);
  });

  it("gives a failed run's memory back, and leaves donated inputs to the caller", () => {
    const backend = createReferenceBackend();
    const builder = new GraphBuilder();
    const x = builder.operation("reshape", [builder.input(hostTensor("f32", [1], [1]))], { shape: [1] });
    const { graph } = builder.build([builder.operation("expand", [x], { shape: [2 ** 31] })]);
    const input = backend.alloc("f32", 1, "test");
    expect(() => backend.run(backend.compile(graph, { donated: [true] }), [input], [])).toThrow(OutOfMemoryError);
    expect(backend.memory()).toMatchObject({ byOwner: { test: input.bytes }, liveBuffers: 1 });
    backend.free(input);
    expect(backend.memory()).toMatchObject({ liveBytes: 0, liveBuffers: 0 });
  });

  it("says how much was asked for and who holds what when memory runs out", () => {
    const backend = createReferenceBackend();
    backend.alloc("f64", 100, "value");
    const attempt = (): unknown => {
      try {
        return backend.alloc("f64", 2 ** 31, "value");
      } catch (error) {
        return error;
      }
    };
    expect(attempt()).toBeInstanceOf(OutOfMemoryError);
    expect(attempt()).toMatchObject({ requestedBytes: 2 ** 34, liveBytes: { value: 800 } });
  });

  it("is of no use once it is closed, but takes late returns of buffers", async () => {
    const backend = createReferenceBackend();
    const buffer = backend.alloc("f32", 2, "test");
    await backend.close();
    expect(backend.memory().liveBytes).toBe(0);
    expect(() => backend.alloc("f32", 2, "test")).toThrow(UsageError);
    await expect(backend.sync()).rejects.toThrow(UsageError);
    expect(() => backend.free(buffer)).not.toThrow();
  });

  it("describes a program line by line", () => {
    const builder = new GraphBuilder();
    const x = builder.input(hostTensor("f32", [2, 3], [1, 2, 3, 4, 5, 6]));
    const total = builder.operation("sum", [x], { axes: [1] });
    const { graph } = builder.build([total, builder.scalar("i32", 1)]);
    expect(createReferenceBackend().compile(graph).describe()).toBe(
      ["%0 = input 0 f32[2, 3]", "%1 = sum(%0){axes=[1]} f32[2]", "%2 = scalar 0 i32[]", "return %1, %2"].join("\n"),
    );
  });

  it("offers every dtype that it says it does", async () => {
    const backend = createReferenceBackend();
    for (const dtype of backend.info.dtypes) {
      const builder = new GraphBuilder();
      const value = hostTensor(dtype, [2], [0, 1]);
      const [found] = await compute(backend, builder.build([builder.operation("alias", [builder.input(value)], {})]));
      expect(found).toEqual(value);
    }
  });
});
