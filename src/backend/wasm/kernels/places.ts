import { add, coefficient, type IndexExpression, literal, mentions, substitute } from "../../../ir/index-expression.js";
import { type Code, type Expression, i32, type Local, lane, op, select } from "../assembler.js";

type IndexAtom = IndexExpression["terms"][number]["atom"];

/** Steps that the innermost loop takes at once. */
export type Width = 1 | 4;

/** The variable that counts the four lanes where the steps of the innermost loop are printed one after another. */
export const laneVariable = "lane";

/** Elements before and after every buffer that may be read, whatever is there. */
export const margin = 1024;

/** Where a value of an earlier pass over the same row lies. */
interface Kept {
  readonly base: Local;
  readonly index: IndexExpression;
}

/** The counter of a loop. Where a round of it takes several steps, each has one that is so many steps ahead of a local. */
export interface Counter extends Local {
  readonly ahead?: { readonly of: Local; readonly steps: number };
}

/** One loop that is being printed, with all that is known inside of it alone: a local of it is another's when it ends. */
interface Scope {
  readonly variable: string;
  /** Absent where the loop is over the lanes alone. */
  readonly counter: Counter | undefined;
  /** Vectors by the number of the value. */
  readonly values: Map<number, Local>;
  /** Values in memory by their number. */
  readonly kept: Map<number, Kept>;
  /** Where loads and stores begin. */
  readonly pointers: Map<string, Local>;
  readonly made: Local[];
}

const scope = (variable: string, counter: Counter | undefined): Scope => ({
  variable,
  counter,
  values: new Map(),
  kept: new Map(),
  pointers: new Map(),
  made: [],
});

/** An address and a constant to add to it. */
export interface Address {
  readonly at: Expression;
  readonly offset: number;
}

/** The vector of a value that is read at run time and says where something lies. */
export type DynamicIndex = (value: number) => Local;

/**
 * The loops that have been entered, and places in memory as they see them. What a place does not share with the innermost loop
 * is computed before that loop begins, once for all loads and stores that differ in a constant only.
 */
export class Places {
  private readonly scopes: Scope[];
  /** Expressions that take the place of the kernel's loop variables. */
  private readonly replaced = new Map<string, IndexExpression>();
  /** How the innermost loop steps; undefined outside of it. */
  width: Width | undefined;

  constructor(
    private readonly code: Code,
    private readonly dynamic: DynamicIndex,
    /** The loops around the kernel, whose bodies are not printed: their variables stay as they are. */
    around: readonly { readonly variable: string; readonly counter: Local }[],
  ) {
    this.scopes = [...around.map(({ variable, counter }) => scope(variable, counter)), scope("", undefined)];
  }

  /** From now on a loop variable of the kernel is this expression of others. */
  replace(name: string, by: IndexExpression): void {
    this.replaced.set(name, by);
  }

  rewrite(index: IndexExpression): IndexExpression {
    return this.replaced.size === 0 ? index : substitute(index, this.replaced);
  }

  /** Prints `body` inside of a loop over `variable`, whose current value is in `counter`. */
  within(variable: string, counter: Counter | undefined, body: () => void, width?: Width): void {
    const before = this.width;
    this.width = width ?? before;
    const entered = scope(variable, counter);
    this.scopes.push(entered);
    body();
    this.scopes.pop();
    this.code.release(...entered.made);
    this.width = before;
  }

  get top(): Scope {
    return this.scopes[this.scopes.length - 1] as Scope;
  }

