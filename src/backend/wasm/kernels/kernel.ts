import { changesWith } from "../../../compiler/kernel-places.js";
import { readBuffers } from "../../../compiler/liveness.js";
import type { BufferInfo, Kernel, Loop, Value } from "../../../compiler/program.js";
import type { DType } from "../../../ir/dtype.js";
import { type Atom, add, coefficient, type IndexExpression, mentions, scale, substitute, variable } from "../../../ir/index-expression.js";
import { addressIn, Code, type Expression, i32, type Local, load, type ModuleBuilder, op } from "../assembler.js";
import type { MathFunctions } from "../math/index.js";
import type { Counter, Width } from "./places.js";
import { type Facts, ValueEmitter } from "./values.js";

/**
 * What every kernel function takes: the address of its table (scalars, arena, then its buffers), the address of memory that belongs
 * to this thread, and the units of work to do, from one number up to another.
 */
export const kernelSignature = { parameters: ["i32", "i32", "i32", "i32"], results: [] } as const;

/** Where a thread finds how far a loop of the program is: so many bytes before its own memory. `depth` counts the loops around it. */
export const iterationBytes = (depth: number): number => 4 * (depth + 1);

/** Words of a kernel's table before the addresses of its buffers. */
export const tableHeader = { scalars: 0, arena: 1, words: 2 } as const;

/** A kernel as code, and how its work is divided. */
export interface KernelCode {
  readonly label: string;
  readonly body: number[];
  /** In the order of the kernel's table. */
  readonly buffers: readonly number[];
  /** Work is counted in units: elements, rows, tiles. */
  readonly units: number;
  /** The number that chunks have to be multiples of. */
  readonly unitMultiple: number;
  /** Units that one thread takes at once. Fixed by the kernel, so that no result depends on the number of threads. */
  readonly unitsPerChunk: number;
  /** Bytes of its own that each thread needs. */
  readonly scratchBytes: number;
  /** Bytes that all threads share during this kernel and the one before. */
  readonly arenaBytes: number;
  /** An estimate, in nanoseconds of one thread. */
  readonly cost: number;
}

/** What code generation needs to know of its surroundings. */
export interface Context {
  readonly module: ModuleBuilder;
  readonly math: MathFunctions;
  readonly info: (buffer: number) => BufferInfo;
  /** The memory that a buffer lies in. */
  readonly memoryOf: (buffer: number) => number;
  /** The memory of the arena and of what belongs to threads. */
  readonly runMemory: number;
  /** The loops around the kernel, the outermost first. */
  readonly loops: readonly Loop[];
}

/** The start of a kernel function: parameters, and buffers whose addresses are read from the table. */
export class KernelFunction {
  readonly code: Code;
  readonly buffers: readonly number[];
  readonly table: Local;
  readonly scratch: Local;
  readonly begin: Local;
  readonly end: Local;
  readonly values: ValueEmitter;
  private readonly bases: ReadonlyMap<number, Local>;

  constructor(
    kernel: Kernel,
    private readonly context: Context,
    facts?: Facts,
  ) {
    // Tables are in the first memory.
    const code = new Code(kernelSignature.parameters, context.module.memory, [0, context.runMemory]);
    this.code = code;
    [this.table, this.scratch, this.begin, this.end] = [code.parameter(0), code.parameter(1), code.parameter(2), code.parameter(3)];
    this.buffers = [...new Set([...readBuffers(kernel), ...kernel.stores.map(({ buffer }) => buffer)])];
    this.bases = new Map(this.buffers.map((buffer, i) => [buffer, this.word(tableHeader.words + i, context.memoryOf(buffer))]));
    const scalars = kernel.values.some(({ kind }) => kind === "scalar") ? this.word(tableHeader.scalars, 0) : undefined;
    const iterations = context.loops.flatMap((loop, depth) => {
      if (!changesWith(kernel, loop)) return [];
      const address = op("i32.sub", this.scratch.get, i32(iterationBytes(depth)));
      return [{ variable: loop.name, counter: this.code.local("i32", load("i32.load", address)) }];
    });
    this.values = new ValueEmitter({
      code: this.code,
      math: context.math,
      values: kernel.values,
      info: context.info,
      base: (buffer) => this.base(buffer),
      scalars: () => scalars as Local,
      iterations,
      ...(facts ? { facts } : {}),
    });
  }

  /** The address of a buffer. */
  base(buffer: number): Local {
    return this.bases.get(buffer) as Local;
  }

  /** What a buffer's elements are. */
  dtype(buffer: number): DType {
    return this.context.info(buffer).dtype;
  }

  /** The address of the memory that all threads share during this kernel and the one before. */
  arena(): Local {
    return this.word(tableHeader.arena, this.context.runMemory);
  }

  /** A word of the kernel's table: an address in this memory. */
  private word(position: number, memory: number): Local {
    return this.code.local("i32", addressIn(memory, load("i32.load", this.table.get, 4 * position)));
  }

