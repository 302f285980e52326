import { OptionError } from "../errors.js";

/** The part of a readable stream that the command needs; `process.stdin` fits. */
export interface InputStream extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean;
}

/** The most bytes of a text, from a file or from standard input. */
export const mostTextBytes = 256 * 2 ** 20;

/** All bytes of standard input. Throws OptionError for none, a terminal and more than 256 MiB. */
export async function readAllInput(stream: InputStream | undefined): Promise<Uint8Array> {
  if (stream === undefined || stream.isTTY === true) {
    throw new OptionError("there is nothing to read: no text was given, and standard input is a terminal", {
      hint: "give a text as the argument, name a file with --text, or pipe something in",
    });
  }
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of stream) {
    const bytes = typeof part === "string" ? new TextEncoder().encode(part) : part;
    parts.push(bytes);
    size += bytes.length;
    if (size > mostTextBytes) throw new OptionError("standard input has more than 256 MiB", { hint: "give it in parts" });
  }
  return Buffer.concat(parts, size);
}
