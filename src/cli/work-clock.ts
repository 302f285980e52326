/** Time left of work that is measured in units of its own, over several phases. */
export class WorkClock {
  #done = 0;
  #measured = 0;
  #previous: number | undefined;
  #seconds = 0;

  /**
   * @param total units of work in all
   * @param now milliseconds of a steady clock
   */
  constructor(
    private readonly total: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Counts work that is done. The first of it is counted without its time, which compiling takes up. */
  add(work: number): void {
    const time = this.now();
    if (this.#previous !== undefined) {
      this.#measured += work;
      this.#seconds += (time - this.#previous) / 1000;
    }
    this.#previous = time;
    this.#done += work;
  }

  /** Counts work that an earlier run did. */
  skip(work: number): void {
    this.#done += work;
  }

  /** Seconds for the rest at the mean speed so far; undefined before there is one. */
  get secondsLeft(): number | undefined {
    if (this.#measured <= 0) return undefined;
    return (Math.max(0, this.total - this.#done) / this.#measured) * this.#seconds;
  }
}
