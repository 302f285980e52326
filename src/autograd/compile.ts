import { callable, checkArgument, checkOptions, describe, integer, type Kind, type OptionKinds, optional, text } from "../arguments.js";
import type { Backend, Executable, ProgramMemory } from "../backend/backend.js";
import { OptionError, UsageError } from "../errors.js";
import type { DType } from "../ir/dtype.js";
import { recordOrigins } from "../ir/origin.js";
import type { Shape } from "../ir/shape.js";
import { ProgramExplanation } from "./explain/explanation.js";
import { explainGraph } from "./explain/graph.js";
import type { Explanation } from "./explain/types.js";
import { ProgramCache } from "./program-cache.js";
import { fromStorage, realizeNow, runTraced } from "./realize.js";
import { currentBackend } from "./runtime.js";
import { apply, fromHost, type Storage, Tensor } from "./tensor.js";
import { type Traced, traceGraph } from "./trace.js";
import { isTracing, whileTracing } from "./tracing.js";
import { flattenTree, identityKey, type TreeDef } from "./tree.js";
import { agrees, type Decision, WeakScalar, weakConstant } from "./weak-scalar.js";

export type { ProgramMemory } from "../backend/backend.js";

export interface CompileSettings<S extends readonly number[] = readonly number[]> {
  /** Positions of arguments whose tensors may be overwritten by results; using them afterwards is a UsageError. */
  readonly donate?: readonly number[];
  /** Positions of arguments that are constants: another value means another program. */
  readonly static?: S;
  /** A name for error messages and descriptions; the function's own by default. */
  readonly name?: string;
  /** Programs that are kept on each backend, one for each signature: those used last. Default 32. */
  readonly maxPrograms?: number;
}

const positions: Kind = {
  wanted: "a list of positions of arguments, each once",
  fits: (value) => Array.isArray(value) && value.every(integer(0).fits) && new Set(value).size === value.length,
  hint: (value) => (integer(0).fits(value) ? `write [${String(value)}]` : "positions count from 0"),
};
const settingsKinds: OptionKinds<CompileSettings> = {
  donate: optional(positions),
  static: optional(positions),
  name: optional(text),
  maxPrograms: optional(integer(1)),
};

/** What a function with these parameters may be called with once it is compiled: a number wherever it receives a tensor. */
export type Given<A extends readonly unknown[]> = { [I in keyof A]: Tensor extends A[I] ? A[I] | number : A[I] };

/** The places, except the static ones, at which a function asks for a plain number, which it would not receive. */
type NumberPlaces<A extends readonly unknown[], S extends readonly number[]> = {
  [I in keyof A]: I extends `${S[number]}` ? never : number extends A[I] ? (Tensor extends A[I] ? never : I) : never;
}[number];

/** What stands in the way of a function that asks for plain numbers. */
export interface NumbersArriveAsTensors {
  readonly "a compiled function receives plain numbers as tensors: declare the parameter as Tensor or TensorLike, or name it in static": never;
}

/** A function whose computation is traced once per signature and then replayed. */
export interface Compiled<A extends readonly unknown[], R> {
  (...args: A): R;
  (...args: Given<A>): R;
  /** How often it was traced: once for each signature. */
  readonly traces: number;
  /** What runs for these arguments, as text: kernels in order, with shapes and memory; `explain.object(…)` as an object. */
  readonly explain: Explain<Given<A>>;
  /** The bytes that a run with these arguments would take, see {@link memoryOf}. */
  memory(...args: Given<A>): ProgramMemory;
}

/** What runs for some arguments. */
export interface Explain<A extends readonly unknown[]> {
  (...args: A): string;
  object(...args: A): Explanation;
}

/** Where each leaf of the result comes from. */
type Result =
  | { readonly kind: "output"; readonly index: number; readonly shape: Shape; readonly dtype: DType }
  | { readonly kind: "argument"; readonly position: number }
  | { readonly kind: "value"; readonly value: unknown };

