import { UsageError } from "../errors.js";
import type { DeviceBuffer } from "./backend.js";

/** What backends refuse before they run a program, in the same words. */

/** Throws UsageError where a donated buffer is also another input: its memory would be read under one name while it is written under another. */
export function refuseSharedDonation(label: string, inputs: readonly DeviceBuffer[], donated: readonly boolean[]): void {
  const first = new Map<DeviceBuffer, number>();
  inputs.forEach((buffer, i) => {
    const other = first.get(buffer);
    if (other === undefined) {
      first.set(buffer, i);
      return;
    }
    if (!donated[i] && !donated[other]) return;
    const [given, also] = donated[other] ? [other, i] : [i, other];
    throw new UsageError(`${label}: the buffer of input ${given} is donated and is also input ${also}`, {
      hint: "pass a donated buffer once, or leave it out of donate",
    });
  });
}

/** Throws UsageError for a program that was released. */
export function refuseReleased(label: string, released: boolean): void {
  if (released) throw new UsageError(`${label}: the program was released`, { hint: "compile its graph again" });
}
