/**
 * The first words of the memory, through which the threads meet. Addresses are in words of four bytes.
 */
export const control = {
  /** Grows by one with each run; idle workers sleep on it. */
  epoch: 16,
  /** The epoch that workers may join, 0 between runs. */
  open: 17,
  /** Workers that have joined and not left. */
  joined: 18,
  /** 1 asks the workers to end. */
  stop: 19,
  /** 1 once a worker failed and left; its message follows in `message`. */
  failed: 20,
  /** Workers that came in time for the present run. */
  helpers: 22,
  /** 1 once a kernel trapped in a worker, which goes on; its message follows in `message`. */
  trapped: 21,
  /** The program of the run: its number, the address and length of its module, and of its steps. */
  program: 24,
  moduleAddress: 25,
  moduleBytes: 26,
  stepsAddress: 27,
  stepCount: 28,
  countersAddress: 29,
  scratchAddress: 30,
  /** Bytes of scratch that each thread has. */
  scratchBytes: 31,
  /** The number of the memory that the scratch is in. */
  scratchMemory: 32,
  /** Pages of 64 KiB that each memory has. */
  pages: 33,
  /** Length and UTF-16 units of an error message, one in each word. */
  message: 64,
  messageWords: 512,
} as const;

/**
 * Words that describe a step: number of the kernel's function, address of its table, units, units in a chunk. Of a loop: −1, how many of
 * the next steps are its body, how often. Of a stretch: −2, how many of the next steps it takes, and 1 and 1 as a step of one unit.
 */
export const stepWords = 4;
/** Words that a step counts in: chunks taken, chunks done, of all its turns together. */
export const counterWords = 2;

/** The first address that the heap may use. */
export const heapStart = 16_384;
