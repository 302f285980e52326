import { isFloat, summableDtype } from "../ir/dtype.js";
import { type Graph, type GraphNode, inputsOf } from "../ir/graph.js";
import { deriving } from "../ir/origin.js";
import * as ops from "./operations.js";
import { evaluate, extend, makeLoop, traceBody } from "./region.js";
import { apply, type Loop, originOf, type Region, type Source, inputsOf as sourcesOf, Tensor } from "./tensor.js";
import { vjpRule } from "./vjp.js";
import { derivationOf } from "./vjp-formulas.js";

/**
 * Reverse-mode differentiation: the steps between variables and outputs in the order in which they compute, and the cotangents that
 * are carried back through them. A step is one primitive, one barrier, or one region with all of its results.
 */
type Operation = Extract<Source, { kind: "operation" }>;

export interface Step {
  /** What the step computes: kept apart from the tensors, so that realising them cannot remove it. */
  readonly does: Operation | "barrier" | Region;
  readonly outputs: readonly Tensor[];
  readonly inputs: readonly Tensor[];
  /** Which inputs depend on a variable. */
  readonly needs: readonly boolean[];
}

/** The steps between `variables` and `outputs`. */
export function record(outputs: readonly Tensor[], variables: ReadonlySet<Tensor>): Step[] {
  const depends = new Map<Tensor | Region, boolean>();
  const steps: Step[] = [];
  const stack: { item: Tensor | Region; inputs: readonly (Tensor | Region)[]; next: number }[] = [];
  const enter = (item: Tensor | Region): void => {
    if (depends.has(item)) return;
    const inputs = item instanceof Tensor ? (variables.has(item) ? [] : sourcesOf(item.source)) : item.inputs;
    stack.push({ item, inputs, next: 0 });
  };
  const finish = (item: Tensor | Region, inputs: readonly (Tensor | Region)[]): boolean => {
    if (item instanceof Tensor && variables.has(item)) return true;
    const needs = inputs.map((input) => (depends.get(input) ?? false) && (!(input instanceof Tensor) || isFloat(input.dtype)));
    if (!needs.some(Boolean)) return false;
    if (!(item instanceof Tensor)) steps.push({ does: item, outputs: item.results, inputs: inputs as readonly Tensor[], needs });
    else if (item.source.kind === "operation") {
      if (item.source.primitive === "stopGradient") return false;
      steps.push({ does: item.source, outputs: [item], inputs: inputs as readonly Tensor[], needs });
    } else if (item.source.kind === "barrier") {
      if (!needs[0]) return false;
      steps.push({ does: "barrier", outputs: [item], inputs: inputs as readonly Tensor[], needs });
    }
    return true;
  };
  for (const output of outputs) {
    enter(output);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (depends.has(top.item)) stack.pop();
      else if (top.next < top.inputs.length) enter(top.inputs[top.next++] as Tensor | Region);
      else {
        depends.set(top.item, finish(top.item, top.inputs));
        stack.pop();
      }
    }
  }
  return steps;
}

/** Runs the steps backwards from the cotangents of the outputs to those of the variables; null where none arrives. */
export function pullBack(
  steps: readonly Step[],
  seeds: readonly (readonly [Tensor, Tensor])[],
  variables: readonly Tensor[],
): (Tensor | null)[] {
  const cotangents = new Map<Tensor, Tensor>();
  const accumulate = (to: Tensor, ct: Tensor): void => {
    const sofar = cotangents.get(to);
    const sum = (earlier: Tensor): Tensor =>
      deriving(
        () => ({ of: "a value that is used more than once", rule: "x̄ = Σ of the cotangents of its uses", forward: originOf(to) }),
        () => ops.add(earlier, ct),
      );
    cotangents.set(to, sofar === undefined ? ct : sum(sofar));
  };
  for (const [output, seed] of seeds) accumulate(output, seed);
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i] as Step;
    const cts = step.outputs.map((output) => cotangents.get(output) ?? null);
    if (cts.every((ct) => ct === null)) continue;
    const parts = deriving(
      () => derivationOf(step.does, originOf(step.outputs[0] as Tensor)),
      () => pullStep(step, cts),
    );
    step.inputs.forEach((input, k) => {
      const part = step.needs[k] ? parts[k] : null;
      if (part) accumulate(input, part);
    });
  }
  return variables.map((variable) => cotangents.get(variable) ?? null);
}

