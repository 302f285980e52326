import { type Instruction, opcodes } from "./opcodes.js";

/**
 * WebAssembly from TypeScript: functions are written as nested expressions and come out as the bytes of a module. The names of
 * instructions are those of the specification. Nothing is checked here; the engine validates the module when it loads it.
 */

/** A type of values, as its byte in the binary format. */
export const types = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueType = keyof typeof types;

/**
 * Which memory an address points into, by its number; undefined for what is no address. Addresses are numbers of 32 bits like any others,
 * and instructions name their memory: so it is followed from where an address comes from through sums, locals and calls to where it is used.
 */
export type Place = number | undefined;

/** Something that leaves a value on the stack, and tells its place. */
export type Expression = (code: Code) => Place;

/** A local variable of a function. */
export interface Local {
  readonly index: number;
  readonly type: ValueType;
  readonly get: Expression;
}

/** The result of an instruction on the results of others. */
export const op =
  (name: Instruction, ...operands: readonly Expression[]): Expression =>
  (code) => {
    const places = operands.map((operand) => operand(code));
    code.bytes.push(...opcodes[name]);
    return placeOf(name, places);
  };

/** The place of what an instruction leaves: sums of an address and a number, and choices between addresses, are addresses. */
function placeOf(name: Instruction, [a, b]: readonly Place[]): Place {
  switch (name) {
    case "i32.add":
      if (a !== undefined && b !== undefined) throw new Error("two addresses have no sum");
      return a ?? b;
    case "i32.sub":
      return b === undefined ? a : undefined;
    case "select":
      return joined(a, b);
    default:
      return undefined;
  }
}

/** Between places that differ: nothing can be read there. */
const torn = -1;

/** The place of what is one of two things. What is not set on one way is not read after it. */
const joined = (a: Place, b: Place): Place => (a === undefined || a === b ? b : b === undefined ? a : torn);

/** An address that was read from memory, and the memory that it points into. */
export const addressIn =
  (memory: number, address: Expression): Expression =>
  (code) => {
    address(code);
    return memory;
  };

/** An instruction on one lane of a vector. */
export const lane =
  (name: Instruction, index: number, ...operands: readonly Expression[]): Expression =>
  (code) => {
    op(name, ...operands)(code);
    code.bytes.push(index);
    return undefined;
  };

/** Lanes 0…7 of two vectors of four: `shuffle(a, b, [0, 4, 1, 5])` interleaves their lower halves. */
export const shuffle =
  (a: Expression, b: Expression, lanes: readonly [number, number, number, number]): Expression =>
  (code) => {
    op("i8x16.shuffle", a, b)(code);
    for (const from of lanes) for (let byte = 0; byte < 4; byte++) code.bytes.push(4 * from + byte);
    return undefined;
  };

/** Lanes 0…15 of two vectors of eight halves, likewise. */
export const shuffleHalves =
  (a: Expression, b: Expression, lanes: readonly number[]): Expression =>
  (code) => {
    op("i8x16.shuffle", a, b)(code);
    for (const from of lanes) code.bytes.push(2 * from, 2 * from + 1);
    return undefined;
  };

/** Reads memory at address + offset, where offset is a constant that is not negative. */
export const load =
  (name: Instruction, address: Expression, offset = 0): Expression =>
  (code) => {
    const place = address(code);
    code.bytes.push(...opcodes[name], ...code.at(place, offset));
    return undefined;
  };

/** Reads one lane of a vector from memory. */
export const loadLane =
  (name: Instruction, index: number, address: Expression, vector: Expression, offset = 0): Expression =>
  (code) => {
    const place = address(code);
    vector(code);
    code.bytes.push(...opcodes[name], ...code.at(place, offset), index);
    return undefined;
  };

export const i32 =
  (value: number): Expression =>
  (code) => {
    code.bytes.push(0x41, ...signed(BigInt(value | 0)));
    return undefined;
  };

export const i64 =
  (value: bigint): Expression =>
  (code) => {
    code.bytes.push(0x42, ...signed(BigInt.asIntN(64, value)));
    return undefined;
  };

export const f64 =
  (value: number): Expression =>
  (code) => {
    code.bytes.push(0x44, ...new Uint8Array(new Float64Array([value]).buffer));
    return undefined;
  };

const vector = (bytes: Uint8Array): Expression => {
  const list = [0xfd, 0x0c, ...bytes];
  return (code) => {
    code.bytes.push(...list);
    return undefined;
  };
};

/** The same f32 in all four lanes; the bits of NaN are those of 0x7fc00000. */
export const f32x4 = (value: number): Expression => vector(new Uint8Array(Float32Array.of(value, value, value, value).buffer));
/** The same 32-bit integer in all four lanes. */
export const i32x4 = (value: number): Expression => vector(new Uint8Array(Int32Array.of(value, value, value, value).buffer));
/** Four 32-bit integers. */
export const i32x4of = (a: number, b: number, c: number, d: number): Expression => vector(new Uint8Array(Int32Array.of(a, b, c, d).buffer));
/** The same f64 in both lanes. */
export const f64x2 = (value: number): Expression => vector(new Uint8Array(Float64Array.of(value, value).buffer));

