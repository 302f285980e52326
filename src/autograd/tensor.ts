// Symbol.dispose is younger than ES2022: whoever compiles against this file gets it with it.
/// <reference lib="esnext.disposable" preserve="true" />
import { checkOptions, describe, given, optional } from "../arguments.js";
import type { Backend, DeviceBuffer } from "../backend/backend.js";
import { DtypeError, ShapeError, UsageError } from "../errors.js";
import { type DType, type DTypeName, fits, type HostArray, hostArray, isHalf, readDType, representable, requireFits } from "../ir/dtype.js";
import type { Graph } from "../ir/graph.js";
import { type Origin, originOfNow } from "../ir/origin.js";
import { type PrimitiveName, type PrimitiveParams, primitiveRecord } from "../ir/primitives.js";
import { readShape, type Shape, show, sizeOf } from "../ir/shape.js";
import { formatValues } from "./format.js";

/** A value in device memory. Freed by `dispose`, by donation, or when the last tensor that holds it is collected. */
export class Storage {
  private state: "live" | "disposed" | { readonly takenBy: string } = "live";

  constructor(
    readonly backend: Backend,
    private readonly held: DeviceBuffer,
  ) {
    leakNet.register(this, { backend, buffer: held }, this);
  }

  /** The buffer; throws UsageError once it is gone. */
  get buffer(): DeviceBuffer {
    if (this.state === "disposed") throw new UsageError("this tensor was disposed", { hint: "keep it until its last use" });
    if (this.state !== "live") {
      throw new UsageError(`this tensor was donated to ${this.state.takenBy}, which reused its memory`, {
        hint: "use the tensor that the call returned instead, or leave this argument out of donate",
      });
    }
    return this.held;
  }

  get live(): boolean {
    return this.state === "live";
  }

  dispose(): void {
    if (this.state !== "live") return;
    this.state = "disposed";
    leakNet.unregister(this);
    this.backend.free(this.held);
  }

  /** Gives the buffer up to a program; every later use is an error that names `takenBy`. */
  donate(takenBy: string): DeviceBuffer {
    const buffer = this.buffer;
    this.state = { takenBy };
    leakNet.unregister(this);
    return buffer;
  }
}

const leakNet = new FinalizationRegistry<{ backend: Backend; buffer: DeviceBuffer }>(({ backend, buffer }) => backend.free(buffer));

/** Where the numbers of a tensor come from. */
export type Source =
  | {
      readonly kind: "operation";
      readonly primitive: PrimitiveName;
      readonly inputs: readonly Tensor[];
      readonly params: PrimitiveParams[PrimitiveName];
    }
  | { readonly kind: "result"; readonly region: Region; readonly index: number }
  /** The first tensor, computed after the others and shared with nothing. */
  | { readonly kind: "barrier"; readonly inputs: readonly Tensor[] }
  | { readonly kind: "host"; readonly data: HostArray; copy: Storage | undefined; uses: number }
  | { readonly kind: "device"; readonly storage: Storage }
  | {
      readonly kind: "argument";
      readonly trace: object;
      readonly position: number;
      /** For a number: what the host makes of it before it is handed over. */
      readonly map?: ((value: number) => number) | undefined;
    };

/**
 * Regions: parts of a computation that stay together as one node of the graph (MLIR's word). A call is a body applied once, a loop
 * one that is applied `count` times; see `CallNode` and `LoopNode` of the graph. Several tensors, the results, belong to one region.
 */
interface RegionBase {
  body: Graph;
  /** One for each input of the body. */
  inputs: readonly Tensor[];
  /** One for each output of the body. */
  results: readonly Tensor[];
}

export interface Call extends RegionBase {
  readonly kind: "call";
  readonly name: string;
  readonly params: object;
  /** How cotangents are pulled back; through the body where there is none. */
  readonly pullback: CallPullback | undefined;
}

export interface Loop extends RegionBase {
  readonly kind: "loop";
  readonly count: number;
  readonly reverse: boolean;
  readonly carried: number;
  readonly sliced: number;
}

export type Region = Call | Loop;

/** From the cotangents of a call's results to those of its inputs; `null` is a zero. Entries whose `needs` is false may be left out. */
export type CallPullback = (
  call: Call,
  cotangents: readonly (Tensor | null)[],
  needs: readonly boolean[],
) => readonly (Tensor | null | undefined)[];

