import { UsageError } from "../errors.js";
import type { DeviceBuffer } from "./backend.js";

/** What backends refuse before they run a program, in the same words. */

/** Throws UsageError where a donated buffer is also another input: its memory would be read under one name while it is written under another. */
export function refuseSharedDonation(label: string, inputs: readonly DeviceBuffer[], donated: readonly boolean[]): void {
  donated.forEach((given, i) => {
    if (!given) return;
    const other = inputs.findIndex((buffer, j) => j !== i && buffer === inputs[i]);
    if (other < 0) return;
    throw new UsageError(`${label}: the buffer of input ${i} is donated and is also input ${other}`, {
      hint: "pass a donated buffer once, or leave it out of donate",
    });
  });
}

/** Throws UsageError for a program that was released. */
export function refuseReleased(label: string, released: boolean): void {
  if (released) throw new UsageError(`${label}: the program was released`, { hint: "compile its graph again" });
}
