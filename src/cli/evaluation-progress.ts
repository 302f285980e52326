import type { EvaluationProgress } from "../e2llm/evaluation.js";
import type { CommandIo } from "./io.js";
import type { Progress } from "./progress.js";
import { WorkClock } from "./work-clock.js";

/** A progress line whose time left follows the work of the passes, of which a late block of a long text has many times that of an early one. */
export class EvaluationMeter {
  #line: Progress | undefined;
  #clock: WorkClock | undefined;
  #work = 0;

  constructor(
    private readonly io: CommandIo,
    private readonly label: string,
    private readonly now: () => number = () => performance.now(),
  ) {}

  update({ done, total, tokens, work, totalWork }: EvaluationProgress, detail?: string): void {
    this.#line ??= this.io.progress({ label: this.label, total });
    this.#clock ??= new WorkClock(totalWork, this.now);
    this.#clock.add(work - this.#work);
    this.#work = work;
    const { secondsLeft } = this.#clock;
    this.#line.update({
      step: done,
      amount: tokens,
      ...(detail === undefined ? {} : { detail }),
      ...(secondsLeft === undefined ? {} : { secondsLeft }),
    });
  }

  finish(): void {
    this.#line?.finish();
  }
}