const none: readonly Tensor[] = [];

/** The tensors or the region that a tensor is computed from directly. */
export function inputsOf(source: Source): readonly (Tensor | Region)[] {
  switch (source.kind) {
    case "operation":
    case "barrier":
      return source.inputs;
    case "result":
      return [source.region];
    default:
      return none;
  }
}

/** Where tensors come from, where that is noted. */
const origins = new WeakMap<Tensor, Origin>();

/** Where a tensor comes from, or the results of a region; undefined unless origins were noted when it was made. */
export const originOf = (item: Tensor | Region): Origin | undefined =>
  origins.get(item instanceof Tensor ? item : (item.results[0] as Tensor));

let nextId = 0;

/** How many tensors there have been: the id of the next one. */
export const tensorsMade = (): number => nextId;

/**
 * An immutable node of a computation: a primitive, its inputs, a shape and a dtype. Making one runs nothing; the numbers
 * come with `await t.data()`. Methods for arithmetic, reductions and views are added in `methods.ts`.
 */
export class Tensor {
  readonly id = nextId++;
  readonly shape: Shape;
  readonly dtype: DType;
  /** Length of the longest chain of operations down to tensors that were realised when this one was made. */
  readonly depth: number;
  /** @internal Changes once, when the tensor is realised. */
  source: Source;

  /** @internal Users make tensors with `tensor`, `zeros`, … and with operations. */
  constructor(shape: Shape, dtype: DType, source: Source) {
    this.shape = shape;
    this.dtype = dtype;
    this.source = source;
    let depth = 0;
    const inputs = source.kind === "result" ? source.region.inputs : inputsOf(source);
    for (const input of inputs as readonly Tensor[]) depth = Math.max(depth, (input.isRealised ? 0 : input.depth) + 1);
    this.depth = depth;
    const origin = originOfNow();
    if (origin !== undefined) origins.set(this, origin);
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** True once the tensor owns its numbers, on the host or on the device. */
  get isRealised(): boolean {
    return this.source.kind === "host" || this.source.kind === "device";
  }

  /** Frees the device memory of a realised tensor at once. Any later use is a UsageError. */
  dispose(): void {
    if (this.source.kind === "device") this.source.storage.dispose();
    else if (this.source.kind === "host") this.source.copy?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Dtype, shape and where the numbers come from, such as "Tensor f32[2, 3] = add(…)". */
  toString(): string {
    return `Tensor ${this.dtype}${show(this.shape)} ${this.source.kind === "operation" ? `= ${this.source.primitive}(…)` : `(${this.source.kind})`}`;
  }

  /** Dtype and shape, with the values where they are on the host: what `console.log` shows. */
  describe(): string {
    const { source } = this;
    if (source.kind === "host") return `Tensor ${this.dtype}${show(this.shape)} ${formatValues(this.shape, this.dtype, source.data)}`;
    return source.kind === "device" ? `Tensor ${this.dtype}${show(this.shape)} (on the device: await t.print() shows it)` : this.toString();
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.describe();
  }

  /** What `JSON.stringify` writes: dtype, shape and, where the values are on the host, these as one list in row-major order. */
  toJSON(): { readonly dtype: DType; readonly shape: Shape; readonly values?: readonly number[] } {
    const { dtype, shape, source } = this;
    return { dtype, shape, ...(source.kind === "host" ? { values: Array.from(source.data) } : {}) };
  }

  /**
   * A tensor is no number: comparing one by <, adding to one by + and `Math.sqrt(t)` throw UsageError instead of computing with NaN.
   * (`t === u`, `!t` and `t ? a : b` cannot be noticed: they compare objects.)
   */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === "string") return this.toString();
    throw new UsageError(`${this} was used as a plain number, by an operator such as < or + or by a function such as Math.sqrt`, {
      hint: !this.isRealised
        ? "compute with methods (t.less(2), t.add(1), t.sqrt()) and choose with where(); a number that a compiled function branches " +
          "by is named in compile(f, { static: [position] }); outside of it, `await t.item()` gives the number"
        : "`await t.item()` gives the number of a tensor with one element; t.less(2) and t.add(1) compute with tensors",
    });
  }
}