interface Trace {
  readonly traced: Traced;
  readonly results: readonly Result[];
  readonly form: TreeDef;
  /** What the trace decided by the numbers among its arguments. */
  readonly decisions: readonly Decision[];
  /** For each buffer of the graph, whether it is given up. */
  readonly donated: readonly boolean[];
}

interface Program extends Trace {
  readonly executable: Executable;
}

interface Call {
  readonly key: string;
  /** The tensors and plain numbers among the arguments; a tensor that stands at several places of one argument is there once. */
  readonly leaves: readonly (Tensor | number)[];
  /** What each of them is called: "argument 0 w". */
  readonly names: readonly string[];
  readonly donated: ReadonlySet<Tensor>;
  /** The arguments with other tensors at the places of `leaves`. */
  rebuild(leaves: readonly Tensor[]): unknown[];
}

/** What the input of a program is called: an argument by its place. */
const nameOf = (call: Call, origin: Tensor | number | undefined): string =>
  typeof origin === "number" ? (call.names[origin] as string) : "a captured tensor";

/** The same call, once the tensors among its arguments have their numbers. */
function realized(call: Call): Call {
  realizeNow(call.leaves.filter((leaf): leaf is Tensor => leaf instanceof Tensor));
  return call;
}

/** Throws OptionError for settings that name an argument which was not passed. */
function checkPositions(args: readonly unknown[], settings: CompileSettings, name: string): void {
  for (const role of ["donate", "static"] as const) {
    const beyond = settings[role]?.find((position) => position >= args.length);
    if (beyond === undefined) continue;
    throw new OptionError(`${name}: ${role} names argument ${beyond}, and ${args.length} ${args.length === 1 ? "was" : "were"} passed`, {
      hint: "positions count from 0; pass undefined for a static argument that is left out",
    });
  }
}

/** What a call asks for. The tensors among its arguments need no numbers yet. */
function readCall(args: readonly unknown[], settings: CompileSettings, name: string): Call {
  checkPositions(args, settings, name);
  const trees = args.map((arg, i) => (settings.static?.includes(i) ? undefined : flattenTree(arg, `${name}: argument ${i}`)));
  const keys: string[] = [];
  const leaves: (Tensor | number)[] = [];
  const names: string[] = [];
  const donated = new Set<Tensor>();
  const builders = args.map((arg, position) => {
    const flat = trees[position];
    if (flat === undefined) {
      keys.push(`=${identityKey(arg)}`);
      return () => arg;
    }
    // What a module computes is decided by its class and by the functions that it holds, and both are inlined.
    keys.push(flat.shape.key, flat.shape.behaviour);
    /** Where the tensors of this argument are among the leaves. */
    const known = new Map<Tensor, number>();
    const places = flat.leaves.map((leaf, i): ((given: readonly Tensor[]) => unknown) => {
      if (leaf === undefined || leaf === null) {
        keys.push(String(leaf));
        return () => leaf;
      }
      if (!(leaf instanceof Tensor || typeof leaf === "number")) {
        throw new UsageError(
          `${name}: argument ${position} holds ${typeof leaf === "string" ? "string " : ""}${describe(leaf)} at ${flat.paths[i] || "its root"}, which is neither tensor nor number`,
          {
            hint: `name the argument in { static: [${position}] }, or start the name of the field with an underscore`,
          },
        );
      }
      const before = leaf instanceof Tensor ? known.get(leaf) : undefined;
      const index = before ?? leaves.push(leaf) - 1;
      names[index] ??= `argument ${position} ${flat.paths[i]}`.trimEnd();
      if (before !== undefined) keys.push(`&${before}`);
      else if (leaf instanceof Tensor) {
        known.set(leaf, index);
        keys.push(`${leaf.dtype}[${leaf.shape.join()}]`);
      } else keys.push("number");
      return (given) => given[index];
    });
    if (settings.donate?.includes(position)) {
      for (const tensor of known.keys()) {
        if (donated.has(tensor))
          throw new UsageError(`${name}: one tensor is donated twice, in two arguments`, { hint: "pass it in one of them only" });
        donated.add(tensor);
      }
    }
    return (given: readonly Tensor[]) => flat.shape.build(places.map((place) => place(given)));
  });
  const once = new Set<Tensor>();
  for (const leaf of leaves) {
    if (typeof leaf === "number") continue;
    if (once.has(leaf) && donated.has(leaf))
      throw new UsageError(`${name}: a donated tensor is also another argument`, { hint: "pass it once, or leave it out of donate" });
    once.add(leaf);
  }
  return { key: keys.join("|"), leaves, names, donated, rebuild: (given) => builders.map((build) => build(given)) };
}