  /**
   * Runs over from ≤ counter < to: `groups` times four steps at once, then four, then one. `body` gets the counters of the groups.
   * What `extent` is divisible by decides which of these loops are printed, unless the range is `ragged` and ends anywhere.
   */
  vectorLoop(
    options: { from: Expression; to: Expression; extent: number; groups?: number; single?: boolean; ragged?: boolean },
    body: (width: Width, counters: readonly Counter[]) => void,
  ): void {
    const { code } = this;
    const { from, to, extent, groups = 1, single = false, ragged = false } = options;
    const counter = code.local("i32", from);
    const end = code.local("i32", to);
    const pass = (steps: number, width: Width): void => {
      const counters: Counter[] = [counter];
      for (let ahead = width; ahead < steps; ahead += width)
        counters.push({ ...counter, get: op("i32.add", counter.get, i32(ahead)), ahead: { of: counter, steps: ahead } });
      code.while(op("i32.le_s", op("i32.add", counter.get, i32(steps)), end.get), () => {
        body(width, counters);
        code.increase(counter, i32(steps));
      });
    };
    if (!single && groups > 1 && extent >= 4 * groups) pass(4 * groups, 4);
    if (!single && extent >= 4 && (ragged || !(groups > 1 && extent % (4 * groups) === 0))) pass(4, 4);
    if (single || ragged || extent % 4 !== 0) pass(1, 1);
    code.release(counter, end);
  }

  /**
   * Cuts the units of this call into parts of rows of `length`: `body` gets the row, and the first place in it and the one after
   * the last.
   */
  eachPart(length: number, body: (row: Local, from: Local, to: Local) => void): void {
    const { code } = this;
    const at = code.local("i32", this.begin.get);
    const [row, from, to] = [code.local("i32"), code.local("i32"), code.local("i32")];
    code.while(op("i32.lt_s", at.get, this.end.get), () => {
      code.set(row, op("i32.div_u", at.get, i32(length)));
      code.set(from, op("i32.rem_u", at.get, i32(length)));
      code.set(to, op("i32.add", from.get, op("i32.sub", this.end.get, at.get)));
      code.if(op("i32.gt_s", to.get, i32(length)), () => code.set(to, i32(length)));
      body(row, from, to);
      code.increase(at, op("i32.sub", to.get, from.get));
    });
  }

  finish(fields: Omit<KernelCode, "body" | "buffers">): KernelCode {
    return { ...fields, buffers: this.buffers, body: this.code.finish() };
  }
}

/** A loop cut in two, variable = outer · inner.extent + inner, so that places are linear in the inner one. */
export interface Split {
  readonly outer: { readonly name: string; readonly extent: number };
  readonly inner: { readonly name: string; readonly extent: number };
  readonly expression: IndexExpression;
}

/** The cut of a loop with the longest inner part in which every place moves evenly; the loop as it is where there is none. */
export function splitLoop(name: string, extent: number, places: readonly IndexExpression[]): Split {
  const cut = (inner: number): Split => {
    const [outerName, innerName] = [`${name}1`, `${name}0`];
    const expression = add(scale(variable(outerName, extent / inner), inner), variable(innerName, inner));
    return { outer: { name: outerName, extent: extent / inner }, inner: { name: innerName, extent: inner }, expression };
  };
  const awkward = places.filter((place) => coefficient(place, name) === undefined);
  if (awkward.length === 0) return cut(extent);
  const lengths = new Set<number>();
  for (const place of awkward) for (const { atom } of place.terms) collectLengths(atom, name, lengths);
  lengths.add([...lengths].reduce(gcd, extent));
  const candidates = [...lengths].filter((length) => length >= 4 && length < extent && extent % length === 0).sort((a, b) => b - a);
  for (const length of candidates) {
    const split = cut(length);
    const rewritten = new Map([[name, split.expression]]);
    if (awkward.every((place) => coefficient(substitute(place, rewritten), split.inner.name) !== undefined)) return split;
  }
  return cut(extent);
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** Steps of the loop after which a quotient or remainder moves on. */
function collectLengths(atom: Atom, name: string, found: Set<number>): void {
  if (atom.kind === "variable" || atom.kind === "dynamic" || !mentions(atom.of, name)) return;
  const factor = coefficient(atom.of, name);
  found.add(factor === undefined || factor === 0 ? atom.by : atom.by / gcd(Math.abs(factor), atom.by));
  for (const term of atom.of.terms) collectLengths(term.atom, name, found);
}

/** Nanoseconds that computing each value once for one element takes, roughly. */
export function costOf(values: readonly Value[]): number {
  let cost = 0.2;
  for (const value of values) {
    if (value.kind === "load") cost += 0.25;
    else if (value.kind === "threefry") cost += 20;
    else if (value.kind === "operation") cost += costs[value.operation] ?? 0.1;
  }
  return cost;
}

const costs: { readonly [operation: string]: number } = {
  exp: 1,
  tanh: 1.2,
  log: 1.2,
  erf: 2,
  sin: 4,
  cos: 4,
  pow: 6,
  div: 0.5,
  recip: 0.5,
  sqrt: 0.5,
  mod: 3,
};

/** Nanoseconds of work that are worth the taking of a chunk. */
export const chunkCost = 25_000;

/** Units for one chunk, of which one costs so much. */
export const unitsPerChunk = (cost: number, multiple = 1): number => Math.max(1, Math.ceil(chunkCost / cost / multiple)) * multiple;
