import fc from "fast-check";
import type { BufferInfo, Kernel, Lowered, Step, Value } from "../../src/compiler/program.js";
import { flatten, literal, variable } from "../../src/ir/index-expression.js";

/** Programs of kernels and loops as a compiler might write them, for what orders them and lays out their memory. */

/** A choice for one step: what it reads and writes, by number among what is there. */
type Plan =
  | {
      readonly kind: "kernel";
      readonly reads: readonly number[];
      readonly sizes: readonly number[];
      readonly shifted: boolean;
      readonly waits: boolean;
    }
  | { readonly kind: "loop"; readonly carried: readonly number[]; readonly stacked: number; readonly body: readonly Plan[] };

const sizes = fc.constantFrom(1, 3, 16, 17, 100, 256);
const choice = fc.nat({ max: 1000 });
const plans = fc.letrec<{ step: Plan; kernel: Plan; loop: Plan }>((tie) => ({
  kernel: fc.record({
    kind: fc.constant("kernel" as const),
    reads: fc.array(choice, { maxLength: 3 }),
    sizes: fc.array(sizes, { minLength: 1, maxLength: 2 }),
    shifted: fc.boolean(),
    waits: fc.boolean(),
  }),
  loop: fc.record({
    kind: fc.constant("loop" as const),
    carried: fc.array(choice, { maxLength: 2 }),
    stacked: fc.nat({ max: 1 }),
    body: fc.array(tie("step"), { minLength: 1, maxLength: 5 }),
  }),
  step: fc.oneof({ maxDepth: 2 }, { arbitrary: tie("kernel"), weight: 5 }, { arbitrary: tie("loop"), weight: 1 }),
})).step;

/** A lowered program, and which of its inputs are donated. */
export interface LoweredProgram {
  readonly lowered: Lowered;
  readonly donated: readonly boolean[];
}

export const loweredPrograms: fc.Arbitrary<LoweredProgram> = fc
  .record({
    inputs: fc.array(sizes, { minLength: 1, maxLength: 4 }),
    steps: fc.array(plans, { minLength: 2, maxLength: 14 }),
    outputs: fc.array(choice, { minLength: 1, maxLength: 3 }),
    donated: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  })
  .map(({ inputs, steps, outputs, donated }) => ({ lowered: build(inputs, steps, outputs), donated: donated.slice(0, inputs.length) }));

function build(inputSizes: readonly number[], plans: readonly Plan[], outputs: readonly number[]): Lowered {
  const buffers = new Map<number, BufferInfo>();
  const after = new Map<Kernel, readonly number[]>();
  const fresh = (length: number): number => {
    buffers.set(buffers.size, { dtype: "f32", length });
    return buffers.size - 1;
  };
  const lengthOf = (buffer: number): number => (buffers.get(buffer) as BufferInfo).length;
  let kernels = 0;

  /** A kernel that writes each of `writes` from all of `reads`, at the same place of those that are as long unless `shifted`. */
  const kernel = (reads: readonly number[], writes: readonly number[], shifted = false, iterations: readonly string[] = []): Kernel => {
    const loop = { name: "o", extent: lengthOf(writes[0] as number) };
    const at = variable(loop.name, loop.extent);
    const values: Value[] = reads.map((buffer, id) => ({
      kind: "load",
      id,
      dtype: "f32",
      buffer,
      index: !shifted && lengthOf(buffer) === loop.extent ? at : literal(0),
    }));
    const sum = { kind: "operation", id: values.length, dtype: "f32", operation: "where", args: [...values] } as const;
    values.push(sum);
    const stores = writes.map((buffer) => ({
      buffer,
      value: sum,
      inner: false,
      index: lengthOf(buffer) === loop.extent ? at : placeOf(buffer, iterations),
    }));
    return { kind: "map", label: `kernel ${kernels++}`, values, stores, outer: loop };
  };
  const placeOf = (buffer: number, iterations: readonly string[]) =>
    flatten(
      iterations.length > 0 ? [variable(iterations.at(-1) as string, 2), literal(0)] : [literal(0)],
      iterations.length > 0 ? [2, lengthOf(buffer)] : [lengthOf(buffer)],
    );

  /** Steps that may read `there`; what they make that may be read afterwards is added to it. */
  const write = (list: readonly Plan[], there: number[], iterations: readonly string[]): Step[] =>
    list.flatMap((plan): Step[] => {
      const pick = (number: number): number => there[number % there.length] as number;
      if (plan.kind === "kernel") {
        const reads = [...new Set(plan.reads.map(pick))];
        const writes = plan.sizes.map(() => fresh(plan.sizes[0] as number));
        const made = kernel(reads, writes, plan.shifted, iterations);
        if (plan.waits && iterations.length === 0)
          after.set(
            made,
            [pick(plan.sizes.length + reads.length)].filter((buffer) => buffer >= inputSizes.length),
          );
        there.push(...writes);
        return [made];
      }
      const name = `i${iterations.length}`;
      const carried = [...new Set(plan.carried.map(pick))].map((from) => ({ from, buffer: fresh(lengthOf(from)) }));
      const before = carried.map(({ from, buffer }) => kernel([from], [buffer]));
      const inside = [...there, ...carried.map(({ buffer }) => buffer)];
      const body = write(plan.body, inside, [...iterations, name]);
      const last = inside.at(-1) as number;
      const stacks = Array.from({ length: plan.stacked }, () => fresh(2 * lengthOf(last)));
      const stores = stacks.map((stack) => kernel([last], [stack], false, [...iterations, name]));
      const next = carried.map(({ buffer }, i) =>
        kernel(
          [inside.at(-1 - i) as number].filter((read) => !carried.some((other) => other.buffer === read)),
          [buffer],
        ),
      );
      there.push(...carried.map(({ buffer }) => buffer), ...stacks);
      return [...before, { kind: "loop", label: "loop", iteration: { name, extent: 2 }, body: [...body, ...stores, ...next] }];
    });

  const inputs = inputSizes.map(fresh);
  const there = [...inputs];
  const steps = write(plans, there, []);
  const made = there.slice(inputs.length);
  const results = [...new Set(outputs.map((number) => made[made.length - 1 - (number % Math.min(6, made.length))] as number))];
  return { steps, buffers, inputs, outputs: results, after };
}