/** What a caller is told whose calls have more signatures than there are programs kept. */
const tooMany = (name: string, most: number): string =>
  `dawngrad: ${name} was called with more than ${most} signatures (shapes, dtypes, forms, static arguments), and each is compiled anew. Of ` +
  "the programs those used last are kept. Pad arguments to a few lengths, and pass what changes as tensors or numbers instead of " +
  "static arguments; or raise compile(f, { maxPrograms }) where they are that many.";

/** The arguments of a function that becomes part of another, with its numbers as it receives them when it runs by itself. */
function weakNumbers<A extends readonly unknown[]>(args: A, settings: CompileSettings): A {
  return args.map((arg, i) => {
    if (settings.static?.includes(i)) return arg;
    const { leaves, shape } = flattenTree(arg);
    return leaves.some((leaf) => typeof leaf === "number")
      ? shape.build(leaves.map((leaf) => (typeof leaf === "number" ? weakConstant(leaf) : leaf)))
      : arg;
  }) as unknown as A;
}

/**
 * f, traced once for each signature (shapes, dtypes, form of the trees, static arguments) and run as one program.
 * Numbers among the arguments are inputs of the program: f receives each as a scalar tensor of weak type, which takes the dtype of
 * what it meets (`x.add(n)` has the dtype of x). A number by which f branches, or that it counts to, is named in `static`: then f
 * receives the number itself, and another number is another program. What f closes over is captured by reference. A tensor at several
 * places of one argument (tied weights) is one input: f finds one tensor at all of them, and where it is donated it is so once.
 * Of the programs the `maxPrograms` (32) used last are kept on each backend, and the others give their memory back; a caller with more
 * signatures than that is told once.
 * Calls return at once, before the device is done, and nothing can make a loop without `await` wait for it: a long one ends its steps
 * with a number that it reads (`await loss.item()`), `await realize(state)` or `await sync()`, every few steps at least, or its runs are
 * queued without bound. Inside of another compiled or differentiated function f becomes part of that one.
 * Throws UsageError for arguments that are neither trees of tensors and numbers nor static.
 */
export function compile<A extends readonly unknown[], R, const S extends readonly number[] = []>(
  f: ((...args: A) => R) & ([NumberPlaces<A, S>] extends [never] ? unknown : NumbersArriveAsTensors),
  settings: CompileSettings<S> = {},
): Compiled<A, R> {
  return compileAny<A, R>(f, settings);
}

