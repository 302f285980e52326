import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Collects garbage until `done`, some fifty times at most, and says whether it was done. */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  for (let i = 0; i < 50 && !done(); i++) {
    // What a WeakRef was asked for lives until the turn of the event loop ends, and finalizers run in turns of their own.
    await new Promise((resolve) => setTimeout(resolve, 5));
    collect();
  }
  return done();
}
