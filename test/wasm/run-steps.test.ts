import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { counterWords, stepWords } from "../../src/backend/wasm/control.js";
import { type FlatStep, flatten, isShared, type KernelStep, type StepTree } from "../../src/backend/wasm/flat-steps.js";
import { type KernelEntry, runSteps } from "../../src/backend/wasm/run-steps.js";

const kernel = (number: number, units = 1, unitsPerChunk = 1, cost = 1000): KernelStep => ({
  kind: "kernel",
  label: `${number}`,
  function: number,
  turns: 1,
  buffers: [],
  units,
  unitMultiple: 1,
  unitsPerChunk,
  scratchBytes: 0,
  arenaBytes: 0,
  cost,
});

/** Steps as text: kernels by their numbers, `2[…]` for a loop of two, `(…)` for a stretch. */
function text(steps: readonly FlatStep[]): string {
  const parts: string[] = [];
  for (let s = 0; s < steps.length; s++) {
    const step = steps[s] as FlatStep;
    if (step.kind === "kernel") parts.push(`${step.function}`);
    else {
      const body = text(steps.slice(s + 1, s + 1 + step.body));
      parts.push(step.kind === "loop" ? `${step.count}[${body}]` : `(${body})`);
      s += step.body;
    }
  }
  return parts.join(" ");
}

describe("stretches", () => {
  const small = (number: number): KernelStep => kernel(number);
  const large = (number: number): KernelStep => kernel(number, 8, 2);
  const loop = (count: number, ...body: readonly StepTree[]): StepTree => ({ kind: "loop", count, body });

  it("join neighbours that are not worth sharing, loops of nothing else among them", () => {
    const steps = [
      small(0),
      small(1),
      large(2),
      loop(9, small(3), large(4), small(5), small(6)),
      loop(9, small(7)),
      small(8),
      loop(3, loop(2, small(9))),
    ];
    expect(text(flatten(steps, true))).toBe("(0 1) 2 9[3 4 (5 6)] (9[7] 8 3[2[9]])");
    expect(text(flatten(steps, false))).toBe("0 1 2 9[3 4 5 6] 9[7] 8 3[2[9]]");
  });

  it("end after a second, so that who waits sees progress", () => {
    const slow = (number: number): KernelStep => kernel(number, 1, 1, 4e8);
    expect(text(flatten([slow(0), slow(1), slow(2), slow(3), slow(4)], true))).toBe("(0 1) (2 3) 4");
    expect(text(flatten([loop(1e9, small(0), small(1)), small(2)], true))).toBe("1000000000[(0 1)] 2");
    expect(text(flatten([kernel(0, 1, 1, 5e9), small(1)], true))).toBe("0 1");
  });
});

const trees = fc.letrec<{ step: StepTree; steps: StepTree[] }>((tie) => ({
  step: fc.oneof(
    { maxDepth: 3 },
    fc.tuple(fc.nat({ max: 7 }), fc.integer({ min: 1, max: 3 })).map(([units, size]): StepTree => kernel(0, units, size)),
    fc.tuple(fc.nat({ max: 3 }), tie("steps")).map(([count, body]): StepTree => ({ kind: "loop", count, body })),
  ),
  steps: fc.array(tie("step"), { maxLength: 4 }),
})).steps;

/** Gives each kernel a number of its own. */
function numbered(steps: readonly StepTree[], next = { number: 0 }): StepTree[] {
  return steps.map((step) =>
    step.kind === "kernel" ? { ...step, function: next.number++ } : { ...step, body: numbered(step.body, next) },
  );
}

/** What happens in a run: kernel, iterations around it, unit. */
function expected(steps: readonly StepTree[], around: readonly number[] = []): string[] {
  return steps.flatMap((step) =>
    step.kind === "kernel"
      ? Array.from({ length: step.units }, (_, unit) => `${step.function} in ${around.join()}: ${unit}`)
      : Array.from({ length: step.count }, (_, i) => expected(step.body, [...around, i])).flat(),
  );
}

function depths(steps: readonly StepTree[], depth = 0): number[] {
  return steps.flatMap((step) => (step.kind === "kernel" ? [depth] : depths(step.body, depth + 1)));
}

/** A memory with steps in it, and threads that write down what they do. */
class Machine {
  readonly log: string[] = [];
  private readonly words = new Int32Array(new SharedArrayBuffer(65_536));
  /** What belongs to threads is in another memory. */
  private readonly scratchWords = new Int32Array(new SharedArrayBuffer(4096));
  private readonly stepsAddress = 4096;
  private readonly countersAddress = 32_768;
  private readonly depths: readonly number[];
  calls = 0;