/** {@link compile} for parameters whose types are not known yet, as inside of generic functions. */
export function compileAny<A extends readonly unknown[], R>(f: (...args: A) => R, settings: CompileSettings = {}): Compiled<A, R> {
  checkArgument("compile", "f", f, callable);
  checkOptions("compile", settings, settingsKinds);
  const both = settings.static?.find((position) => settings.donate?.includes(position));
  if (both !== undefined)
    throw new OptionError(`compile: argument ${both} is both donated and static`, {
      hint: "donate tensors; static arguments are constants",
    });
  const name = settings.name ?? (f.name || "the compiled function");
  const { maxPrograms = 32 } = settings;
  /** By signature; several for one where traces decided differently by a number. */
  const programs = new WeakMap<Backend, ProgramCache<Program>>();
  let traces = 0;
  let toldOfMany = false;

  function trace(call: Call): Trace {
    const token = {};
    const decisions: Decision[] = [];
    const placeholders = call.leaves.map((leaf, position) => {
      const source = { kind: "argument", trace: token, position } as const;
      return typeof leaf === "number" ? new WeakScalar(source, leaf, decisions) : new Tensor(leaf.shape, leaf.dtype, source);
    });
    const value = whileTracing(() => f(...(call.rebuild(placeholders) as unknown as A)));
    const { leaves, shape } = flattenTree(value, `${name}: the result`);
    if (!leaves.some((leaf) => leaf instanceof Tensor))
      throw new UsageError(`${name}: the function returned ${describe(value)}, which holds no tensor`, {
        hint: value === undefined ? "return the results" : "return what tensor operations made",
      });
    const isDonated = (position: number): boolean => call.donated.has(call.leaves[position] as Tensor);
    const outputs: Tensor[] = [];
    /** Results that are arguments, in memory of their own. */
    const aliases = new Map<Tensor, Tensor>();
    const results = leaves.map((leaf): Result => {
      if (!(leaf instanceof Tensor) || (leaf.isRealised && leaf.source.kind !== "argument")) return { kind: "value", value: leaf };
      let output = leaf;
      if (leaf.source.kind === "argument" && leaf.source.trace === token) {
        const { position, map } = leaf.source;
        const { dtype } = placeholders[position] as Tensor;
        if (leaf.dtype === dtype && map === undefined && !isDonated(position)) return { kind: "argument", position };
        output = aliases.get(leaf) ?? apply("alias", [leaf], {});
        aliases.set(leaf, output);
      }
      const known = outputs.indexOf(output);
      const { shape, dtype } = output;
      return { kind: "output", index: known >= 0 ? known : outputs.push(output) - 1, shape, dtype };
    });
    const traced = traceGraph(outputs, {
      trace: token,
      isNumber: (position) => typeof call.leaves[position] === "number",
      taken: [...call.leaves.keys()].filter(isDonated),
    });
    const donated = traced.buffers.map((origin) => typeof origin === "number" && isDonated(origin));
    // Of the value its form is kept: the branches of the value itself hold tensors of the trace.
    const { shape: form } = flattenTree(shape.build(leaves.map(() => null)));
    return { traced, results, form, decisions, donated };
  }

  function programOf(call: Call): { program: Program; backend: Backend } {
    const backend = currentBackend();
    let known = programs.get(backend);
    if (known === undefined) {
      known = new ProgramCache(backend, maxPrograms);
      programs.set(backend, known);
    }
    let program = known.find(call.key, ({ decisions }) => decisions.every((made) => agrees(made, call.leaves[made.position] as number)));
    if (program === undefined) {
      traces++;
      const found = trace(call);
      const inputs = found.traced.buffers.map((origin) => nameOf(call, origin));
      program = { ...found, executable: backend.compile(found.traced.graph, { label: name, donated: found.donated, inputs }) };
      if (known.add(call.key, program) && !toldOfMany) {
        toldOfMany = true;
        console.warn(tooMany(name, maxPrograms));
      }
    }
    return { program, backend };
  }

  const compiled = (...args: A): R => {
    if (isTracing()) return f(...weakNumbers(args, settings));
    const call = realized(readCall(args, settings, name));
    const { program, backend } = programOf(call);
    const label = `${name}()`;
    const { traced } = program;
    const captured = traced.buffers.find((origin): origin is Tensor => typeof origin !== "number" && call.donated.has(origin));
    if (captured !== undefined)
      throw new UsageError(`${name}: a donated tensor is also captured by the function`, { hint: "reach it through the argument alone" });
    const storages = runTraced(backend, program.executable, traced, call.leaves, call.donated, label);
    const made = new Map<number, Tensor>();
    const leaves = program.results.map((result) => {
      switch (result.kind) {
        case "value":
          return result.value;
        case "argument": {
          const leaf = call.leaves[result.position] as Tensor | number;
          return typeof leaf === "number" ? fromHost([], "f32", Float32Array.of(leaf)) : leaf;
        }
        case "output": {
          const existing = made.get(result.index);
          if (existing !== undefined) return existing;
          const fresh = fromStorage(result.shape, result.dtype, storages[result.index] as Storage);
          made.set(result.index, fresh);
          return fresh;
        }
      }
    });
    return program.form.build(leaves) as R;
  };

  function explained(args: A): { call: Call; executable: Executable; text: string } {
    const call = realized(readCall(args, settings, name));
    const { executable } = programOf(call).program;
    return { call, executable, text: `${name}: traced ${traces} time${traces === 1 ? "" : "s"}\n${executable.describe()}` };
  }

  function explanationOf(...args: A): Explanation {
    const { call, executable, text } = explained(args);
    const report = executable.report?.();
    const backend = currentBackend().info.name;
    if (report === undefined)
      throw new UsageError(`explain: the backend "${backend}" does not tell what its programs do`, {
        hint: "its text is explain(f, ...args)",
      });
    const end = recordOrigins();
    try {
      const { buffers, graph, scalars } = trace(call).traced;
      const explainedGraph = explainGraph(graph, (node) => {
        if (node.kind === "input") return nameOf(call, buffers[node.input]);
        const origin = node.kind === "scalar" ? scalars[node.scalar] : undefined;
        return origin !== undefined && "argument" in origin ? nameOf(call, origin.argument) : "number";
      });
      return new ProgramExplanation({ name, backend, traces, text, graph: explainedGraph, report });
    } finally {
      end();
    }
  }

  return Object.defineProperties(compiled as unknown as Compiled<A, R>, {
    traces: { get: () => traces },
    explain: { value: Object.assign((...args: A): string => explained(args).text, { object: explanationOf }) },
    memory: {
      value: (...args: A): ProgramMemory => {
        const { traced, donated } = trace(readCall(args, settings, name));
        return currentBackend().memoryOf(traced.graph, { label: name, donated });
      },
    },
  });
}

