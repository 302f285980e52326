import type { DeviceData, DType, HostArray } from "../ir/dtype.js";
import { type Graph, type GraphNode, type InnerNode, inputsOf, type LoopNode } from "../ir/graph.js";
import type { Shape } from "../ir/shape.js";
import type { Backend, BackendInfo, CompileOptions, DeviceBuffer, Executable, MemoryReport, ProgramMemory } from "./backend.js";
import { type Found, nonFiniteError } from "./non-finite-report.js";
import { looksAt, OneStep, readSummary, stepOf, summaryLength, type Values } from "./single-steps.js";

/** "non-finite" looks for NaN and the infinities; "nan" for NaN alone, for programs in which infinities have a meaning. */
export type Watched = "non-finite" | "nan";

/** A value between two nodes: in a buffer, or a number that was handed over. */
interface Held {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly buffer: DeviceBuffer | undefined;
  readonly scalar: number | undefined;
  /** Who needs it still; a buffer that is `owned` is freed with the last of them. */
  users: number;
  readonly owned: boolean;
  /** What is known of its elements, once the device has looked. */
  readonly values: Promise<Values> | undefined;
}

/** What a node made and from what, to be looked at when the device is done. */
interface Pending {
  readonly node: GraphNode;
  readonly made: Promise<Values>;
  readonly inputs: readonly Held[];
  readonly program: Place;
}

/** Where in a program: its name, and the steps of the loops around. */
interface Place {
  readonly label: string;
  readonly names: readonly string[];
  readonly steps: readonly number[];
  /** False in the bodies of calls and loops, whose inputs were looked at where they were made. */
  readonly outermost: boolean;
}

class CheckingExecutable implements Executable {
  constructor(
    private readonly plain: () => Executable,
    readonly graph: Graph,
    readonly options: CompileOptions,
  ) {}

  describe(): string {
    return this.plain().describe();
  }
}

/** Programs of single steps that are kept. */
const mostPrograms = 2048;

/**
 * A backend before another one, which runs every node of a graph as a program of its own, the steps of loops and the bodies of calls
 * among them, and looks at what comes out. What reads numbers or waits for the device (`read`, `sync`, `throttle`) throws
 * NonFiniteError for the first node that made a NaN or an infinity of operands without one. Buffers are those of the other backend, and
 * the two may be used in turns. Many times slower, and exact: nothing is fused.
 */
export class CheckingBackend implements Backend {
  readonly notesOrigins = true;
  private readonly programs = new Map<string, Executable>();
  private pending: Pending[] = [];

  constructor(
    readonly underlying: Backend,
    private readonly watched: Watched,
  ) {}

  get info(): BackendInfo {
    return this.underlying.info;
  }

  alloc(dtype: DType, length: number, owner: string): DeviceBuffer {
    return this.underlying.alloc(dtype, length, owner);
  }

  free(buffer: DeviceBuffer): void {
    this.underlying.free(buffer);
  }

  write(buffer: DeviceBuffer, dtype: DType, data: DeviceData, begin?: number): void {
    this.underlying.write(buffer, dtype, data, begin);
  }

  async read(buffer: DeviceBuffer, dtype: DType, length: number): Promise<HostArray> {
    await this.look();
    return this.underlying.read(buffer, dtype, length);
  }

  async sync(): Promise<void> {
    await this.look();
    await this.underlying.sync();
  }

  async throttle(): Promise<void> {
    await this.look();
    await this.underlying.throttle?.();
  }

  memory(): MemoryReport {
    return this.underlying.memory();
  }

  memoryOf(graph: Graph, options?: CompileOptions): ProgramMemory {
    return this.underlying.memoryOf(graph, options);
  }

  compile(graph: Graph, options: CompileOptions = {}): Executable {
    return new CheckingExecutable(() => this.underlying.compile(graph, options), graph, options);
  }

  /** Its steps belong to all programs. */
  release(): void {}

  /** Closes the other backend as well. */
  async close(): Promise<void> {
    this.forget();
    await this.underlying.close();
  }

  /** Gives back the programs of single steps. */
  forget(): void {
    for (const program of this.programs.values()) this.underlying.release(program);
    this.programs.clear();
    this.pending = [];
  }