/** Calls a function and leaves its result, if it has one. */
export const call =
  (target: FunctionReference, ...operands: readonly Expression[]): Expression =>
  (code) => {
    const places = operands.map((operand) => operand(code));
    code.bytes.push(0x10, ...unsigned((target.on?.(places) ?? target).index));
    return undefined;
  };

/** `condition ? whenTrue : whenFalse` with both computed; the condition is an i32. */
export const select = (condition: Expression, whenTrue: Expression, whenFalse: Expression): Expression =>
  op("select", whenTrue, whenFalse, condition);

/** The body of a function under construction. */
export class Code {
  readonly bytes: number[] = [];
  private readonly locals: ValueType[] = [];
  /** Locals that were given back, for the next who asks for one of their type. */
  private readonly idle = new Map<ValueType, Local[]>();
  /** The places of locals, as far as the code has come. */
  private places: Place[];

  /** @param places the memories that the parameters point into, as far as they are addresses */
  constructor(
    private readonly parameters: readonly ValueType[],
    private readonly memory: MemoryType,
    places: readonly Place[] = [],
  ) {
    this.places = [...places];
  }

  /** Where a local points to. */
  placeOf(index: number): Place {
    return this.places[index];
  }

  /** The memory that an instruction names, and what it adds to addresses. */
  private target(place: Place): { readonly memory: number; readonly offset: number } {
    const { count = 1, window } = this.memory;
    if (count > 1 && (place === undefined || place === torn)) throw new Error("it is not known which memory an address points into");
    const memory = place ?? 0;
    return window === undefined ? { memory, offset: 0 } : { memory: 0, offset: memory * window };
  }

  /** What follows the opcode of an instruction that reads or writes at an address and an offset. */
  at(place: Place, offset: number): number[] {
    const to = this.target(place);
    return [...(to.memory === 0 ? [0] : [0x40, ...unsigned(to.memory)]), ...unsigned(offset + to.offset)];
  }

  parameter(index: number): Local {
    return localAt(index, this.parameters[index] as ValueType);
  }

  local(type: ValueType, initial?: Expression): Local {
    const made = this.idle.get(type)?.pop() ?? localAt(this.parameters.length + this.locals.push(type) - 1, type);
    if (initial) this.set(made, initial);
    return made;
  }

  /** Gives locals back whose values are not needed any more. */
  release(...locals: readonly Local[]): void {
    for (const each of locals) {
      this.idle.set(each.type, [...(this.idle.get(each.type) ?? []), each]);
      this.places[each.index] = undefined;
    }
  }

  set(target: Local, value: Expression): void {
    this.places[target.index] = value(this);
    this.bytes.push(0x21, ...unsigned(target.index));
  }

  /** Adds to a local i32. */
  increase(target: Local, by: Expression): void {
    this.set(target, op("i32.add", target.get, by));
  }

  do(expression: Expression): void {
    expression(this);
  }

  store(name: Instruction, address: Expression, value: Expression, offset = 0): void {
    const place = address(this);
    value(this);
    this.bytes.push(...opcodes[name], ...this.at(place, offset));
  }

  storeLane(name: Instruction, index: number, address: Expression, value: Expression, offset = 0): void {
    this.store(name, address, value, offset);
    this.bytes.push(index);
  }

  /** Makes so many bytes zero. */
  clear(address: Expression, bytes: Expression): void {
    const { memory, offset } = this.target(address(this));
    if (offset > 0) this.bytes.push(0x41, ...signed(BigInt(offset)), ...opcodes["i32.add"]);
    i32(0)(this);
    bytes(this);
    this.bytes.push(...opcodes["memory.fill"], ...unsigned(memory));
  }

  if(condition: Expression, whenTrue: () => void, whenFalse?: () => void): void {
    condition(this);
    this.bytes.push(0x04, 0x40);
    const before = [...this.places];
    whenTrue();
    const after = this.places;
    this.places = before;
    if (whenFalse) {
      this.bytes.push(0x05);
      whenFalse();
    }
    this.bytes.push(0x0b);
    this.places = Array.from({ length: Math.max(after.length, this.places.length) }, (_, i) => joined(after[i], this.places[i]));
  }

  /** Repeats the body while the condition, tested before each round, is not 0. */
  while(condition: Expression, body: () => void): void {
    this.if(condition, () => this.repeat(body, condition));
  }

  /** Repeats the body until the condition, tested after each round, is 0. */
  repeat(body: () => void, condition: Expression): void {
    this.bytes.push(0x03, 0x40);
    const before = [...this.places];
    body();
    condition(this);
    this.bytes.push(0x0d, 0x00, 0x0b);
    // The body was printed for the first round, and is run for all.
    const moved = before.some((place, i) => joined(place, this.places[i]) === torn && place !== torn);
    if (moved) throw new Error("an address points into another memory after each round of a loop");
  }

  /** for (variable = from; variable < to; variable += step), compared as signed numbers. */
  for(variable: Local, from: Expression, to: Expression, step: number, body: () => void): void {
    this.set(variable, from);
    this.while(op("i32.lt_s", variable.get, to), () => {
      body();
      this.increase(variable, i32(step));
    });
  }