const explainOf = <A extends readonly unknown[]>(f: (...args: A) => unknown): Explain<A> => {
  checkArgument("explain", "f", f, callable);
  return (typeof (f as Partial<Compiled<A, unknown>>).explain === "function" ? (f as Compiled<A, unknown>) : compileAny(f))
    .explain as Explain<A>;
};

/**
 * What would run for f at these arguments, as text. `explain.object(f, ...args)` tells more, as an {@link Explanation}: the graph with the
 * user's line and the rule that made each node of a gradient, the kernels with their code, FLOPs and bytes, memory over time; and it
 * draws it (`toSvg()`, `toDot()`). Nothing runs but what the arguments are still to be computed by.
 *
 *   writeFileSync("gradient.svg", explain.object(grad(loss), params).toSvg());
 */
export const explain: {
  <A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): string;
  object<A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): Explanation;
} = Object.assign(<A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): string => explainOf(f)(...args), {
  object: <A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): Explanation => explainOf(f).object(...args),
});

/**
 * The bytes that a run of f with these arguments would take on the current backend: arguments, results, scratch and what the program
 * itself keeps. Nothing runs and nothing is allocated: of arguments that have no numbers yet (`zeros([B, T])`, a model that was just made)
 * shapes and dtypes are enough, so sizes may be asked for that the machine could not hold. A function that was compiled is asked with its
 * donated arguments, whose memory results take over. `memory()` tells what is held already.
 */
export function memoryOf<A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): ProgramMemory {
  checkArgument("memoryOf", "f", f, callable);
  return (typeof (f as Partial<Compiled<A, unknown>>).memory === "function" ? (f as Compiled<A, unknown>) : compileAny(f)).memory(...args);
}
