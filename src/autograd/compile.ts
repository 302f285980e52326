import { callable, checkArgument, checkOptions, describe, integer, type Kind, type OptionKinds, optional, text } from "../arguments.js";
import type { Backend, Executable } from "../backend/backend.js";
import { OptionError, UsageError } from "../errors.js";
import { fromStorage, realizeNow, runTraced } from "./realize.js";
import { currentBackend } from "./runtime.js";
import { apply, fromHost, type Storage, Tensor } from "./tensor.js";
import { type Traced, traceGraph } from "./trace.js";
import { isTracing, whileTracing } from "./tracing.js";
import { flattenTree, identityKey, type TreeShape, tensorsOf } from "./tree.js";

export interface CompileSettings {
  /** Positions of arguments whose tensors may be overwritten by results; using them afterwards is a UsageError. */
  readonly donate?: readonly number[];
  /** Positions of arguments that are constants: another value means another program. */
  readonly static?: readonly number[];
  /** A name for error messages and descriptions; the function's own by default. */
  readonly name?: string;
}

const positions: Kind = {
  wanted: "a list of positions of arguments, each once",
  fits: (value) => Array.isArray(value) && value.every(integer(0).fits) && new Set(value).size === value.length,
  hint: (value) => (integer(0).fits(value) ? `write [${String(value)}]` : "positions count from 0"),
};
const settingsKinds: OptionKinds<CompileSettings> = { donate: optional(positions), static: optional(positions), name: optional(text) };

/** A function whose computation is traced once per signature and then replayed. */
export interface Compiled<A extends readonly unknown[], R> {
  (...args: A): R;
  /** How often it was traced: once for each signature. */
  readonly traces: number;
  /** What runs for these arguments, as text: kernels in order, with shapes and memory. */
  explain(...args: A): string;
}

/** Where each leaf of the result comes from. */
type Result =
  | { readonly kind: "output"; readonly index: number; readonly tensor: Tensor }
  | { readonly kind: "argument"; readonly position: number }
  | { readonly kind: "value"; readonly value: unknown };

interface Program {
  readonly traced: Traced;
  readonly results: readonly Result[];
  readonly shape: TreeShape;
  readonly executable: Executable;
}

interface Call {
  readonly key: string;
  readonly leaves: readonly Tensor[];
  readonly donated: ReadonlySet<Tensor>;
  /** The arguments with other tensors at the places of `leaves`. */
  rebuild(leaves: readonly Tensor[]): unknown[];
}

/** The tensors among the arguments. Throws OptionError for settings that name an argument which was not passed. */
function argumentTensors(args: readonly unknown[], settings: CompileSettings, name: string): Tensor[] {
  for (const role of ["donate", "static"] as const) {
    const beyond = settings[role]?.find((position) => position >= args.length);
    if (beyond === undefined) continue;
    throw new OptionError(`${name}: ${role} names argument ${beyond}, and ${args.length} ${args.length === 1 ? "was" : "were"} passed`, {
      hint: "positions count from 0; pass undefined for a static argument that is left out",
    });
  }
  return args.flatMap((arg, i) =>
    settings.static?.includes(i) ? [] : tensorsOf(arg, `${name}: argument ${i}`).map(({ tensor }) => tensor),
  );
}

function readCall(args: readonly unknown[], settings: CompileSettings, name: string): Call {
  const keys: string[] = [];
  const leaves: Tensor[] = [];
  const donated = new Set<Tensor>();
  const builders = args.map((arg, position) => {
    if (settings.static?.includes(position)) {
      keys.push(`=${identityKey(arg)}`);
      return () => arg;
    }
    const flat = flattenTree(arg, `${name}: argument ${position}`);
    // What a module computes is decided by its class and by the functions that it holds, and both are inlined.
    keys.push(flat.shape.key, flat.shape.behaviour);
    const places = flat.leaves.map((leaf, i): ((given: readonly Tensor[]) => unknown) => {
      if (leaf === undefined || leaf === null) {
        keys.push(String(leaf));
        return () => leaf;
      }
      const tensor = typeof leaf === "number" ? fromHost([], "f32", new Float64Array([leaf])) : leaf;
      if (!(tensor instanceof Tensor)) {
        throw new UsageError(
          `${name}: argument ${position} holds ${typeof leaf} "${String(leaf)}" at ${flat.paths[i] || "its root"}, which is neither tensor nor number`,
          {
            hint: `name the argument in { static: [${position}] }, or start the name of the field with an underscore`,
          },
        );
      }
      const index = leaves.push(tensor) - 1;
      keys.push(`${tensor.dtype}[${tensor.shape.join()}]${tensor.source.kind === "device" || tensor.shape.length > 0 ? "" : "s"}`);
      if (settings.donate?.includes(position)) {
        if (donated.has(tensor))
          throw new UsageError(`${name}: one tensor is donated twice`, { hint: "donate each tensor at one place only" });
        donated.add(tensor);
      }
      return (given) => given[index];
    });
    return (given: readonly Tensor[]) => flat.shape.build(places.map((place) => place(given)));
  });
  const seen = new Map<Tensor, number>();
  for (const leaf of leaves) seen.set(leaf, (seen.get(leaf) ?? 0) + 1);
  for (const tensor of donated) {
    if ((seen.get(tensor) ?? 0) > 1)
      throw new UsageError(`${name}: a donated tensor is also another argument`, { hint: "pass it once, or leave it out of donate" });
  }
  return { key: keys.join("|"), leaves, donated, rebuild: (given) => builders.map((build) => build(given)) };
}

