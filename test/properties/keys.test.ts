import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { identityKey } from "../../src/autograd/tree.js";
import { compile, flattenTree, init, Tensor, tensor } from "../../src/index.js";
import { type Graph, type GraphNode, graphKey } from "../../src/ir/graph.js";
import { numbersOf } from "../support/floats.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";

beforeAll(() => init({ backend: "reference" }));

/** Texts made of everything that keys are written with. */
const hostile = fc
  .array(fc.constantFrom("a", "b", ",", "|", "=", ";", ":", '"', "\\", "*", "[", "]", "{", "}", "#0", "string", "null", "1", "_", " "), {
    maxLength: 4,
  })
  .map((parts) => parts.join(""));

const [shared, other] = [{}, {}];
const local = Symbol("s");
const constants: fc.Arbitrary<unknown> = fc.oneof(
  hostile,
  fc.constantFrom<unknown>(
    0,
    -0,
    1,
    "1",
    1n,
    true,
    "true",
    null,
    "null",
    undefined,
    "undefined",
    Number.NaN,
    "NaN",
    local,
    Symbol.for("s"),
    Symbol("s"),
    shared,
    other,
    Math.sin,
    10n,
    "#0",
    "string:a",
  ),
);

const usable = (name: string): boolean => name !== "__proto__";
const trees: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constant(0),
    fc.array(tie("tree"), { maxLength: 2 }),
    fc.dictionary(hostile.filter(usable), tie("tree"), { maxKeys: 2 }),
    fc.dictionary(
      hostile.map((name) => `_${name}`),
      constants,
      { maxKeys: 2 },
    ),
  ),
})).tree;

/** Whether two trees are of one form, by a walk that makes no texts. */
function alike(a: unknown, b: unknown): boolean {
  const branch = (value: unknown): value is object => typeof value === "object" && value !== null;
  if (!branch(a) || !branch(b)) return branch(a) === branch(b);
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [mine, yours] = [a, b].map((tree) => Object.keys(tree).filter((name) => !name.startsWith("_"))) as [string[], string[]];
  const [ownConstants, theirConstants] = [a, b].map((tree) => Object.entries(tree).filter(([name]) => name.startsWith("_"))) as [
    [string, unknown][],
    [string, unknown][],
  ];
  return (
    mine.length === yours.length &&
    ownConstants.length === theirConstants.length &&
    ownConstants.every(([name, value], i) => name === theirConstants[i]?.[0] && Object.is(value, theirConstants[i]?.[1])) &&
    mine.every((name, i) => name === yours[i] && alike((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]))
  );
}

const paths = (tree: unknown): boolean => {
  try {
    flattenTree(tree);
    return true;
  } catch {
    return false;
  }
};