type Parts = readonly (Tensor | null | undefined)[];

function pullStep({ does, outputs, inputs, needs }: Step, cts: readonly (Tensor | null)[]): Parts {
  if (does === "barrier") return [cts[0]];
  if (does.kind === "operation") {
    const { primitive, params } = does;
    return vjpRule(primitive)(cts[0] as Tensor, { inputs, y: outputs[0] as Tensor, params, needs });
  }
  if (does.kind === "loop") return pullLoop(does, cts, needs);
  if (does.pullback) return does.pullback(does, cts, needs);
  // The same computation as the call's, so that what both compute is shared once the call is inlined.
  const variables = inputs.map((input) => apply("alias", [input], {}));
  return pullThrough(evaluate(does.body, variables), variables, cts, needs);
}

/** The cotangents of variables that some outputs were computed from. */
export function pullThrough(
  outputs: readonly Tensor[],
  variables: readonly Tensor[],
  cts: readonly (Tensor | null)[],
  needs: readonly boolean[],
): (Tensor | null)[] {
  const needed = variables.filter((_, i) => needs[i]);
  const seeds = outputs.flatMap((output, i): [Tensor, Tensor][] => {
    const ct = cts[i];
    return ct && isFloat(output.dtype) ? [[output, ct]] : [];
  });
  const steps = record(
    seeds.map(([output]) => output),
    new Set(needed),
  );
  const found = pullBack(steps, seeds, needed)[Symbol.iterator]();
  return needs.map((need) => (need ? (found.next().value as Tensor | null) : null));
}

/**
 * The pullback of a loop is a loop the other way round. It carries the cotangents of the carried values and the sums of those of the
 * constants, and computes each step anew from the carried values before it, which the loop itself is made to stack:
 *
 *   forward    i = 0 … n − 1    cᵢ₊₁, yᵢ = f(cᵢ, xᵢ, w)                      stacks c₀ … cₙ₋₁ as well
 *   backward   i = n − 1 … 0    c̄ᵢ, x̄ᵢ, Δw̄ = vjp of f at (cᵢ, xᵢ, w) of (c̄ᵢ₊₁, ȳᵢ);   w̄ ← w̄ + Δw̄
 */