/**
 * f, traced once for each signature (shapes, dtypes, form of the trees, static arguments) and run as one program.
 * Numbers among the arguments are inputs of the program like tensors; what f closes over is captured by reference.
 * Calls return at once. Inside of another compiled or differentiated function f becomes part of that one.
 * Throws UsageError for arguments that are neither trees of tensors and numbers nor static.
 */
export function compile<A extends readonly unknown[], R>(f: (...args: A) => R, settings: CompileSettings = {}): Compiled<A, R> {
  checkArgument("compile", "f", f, callable);
  checkOptions("compile", settings, settingsKinds);
  const both = settings.static?.find((position) => settings.donate?.includes(position));
  if (both !== undefined)
    throw new OptionError(`compile: argument ${both} is both donated and static`, {
      hint: "donate tensors; static arguments are constants",
    });
  const name = settings.name ?? (f.name || "the compiled function");
  const programs = new WeakMap<Backend, Map<string, Program>>();
  let traces = 0;

  function trace(call: Call, backend: Backend): Program {
    traces++;
    const token = {};
    const placeholders = call.leaves.map(
      (leaf, position) => new Tensor(leaf.shape, leaf.dtype, { kind: "argument", trace: token, position }),
    );
    const value = whileTracing(() => f(...(call.rebuild(placeholders) as unknown as A)));
    const { leaves, shape } = flattenTree(value, `${name}: the result`);
    if (!leaves.some((leaf) => leaf instanceof Tensor))
      throw new UsageError(`${name}: the function returned ${describe(value)}, which holds no tensor`, {
        hint: value === undefined ? "return the results" : "return what tensor operations made",
      });
    const outputs: Tensor[] = [];
    const results = leaves.map((leaf): Result => {
      if (!(leaf instanceof Tensor) || (leaf.isRealised && leaf.source.kind !== "argument")) return { kind: "value", value: leaf };
      let output = leaf;
      if (leaf.source.kind === "argument" && leaf.source.trace === token) {
        if (!call.donated.has(call.leaves[leaf.source.position] as Tensor)) return { kind: "argument", position: leaf.source.position };
        output = apply("alias", [leaf], {});
      }
      const known = outputs.indexOf(output);
      return { kind: "output", index: known >= 0 ? known : outputs.push(output) - 1, tensor: output };
    });
    const traced = traceGraph(outputs, { trace: token, deviceScalars: (position) => call.leaves[position]?.source.kind === "device" });
    const donated = traced.buffers.map((origin) => typeof origin === "number" && call.donated.has(call.leaves[origin] as Tensor));
    return { traced, results, shape, executable: backend.compile(traced.graph, { label: name, donated }) };
  }

  function programOf(call: Call): { program: Program; backend: Backend } {
    const backend = currentBackend();
    let known = programs.get(backend);
    if (known === undefined) {
      known = new Map();
      programs.set(backend, known);
    }
    let program = known.get(call.key);
    if (program === undefined) {
      program = trace(call, backend);
      known.set(call.key, program);
    }
    return { program, backend };
  }

  const compiled = (...args: A): R => {
    if (isTracing()) return f(...args);
    realizeNow(argumentTensors(args, settings, name));
    const call = readCall(args, settings, name);
    const { program, backend } = programOf(call);
    const label = `${name}()`;
    const { traced } = program;
    const captured = traced.buffers.find((origin): origin is Tensor => typeof origin !== "number" && call.donated.has(origin));
    if (captured !== undefined)
      throw new UsageError(`${name}: a donated tensor is also captured by the function`, { hint: "reach it through the argument alone" });
    const storages = runTraced(backend, program.executable, traced, (position) => call.leaves[position] as Tensor, call.donated, label);
    const made = new Map<number, Tensor>();
    const leaves = program.results.map((result) => {
      switch (result.kind) {
        case "value":
          return result.value;
        case "argument":
          return call.leaves[result.position];
        case "output": {
          const existing = made.get(result.index);
          if (existing !== undefined) return existing;
          const fresh = fromStorage(result.tensor.shape, result.tensor.dtype, storages[result.index] as Storage);
          made.set(result.index, fresh);
          return fresh;
        }
      }
    });
    return program.shape.build(leaves) as R;
  };

  return Object.defineProperties(compiled as unknown as Compiled<A, R>, {
    traces: { get: () => traces },
    explain: {
      value: (...args: A): string => {
        realizeNow(argumentTensors(args, settings, name));
        const { program } = programOf(readCall(args, settings, name));
        return `${name}: traced ${traces} time${traces === 1 ? "" : "s"}\n${program.executable.describe()}`;
      },
    },
  });
}

/** What would run for f at these arguments, as text. */
export function explain<A extends readonly unknown[]>(f: (...args: A) => unknown, ...args: A): string {
  checkArgument("explain", "f", f, callable);
  return (typeof (f as Partial<Compiled<A, unknown>>).explain === "function" ? (f as Compiled<A, unknown>) : compile(f)).explain(...args);
}
