/** A kernel's function: table, scratch, first unit, unit after the last. */
export type KernelEntry = (table: number, scratch: number, begin: number, end: number) => void;

/**
 * Runs the steps of a program together with whichever other threads do the same. Chunks of a step are taken one after another by
 * whoever is free, and a step begins when all chunks of the one before are done. A thread that comes late, is slow or never comes
 * costs time only.
 *
 * Self-contained, because workers get it as text. `wait` is called again and again while others finish their chunks. A kernel that
 * traps has done its chunk all the same, so that nobody waits for it: `failed` is told before the others can know.
 */
export function runSteps(
  words: Int32Array,
  kernels: readonly KernelEntry[],
  steps: number,
  stepCount: number,
  counters: number,
  scratch: number,
  wait: (place: number, value: number, round: number) => void,
  failed: (error: unknown) => void,
): void {
  for (let s = 0; s < stepCount; s++) {
    const step = steps / 4 + 4 * s;
    const [taken, done] = [counters / 4 + 2 * s, counters / 4 + 2 * s + 1];
    const kernel = kernels[words[step] as number] as KernelEntry;
    const table = words[step + 1] as number;
    const units = words[step + 2] as number;
    const size = words[step + 3] as number;
    const chunks = Math.ceil(units / size);
    for (;;) {
      const chunk = Atomics.add(words, taken, 1);
      if (chunk >= chunks) break;
      try {
        kernel(table, scratch, chunk * size, Math.min(units, (chunk + 1) * size));
      } catch (error) {
        failed(error);
      }
      if (Atomics.add(words, done, 1) === chunks - 1) Atomics.notify(words, done);
    }
    for (let round = 0; ; round++) {
      const finished = Atomics.load(words, done);
      if (finished >= chunks) break;
      wait(done, finished, round);
    }
  }
}
