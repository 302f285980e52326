import type { DType } from "../ir/dtype.js";
import { apply, type Source, Tensor } from "./tensor.js";

/**
 * A plain number inside of a function that is traced. Its value is data, so that one program serves every number; its type is
 * weak, so that `x.add(n)` has the dtype of x just as `x.add(3)` has.
 *
 *   compile((x, n) => x.add(n))(i32 tensor, 3)      n is a WeakScalar; add asks for it `as("i32")`
 *
 * Where a rule depends on the number itself (is it whole? does the dtype hold it?), the trace asks by {@link ask} and the answer is
 * written down: the program serves those numbers alone that answer in the same way.
 */
export class WeakScalar extends Tensor {
  private readonly byType = new Map<DType, Tensor>();
  private readonly derived = new Map<NumberFunction, WeakScalar>();

  /** @internal `decisions` is the list of the trace that it belongs to; a number that is part of the program has none. */
  constructor(
    source: Source,
    /** The number of this trace. */
    readonly number: number,
    private readonly decisions: Decision[] | undefined,
  ) {
    super([], "f32", source);
  }

  /**
   * Whether the number passes a test; from then on the program is for numbers that pass it just so. Tests and the functions of
   * {@link through} are told apart by identity, so each is made once and not where it is asked.
   */
  answer(test: NumberTest): boolean {
    const outcome = test(this.number);
    const { source } = this;
    if (source.kind === "argument" && this.decisions !== undefined) {
      const { position, map } = source;
      const known = this.decisions.some((made) => made.position === position && made.test === test && made.map === map);
      if (!known) this.decisions.push({ position, map, test, outcome });
    }
    return outcome;
  }

  /** The number in a dtype that holds it, without a detour through f32. */
  as(dtype: DType): Tensor {
    let typed = this.byType.get(dtype);
    if (typed === undefined) {
      const { source } = this;
      typed = source.kind === "argument" ? new Tensor([], dtype, source) : apply("const", [], { value: this.number, shape: [], dtype });
      this.byType.set(dtype, typed);
    }
    return typed;
  }

  /** f of the number, computed on the host when the program runs. */
  through(f: NumberFunction): WeakScalar {
    let result = this.derived.get(f);
    if (result === undefined) {
      const { source } = this;
      const before = source.kind === "argument" ? source.map : undefined;
      const next: Source = source.kind === "argument" ? { ...source, map: before === undefined ? f : (value) => f(before(value)) } : source;
      result = source.kind === "argument" ? new WeakScalar(next, f(this.number), this.decisions) : weakConstant(f(this.number));
      this.derived.set(f, result);
    }
    return result;
  }
}

export type NumberFunction = (value: number) => number;
export type NumberTest = (value: number) => boolean;

/** What a trace found out about a number among its arguments. */
export interface Decision {
  readonly position: number;
  readonly map: NumberFunction | undefined;
  readonly test: NumberTest;
  readonly outcome: boolean;
}

/** Whether a number would have led to the same trace. */
export const agrees = ({ map, test, outcome }: Decision, value: number): boolean =>
  test(map === undefined ? value : map(value)) === outcome;

/** A number that becomes part of a larger program: weak, and a constant. */
export const weakConstant = (value: number): WeakScalar =>
  new WeakScalar({ kind: "operation", primitive: "const", inputs: [], params: { value, shape: [], dtype: "f32" } }, value, undefined);

/** A number as operations meet it: by itself, or as it stands in a trace. */
export type PlainNumber = number | WeakScalar;

export const isPlain = (x: unknown): x is PlainNumber => typeof x === "number" || x instanceof WeakScalar;
/** The number itself, for messages alone: what is decided by it belongs into {@link ask}. */
export const numberOf = (x: PlainNumber): number => (typeof x === "number" ? x : x.number);
export const ask = (x: PlainNumber, test: NumberTest): boolean => (typeof x === "number" ? test(x) : x.answer(test));
export const derive = (x: PlainNumber, f: NumberFunction): PlainNumber => (typeof x === "number" ? f(x) : x.through(f));
