/** Bytes that are read in pieces, so that nobody needs the memory of a whole file to look at its beginning. */
import { FormatError } from "../errors.js";

export interface ByteSource {
  /** For messages. */
  readonly name: string;
  /** How many bytes there are; undefined for a download that does not tell. */
  readonly size: number | undefined;
  /** Whether bytes may be read in any order, and again. */
  readonly seekable: boolean;
  /** The first bytes, {@link START_BYTES} at most. */
  start(): Promise<Uint8Array>;
  /** Bytes begin … end − 1. Where it is not seekable, bytes before those that were read cannot be read any more. Throws FormatError where they end before. */
  read(begin: number, end: number): Promise<Uint8Array>;
  /** How many bytes there are, or a number above `most` where there are more than that. */
  length(most: number): Promise<number>;
  close(): Promise<void>;
}

/** Enough to tell what kind of file it is. */
export const START_BYTES = 512;

/** How pieces of something whose size is known are read. */
export interface Pieces {
  readonly name: string;
  readonly size: number;
  read(begin: number, end: number): Promise<Uint8Array>;
  close?(): Promise<void>;
}

/** A source from pieces that may be read in any order. */
export function sourceOf(pieces: Pieces): ByteSource {
  const { name, size } = pieces;
  const read = async (begin: number, end: number): Promise<Uint8Array> => {
    if (end > size) throw tooShort(name, end, size);
    return pieces.read(begin, end);
  };
  return {
    name,
    size,
    seekable: true,
    read,
    start: () => read(0, Math.min(START_BYTES, size)),
    length: async () => size,
    close: async () => pieces.close?.(),
  };
}

/** All bytes of a source that has at most so many. Throws FormatError where there are more. */
export async function readAll(source: ByteSource, maxBytes: number): Promise<Uint8Array> {
  const { name, size } = source;
  const tooLong = (found: string): FormatError =>
    new FormatError(`expected at most ${maxBytes} bytes, found ${found}`, { file: name, hint: "this is not the file that is needed here" });
  if (size !== undefined && size > maxBytes) throw tooLong(String(size));
  if (size !== undefined) return source.read(0, size);
  const end = await source.length(maxBytes);
  if (end > maxBytes) throw tooLong("more");
  return source.read(0, end);
}

/** There is nothing of that name. */
export class MissingFileError extends FormatError {
  constructor(file: string, cause?: unknown, hint = "check the path", found = "") {
    super(`there is no such file${found}`, { file, hint, cause });
    this.name = "FormatError";
  }
}

/** Bytes in memory; what is read are views of them. */
export const bytesSource = (bytes: Uint8Array, name: string): ByteSource =>
  sourceOf({ name, size: bytes.length, read: async (begin, end) => bytes.subarray(begin, end) });

