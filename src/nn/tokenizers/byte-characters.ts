/**
 * The characters that byte-level tokenizers write bytes with, so that a vocabulary is readable text (Radford et al. 2019, GPT-2): printable
 * characters of Latin-1 stand for themselves, the other 68 bytes in ascending order for U+0100 and what follows: a space is "Ġ".
 */
const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

let next = 0x100;
/** By byte. */
export const byteCharacters: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  String.fromCharCode(printable(byte) ? byte : next++),
);

const byteOf: ReadonlyMap<string, number> = new Map(byteCharacters.map((character, byte) => [character, byte]));
const utf8 = new TextEncoder();

/** The bytes of a text's UTF-8, a character each. */
export function toByteCharacters(text: string): string {
  let written = "";
  for (const byte of utf8.encode(text)) written += byteCharacters[byte];
  return written;
}

/** The bytes that such characters stand for; undefined where one stands for none. */
export function fromByteCharacters(written: string): Uint8Array | undefined {
  const bytes = new Uint8Array(written.length);
  for (let i = 0; i < written.length; i++) {
    const byte = byteOf.get(written[i] as string);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
