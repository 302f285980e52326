import { beforeAll, describe, expect, it } from "vitest";
import { compile, flattenTree, grad, init, mapTensors, partition, tensor, tensorsOf, UsageError, zipTensors } from "../../src/index.js";

beforeAll(() => init({ backend: "reference" }));

class Hidden {
  #scale = 2;
  w = tensor(1);
  get scale(): number {
    return this.#scale;
  }
}
class Inherits extends Hidden {
  v = tensor(2);
}
class PrivateMethod {
  w = tensor(1);
  #twice(): number {
    return 2;
  }
  forward(): number {
    return this.#twice();
  }
}
class List extends Array<unknown> {}
class Registry extends Map<string, unknown> {}

const holes = [tensor(1), tensor(2)];
delete holes[0];
const circle: unknown[] = [];
circle.push({ again: circle });

/** What cannot be rebuilt, and what the error calls it. */
const refused: readonly (readonly [name: string, value: unknown, message: RegExp])[] = [
  ["a Map", new Map([["w", tensor(1)]]), /holds a Map/],
  ["a class of Map", new Registry(), /holds a Registry/],
  ["a Set", new Set([tensor(1)]), /holds a Set/],
  ["a WeakMap", new WeakMap(), /holds a WeakMap/],
  ["a WeakSet", new WeakSet(), /holds a WeakSet/],
  ["a WeakRef", new WeakRef({}), /holds a WeakRef/],
  ["a Promise", Promise.resolve(tensor(1)), /holds a Promise/],
  ["a Date", new Date(0), /holds a Date/],
  ["a RegExp", /x/, /holds a RegExp/],
  ["an ArrayBuffer", new ArrayBuffer(8), /holds an ArrayBuffer/],
  ["a SharedArrayBuffer", new SharedArrayBuffer(8), /holds a SharedArrayBuffer/],
  ["an Error", new Error("x"), /holds an Error/],
  ["a boxed number", Object(1), /holds a Number/],
  ["a URL", new URL("http://a.b"), /holds an URL/],
  ["a generator", (function* () {})(), /holds a built-in object|holds an? /],
  ["an iterator", [1].values(), /holds a built-in object|holds an? /],
  ["Math", Math, /holds a built-in object \(Math\)/],
  ["an own __proto__", JSON.parse('{ "__proto__": 1 }'), /a field named "__proto__"/],
  [
    "a getter",
    {
      get w() {
        return tensor(1);
      },
    },
    /a getter or setter/,
  ],
  ["a hidden field", Object.defineProperty({}, "w", { value: tensor(1) }), /a hidden field/],
  ["a field named by a symbol", { [Symbol("w")]: tensor(1) }, /named by a symbol, Symbol\(w\)/],
  ["a list with holes", holes, /a list with holes/],
  ["a list with names", Object.assign([1], { w: tensor(1) }), /a list with holes or named fields/],
  ["a class of Array", List.from([1]), /List, which extends Array/],
  ["private fields", new Hidden(), /a Hidden, whose class has the private member #scale/],
  ["inherited private fields", new Inherits(), /an Inherits, whose class has the private member #scale/],
  ["private methods", new PrivateMethod(), /private member #twice/],
  ["a circle", circle, /refers to itself/],
  ["names that are alike", { "a.b": 1, a: { b: 2 } }, /two leaves at .*a\.b/],
];

describe("what cannot be rebuilt from its fields", () => {
  it.each(refused)("%s is refused by path, wherever it lies and whoever walks the tree", (_, value, message) => {
    const tree = { layers: [tensor(1), { inner: value }] };
    const calls: readonly (() => unknown)[] = [
      () => flattenTree(tree),
      () => tensorsOf(tree),
      () => mapTensors(tree, (t) => t),
      () => zipTensors(([t]) => t as never, tree, tree),
      () => partition(tree, () => true),
      () => grad((_: unknown) => tensor(1))(tree),
      () => compile((given: unknown) => [given, tensor(1)])(tree),
      () => compile(() => [tree, tensor(1)])(),
    ];
    for (const call of calls) {
      expect(call).toThrow(UsageError);
      expect(call).toThrow(message);
      expect(call).toThrow(/layers\.1\.inner/);
    }
    expect(() => flattenTree(value)).toThrow(message);
  });

  it("is said with the argument that holds it and what to do", () => {
    const add = compile((a: unknown, _b: unknown) => a, { name: "add" });
    expect(() => add(tensor(1), { m: new Map() })).toThrow(/^add: argument 1 holds a Map at m/);
    expect(() => grad((_: unknown) => tensor(1))(new Map())).toThrow(/^grad: argument 0 holds a Map at its root/);
    const hint = (value: unknown): string => {
      try {
        flattenTree(value);
      } catch (error) {
        return (error as UsageError).hint;
      }
      return "";
    };
    expect(hint(new Map())).toContain("Object.fromEntries");
    expect(hint(Promise.resolve())).toContain("await");
    expect(hint(new Hidden())).toContain("_scale");
  });

  it("does not hold for plain objects, classes, typed arrays, static private members, and # in texts and comments", () => {
    class Plain {
      static #made = 0;
      static count(): number {
        return Plain.#made;
      }
      static #next(): number {
        return ++Plain.#made;
      }
      _colour = "#fff; #x = 1";
      _pattern = /[#] #x/;
      w = tensor(Plain.#next());
      // #hidden = 1;
      forward(): string {
        return `${this._colour} #y = "z"`; /* #z; */
      }
      get [Symbol.toStringTag](): string {
        return "Plain";
      }
    }
    const bare = Object.assign(Object.create(null), { w: tensor(1) });
    const tree = {
      plain: new Plain(),
      bare,
      typed: new Float32Array(2),
      frozen: Object.freeze({ w: tensor(2) }),
      "a.b": tensor(3),
      none: null,
    };
    const same = mapTensors(tree, (t) => t);
    expect(same.plain).toBeInstanceOf(Plain);
    expect(same.plain.forward()).toBe(tree.plain.forward());
    expect(same.typed).toBe(tree.typed);
    expect(Object.getPrototypeOf(same.bare)).toBe(null);
    expect(tensorsOf(tree).map(({ path }) => path)).toEqual(["plain.w", "bare.w", "frozen.w", "a.b"]);
  });
});
