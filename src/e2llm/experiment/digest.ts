/** Digests of settings: equal where all that changes a number is equal. */

/**
 * A value as text: keys in alphabetical order, undefined left out, functions by their own texts, so that a definition in code has a digest too.
 * What a function closes over is not in its text.
 */
export function canonicalText(value: unknown): string {
  if (typeof value === "function") return JSON.stringify(`function ${value}`);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalText(item)).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined);
    return `{${fields
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, field]) => `${JSON.stringify(name)}:${canonicalText(field)}`)
      .join(",")}}`;
  }
  return JSON.stringify(value) ?? "null";
}

/** The first 128 bits of SHA-256 of the texts' or arrays' bytes one after another, in hexadecimal. */
export async function digestOf(...parts: readonly (string | Int32Array)[]): Promise<string> {
  const bytes = parts.map((part) =>
    typeof part === "string" ? new TextEncoder().encode(part) : new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
  );
  const whole = new Uint8Array(bytes.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of bytes) {
    whole.set(part, at);
    at += part.length;
  }
  const hash = new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", whole));
  return [...hash.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
