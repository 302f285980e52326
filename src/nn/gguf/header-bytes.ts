/** The bytes of a header, read from the file as far as they are needed and kept for those who decode its lists later. */
import { FormatError } from "../../errors.js";
import type { ByteSource } from "../byte-source.js";
import type { GgufScalar, GgufScalarType } from "./values.js";

export const AGAIN = "the file is damaged or incomplete; download or export it again";

/** Read at once, so that thousands of strings are not as many reads. */
const STEP_BYTES = 2 ** 18;
/** The lists of a tokenizer of 262,144 tokens take some 25 MB. */
const MAX_HEADER_BYTES = 2 ** 28;

export class HeaderBytes {
  /** Where the next value begins. */
  at = 0;
  private bytes = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  /** Bytes that are here. */
  private filled = 0;

  constructor(private readonly source: ByteSource) {}

  fail(message: string, offset: number = this.at, hint: string = AGAIN): FormatError {
    return new FormatError(message, { file: this.source.name, offset, hint });
  }

  /** Whether the next `count` bytes are here. */
  has(count: number | bigint): boolean {
    return count <= this.filled - this.at;
  }

  /** Waits for the next `count` bytes. Throws FormatError where the file has fewer; then nothing was allocated for them. */
  async need(count: number | bigint, what: string): Promise<void> {
    if (this.has(count)) return;
    const { size } = this.source;
    const left = (size ?? Number.POSITIVE_INFINITY) - this.at;
    if (count > left) throw this.fail(`expected ${count} bytes for ${what}, found ${left}, which is all that the file has`);
    const end = this.at + Number(count);
    if (end > MAX_HEADER_BYTES) throw this.fail(`expected a header of at most ${MAX_HEADER_BYTES} bytes, found ${count} more for ${what}`);
    const wanted = Math.max(end, this.filled + STEP_BYTES);
    const there = Math.min(wanted, size ?? (await this.source.length(wanted)));
    if (there < end) throw this.fail(`expected ${count} bytes for ${what}, found ${there - this.at}, which is all that the file has`);
    const more = await this.source.read(this.filled, there);
    if (there > this.bytes.length) {
      const grown = new Uint8Array(Math.max(there, 2 * this.bytes.length));
      grown.set(this.bytes.subarray(0, this.filled));
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    this.bytes.set(more, this.filled);
    this.filled = there;
  }

  skip(count: number): void {
    this.at += count;
  }

  u32(): number {
    this.at += 4;
    return this.view.getUint32(this.at - 4, true);
  }

  /** As a bigint only where a number cannot hold it. */
  u64(): number | bigint {
    this.at += 8;
    return narrow(this.view.getBigUint64(this.at - 8, true));
  }

  /** How many there are of something that takes at least so many bytes each. Throws FormatError where the file cannot hold them. */
  count(leastBytes: number, most: number, what: string): number {
    const at = this.at;
    const found = this.u64();
    const left = Math.min(this.source.size ?? MAX_HEADER_BYTES, MAX_HEADER_BYTES) - this.at;
    const possible = Math.min(most, Math.floor(left / leastBytes));
    if (found > possible) throw this.fail(`expected at most ${possible} ${what} in the bytes that there are, found ${found}`, at);
    return Number(found);
  }

  /** The next `length` bytes, which are here, as UTF-8. */
  text(length: number): string {
    const at = this.at;
    this.at += length;
    try {
      return utf8.decode(this.bytes.subarray(at, at + length));
    } catch (cause) {
      throw new FormatError("expected UTF-8, found bytes that are not", { file: this.source.name, offset: at, hint: AGAIN, cause });
    }
  }

  scalar(type: Exclude<GgufScalarType, "string">, what: string): GgufScalar {
    const { view, at } = this;
    switch (type) {
      case "u8":
        this.at += 1;
        return view.getUint8(at);
      case "i8":
        this.at += 1;
        return view.getInt8(at);
      case "u16":
        this.at += 2;
        return view.getUint16(at, true);
      case "i16":
        this.at += 2;
        return view.getInt16(at, true);
      case "u32":
        this.at += 4;
        return view.getUint32(at, true);
      case "i32":
        this.at += 4;
        return view.getInt32(at, true);
      case "f32":
        this.at += 4;
        return view.getFloat32(at, true);
      case "f64":
        this.at += 8;
        return view.getFloat64(at, true);
      case "u64":
        return this.u64();
      case "i64":
        this.at += 8;
        return narrow(view.getBigInt64(at, true));
      case "bool": {
        this.at += 1;
        const found = view.getUint8(at);
        if (found > 1) throw this.fail(`expected ${what} to be true (1) or false (0), found ${found}`, at);
        return found === 1;
      }
    }
  }

  /** The values of an array that lies at `begin`, all of which is here. */
  items(begin: number, type: GgufScalarType, length: number, what: string): GgufScalar[] {
    const values: GgufScalar[] = [];
    this.at = begin;
    for (let i = 0; i < length; i++) values.push(type === "string" ? this.text(Number(this.u64())) : this.scalar(type, what));
    return values;
  }

  /** The source, of which no byte is lost. */
  rewound(): ByteSource {
    return remembering(this.source, 0, this.bytes.subarray(0, this.filled));
  }
}

/** A source whose bytes from `from` on, which were read already, can be read again though they come one after another. */
export function remembering(source: ByteSource, from: number, bytes: Uint8Array): ByteSource {
  if (source.seekable) return source;
  const to = from + bytes.length;
  return {
    name: source.name,
    size: source.size,
    seekable: false,
    start: () => source.start(),
    length: (most) => source.length(most),
    close: () => source.close(),
    read: async (begin, end) => {
      if (begin >= to || begin < from) return source.read(begin, end);
      const first = bytes.slice(begin - from, Math.min(end, to) - from);
      if (end <= to) return first;
      const whole = new Uint8Array(end - begin);
      whole.set(first);
      whole.set(await source.read(to, end), first.length);
      return whole;
    },
  };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const narrow = (value: bigint): number | bigint =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(value) : value;
