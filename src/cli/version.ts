import { readFileSync } from "node:fs";

/** The version of this package; the same relative path holds for the sources and for what is built from them. */
export function packageVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed ? String(parsed.version) : "unknown";
}