  /** The vector of a value, if a loop that has been entered knows it. */
  known(value: number): Local | undefined {
    for (let i = this.scopes.length - 1; i >= 0; i--) {
      const found = (this.scopes[i] as Scope).values.get(value);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Where a value lies, if an earlier pass of a loop that has been entered kept it. */
  kept(value: number): Kept | undefined {
    for (let i = this.scopes.length - 1; i >= 0; i--) {
      const found = (this.scopes[i] as Scope).kept.get(value);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** A local that is free again when the current loop ends. */
  temporary(type: Local["type"], initial: Expression): Local {
    const local = this.code.local(type, initial);
    this.top.made.push(local);
    return local;
  }

  /** An index as an i32, with the innermost loop some steps further; `clamp` keeps what is read at run time in its range. */
  index(x: IndexExpression, step = 0, clamp = false): Expression {
    let sum: Expression | undefined;
    let constant = x.constant;
    for (const { factor, atom } of x.terms) {
      if (atom.kind === "variable" && atom.name === laneVariable) {
        constant += factor * step;
        continue;
      }
      const base = this.atom(atom, step, clamp);
      const term = factor === 1 ? base : op("i32.mul", base, i32(factor));
      sum = sum === undefined ? term : op("i32.add", sum, term);
    }
    if (sum === undefined) return i32(constant);
    return constant === 0 ? sum : op("i32.add", sum, i32(constant));
  }

  private atom(atom: IndexAtom, step: number, clamp: boolean): Expression {
    if (atom.kind === "variable") return this.variable(atom.name, step);
    if (atom.kind === "dynamic") {
      const base = lane("i32x4.extract_lane", step, this.dynamic(atom.handle).get);
      // What is read at run time may be anything; the kernel discards what it reads there.
      return clamp ? this.clamped(base, atom.low, atom.high) : base;
    }
    return op(atom.kind === "quotient" ? "i32.div_u" : "i32.rem_u", this.index(atom.of, step, clamp), i32(atom.by));
  }

  private variable(name: string, step: number): Expression {
    const scope = this.scopes.find((each) => each.variable === name);
    if (scope?.counter === undefined) throw new Error(`no loop over ${name} here`);
    return step > 0 && scope === this.top ? op("i32.add", scope.counter.get, i32(step)) : scope.counter.get;
  }

  private clamped(x: Expression, low: number, high: number): Expression {
    const local = this.temporary("i32", x);
    this.code.set(local, select(op("i32.lt_s", local.get, i32(low)), i32(low), local.get));
    this.code.set(local, select(op("i32.gt_s", local.get, i32(high)), i32(high), local.get));
    return local.get;
  }

  /** How an index moves with the innermost loop: its factor, or undefined if every lane has a place of its own. */
  stride(x: IndexExpression): number | undefined {
    if (this.width === undefined) return 0;
    if (x.terms.some(({ atom }) => this.variesByData(atom))) return undefined;
    return coefficient(x, this.top.variable);
  }

  private variesByData(atom: IndexAtom): boolean {
    if (atom.kind === "dynamic") return this.top.values.has(atom.handle) || this.known(atom.handle) === undefined;
    return atom.kind !== "variable" && atom.of.terms.some((term) => this.variesByData(term.atom));
  }

  /** Computes where a place starts, before the innermost loop that it moves with. */
  prepare(base: Local, index: IndexExpression, bytes: number, length: number | undefined, innermost: string): void {
    const free = index.terms.every(({ atom }) => this.isEntered(atom, innermost));
    if (coefficient(index, innermost) === undefined || !free || leaves(index, length)) return;
    const start = startOf(index, innermost);
    const key = `${base.index} ${start.key}`;
    if (this.scopes.some((scope) => scope.pointers.has(key))) return;
    const pointer = op("i32.add", base.get, op("i32.mul", this.index(start, 0, true), i32(bytes)));
    this.top.pointers.set(key, start.terms.length === 0 ? base : this.temporary("i32", pointer));
  }

  private isEntered(atom: IndexAtom, innermost: string): boolean {
    if (atom.kind === "variable") return atom.name === innermost || this.scopes.some((scope) => scope.variable === atom.name);
    if (atom.kind === "dynamic") return this.known(atom.handle) !== undefined;
    return atom.of.terms.every((term) => this.isEntered(term.atom, innermost));
  }

  /** The address of an index in the current step of the loops, or some steps further. */
  address(base: Local, index: IndexExpression, bytes: number, length: number | undefined, step = 0): Address {
    const { variable, counter } = this.top;
    const factor = coefficient(index, variable);
    const key = `${base.index} ${factor === undefined ? "" : startOf(index, variable).key}`;
    const pointer = this.scopes.map((scope) => scope.pointers.get(key)).find((found) => found !== undefined);
    if (pointer !== undefined && factor !== undefined && !leaves(index, length)) {
      const { of, steps } = counter?.ahead ?? { of: counter, steps: 0 };
      const offset = bytes * (index.constant + factor * (step + steps));
      const moves = factor !== 0 && of !== undefined;
      const moved = moves ? op("i32.add", pointer.get, op("i32.mul", of.get, i32(factor * bytes))) : pointer.get;
      // Offsets in instructions are not negative, and what they are added to must not be either.
      const inside = offset >= 0 && index.low - index.constant >= -margin;
      return inside ? { at: moved, offset } : { at: op("i32.add", moved, i32(offset)), offset: 0 };
    }
    let place = this.index(index, step, true);
    // What is read outside is not used, but the address must exist.
    if (leaves(index, length)) place = this.clamped(place, -4, length as number);
    return { at: op("i32.add", base.get, op("i32.mul", place, i32(bytes))), offset: 0 };
  }
}

/** The part of an index that the innermost loop and constants do not change. */
const startOf = (index: IndexExpression, innermost: string): IndexExpression => {
  const fixed = mentions(index, innermost) ? substitute(index, new Map([[innermost, literal(0)]])) : index;
  return fixed.constant === 0 ? fixed : add(fixed, literal(-fixed.constant));
};

/** Whether an index can lie far outside of its buffer, as those of padding and concatenation do where their value is not used. */
const leaves = (index: IndexExpression, length: number | undefined): boolean =>
  length !== undefined && (index.low < -margin || index.high >= length + margin);
