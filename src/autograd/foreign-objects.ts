import { describe } from "../arguments.js";

/** What keeps an object from being rebuilt as `Object.create(prototype)` with the same fields. */
export interface Problem {
  /** To follow "holds": "a Map". */
  readonly what: string;
  readonly hint: string;
}

const hints: readonly (readonly [type: abstract new (...args: never[]) => unknown, hint: string])[] = [
  [Map, "use a plain object: Object.fromEntries(map)"],
  [Set, "use a list: [...set]"],
  [Promise, "await it first; functions that are differentiated or compiled are not async"],
  [ArrayBuffer, "make a tensor of it: tensor(new Float32Array(buffer))"],
];

/** Answers by prototype, since a class decides. */
const answers = new WeakMap<object, Problem | null>();

/**
 * Why an object cannot be rebuilt from its fields; undefined where it can. Objects of the language and its host (Map, Date, Promise,
 * GPUBuffer, …) keep what they are in internal slots, and classes with `#private` members refuse copies that their constructor did not make.
 */
export function foreign(value: object): Problem | undefined {
  if (Array.isArray(value)) {
    // A list's chain is Array.prototype, Object.prototype, null: in any realm.
    const beyond = Object.getPrototypeOf(Object.getPrototypeOf(Object.getPrototypeOf(value) ?? {}) ?? {}) as unknown;
    return beyond === null
      ? undefined
      : { what: `${describeClass(value)}, which extends Array,`, hint: "hold the list in a field of a class" };
  }
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null || Object.getPrototypeOf(prototype) === null) return untagged(value) ? undefined : slots(value);
  let answer = answers.get(prototype);
  if (answer === undefined) {
    answer = problemOf(value, prototype);
    answers.set(prototype, answer);
  }
  return answer ?? undefined;
}

const untagged = (value: object): boolean => Object.prototype.toString.call(value) === "[object Object]";

const describeClass = (value: object): string => {
  const found = describe(value);
  const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
  return found === "an object" ? `a built-in object (${tag})` : Array.isArray(value) ? value.constructor.name : found;
};

const slots = (value: object): Problem => ({
  what: describeClass(value),
  hint:
    hints.find(([type]) => value instanceof type)?.[1] ??
    "hold tensors in arrays, plain objects and class instances; name fields that are no part of the tree with a leading underscore",
});

function problemOf(value: object, first: object): Problem | null {
  let classes = 0;
  for (let prototype = first; Object.getPrototypeOf(prototype) !== null; prototype = Object.getPrototypeOf(prototype) as object) {
    const made: unknown = Object.hasOwn(prototype, "constructor")
      ? Object.getOwnPropertyDescriptor(prototype, "constructor")?.value
      : undefined;
    if (typeof made !== "function") continue;
    classes++;
    const source = Function.prototype.toString.call(made);
    if (/\{\s*\[native code\]\s*\}$/.test(source)) return slots(value);
    const member = privateMember(source);
    if (member !== undefined)
      return {
        what: `${describe(value)}, whose class has the private member ${member},`,
        hint: `objects of a tree are rebuilt from their fields, and a private one would be lost: write _${member.slice(1)} for constants, or a field without #`,
      };
  }
  return classes > 0 || untagged(value) ? null : slots(value);
}

/** Comments and texts. */
const prose = /\/\*[\s\S]*?\*\/|\/\/.*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g;
const declared =
  /(?<=[\s{};*])(?<isStatic>static\s+(?:(?:async|get|set|accessor)\s+|\*\s*)*)?(?<name>#[\p{ID_Start}$_][\p{ID_Continue}$]*)(?=\s*(?:[=;(}]|\n))/gu;

/** The first `#member` that a class declares for its objects; those of the class itself (static) are no part of them. */
function privateMember(source: string): string | undefined {
  if (!source.startsWith("class") || !source.includes("#")) return undefined;
  const members = [...source.replace(prose, '""').matchAll(declared)].map(({ groups }) => groups as { isStatic?: string; name: string });
  const ofClass = new Set(members.flatMap(({ isStatic, name }) => (isStatic === undefined ? [] : [name])));
  return members.find(({ name }) => !ofClass.has(name))?.name;
}