  /** Size, locals and instructions, as the binary format has them. */
  finish(): number[] {
    const groups: { count: number; type: ValueType }[] = [];
    for (const type of this.locals) {
      const last = groups[groups.length - 1];
      if (last?.type === type) last.count++;
      else groups.push({ count: 1, type });
    }
    const declarations = groups.flatMap(({ count, type }) => [...unsigned(count), types[type]]);
    const body = [...unsigned(groups.length), ...declarations].concat(this.bytes);
    body.push(0x0b);
    return unsigned(body.length).concat(body);
  }
}

const localAt = (index: number, type: ValueType): Local => ({
  index,
  type,
  get: (code) => {
    code.bytes.push(0x20, ...unsigned(index));
    return code.placeOf(index);
  },
});

/** A function of a module that others can call. */
export interface FunctionReference {
  readonly index: number;
  /** The same function for arguments that point into these memories; absent where it reads none. */
  readonly on?: (places: readonly Place[]) => FunctionReference;
}

export interface Signature {
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** How the memory is declared that a module imports as `env.memory`; it must fit the memory that it is given. */
export interface MemoryType {
  readonly shared: boolean;
  /** Most pages of 64 KiB that the memory can grow to. */
  readonly maximum: number;
  /** Memories that addresses may point into; all but the first are imported as `env.memory1` and so on. Default 1. */
  readonly count?: number;
  /** Bytes of parts of one memory that stand for all of them, with the address 0 of each where it begins. Default: memories of their own. */
  readonly window?: number;
}

/** The name under which modules import a memory. */
export const memoryName = (memory: number): string => (memory === 0 ? "memory" : `memory${memory}`);

/** A module under construction: imports first, then functions. */
export class ModuleBuilder {
  private readonly signatures: string[] = [];
  private readonly imports: number[][] = [];
  private readonly functions: { type: number; body: number[] }[] = [];
  private readonly exports: { name: string; index: number }[] = [];

  constructor(readonly memory: MemoryType) {}

  /** A function that is handed in as `module.name` when the module is instantiated. */
  import(module: string, name: string, signature: Signature): FunctionReference {
    if (this.functions.length > 0) throw new Error("imports come before functions");
    const type = this.type(signature);
    return { index: this.imports.push([...text(module), ...text(name), 0x00, ...unsigned(type)]) - 1 };
  }

  /** Adds a function; `body` writes its instructions. With a name it is exported. `places` are the memories that its parameters point into. */
  function(
    signature: Signature,
    body: (code: Code, ...parameters: Local[]) => void,
    name?: string,
    places: readonly Place[] = [],
  ): FunctionReference {
    const code = new Code(signature.parameters, this.memory, places);
    body(code, ...signature.parameters.map((_, i) => code.parameter(i)));
    return this.place(signature, code.finish(), name);
  }

  /** Adds a function whose body was finished before. */
  place(signature: Signature, body: number[], name?: string): FunctionReference {
    const index = this.imports.length + this.functions.push({ type: this.type(signature), body }) - 1;
    if (name !== undefined) this.exports.push({ name, index });
    return { index };
  }

  private type({ parameters, results }: Signature): number {
    const list = (some: readonly ValueType[]): number[] => [some.length, ...some.map((type) => types[type])];
    const key = [0x60, ...list(parameters), ...list(results)].join();
    const known = this.signatures.indexOf(key);
    return known >= 0 ? known : this.signatures.push(key) - 1;
  }

  /** The bytes of the module. */
  finish(): Uint8Array<ArrayBuffer> {
    const { count = 1, window } = this.memory;
    const memories = Array.from({ length: window === undefined ? count : 1 }, (_, i) => [
      ...text("env"),
      ...text(memoryName(i)),
      0x02,
      this.memory.shared ? 0x03 : 0x01,
      ...unsigned(0),
      ...unsigned(this.memory.maximum),
    ]);
    const parts = [
      [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      section(
        1,
        this.signatures.map((key) => key.split(",").map(Number)),
      ),
      section(2, [...this.imports, ...memories]),
      section(
        3,
        this.functions.map(({ type }) => unsigned(type)),
      ),
      section(
        7,
        this.exports.map(({ name, index }) => [...text(name), 0x00, ...unsigned(index)]),
      ),
      section(
        10,
        this.functions.map(({ body }) => body),
      ),
    ];
    return Uint8Array.from(parts.flat());
  }
}

function section(id: number, entries: readonly (readonly number[])[]): number[] {
  const content = unsigned(entries.length).concat(...entries);
  return [id].concat(unsigned(content.length), content);
}

const text = (value: string): number[] => {
  const bytes = [...new TextEncoder().encode(value)];
  return [...unsigned(bytes.length), ...bytes];
};

/** LEB128. */
function unsigned(value: number): number[] {
  if (value < 0x80) return [value];
  return [(value % 0x80) | 0x80, ...unsigned(Math.floor(value / 0x80))];
}

function signed(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) {
      bytes.push(low);
      return bytes;
    }
    bytes.push(low | 0x80);
  }
}
