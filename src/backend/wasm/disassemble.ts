import { types, type ValueType } from "./assembler.js";
import { opcodes } from "./opcodes.js";
import type { WasmProgram } from "./program.js";

/**
 * WebAssembly as text: the instructions of a function, one on a line, in the names of the specification, blocks further right. The inverse
 * of assembler.ts, for the instructions that it writes.
 */

/** What follows an opcode: places in memory, a memory, a lane, sixteen lanes. */
type Immediate = "none" | "memory" | "whole memory" | "lane" | "memory lane" | "lanes";

function immediateOf(name: string): Immediate {
  if (name === "i8x16.shuffle") return "lanes";
  if (/^v128\.(load|store)\d+_lane$/.test(name)) return "memory lane";
  if (/_lane$/.test(name)) return "lane";
  if (name === "memory.fill") return "whole memory";
  return /\.(load|store)/.test(name) ? "memory" : "none";
}

/** Instructions by the text of their opcodes. */
const instructions = new Map(Object.entries(opcodes).map(([name, bytes]) => [bytes.join(), { name, immediate: immediateOf(name) }]));
/** What assembler.ts writes without the table. */
const control: Readonly<Record<number, string>> = { 2: "block", 3: "loop", 4: "if", 5: "else", 11: "end" };
const withNumber: Readonly<Record<number, string>> = {
  12: "br",
  13: "br_if",
  16: "call",
  32: "local.get",
  33: "local.set",
  34: "local.tee",
};
const typeNames = new Map<number, string>(Object.entries(types).map(([name, byte]) => [byte, name as ValueType]));

/** Reads bytes from the first to the last. */
class Reader {
  private readonly view: DataView;

  constructor(
    readonly bytes: Uint8Array,
    public at = 0,
    readonly end = bytes.length,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.view.getUint8(this.at++);
  }

  unsigned(): number {
    return Number(this.leb(false));
  }

  signed(): bigint {
    return this.leb(true);
  }

  private leb(isSigned: boolean): bigint {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = BigInt(this.byte());
      value |= (byte & 0x7fn) << shift;
      shift += 7n;
      if ((byte & 0x80n) === 0n) return isSigned && (byte & 0x40n) !== 0n ? value - (1n << shift) : value;
    }
  }

  f64(): number {
    this.at += 8;
    return this.view.getFloat64(this.at - 8, true);
  }

  words(count: number): string[] {
    return Array.from({ length: count }, () => {
      this.at += 4;
      return `0x${this.view
        .getUint32(this.at - 4, true)
        .toString(16)
        .padStart(8, "0")}`;
    });
  }

  text(): string {
    const length = this.unsigned();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }

  /** A part of so many bytes, which is skipped here. */
  part(length: number): Reader {
    this.at += length;
    return new Reader(this.bytes, this.at - length, this.at);
  }
}

/** The bodies of a module's functions by the names that they are exported under. */
export function functionsOf(module: Uint8Array): Map<string, Reader> {
  const reader = new Reader(module, 8);
  let imported = 0;
  const exported = new Map<string, number>();
  const bodies: Reader[] = [];
  while (reader.at < reader.end) {
    const id = reader.byte();
    const section = reader.part(reader.unsigned());
    if (id !== 2 && id !== 7 && id !== 10) continue;
    for (let count = section.unsigned(); count > 0; count--) {
      if (id === 10) bodies.push(section.part(section.unsigned()));
      else if (id === 7) {
        const name = section.text();
        section.byte();
        exported.set(name, section.unsigned());
      } else {
        section.text();
        section.text();
        // Memory, the only import that is no function, comes last.
        if (section.byte() !== 0x00) break;
        section.unsigned();
        imported++;
      }
    }
  }
  return new Map([...exported].map(([name, index]) => [name, bodies[index - imported] as Reader]));
}

/** The instructions of a function's body. */
export function disassemble(body: Reader): string[] {
  const reader = new Reader(body.bytes, body.at, body.end);
  const lines: string[] = [];
  for (let groups = reader.unsigned(); groups > 0; groups--) {
    const count = reader.unsigned();
    lines.push(`(local ${new Array(count).fill(typeNames.get(reader.byte())).join(" ")})`);
  }
  let depth = 0;
  const write = (text: string, at = depth): unknown => lines.push(`${"  ".repeat(at)}${text}`);
  while (reader.at < reader.end - 1) {
    const byte = reader.byte();
    const structure = control[byte];
    if (structure !== undefined) {
      if (structure === "end" || structure === "else") depth--;
      write(structure);
      if (structure !== "end") depth++;
      // The type of a block: none of ours leaves a value.
      if (byte <= 0x04) reader.byte();
    } else if (withNumber[byte] !== undefined) write(`${withNumber[byte]} ${reader.unsigned()}`);
    else if (byte === 0x41 || byte === 0x42) write(`${byte === 0x41 ? "i32" : "i64"}.const ${reader.signed()}`);
    else if (byte === 0x44) write(`f64.const ${reader.f64()}`);
    else write(instruction(byte, reader));
  }
  return lines;
}

/** An instruction of the table, with what follows it. */
function instruction(first: number, reader: Reader): string {
  if (first === 0xfd && reader.bytes[reader.at] === 0x0c) {
    reader.byte();
    return `v128.const i32x4 ${reader.words(4).join(" ")}`;
  }
  const code = [first];
  while (!instructions.has(code.join())) {
    if (code.length === 3) throw new Error(`no instruction begins with the bytes ${code.join(", ")}`);
    code.push(reader.byte());
  }
  const { name, immediate } = instructions.get(code.join()) as { name: string; immediate: Immediate };
  const which = (memory: number): string => (memory === 0 ? "" : ` ${memory}`);
  const place = (): string => {
    const memory = (reader.unsigned() & 0x40) === 0 ? 0 : reader.unsigned();
    const offset = reader.unsigned();
    return `${which(memory)}${offset === 0 ? "" : ` offset=${offset}`}`;
  };
  switch (immediate) {
    case "whole memory":
      return `${name}${which(reader.unsigned())}`;
    case "memory":
      return `${name}${place()}`;
    case "memory lane":
      return `${name}${place()} ${reader.byte()}`;
    case "lane":
      return `${name} ${reader.byte()}`;
    case "lanes":
      return `${name} ${Array.from({ length: 16 }, () => reader.byte()).join(" ")}`;
    case "none":
      return name;
  }
}

/** The code of a kernel of a plan: of each function that does a part of it. */
export function listing({ module, steps, kernelSteps }: WasmProgram, kernel: number): string {
  const functions = functionsOf(module);
  const own = steps.filter((step) => step.kind === "kernel");
  const begin = kernelSteps.slice(0, kernel).reduce((a, b) => a + b, 0);
  return own
    .slice(begin, begin + (kernelSteps[kernel] as number))
    .map((step) => {
      const name = `k${step.function}`;
      const lines = disassemble(functions.get(name) as Reader).map((line) => `  ${line}`);
      return [`(func $${name} (param i32 i32 i32 i32)`, ...lines, ")"].join("\n");
    })
    .join("\n");
}