function pullLoop(loop: Loop, cts: readonly (Tensor | null)[], needs: readonly boolean[]): Parts {
  const { body, carried, sliced, count, reverse, inputs } = loop;
  const fixed = inputs.slice(carried + sliced);
  const through = varying(loop, needs);
  const chosen = (from: number, to: number): number[] => through.flatMap((is, i) => (is && i >= from && i < to ? [i] : []));
  const states = chosen(0, carried);
  const slices = chosen(carried, carried + sliced);
  const constants = chosen(carried + sliced, inputs.length);
  /** Outputs that are stacked and have a cotangent. */
  const stacks = body.outputs.flatMap((_, i) => (i >= carried && cts[i] ? [i] : []));

  // Sums over many steps of what halves hold: like all sums, they are added up in f32.
  const wide = (x: Tensor): Tensor => ops.cast(x, summableDtype(x.dtype));
  const start = [
    ...states.map((i) => cts[i] ?? ops.zerosLike(inputs[i] as Tensor)),
    ...constants.map((i) => wide(ops.zerosLike(inputs[i] as Tensor))),
  ];
  const xs = [...stackStates(loop), ...inputs.slice(carried, carried + sliced), ...stacks.map((i) => cts[i] as Tensor)];
  const types = [...start, ...xs.map(({ shape, dtype }) => ({ shape: shape.slice(1), dtype })), ...fixed];
  const { body: step, captured } = traceBody(types, (placeholders) => {
    const parts = partsOf(placeholders, [states.length, constants.length, carried + sliced, stacks.length, fixed.length]);
    const [ctStates, sums, moving, ctStacks, still] = parts as [Tensor[], Tensor[], Tensor[], Tensor[], Tensor[]];
    const variables = [...moving, ...still];
    const outputs = evaluate(body, variables);
    const ctOf: (Tensor | null)[] = outputs.map(() => null);
    states.forEach((i, k) => {
      ctOf[i] = ctStates[k] as Tensor;
    });
    stacks.forEach((i, k) => {
      ctOf[i] = ctStacks[k] as Tensor;
    });
    const found = pullThrough(outputs, variables, ctOf, through);
    const foundOr = (i: number): Tensor => found[i] ?? ops.zerosLike(variables[i] as Tensor);
    const added = constants.map((i, k) => (found[i] ? ops.add(sums[k] as Tensor, wide(found[i])) : (sums[k] as Tensor)));
    return [...states.map(foundOr), ...added, ...slices.map(foundOr)];
  });
  const back = makeLoop({
    body: step,
    count,
    reverse: !reverse,
    carried: start.length,
    sliced: xs.length,
    inputs: [...start, ...xs, ...fixed, ...captured],
  });
  const order = [...states, ...constants, ...slices];
  return inputs.map(({ dtype }, i) => (needs[i] ? ops.cast(back.results[order.indexOf(i)] as Tensor, dtype) : null));
}

/**
 * Which inputs of the body have cotangents: floats that are variables, and carried ones that depend on a variable in some step
 * (the smallest fixed point).
 */
function varying({ body, carried, inputs }: Loop, needs: readonly boolean[]): readonly boolean[] {
  const through = inputs.map(({ dtype }, i) => isFloat(dtype) && needs[i] === true);
  for (let more = true; more; ) {
    const depends: boolean[] = [];
    for (const node of body.nodes) {
      if (node.kind === "input") depends.push(through[node.input] as boolean);
      else if (node.kind === "operation" && node.primitive === "stopGradient") depends.push(false);
      else {
        const read = node.kind === "barrier" ? node.inputs.slice(0, 1) : inputsOf(node);
        // The dtype of a region is that of its first result alone.
        const holds = node.kind === "call" || node.kind === "loop" || isFloat(node.dtype);
        depends.push(holds && read.some((input) => depends[input]));
      }
    }
    more = false;
    for (let k = 0; k < carried; k++) {
      if (through[k] || !depends[body.outputs[k] as number]) continue;
      through[k] = true;
      more = true;
    }
  }
  return through;
}

/** A list cut into pieces of the given lengths. */
function partsOf<T>(list: readonly T[], lengths: readonly number[]): T[][] {
  let start = 0;
  return lengths.map((length) => {
    start += length;
    return list.slice(start - length, start);
  });
}

/** The stacks of the carried values of loops that were differentiated: their numbers among the results. */
const stateStacks = new WeakMap<Loop, number>();

/** The carried values before each step, [count, …] each, which the loop stacks from now on. */
function stackStates(loop: Loop): readonly Tensor[] {
  const { body, carried, inputs } = loop;
  let first = stateStacks.get(loop);
  if (first === undefined) {
    first = body.outputs.length;
    stateStacks.set(loop, first);
    const nodes: GraphNode[] = [...body.nodes];
    const states = inputs.slice(0, carried).map(({ shape, dtype }, input) => {
      const known = nodes.findIndex((node) => node.kind === "input" && node.input === input);
      return known >= 0 ? known : nodes.push({ kind: "input", input, shape, dtype }) - 1;
    });
    const stacking: Graph = { ...body, nodes, outputs: [...body.outputs, ...states] };
    extend(loop, stacking, inputs);
  }
  return loop.results.slice(first, first + carried);
}
