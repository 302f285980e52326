/** What a program is, for people and their tools: kernels in order, what each computes and moves, and when memory holds what. */
export interface ProgramReport {
  readonly kernels: readonly KernelReport[];
  /** What is in memory: inputs, results, and what lives between. */
  readonly values: readonly ValueReport[];
  /** Bytes that a run takes beside inputs and results. */
  readonly scratchBytes: number;
  /** The code of a kernel: WGSL, WebAssembly as text, or the operation where there is no code. */
  listing(kernel: number): string;
}

export interface KernelReport {
  /** "map", "row", "matmul", …; the name of the operation on a backend that has no kernels. */
  readonly kind: string;
  /** The primitives inside. */
  readonly label: string;
  /** Its loops, in words: "64 × 128". */
  readonly size: string;
  /** How often a run comes to it. */
  readonly turns: number;
  /** Floating-point operations of all turns of a run together. */
  readonly flops: number;
  /** Bytes that all turns must read and write at least: each element of what is touched once in a turn. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Places among the values. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Bytes of scratch that hold something while it runs. */
  readonly liveBytes: number;
}

export interface ValueReport {
  readonly use: "input" | "output" | "scratch";
  /** The number of the input or output. */
  readonly index: number | undefined;
  readonly bytes: number;
  /** The piece of memory that it lies in: values of one slot lie there one after another. */
  readonly slot: number;
  /** For scratch, where it begins, in bytes. */
  readonly offset: number;
  /** The first and the last kernel that need it. */
  readonly first: number;
  readonly last: number;
}