  run(executable: Executable, inputs: readonly DeviceBuffer[], scalars: readonly number[]): DeviceBuffer[] {
    const { graph, options } = executable as CheckingExecutable;
    const given = inputs.map(
      (buffer): Held => ({ shape: [], dtype: "f32", buffer, scalar: undefined, users: 1, owned: false, values: undefined }),
    );
    const place: Place = { label: options.label ?? "program", names: options.inputs ?? [], steps: [], outermost: true };
    const outputs = this.interpret(graph, given, scalars, place);
    const taken = new Set<DeviceBuffer>();
    const results = outputs.map((held) => {
      // A result has a buffer of its own.
      const own = held.owned && held.buffer !== undefined && !taken.has(held.buffer);
      const buffer = own ? (held.buffer as DeviceBuffer) : (this.step(undefined, [held], held).buffer as DeviceBuffer);
      taken.add(buffer);
      return buffer;
    });
    inputs.forEach((buffer, i) => {
      if (options.donated?.[i]) this.underlying.free(buffer);
    });
    return results;
  }

  /** Runs the nodes one by one. The results have a user more, the caller. */
  private interpret(graph: Graph, inputs: readonly Held[], scalars: readonly number[], place: Place): Held[] {
    const { nodes, outputs } = graph;
    const lastUse = new Map<number, number>();
    nodes.forEach((node, i) => {
      for (const input of inputsOf(node)) lastUse.set(input, i);
    });
    for (const output of outputs) lastUse.set(output, Number.POSITIVE_INFINITY);
    const held: (Held | readonly Held[])[] = [];
    const drop = (value: Held | readonly Held[]): void => {
      for (const one of "shape" in value ? [value] : value) this.drop(one);
    };
    nodes.forEach((node, i) => {
      held.push(this.compute(node, held, inputs, scalars, place));
      for (const used of new Set([i, ...inputsOf(node)])) if ((lastUse.get(used) ?? i) === i) drop(held[used] as Held);
    });
    // Once for each place among the outputs, and the node's own no more.
    const results = outputs.map((output) => keep(held[output] as Held));
    for (const output of new Set(outputs)) drop(held[output] as Held);
    return results;
  }

  private compute(
    node: GraphNode,
    held: readonly (Held | readonly Held[])[],
    inputs: readonly Held[],
    scalars: readonly number[],
    place: Place,
  ): Held | readonly Held[] {
    const at = (input: number): Held => held[input] as Held;
    switch (node.kind) {
      case "input":
        return place.outermost ? this.inputOf(node, inputs[node.input] as Held, place) : keep(inputs[node.input] as Held);
      case "scalar":
        return { ...node, buffer: undefined, scalar: scalars[node.scalar] as number, users: 1, owned: true, values: undefined };
      case "barrier":
        return keep(at(node.inputs[0] as number));
      case "result":
        return keep((held[node.inputs[0] as number] as readonly Held[])[node.index] as Held);
      case "call":
        return this.interpret(node.body, node.inputs.map(at), [], { ...place, outermost: false });
      case "loop":
        return this.loop(node, node.inputs.map(at), place);
      case "operation": {
        const read = node.inputs.map(at);
        const made = this.step(node, read, node);
        this.note({ node, inputs: read, program: place }, made);
        return made;
      }
    }
  }

  /** An input of a program, which is looked at as well. */
  private inputOf(node: Extract<GraphNode, { kind: "input" }>, { buffer }: Held, place: Place): Held {
    const plain: Held = { ...node, buffer, scalar: undefined, users: 1, owned: false, values: undefined };
    if (!looksAt(node)) return plain;
    const values = this.lookAt(plain);
    const made = { ...plain, values };
    this.note({ node, inputs: [], program: place }, made);
    return made;
  }

  /** Steps of a loop, one by one, for the sake of what is inside; its results come from the loop as it is. */
  private loop(node: LoopNode, inputs: readonly Held[], place: Place): readonly Held[] {
    const { body, count, reverse, carried, sliced } = node;
    const whole = new OneStep(inputs);
    const { at } = whole.add({ ...node, inputs: whole.inputs });
    const results = body.outputs.map((_, i) => whole.result(i, node, at));
    const buffers = this.start(whole, results);
    const made = results.map(({ shape, dtype }, i): Held => {
      const plain: Held = { shape, dtype, buffer: buffers[i], scalar: undefined, users: 1, owned: true, values: undefined };
      return looksAt(plain) ? { ...plain, values: this.lookAt(plain) } : plain;
    });
    let state = inputs.slice(0, carried).map(keep);
    for (let k = 0; k < count; k++) {
      const turn = reverse ? count - 1 - k : k;
      const slices = inputs.slice(carried, carried + sliced).map((xs) => this.slice(xs, turn));
      const next = this.interpret(body, [...state, ...slices, ...inputs.slice(carried + sliced)], [], {
        ...place,
        steps: [...place.steps, turn],
        outermost: false,
      });
      for (const old of [...state, ...slices, ...next.slice(carried)]) this.drop(old);
      state = next.slice(0, carried);
    }
    for (const last of state) this.drop(last);
    return made;
  }

