import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flattenTree, mapTensors, Tensor, tensor, tensorsOf, UsageError, zipTensors } from "../../src/index.js";
import { numberTrees } from "../support/arbitraries.js";
import { fuzzSeed } from "../support/fuzz.js";
import { law } from "../support/law.js";

/** The form of a tree as text, by a walk of its own. */
const formOf = (tree: unknown): string => {
  if (Array.isArray(tree)) return `[${tree.map(formOf).join()}]`;
  if (typeof tree === "object" && tree !== null && !(tree instanceof Tensor)) {
    return `{${Object.entries(tree)
      .map(([name, value]) => `${name}:${formOf(value)}`)
      .join()}}`;
  }
  return "*";
};

const leavesOf = (tree: unknown): unknown[] =>
  typeof tree === "object" && tree !== null && !(tree instanceof Tensor) ? Object.values(tree).flatMap(leavesOf) : [tree];

/** The same tree with a tensor for each number. */
const withTensors = (tree: unknown): unknown => {
  const { leaves, shape } = flattenTree(tree);
  return shape.build(leaves.map((leaf) => tensor(leaf as number)));
};

describe("trees", () => {
  law("trees are their leaves", "A tree is rebuilt from its leaves and its form: build(leaves(t)) = t.", () => {
    fc.assert(
      fc.property(numberTrees, (tree) => {
        const { leaves, paths, shape } = flattenTree(tree);
        expect(leaves).toEqual(leavesOf(tree));
        expect(shape.build(leaves)).toEqual(tree);
        const at = (path: string): unknown =>
          path === "" ? tree : path.split(".").reduce((value, name) => (value as Record<string, unknown>)[name], tree);
        expect(paths.map(at)).toEqual(leaves);
      }),
    );
  });

  it("have equal keys exactly when they are of one form", () => {
    fc.assert(
      fc.property(numberTrees, numberTrees, (a, b) => {
        expect(flattenTree(a).shape.key === flattenTree(b).shape.key).toBe(formOf(a) === formOf(b));
      }),
      { seed: fuzzSeed(300), numRuns: 300 },
    );
    fc.assert(
      fc.property(numberTrees, (tree) => {
        const doubled = flattenTree(tree).leaves.map((leaf) => (leaf as number) * 2);
        expect(flattenTree(flattenTree(tree).shape.build(doubled)).shape.key).toBe(flattenTree(tree).shape.key);
      }),
    );
  });

  it("map and zip leaf by leaf, and zip refuses another form", () => {
    fc.assert(
      fc.property(numberTrees, (plain) => {
        const tree = withTensors(plain);
        const seen: string[] = [];
        const same = mapTensors(tree, (t, path) => {
          seen.push(path);
          return t;
        });
        expect(same).toEqual(tree);
        expect(seen).toEqual(tensorsOf(tree).map(({ path }) => path));
        const pairs = zipTensors(([a, b]) => (a === b ? (a as Tensor) : tensor(0)), tree, same);
        expect(tensorsOf(pairs).map(({ tensor: t }) => t)).toEqual(tensorsOf(tree).map(({ tensor: t }) => t));
        expect(() => zipTensors(([a]) => a as Tensor, tree, [tree])).toThrow(UsageError);
      }),
    );
  });

  it("keep their classes, methods and constants, and refuse to go round in circles", () => {
    class Point {
      _unit = "m";
      constructor(
        readonly x: Tensor,
        readonly y: Tensor,
      ) {}
      sum(): Tensor {
        return this.x.add(this.y);
      }
    }
    const moved = mapTensors(new Point(tensor(1), tensor(2)), (t) => t.neg());
    expect(moved).toBeInstanceOf(Point);
    expect(moved.sum().shape).toEqual([]);
    expect(moved._unit).toBe("m");
    const key = (unit: string): string => flattenTree(Object.assign(new Point(tensor(1), tensor(2)), { _unit: unit })).shape.key;
    expect(key("m")).toBe(key("m"));
    expect(key("m")).not.toBe(key("km"));
    const circle: { a: Tensor; self?: unknown } = { a: tensor(1) };
    circle.self = circle;
    expect(() => flattenTree(circle)).toThrow(/refers to itself at self/);
  });
});