/** What is used of a Blob. */
export interface BlobLike {
  readonly size: number;
  slice(begin?: number, end?: number): BlobLike;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** A Blob or a File of a page. */
export const blobSource = (blob: BlobLike, name: string): ByteSource =>
  sourceOf({
    name,
    size: blob.size,
    read: async (begin, end) => {
      try {
        return new Uint8Array(await blob.slice(begin, end).arrayBuffer());
      } catch (cause) {
        throw new FormatError(`the file cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
          file: name,
          hint: "it may have been changed or moved since it was chosen; choose it again",
          cause,
        });
      }
    },
  });

/**
 * What is at an address: read in any order where the server gives ranges of it, and else as it comes in. Throws FormatError where it answers with
 * an error or not at all.
 */
export async function openUrl(url: string): Promise<ByteSource> {
  const ranged = await get(url, { from: 0, to: RANGE_BYTES });
  const total = totalOf(ranged);
  if (total !== undefined) return rangeSource(url, total, ranged);
  if (ranged.status === 200) return new Download(url, ranged, (cause) => unreachable(url, cause));
  // An empty file has no range, and a page may not be shown how long the whole is.
  await ranged.body?.cancel();
  return new Download(url, await get(url), (cause) => unreachable(url, cause));
}

/** Bytes of one request: that of the headers of most files. */
const RANGE_BYTES = 2 ** 22;

const unreachable = (url: string, cause: unknown): FormatError =>
  new FormatError(`the address cannot be fetched: ${cause instanceof Error ? cause.message : String(cause)}`, {
    file: url,
    hint: "check the address, the network, and in a page that the server allows requests from it (CORS)",
    cause,
  });

async function get(url: string, range?: { readonly from: number; readonly to: number }): Promise<Response> {
  const init = range === undefined ? {} : { headers: { Range: `bytes=${range.from}-${range.to - 1}` } };
  const response = await fetch(url, init).catch((cause: unknown) => {
    throw unreachable(url, cause);
  });
  if (response.ok || (range !== undefined && response.status === 416)) return response;
  await response.body?.cancel();
  if (response.status === 404 || response.status === 410) throw new MissingFileError(url, undefined, "check the address");
  throw new FormatError(`the server answers ${response.status}${response.statusText ? ` ${response.statusText}` : ""}`, {
    file: url,
    hint: "check the address",
  });
}

/** Bytes of the whole of which a response is a part, or undefined for one that is none. */
function totalOf(response: Response): number | undefined {
  if (response.status !== 206 || response.headers.get("content-encoding") !== null) return undefined;
  const total = /^bytes \d+-\d+\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
  return total === undefined ? undefined : Number(total);
}

/** A file of `size` bytes at a server that gives ranges: what is asked for next is, as a rule, here already. */
async function rangeSource(url: string, size: number, first: Response): Promise<ByteSource> {
  const version = first.headers.get("etag");
  const bytesOf = async (response: Response, from: number, to: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(
      await response.arrayBuffer().catch((cause: unknown) => {
        throw unreachable(url, cause);
      }),
    );
    if (response.status === 206 && bytes.length === to - from && response.headers.get("etag") === version && totalOf(response) === size)
      return bytes;
    throw new FormatError(`expected bytes ${from} to ${to} of ${size}, found ${bytes.length} (status ${response.status})`, {
      file: url,
      hint: "the file changes, or the server does not keep to ranges; download it first",
    });
  };
  const end = Math.min(size, RANGE_BYTES);
  let here = { from: 0, bytes: await bytesOf(first, 0, end) };
  return sourceOf({
    name: url,
    size,
    read: async (from, to) => {
      const { from: begin, bytes } = here;
      if (from >= begin && to <= begin + bytes.length) return bytes.slice(from - begin, to - begin);
      const until = Math.min(size, Math.max(to, from + RANGE_BYTES));
      const found = await bytesOf(await get(url, { from, to: until }), from, until);
      here = { from, bytes: found };
      return found.slice(0, to - from);
    },
  });
}

class Download implements ByteSource {
  readonly seekable = false;
  readonly size: number | undefined;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** What came in and was not read yet. */
  private waiting: Uint8Array[] = [];
  /** Bytes that were read, and bytes that came in. */
  private gone = 0;
  private arrived = 0;
  private done = false;
  private first: Uint8Array | undefined;

  constructor(
    readonly name: string,
    response: Response,
    private readonly unreachable: (cause: unknown) => FormatError,
  ) {
    // The length of what was compressed on the way is another.
    const stated = response.headers.get("content-encoding") === null ? response.headers.get("content-length") : null;
    this.size = stated === null || !/^\d+$/.test(stated) ? undefined : Number(stated);
    this.reader = response.body?.getReader();
  }

  async start(): Promise<Uint8Array> {
    if (this.first === undefined) {
      await this.pull(START_BYTES);
      const bytes = this.take(Math.min(START_BYTES, this.arrived));
      this.first = bytes;
      this.waiting.unshift(bytes);
      this.gone -= bytes.length;
    }
    return this.first;
  }

  async read(begin: number, end: number): Promise<Uint8Array> {
    await this.pull(end);
    if (this.arrived < end) throw tooShort(this.name, end, this.arrived);
    this.take(begin - this.gone);
    return this.take(end - begin);
  }

  async length(most: number): Promise<number> {
    await this.pull(most + 1);
    return this.arrived;
  }

  async close(): Promise<void> {
    await this.reader?.cancel().catch(() => undefined);
  }

  /** Waits until the bytes before `end` are here, or all that there are. */
  private async pull(end: number): Promise<void> {
    while (this.arrived < end && !this.done) {
      const next = await this.reader?.read().catch((cause: unknown) => {
        throw this.unreachable(cause);
      });
      if (next === undefined || next.done) this.done = true;
      else {
        this.waiting.push(next.value);
        this.arrived += next.value.length;
      }
    }
  }

  /** The next bytes of those that wait, in memory of their own. */
  private take(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    let filled = 0;
    let used = 0;
    for (const piece of this.waiting) {
      if (filled === count) break;
      const part = piece.subarray(0, count - filled);
      bytes.set(part, filled);
      filled += part.length;
      if (part.length === piece.length) used++;
      else this.waiting[used] = piece.subarray(part.length);
    }
    this.waiting.splice(0, used);
    this.gone += count;
    return bytes;
  }
}

const tooShort = (file: string, expected: number, found: number): FormatError =>
  new FormatError(`expected a file of ${expected} bytes, found ${found}`, {
    file,
    offset: Math.min(expected, found),
    hint: "the file is damaged or incomplete; download or export it again",
  });
