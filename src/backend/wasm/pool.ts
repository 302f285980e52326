import { DeviceError, DeviceLostError } from "../../errors.js";
import { isNode, nodeThreads } from "../../platform/node.js";
import { control } from "./control.js";
import { type LinearMemory, memoryImports } from "./memories.js";
import { type KernelEntry, runSteps } from "./run-steps.js";
import { workerMain } from "./worker.js";

/** What the threads need to know of one run. Addresses in bytes. */
export interface Run {
  readonly program: number;
  readonly kernels: readonly KernelEntry[];
  readonly moduleAddress: number;
  readonly moduleBytes: number;
  readonly stepsAddress: number;
  readonly stepCount: number;
  readonly countersAddress: number;
  readonly scratchMemory: number;
  readonly scratchAddress: number;
  readonly scratchBytes: number;
  /** Where the run is measured: told the time of each kernel. */
  readonly took?: ((step: number, milliseconds: number) => void) | undefined;
}

/** A worker of Node or of a browser. */
interface Thread {
  /** Resolves once the worker has ended. */
  readonly ended: Promise<void>;
  /** Makes the process wait for its end. */
  hold(): void;
  /** Ends it wherever it is. */
  kill(): void;
}

/** Looks at a word that may change soon before the thread goes to sleep. */
const looks = 20_000;
/** Milliseconds that a gap between two looks counts at most: a machine that was suspended for hours has waited for nobody. */
const longestGap = 1000;

/** The main thread and its workers, which share memories and do each run together. */
export class ThreadPool {
  private readonly threads: Thread[] = [];
  private epoch = 0;
  private lost: DeviceLostError | DeviceError | undefined;
  private stopping = false;
  private readonly maySleep = canSleep();
  /** Milliseconds without any progress after which a worker is taken for dead. */
  private readonly patience = 60_000;

  private constructor(private readonly memories: readonly LinearMemory[]) {}

  /** Starts `count` workers and does not wait for them: they join in when they are ready. */
  static async start(memories: readonly LinearMemory[], gemm: WebAssembly.Module, count: number): Promise<ThreadPool> {
    const pool = new ThreadPool(memories);
    if (count === 0) return pool;
    const source = `const runSteps = ${runSteps.toString()};\nconst workerMain = ${workerMain.toString()};\n`;
    const open = isNode ? await nodeWorkers(source) : browserWorkers(source);
    const data = { memories: memories.map((memory) => memory.sent()), imports: memoryImports(memories) };
    for (let thread = 1; thread <= count; thread++) {
      pool.threads.push(open({ ...data, gemm, thread, control }, (error) => pool.died(thread, error)));
    }
    return pool;
  }

  /** Threads that share the work, the caller's among them. */
  get size(): number {
    return this.threads.length + 1;
  }

  private died(thread: number, error: unknown): void {
    if (this.stopping || this.lost) return;
    const reason = error instanceof Error ? error.message : String(error);
    const ended = new DeviceLostError(`worker thread ${thread} of the wasm backend ended: ${reason}`, {
      hint: "call init() again for a new backend; its tensors have to be made anew",
      cause: error,
    });
    this.lose(this.failure() ?? ended);
  }

  /** Gives the backend up. The other workers may be waiting for a chunk that nobody will finish, so they end as well. */
  private lose(error: DeviceLostError | DeviceError): DeviceLostError | DeviceError {
    if (this.lost === undefined) {
      this.lost = error;
      for (const thread of this.threads) thread.kill();
    }
    return this.lost;
  }

  /** What a worker wrote down before it left, if one did. */
  private failure(): DeviceError | undefined {
    if (this.threads.length === 0 || Atomics.load(this.words, control.failed) === 0) return undefined;
    return new DeviceError(`a kernel failed in a worker thread: ${this.message()}`, { hint: "call init() again for a new backend" });
  }

  private message(): string {
    const length = this.words[control.message] as number;
    return String.fromCharCode(...this.words.subarray(control.message + 1, control.message + 1 + length));
  }

  /** Throws DeviceLostError once a worker has died, and DeviceError once a kernel failed. */
  check(): void {
    const failure = this.lost ?? this.failure();
    if (failure !== undefined) throw this.lose(failure);
  }