  /** xs[turn]. */
  private slice(xs: Held, turn: number): Held {
    const step = new OneStep([xs]);
    const row = step.row();
    step.scalars.push(turn);
    const [buffer] = this.start(step, [row]);
    return { shape: row.shape, dtype: xs.dtype, buffer, scalar: undefined, users: 1, owned: true, values: xs.values };
  }

  /** Runs one node, or copies its only operand. */
  private step(node: InnerNode | undefined, inputs: readonly Held[], { shape, dtype }: Pick<Held, "shape" | "dtype">): Held {
    const step = stepOf(node, inputs, node !== undefined && looksAt({ shape, dtype }));
    const [buffer, summary] = this.start(step, step.outputs);
    const values = summary === undefined ? undefined : this.summaryIn(summary);
    return { shape, dtype, buffer, scalar: undefined, users: 1, owned: true, values };
  }

  private lookAt(held: Held): Promise<Values> {
    const step = stepOf(undefined, [held], true);
    const [copy, summary] = this.start(step, step.outputs) as [DeviceBuffer, DeviceBuffer];
    this.underlying.free(copy);
    return this.summaryIn(summary);
  }

  private async summaryIn(buffer: DeviceBuffer): Promise<Values> {
    const numbers = await this.underlying.read(buffer, "i32", summaryLength);
    this.underlying.free(buffer);
    return readSummary(numbers as Int32Array);
  }

  private start(step: OneStep, outputs: Parameters<OneStep["graph"]>[0]): DeviceBuffer[] {
    return this.underlying.run(this.program(step.graph(outputs)), step.buffers, step.scalars);
  }

  private program(graph: { readonly key: string; readonly graph: Graph }): Executable {
    const known = this.programs.get(graph.key);
    if (known !== undefined) return known;
    if (this.programs.size >= mostPrograms) {
      for (const program of this.programs.values()) this.underlying.release(program);
      this.programs.clear();
    }
    const made = this.underlying.compile(graph.graph, { label: "one step" });
    this.programs.set(graph.key, made);
    return made;
  }

  private note(what: Omit<Pending, "made">, { values }: Held): void {
    if (values === undefined) return;
    // Who reads waits for it; a failure before that is that reader's.
    values.catch(() => undefined);
    this.pending.push({ ...what, made: values });
  }

  private drop(held: Held): void {
    held.users--;
    if (held.users === 0 && held.owned && held.buffer !== undefined) this.underlying.free(held.buffer);
  }

  /** Throws NonFiniteError for the first node that made what is watched for. */
  private async look(): Promise<void> {
    const { pending } = this;
    this.pending = [];
    for (const { node, made, inputs, program } of pending) {
      const values = await made;
      const from = await Promise.all(inputs.map(({ values: known }) => known));
      if (isMeant(node) || !this.isNew(values, from)) continue;
      const found: Found = {
        node,
        values,
        inputs: inputs.map(({ shape, dtype, scalar }, i) => ({ shape, dtype, scalar, values: from[i] })),
        label: program.label,
        name: node.kind === "input" ? program.names[node.input] : undefined,
        steps: program.steps,
      };
      throw nonFiniteError(found);
    }
  }

  /** Whether there is a NaN where no operand had one, or an infinity where none had. */
  private isNew(made: Values, from: readonly (Values | undefined)[]): boolean {
    const had = (what: "nan" | "infinite"): boolean => from.some((values) => (values?.[what] ?? 0) > 0);
    return (made.nan > 0 && !had("nan")) || (this.watched === "non-finite" && made.infinite > 0 && !had("infinite") && !had("nan"));
  }
}

/** One user more. */
function keep(held: Held): Held {
  held.users++;
  return held;
}

/** Numbers that stand in the program are what somebody wrote. */
const isMeant = (node: GraphNode): boolean => node.kind === "operation" && (node.primitive === "const" || node.primitive === "pad");
