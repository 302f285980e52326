import type { GraphNode } from "./graph.js";

/**
 * Where values come from: the line of the user's program that made one, and for a value of a gradient the rule that made it and the
 * value that it is the cotangent of. Nothing is noted unless somebody asks (`recordOrigins`), and nothing that is noted is part of a
 * graph: two graphs that differ in origins alone are one to every pass and every cache.
 */
export interface Origin {
  /** What was being called when the value was made. */
  readonly at: Error;
  /** Set for the values of a gradient. */
  readonly derivation: Derivation | undefined;
}

/** How a value of a gradient was made. */
export interface Derivation {
  /** What was differentiated: a primitive, or what a call is named. */
  readonly of: string;
  /** The rule as a formula: "x̄ = ȳ·y". */
  readonly rule: string;
  /** Where the value that was differentiated comes from. */
  readonly forward: Origin | undefined;
}

/** A place in a program. */
export interface Place {
  /** The first line outside of this library: "/home/me/train.js:12:7"; undefined where the stack does not tell. */
  readonly line: string | undefined;
  /** The functions of this library that were called there, the one that the user called first. */
  readonly calls: readonly string[];
}

let recorders = 0;
/** What values that are made now inherit instead of an origin of their own. */
let inherited: Origin | undefined;
let derivation: Derivation | undefined;

/** Whether origins are noted. */
export const recordsOrigins = (): boolean => recorders > 0;

/** Notes origins from now on, until the function that it returns is called. */
export function recordOrigins(): () => void {
  recorders++;
  let ended = false;
  return () => {
    if (!ended) recorders--;
    ended = true;
  };
}

const framesKept = 100;

/** The origin of a value that is made now; undefined where none are noted. */
export function originOfNow(): Origin | undefined {
  if (recorders === 0) return undefined;
  if (inherited !== undefined) return inherited;
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = framesKept;
  const at = new Error("made here");
  Error.stackTraceLimit = limit;
  return { at, derivation };
}

/** What f makes comes from where another value came from. */
export function inheriting<R>(origin: Origin | undefined, f: () => R): R {
  if (recorders === 0 || origin === undefined) return f();
  const before = inherited;
  inherited = origin;
  try {
    return f();
  } finally {
    inherited = before;
  }
}

/** What f makes belongs to a gradient. `how` is asked where origins are noted. */
export function deriving<R>(how: () => Derivation, f: () => R): R {
  if (recorders === 0) return f();
  const before = [inherited, derivation] as const;
  [inherited, derivation] = [undefined, how()];
  try {
    return f();
  } finally {
    [inherited, derivation] = before;
  }
}

const ofNodes = new WeakMap<GraphNode, Origin>();

/** Where what a node of a graph computes comes from, if it was noted. */
export const originOfNode = (node: GraphNode): Origin | undefined => ofNodes.get(node);

/** Notes where what a node computes comes from. */
export function noteOrigin<N extends GraphNode>(node: N, origin: Origin | undefined): N {
  if (origin !== undefined) ofNodes.set(node, origin);
  return node;
}

interface Frame {
  readonly name: string;
  readonly file: string;
  readonly place: string;
}

/** The frames of a stack, as V8 (`at f (file:1:2)`) or the others (`f@file:1:2`) write them. */
function framesOf(stack: string): Frame[] {
  return stack.split("\n").flatMap((line) => {
    const found = /^\s*at (?:(.*?) \()?(.*?):(\d+):(\d+)\)?$/.exec(line) ?? /^(.*?)@(.*?):(\d+):(\d+)$/.exec(line);
    if (found === null) return [];
    const [, name = "", url = "", row, column] = found;
    const file = url.replace(/^async /, "").replace(/^file:\/\/(?=\/)/, "");
    return [{ name, file, place: `${file}:${row}:${column}` }];
  });
}

/** The folder of this library, or the file where everything is in one. */
const own = ((): string => {
  const file = framesOf(new Error("here").stack ?? "")[0]?.file ?? "";
  return file.replace(/\bir\/origin\.[jt]s.*$/, "");
})();

/** The name that a user has for a function: "softmax" for "Module.softmax". */
const named = (name: string): string =>
  name
    .replace(/ \[as (.*)\]$/, "")
    .replace(/^(?:new |async )+/, "")
    .replace(/^(?:Module|Object|Proxy|exports|Tensor)\./, "");

/** Reads the place in the user's program off a stack. */
export function placeOf({ at }: Origin): Place {
  const frames = framesOf(at.stack ?? "");
  const isOwn = ({ file }: Frame): boolean => own !== "" && file.startsWith(own);
  // The stack begins in here; the user's part follows the library's.
  const first = frames.findIndex(isOwn);
  const user = frames.findIndex((frame, i) => i > first && !isOwn(frame) && !/^node:/.test(frame.file));
  const inside = frames.slice(Math.max(first, 0), user < 0 ? undefined : user);
  const names = inside
    .map(({ name }) => named(name))
    .filter((name) => /^[a-z]\w*$|^[A-Z]\w*\.[a-z]\w*$/.test(name) && !/^(Function|Array|Object)\./.test(name) && !hidden.has(name));
  return { line: frames[user]?.place, calls: names.reverse() };
}

/** Functions that say nothing to a user. */
const hidden = new Set([
  "originOfNow",
  "apply",
  "value",
  "made",
  "whileTracing",
  "traceBody",
  "callOf",
  "inheriting",
  "deriving",
  "widened",
  "anonymous",
]);