  /**
   * Does a run on all threads and returns when it is done. {@link settle} comes before its tables and counters are written. Throws
   * DeviceError where a kernel trapped; the threads have met all the same and are ready for the next run.
   */
  run(run: Run): void {
    const view = this.words;
    view[control.program] = run.program;
    view[control.moduleAddress] = run.moduleAddress;
    view[control.moduleBytes] = run.moduleBytes;
    view[control.stepsAddress] = run.stepsAddress;
    view[control.stepCount] = run.stepCount;
    view[control.countersAddress] = run.countersAddress;
    view[control.scratchMemory] = run.scratchMemory;
    view[control.scratchAddress] = run.scratchAddress;
    view[control.scratchBytes] = run.scratchBytes;
    view[control.helpers] = 0;
    this.memories.forEach(({ memory }, i) => {
      view[control.pages + i] = memory.buffer.byteLength / 65_536;
    });
    this.epoch = (this.epoch + 1) | 0 || 1;
    Atomics.store(view, control.open, this.epoch);
    Atomics.store(view, control.epoch, this.epoch);
    Atomics.notify(view, control.epoch);
    let trap: unknown;
    try {
      runSteps(
        view,
        (this.memories[run.scratchMemory] as LinearMemory).words(),
        run.kernels,
        run.stepsAddress,
        run.stepCount,
        run.countersAddress,
        run.scratchAddress,
        (place, value, round) => this.wait(view, place, value, round),
        (error) => {
          trap ??= error;
        },
        run.took,
      );
    } finally {
      Atomics.store(view, control.open, 0);
    }
    this.check();
    if (Atomics.exchange(view, control.trapped, 0) !== 0) trap ??= new Error(this.message());
    if (trap !== undefined) throw trapped(trap);
  }

  /** Waits until no worker is inside of a run that is over. */
  settle(): void {
    const view = this.words;
    if (this.threads.length === 0) return;
    for (let round = 0; ; round++) {
      const joined = Atomics.load(view, control.joined);
      if (joined === 0) return;
      this.wait(view, control.joined, joined, round);
    }
  }

  /** Whether no worker is inside of a run. */
  get idle(): boolean {
    return this.threads.length === 0 || Atomics.load(this.words, control.joined) === 0;
  }

  /** Milliseconds of the present wait, and the time of the last look. */
  private waited = 0;
  private lookedAt = 0;

  private wait(view: Int32Array, place: number, value: number, round: number): void {
    if (round < looks) return;
    if (Atomics.load(view, control.failed) !== 0) this.check();
    if (this.maySleep) Atomics.wait(view, place, value, 100);
    else if (round % looks !== 0) return;
    const now = Date.now();
    this.waited = round === looks ? 0 : this.waited + Math.min(longestGap, Math.max(0, now - this.lookedAt));
    this.lookedAt = now;
    if (this.waited > this.patience) {
      throw this.lose(
        new DeviceLostError("a worker thread of the wasm backend stopped in the middle of a kernel", {
          hint: "call init() again for a new backend, with fewer threads if the machine is short of memory",
        }),
      );
    }
  }

  /** The words of the first memory, through which the threads meet. */
  private get words(): Int32Array {
    return (this.memories[0] as LinearMemory).words();
  }

  /** Ends the workers and waits for their end. */
  async close(): Promise<void> {
    this.stopping = true;
    if (this.threads.length === 0) return;
    for (const thread of this.threads) thread.hold();
    Atomics.store(this.words, control.stop, 1);
    Atomics.notify(this.words, control.epoch);
    await Promise.all(this.threads.map(({ ended }) => ended));
    this.threads.length = 0;
  }
}

/** What a caller is told of a trap. */
export function trapped(cause: unknown): DeviceError {
  const reason = cause instanceof WebAssembly.RuntimeError ? String(cause) : cause instanceof Error ? cause.message : String(cause);
  return new DeviceError(`a kernel failed: ${reason}`, {
    hint: "what this run was to compute is lost, the backend goes on; this is a defect of dawngrad",
    cause,
  });
}

/** Whether this thread may sleep; the main thread of a browser may not. */
function canSleep(): boolean {
  if (typeof SharedArrayBuffer === "undefined") return false;
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
    return true;
  } catch {
    return false;
  }
}

type Open = (data: Parameters<typeof workerMain>[0], died: (error: unknown) => void) => Thread;

async function nodeWorkers(source: string): Promise<Open> {
  const open = await nodeThreads();
  return (data, died) => {
    const worker = open(`${source}workerMain(data, runSteps);`, data);
    const ended = new Promise<void>((resolve) => {
      worker.once("error", died);
      worker.once("exit", (code) => {
        died(`it left with code ${code}`);
        resolve();
      });
    });
    return { ended, hold: () => worker.ref(), kill: () => void worker.terminate() };
  };
}

function browserWorkers(source: string): Open {
  const text = `${source}onmessage = ({ data }) => { onmessage = null; workerMain(data, runSteps); postMessage("ended"); close(); };`;
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  return (data, died) => {
    const worker = new Worker(url);
    let leave = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      leave = resolve;
    });
    worker.onmessage = leave;
    worker.onerror = (event) => {
      event.preventDefault();
      // A page whose content security policy forbids workers from blobs gets an event without a message.
      died(event.message ?? "it could not be started");
      leave();
    };
    worker.postMessage(data);
    const kill = (): void => {
      worker.terminate();
      leave();
    };
    return { ended, hold: () => undefined, kill };
  };
}