/** Applies a primitive. Shape and dtype errors are thrown here, at the caller's line. */
export function apply<P extends PrimitiveName>(primitive: P, inputs: readonly Tensor[], params: PrimitiveParams[P]): Tensor {
  const { shape, dtype } = primitiveRecord(primitive).infer(inputs, params);
  return new Tensor(shape, dtype, { kind: "operation", primitive, inputs, params });
}

export type NestedNumbers = number | boolean | readonly NestedNumbers[];

/**
 * A tensor from numbers: a typed array with `shape`, or nested arrays whose shape is read off.
 * The dtype is that of the typed array, else f32 (bool for booleans). Floats are rounded to the
 * dtype; throws DtypeError for a number that is no value of an integer dtype or of bool, and ShapeError for ragged or
 * misfitting data.
 */
export function tensor(data: HostArray | NestedNumbers, options: { shape?: Shape; dtype?: DTypeName } = {}): Tensor {
  checkOptions("tensor", options, { shape: optional(given), dtype: optional(given) });
  const typed = ArrayBuffer.isView(data);
  const found: number[] = [];
  if (data instanceof DataView || data instanceof BigInt64Array || data instanceof BigUint64Array) dtypeOf(data);
  const flat: ArrayLike<number> = typed ? (data as HostArray) : flatten(data as NestedNumbers, 0, found);
  const shape = options.shape === undefined ? (typed ? [flat.length] : found) : readShape(options.shape, "tensor");
  if (sizeOf(shape) !== flat.length) {
    throw new ShapeError(`tensor: ${flat.length} numbers do not fill the shape ${show(shape)} of ${sizeOf(shape)}`);
  }
  const dtype =
    options.dtype !== undefined
      ? readDType("tensor", options.dtype)
      : typed
        ? dtypeOf(data as HostArray)
        : typeof firstLeaf(data as NestedNumbers) === "boolean"
          ? "bool"
          : "f32";
  const host = hostArray(dtype, flat.length);
  const ready = dtype !== "bool" && !isHalf(dtype) && data.constructor === host.constructor;
  if (ready || dtype === "f32" || dtype === "f64") host.set(flat);
  else {
    for (let i = 0; i < flat.length; i++) {
      const value = flat[i] as number;
      if (!fits(dtype, value)) requireFits("tensor", dtype, value);
      host[i] = isHalf(dtype) ? representable(dtype, value) : value;
    }
  }
  return fromHost(shape, dtype, host);
}

/** A leaf around a host array that nobody else will write to. */
export function fromHost(shape: Shape, dtype: DType, data: HostArray): Tensor {
  return new Tensor(shape, dtype, { kind: "host", data, copy: undefined, uses: 0 });
}

function dtypeOf(data: ArrayBufferView): DType {
  if (data instanceof Float64Array) return "f64";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof Uint32Array) return "u32";
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Uint8Array) return "u32";
  throw new DtypeError(`tensor: ${data.constructor.name} has no dtype here`, {
    hint: "use Float32Array, Int32Array, Uint32Array or nested arrays",
  });
}

const firstLeaf = (data: NestedNumbers): NestedNumbers | undefined => (Array.isArray(data) ? firstLeaf(data[0] as NestedNumbers) : data);

function flatten(data: NestedNumbers, depth: number, shape: number[], out: number[] = []): number[] {
  if (Array.isArray(data)) {
    if (shape.length === depth) shape.push(data.length);
    if (shape[depth] !== data.length)
      throw new ShapeError(`tensor: ragged nested array: ${data.length} entries where others have ${shape[depth]}`);
    for (const item of data as readonly NestedNumbers[]) flatten(item, depth + 1, shape, out);
  } else {
    if (depth !== shape.length) throw new ShapeError("tensor: ragged nested array: a number where others have a list");
    if (typeof data !== "number" && typeof data !== "boolean") {
      throw new DtypeError(`tensor: data must be numbers or booleans, or nested lists of them, found ${describe(data)}`, {
        hint:
          (data as unknown) instanceof Promise
            ? "await it first"
            : data === undefined
              ? "give the data first: tensor([1, 2])"
              : "nested lists and typed arrays hold numbers",
      });
    }
    out.push(Number(data));
  }
  return out;
}
