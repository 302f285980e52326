/** A kernel's function: table, scratch, first unit, unit after the last. */
export type KernelEntry = (table: number, scratch: number, begin: number, end: number) => void;

/**
 * Runs the steps of a program together with whichever other threads do the same. Chunks of a step are taken one after another by
 * whoever is free, and a step begins when all chunks of the one before are done. A thread that comes late, is slow or never comes
 * costs time only.
 *
 * A loop's steps have their turn again and again, and their counters grow from turn to turn: in its turn t (from 0) a step with n chunks
 * takes those from n·t to n·(t + 1). So a thread that is some turns behind sees that they are over, and nothing has to be set back
 * while anyone may look at it. Steps that are too small to be shared are one chunk together.
 *
 * Kernels find how far the loops are in the thread's own memory. It is written there by a thread that has a chunk and by no other: when
 * the last chunk is done the run is over, and its memory may be somebody else's while a late thread still looks at the counters.
 *
 * Self-contained, because workers get it as text. `wait` is called again and again while others finish their chunks. A kernel that
 * traps has done its chunk all the same, so that nobody waits for it: `failed` is told before the others can know. Where `counters`
 * is 0 there are no other threads. `scratchWords` are those of the memory that the thread's own is in, `words` of the one with the steps.
 *
 * Where somebody measures, this thread does the stretches, whose chunks were taken for it before (see `reserved`), and `took` is told each kernel's
 * time from its begin until all threads are through with it.
 */
export function runSteps(
  words: Int32Array,
  scratchWords: Int32Array,
  kernels: readonly KernelEntry[],
  steps: number,
  stepCount: number,
  counters: number,
  scratch: number,
  wait: (place: number, value: number, round: number) => void,
  failed: (error: unknown) => void,
  took?: (step: number, milliseconds: number) => void,
): void {
  const [loop, stretch] = [-1, -2];
  // Methods, because bundlers that keep the names of functions wrap functions with a helper of theirs, which is not where the text goes.
  const program = {
    /** How far this thread is in each loop around it. */
    iterations: [] as number[],
    /** The steps from one up to another, inside of `depth` loops, after `turn` turns of each: with the other threads or alone. */
    run(from: number, to: number, depth: number, turn: number, together: boolean): void {
      for (let s = from; s < to; s++) {
        const step = steps / 4 + 4 * s;
        const kind = words[step] as number;
        if (kind === loop) {
          const body = words[step + 1] as number;
          const count = words[step + 2] as number;
          for (let i = 0; i < count; i++) {
            program.iterations[depth] = i;
            program.run(s + 1, s + 1 + body, depth + 1, count * turn + i, together);
          }
          s += body;
          continue;
        }
        const begin = took === undefined ? 0 : performance.now();
        if (together) program.share(s, depth, turn);
        else program.work(s, depth, 0, words[step + 2] as number);
        if (kind !== stretch) took?.(s, performance.now() - begin);
        if (kind === stretch) s += words[step + 1] as number;
      }
    },
    /** Takes chunks of a step as long as there are any, and waits for those of others. */
    share(s: number, depth: number, turn: number): void {
      const units = words[steps / 4 + 4 * s + 2] as number;
      const size = words[steps / 4 + 4 * s + 3] as number;
      const taken = counters / 4 + 2 * s;
      const done = taken + 1;
      const chunks = Math.ceil(units / size);
      const end = chunks * (turn + 1);
      if (took !== undefined && words[steps / 4 + 4 * s] === stretch) {
        program.work(s, depth, 0, units);
        Atomics.add(words, done, 1);
        Atomics.notify(words, done);
      }
      for (;;) {
        const next = Atomics.load(words, taken);
        if (next >= end) break;
        if (Atomics.compareExchange(words, taken, next, next + 1) !== next) continue;
        const begin = size * (next - chunks * turn);
        program.work(s, depth, begin, Math.min(units, begin + size));
        if (Atomics.add(words, done, 1) === end - 1) Atomics.notify(words, done);
      }
      for (let round = 0; ; round++) {
        const finished = Atomics.load(words, done);
        if (finished >= end) break;
        wait(done, finished, round);
      }
    },
    work(s: number, depth: number, begin: number, end: number): void {
      const step = steps / 4 + 4 * s;
      const kind = words[step] as number;
      const second = words[step + 1] as number;
      if (kind === stretch) {
        program.run(s + 1, s + 1 + second, depth, 0, false);
        return;
      }
      for (let d = 0; d < depth; d++) scratchWords[scratch / 4 - 1 - d] = program.iterations[d] as number;
      try {
        (kernels[kind] as KernelEntry)(second, scratch, begin, end);
      } catch (error) {
        failed(error);
      }
    },
  };
  program.run(0, stepCount, 0, 0, counters !== 0);
}

/** What `taken` of a stretch begins with where one thread is to do it in every turn. */
export const reserved = 2 ** 30;