describe("keys", () => {
  it("of values are equal exactly when the values are identical", () => {
    fc.assert(
      fc.property(constants, constants, (a, b) => {
        expect(identityKey(a) === identityKey(b)).toBe(Object.is(a, b));
      }),
      { seed: fuzzSeed(2000), numRuns: 2000 },
    );
  });

  it("of trees are equal exactly when the trees are of one form, whatever their fields are called", () => {
    fc.assert(
      fc.property(trees.filter(paths), trees.filter(paths), (a, b) => {
        expect(flattenTree(a).shape.key === flattenTree(b).shape.key).toBe(alike(a, b));
      }),
      { seed: fuzzSeed(3000), numRuns: 3000 },
    );
    const forms = [
      { "a,b": 1, c: 1 },
      { a: 1, "b,c": 1 },
      { "a,b,c": 1 },
      { a: 1, b: 1, c: 1 },
      { 'a","b': 1, c: 1 },
      { a: 1, 'b","c': 1 },
    ];
    const marked = [{ _a: "b;_c=d" }, { _a: "b", _c: "d" }, { _a: 'b";"_c"="d' }, { "_a=b": 1 }, { _a: "b", x: { _c: "d" } }];
    for (const list of [forms, marked]) expect(new Set(list.map((tree) => flattenTree(tree).shape.key)).size).toBe(list.length);
  });

  it("of behaviour tell apart which object holds which function or class", () => {
    const f = (): number => 1;
    class A {}
    class B {}
    const list = [
      [{ f }, {}],
      [{}, { f }],
      [{ g: f }, {}],
      [new A(), new B()],
      [new B(), new A()],
      [new A(), {}],
      [{}, new A()],
      [{ "f;g": f }, {}],
      [{ f, g: f }, {}],
    ];
    expect(new Set(list.map((tree) => flattenTree(tree).shape.key)).size).toBe(1);
    expect(new Set(list.map((tree) => flattenTree(tree).shape.behaviour)).size).toBe(list.length);
  });

  law("keys tell computations apart", "Two graphs have one key exactly when they are the same computation.", () => {
    const input: GraphNode = { kind: "input", input: 0, shape: [2, 3], dtype: "f32" };
    const graph = (node: Partial<GraphNode>, outputs = [1]): Graph => ({
      nodes: [input, { kind: "operation", primitive: "neg", inputs: [0], params: {}, shape: [2, 3], dtype: "f32", ...node } as GraphNode],
      outputs,
      inputCount: 1,
      scalarCount: 0,
    });
    const pad = (low: number[], high: number[], value: number) => graph({ primitive: "pad", params: { low, high, value } } as never);
    const graphs = [
      graph({}),
      graph({}, [0, 1]),
      graph({}, [1, 0]),
      graph({ shape: [23] }),
      graph({ dtype: "f16" }),
      pad([1, 2], [3, 4], 0),
      pad([1, 2], [3, 4], -0),
      pad([1, 2], [3, 4], Number.NaN),
      pad([12], [3, 4], 0),
      pad([1], [2, 3, 4], 0),
      pad([], [1, 2, 3, 4], 0),
    ];
    expect(new Set(graphs.map(graphKey)).size).toBe(graphs.length);
  });
});

describe("a compiled function", () => {
  it("answers for its own static arguments, however they print", async () => {
    const read = compile((x: Tensor, a: string, b: string) => x.add(100 * a.length + b.length), { static: [1, 2], maxPrograms: 100 });
    const x = tensor(0);
    expect(await numbersOf(read(x, "a|=string:b", "c"))).toEqual([1101]);
    expect(await numbersOf(read(x, "a", "b|=string:c"))).toEqual([111]);
    const seen = new Set<string>();
    const holds = fc.asyncProperty(hostile, hostile, async (a, b) => {
      expect(await numbersOf(read(x, a, b))).toEqual([100 * a.length + b.length]);
      seen.add(JSON.stringify([a, b]));
    });
    await fc.assert(holds, { seed: fuzzSeed(60), numRuns: 60 });
    expect(read.traces).toBeLessThanOrEqual(seen.size + 2);
    expect(read.traces).toBeGreaterThanOrEqual(seen.size);
  });

  it("is traced once for each static value, and told apart by value and type: 1, 1n, true, −0, NaN, objects by identity", async () => {
    const values = [
      1,
      "1",
      1n,
      true,
      "true",
      0,
      -0,
      Number.NaN,
      "NaN",
      null,
      undefined,
      "null",
      local,
      Symbol("s"),
      shared,
      other,
      Math.cos,
    ];
    const numbered = compile((x: Tensor, value: unknown) => x.add(values.findIndex((known) => Object.is(known, value))), { static: [1] });
    for (let round = 0; round < 2; round++) {
      for (const [i, value] of values.entries()) expect(await numbersOf(numbered(tensor(0), value))).toEqual([i]);
    }
    expect(numbered.traces).toBe(values.length);
  });

  it("tells trees apart by their fields, and constants by their values", async () => {
    const first = compile((tree: Readonly<Record<string, Tensor>>) => Object.values(tree)[0]?.mul(Object.keys(tree)[0]?.length as number));
    const [t, u] = [tensor(1), tensor(2)];
    expect(await numbersOf(first({ "a,b": t, c: u }) as Tensor)).toEqual([3]);
    expect(await numbersOf(first({ a: t, "b,c": u }) as Tensor)).toEqual([1]);
    const scaled = compile((tree: { x: Tensor; _by: unknown }) => tree.x.mul(Number(tree._by)));
    for (const by of [2, "3", 4n, true]) expect(await numbersOf(scaled({ x: t, _by: by }))).toEqual([Number(by)]);
    expect(scaled.traces).toBe(4);
    expect(first({ a: t }) instanceof Tensor).toBe(true);
  });
});
