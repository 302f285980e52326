/**
 * List scheduling for the smallest peak of live bytes (Graham 1966; with bytes in the place of processors it is a form of the register
 * allocation problem of Sethi 1975, for which no fast exact method is known). Of the jobs whose predecessors are done, the one that frees
 * most bytes, or takes fewest, is next. The greedy choice may be a bad one further on, so there are several candidates:
 *
 *   greedy    by bytes, and among equals in the given order
 *   eager     in the given order, but what frees bytes is drawn forward
 *
 * each also from the last job to the first, where making and freeing a buffer change places and jobs run as late as they can. The best
 * is gone through again backward and forward while that helps (forward–backward improvement, Li & Willis 1992).
 */
export interface Jobs {
  /** For each job, those that must be done before it. */
  readonly after: readonly (readonly number[])[];
  /** Bytes that are taken from the first to the last of some jobs, which are named once each. */
  readonly buffers: readonly { readonly bytes: number; readonly jobs: readonly number[] }[];
  /** Bytes that each job takes beyond those of buffers while it runs. */
  readonly extra: readonly number[];
}

export interface Schedule {
  readonly order: readonly number[];
  /** The most bytes taken at once. */
  readonly peak: number;
}

/** Times that the best candidate is gone through again. */
const mostImprovements = 8;

/** The best order found; the given one, 0, 1, 2, …, which must obey `after`, unless there is a better one. */
export function smallestPeak(jobs: Jobs): Schedule {
  const count = jobs.after.length;
  const touched: number[][] = jobs.after.map(() => []);
  jobs.buffers.forEach((buffer, b) => {
    for (const job of buffer.jobs) touched[job]?.push(b);
  });
  const before: number[][] = jobs.after.map(() => []);
  jobs.after.forEach((list, job) => {
    for (const other of list) before[other]?.push(job);
  });
  const forward: Pass = { jobs, touched, waitsFor: jobs.after, allows: before };
  const backward: Pass = { jobs, touched, waitsFor: before, allows: jobs.after };

  const given = Array.from({ length: count }, (_, job) => job);
  let best: Schedule = { order: given, peak: peakOf(jobs, touched, given) };
  const keep = (order: number[]): void => {
    const peak = peakOf(jobs, touched, order);
    if (peak < best.peak) best = { order, peak };
  };
  const pass = (order: readonly number[], rule: Rule, back: boolean): number[] =>
    back ? list(backward, [...order].reverse(), rule).reverse() : list(forward, order, rule);
  for (const rule of [greedy, eager]) for (const back of [false, true]) keep(pass(given, rule, back));
  for (let round = 0, last = Number.POSITIVE_INFINITY; round < mostImprovements && best.peak < last; round++) {
    last = best.peak;
    for (const rule of [greedy, eager]) for (const back of [true, false]) keep(pass(best.order, rule, back));
  }
  return best;
}

/** What a job is ranked by, given the bytes that it takes (less what it frees): smaller is sooner. */
type Rule = (bytes: number) => number;
const greedy: Rule = (bytes) => bytes;
const eager: Rule = (bytes) => Math.min(bytes, 0);

/** Jobs with their graph, in the direction of time or against it. */
interface Pass {
  readonly jobs: Jobs;
  /** The buffers that each job touches. */
  readonly touched: readonly (readonly number[])[];
  readonly waitsFor: readonly (readonly number[])[];
  readonly allows: readonly (readonly number[])[];
}

function list({ jobs: { buffers }, touched, waitsFor, allows }: Pass, given: readonly number[], rule: Rule): number[] {
  const count = given.length;
  const place = new Int32Array(count);
  given.forEach((job, i) => {
    place[job] = i;
  });
  const waiting = Int32Array.from(waitsFor, ({ length }) => length);
  const left = Int32Array.from(buffers, ({ jobs }) => jobs.length);
  const done = new Uint8Array(count);
  /** Bytes that a job takes when it is next: of buffers that it is the first to touch, less of those that it is the last to touch. */
  const takes = Float64Array.from(touched, (list) =>
    list.reduce((sum, b) => {
      const { bytes, jobs } = buffers[b] as Jobs["buffers"][number];
      return sum + (jobs.length === 1 ? 0 : bytes);
    }, 0),
  );
  const ready = new Queue(place);
  const order: number[] = [];
  const cheaper = (job: number, bytes: number): void => {
    takes[job] = (takes[job] as number) - bytes;
    if (waiting[job] === 0) ready.push(job, rule(takes[job]));
  };
  for (const job of given) if (waiting[job] === 0) ready.push(job, rule(takes[job] as number));
  for (let job = ready.pop(); job !== undefined; job = ready.pop()) {
    if (done[job]) continue;
    done[job] = 1;
    order.push(job);
    for (const b of touched[job] as number[]) {
      const { bytes, jobs } = buffers[b] as Jobs["buffers"][number];
      const isFirst = left[b] === jobs.length;
      left[b] = (left[b] as number) - 1;
      const isNextLast = left[b] === 1;
      if (!isFirst && !isNextLast) continue;
      for (const other of jobs) if (!done[other]) cheaper(other, (isFirst ? bytes : 0) + (isNextLast ? bytes : 0));
    }
    for (const next of allows[job] as number[]) {
      waiting[next] = (waiting[next] as number) - 1;
      if (waiting[next] === 0) ready.push(next, rule(takes[next] as number));
    }
  }
  return order;
}

/** The most bytes taken at once in an order. */
function peakOf({ buffers, extra }: Jobs, touched: readonly (readonly number[])[], order: readonly number[]): number {
  const left = Int32Array.from(buffers, ({ jobs }) => jobs.length);
  let [live, peak] = [0, 0];
  for (const job of order) {
    for (const b of touched[job] as number[]) {
      const { bytes, jobs } = buffers[b] as Jobs["buffers"][number];
      if (left[b] === jobs.length) live += bytes;
    }
    peak = Math.max(peak, live + (extra[job] as number));
    for (const b of touched[job] as number[]) {
      left[b] = (left[b] as number) - 1;
      if (left[b] === 0) live -= (buffers[b] as Jobs["buffers"][number]).bytes;
    }
  }
  return peak;
}

/** A binary heap of jobs by rank, and by place among equals. A job may be in it several times; the best rank comes first. */
class Queue {
  private readonly entries: { readonly job: number; readonly rank: number }[] = [];

  constructor(private readonly place: Int32Array) {}

  private less(i: number, j: number): boolean {
    const a = this.entries[i] as { job: number; rank: number };
    const b = this.entries[j] as { job: number; rank: number };
    return a.rank < b.rank || (a.rank === b.rank && (this.place[a.job] as number) < (this.place[b.job] as number));
  }

  private swap(i: number, j: number): void {
    const { entries } = this;
    [entries[i], entries[j]] = [entries[j] as { job: number; rank: number }, entries[i] as { job: number; rank: number }];
  }

  push(job: number, rank: number): void {
    let i = this.entries.push({ job, rank }) - 1;
    for (let up = (i - 1) >> 1; i > 0 && this.less(i, up); i = up, up = (i - 1) >> 1) this.swap(i, up);
  }

  pop(): number | undefined {
    const { entries } = this;
    const top = entries[0];
    const last = entries.pop();
    if (top === undefined || last === undefined) return undefined;
    if (entries.length === 0) return top.job;
    entries[0] = last;
    for (let i = 0; ; ) {
      let best = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < entries.length && this.less(child, best)) best = child;
      if (best === i) return top.job;
      this.swap(i, best);
      i = best;
    }
  }
}