  constructor(
    tree: readonly StepTree[],
    private readonly steps: readonly FlatStep[],
    private readonly during: (machine: Machine) => void,
  ) {
    this.depths = depths(tree);
    steps.forEach((step, i) => {
      const words =
        step.kind === "kernel"
          ? [step.function, step.function, step.units, step.unitsPerChunk]
          : step.kind === "loop"
            ? [-1, step.body, step.count, 0]
            : [-2, step.body, 1, 1];
      this.words.set(words, this.stepsAddress / 4 + stepWords * i);
    });
    this.words.fill(0, this.countersAddress / 4, this.countersAddress / 4 + counterWords * steps.length);
  }

  memory(): Int32Array {
    return Int32Array.from([...this.words, ...this.scratchWords]);
  }

  /** Lets a thread run; `wait` is what it does where it has to wait for others. */
  run(thread: number, options: { alone?: boolean; wait?: () => void } = {}): void {
    const entry: KernelEntry = (table, scratch, begin, end) => {
      const around = Array.from({ length: this.depths[table] as number }, (_, depth) => this.scratchWords[scratch / 4 - 1 - depth]);
      for (let unit = begin; unit < end; unit++) this.log.push(`${table} in ${around.join()}: ${unit}`);
      this.calls++;
      this.during(this);
    };
    const kernels = this.depths.map(() => entry);
    const { wait = () => expect.unreachable("a thread waits for itself") } = options;
    const counters = options.alone ? 0 : this.countersAddress;
    runSteps(this.words, this.scratchWords, kernels, this.stepsAddress, this.steps.length, counters, 1024 + 256 * thread, wait, (error) => {
      throw error;
    });
  }
}

class Left extends Error {}

describe("a run of steps", () => {
  const nothing = (): void => undefined;
  const cases = (check: (tree: readonly StepTree[], steps: readonly FlatStep[]) => void): void =>
    fc.assert(
      fc.property(trees, fc.boolean(), (made, stretches) => {
        const tree = numbered(made);
        check(tree, flatten(tree, stretches));
      }),
      { seed: 5, numRuns: 300 },
    );

  it("does every unit of every turn once and in order, by one thread of several or by the only one", () => {
    cases((tree, steps) => {
      for (const alone of [false, true]) {
        const machine = new Machine(tree, steps, nothing);
        machine.run(0, { alone });
        expect(machine.log).toEqual(expected(tree));
      }
    });
  });

  it("leaves nothing to do or to write to a thread that comes when all is over", () => {
    cases((tree, steps) => {
      const machine = new Machine(tree, steps, nothing);
      machine.run(0);
      const { calls } = machine;
      const before = machine.memory();
      machine.run(1);
      expect(machine.calls).toBe(calls);
      // The memory of a run that is over may have another owner.
      expect(machine.memory().findIndex((word, i) => word !== before[i])).toBe(-1);
    });
  });

  it("is helped by threads that come in the middle of any kernel, catch up, and leave where they would wait", () => {
    let [helped, caughtUp] = [0, 0];
    cases((tree, steps) => {
      let busy = false;
      const machine = new Machine(tree, steps, (running) => {
        if (busy) return;
        busy = true;
        const { calls } = running;
        const leave = (): void => {
          throw new Left();
        };
        try {
          running.run(1, { wait: leave });
        } catch (error) {
          if (!(error instanceof Left)) throw error;
          caughtUp++;
        }
        if (running.calls > calls) helped++;
        busy = false;
      });
      machine.run(0);
      expect([...machine.log].sort()).toEqual(expected(tree).sort());
      // Chunks of one step may come in any order, those of others may not.
      const turnOf = (entry: string): string => entry.slice(0, entry.indexOf(":"));
      const turns = (log: readonly string[]): string[] => log.map(turnOf).filter((turn, i, all) => turn !== all[i - 1]);
      expect(turns(machine.log)).toEqual(turns(expected(tree)));
    });
    expect(helped).toBeGreaterThan(100);
    expect(caughtUp).toBeGreaterThan(100);
  });

  it("has stretches without shared kernels", () => {
    cases((_, steps) => {
      steps.forEach((step, s) => {
        if (step.kind !== "stretch") return;
        const inside = steps.slice(s + 1, s + 1 + step.body);
        expect(inside.some((each) => each.kind === "kernel" && isShared(each))).toBe(false);
      });
    });
  });
});
