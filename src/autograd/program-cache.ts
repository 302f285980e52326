import type { Backend, Executable } from "../backend/backend.js";

interface Kept<P> {
  readonly signature: string;
  readonly program: P;
}

/**
 * The programs of a backend that were used last (LRU): at most `limit`. What is evicted gives its device memory back at once. Several
 * programs may have one signature, where something beside it decides which of them serves.
 */
export class ProgramCache<P extends { readonly executable: Executable }> {
  private readonly bySignature = new Map<string, Kept<P>[]>();
  /** Least recently used first. */
  private readonly recent = new Set<Kept<P>>();

  constructor(
    private readonly backend: Backend,
    private readonly limit: number,
  ) {}

  get size(): number {
    return this.recent.size;
  }

  /** The program of a signature that serves a call, used just now. */
  find(signature: string, serves: (program: P) => boolean = () => true): P | undefined {
    const found = this.bySignature.get(signature)?.find(({ program }) => serves(program));
    if (found === undefined) return undefined;
    this.recent.delete(found);
    this.recent.add(found);
    return found.program;
  }

  /** Keeps a program; says whether another one had to go. */
  add(signature: string, program: P): boolean {
    const kept = { signature, program };
    this.bySignature.set(signature, [...(this.bySignature.get(signature) ?? []), kept]);
    this.recent.add(kept);
    if (this.recent.size <= this.limit) return false;
    const [oldest] = this.recent;
    if (oldest !== undefined) this.evict(oldest);
    return true;
  }

  private evict(kept: Kept<P>): void {
    this.recent.delete(kept);
    const others = (this.bySignature.get(kept.signature) ?? []).filter((other) => other !== kept);
    if (others.length > 0) this.bySignature.set(kept.signature, others);
    else this.bySignature.delete(kept.signature);
    this.backend.release(kept.program.executable);
  }
}
