import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { type Backend, compile, key, randn, scan, stack, type Tensor, useBackend, vjp, vmap } from "../../src/index.js";
import { numbersOf } from "./floats.js";
import { ProgramFailure } from "./program-runs.js";
import { functionOf, inputsOf, type Program } from "./programs.js";
import { createRoundingBackend } from "./rounding-backend.js";

const [exact, rounding] = [createReferenceBackend(), createRoundingBackend()];

type Asked = readonly [name: string, f: (...xs: Tensor[]) => Tensor[]];

/** What is asked of a program: its derivative, a batch, a loop, or the derivative of a batch, as its seed says, or its values alone. */
function asked(program: Program, othersEvery: number): Asked {
  const f = functionOf(program);
  const withDerivative = (g: (...xs: Tensor[]) => Tensor[], xs: Tensor[]): Tensor[] => {
    const [ys, back] = vjp(g, ...xs);
    return [...ys, ...back(ys.map((y, i) => randn(key(i), y.shape)))];
  };
  const stacks = (xs: Tensor[]): Tensor[] => xs.map((x) => stack([x, x.mul(0.75)]));
  const others: readonly Asked[] = [
    ["values and derivatives", (...xs) => withDerivative(f, xs)],
    ["a batch of two", (...xs) => vmap(f)(...stacks(xs))],
    ["a loop of two", (...xs) => scan((carry: null, x: Tensor[]) => [carry, f(...x)] as const, null, stacks(xs))[1]],
    ["values and derivatives of a batch of two", (...xs) => withDerivative(vmap(f), stacks(xs))],
  ];
  return others[program.seed % (others.length * othersEvery)] ?? ["values", f];
}

const on = async (backend: Backend, program: Program, f: (...xs: Tensor[]) => Tensor[]): Promise<number[][]> => {
  useBackend(backend);
  const inputs = inputsOf(program, "f32");
  const results = f(...inputs);
  const numbers = await Promise.all(results.map(numbersOf));
  for (const each of [...results, ...inputs]) each.dispose();
  return numbers;
};

export interface Agreement {
  /** Derivatives, batches and loops of one of so many programs; values of all. */
  readonly othersEvery: number;
  /** What a backend may be off, relative to the largest element of a result, where its functions are as exact as it promises. */
  readonly relative: number;
}

/** How many programs were compared, and how many were not, because rounding alone moves them far. */
export interface Tally {
  compared: number;
  passedOver: number;
}

/**
 * Throws unless a backend computes what the reference computes, as far as rounding lets anybody: what one rounding of each result moves
 * says how far another order of sums may lead.
 */
export async function expectAgreement(
  program: Program,
  backend: Backend,
  { othersEvery, relative }: Agreement,
  tally: Tally,
): Promise<void> {
  const [what, f] = asked(program, othersEvery);
  const expected = await on(exact, program, compile(f));
  const rounded = await on(rounding, program, compile(f));
  const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  const moved = expected.map((values, k) =>
    values.reduce((most, value, i) => Math.max(most, Math.abs(value - (rounded[k]?.[i] as number))), 0),
  );
  if (!moved.every((by, k) => by < 1e-4 * largest(expected[k] as number[]))) {
    tally.passedOver++;
    return;
  }
  tally.compared++;
  const total = moved.reduce((sum, by) => Math.max(sum, by), 0);
  const found = await on(backend, program, compile(f));
  for (const [k, values] of expected.entries()) {
    const bound = relative * largest(values) + 30 * total;
    for (const [i, value] of values.entries()) {
      const other = found[k]?.[i] as number;
      if (!(Math.abs(other - value) <= bound))
        throw new ProgramFailure(
          `element ${i} of result ${k} of ${what} is ${other} on ${backend.info.name}, and ${value} on the reference (at most ${bound} apart)`,
        );
    }
  }
}

/** Throws unless a program that takes its arguments over has the bits of one that does not. */
export async function expectSameWhenDonated(program: Program, backend: Backend): Promise<void> {
  const [what, f] = asked(program, 1);
  const plain = await on(backend, program, compile(f));
  useBackend(backend);
  const donating = compile(f, { donate: [0, 1] });
  for (let run = 0; run < 2; run++) {
    const results = donating(...inputsOf(program, "f32"));
    const found = await Promise.all(results.map(numbersOf));
    for (const each of results) each.dispose();
    if (JSON.stringify(found) !== JSON.stringify(plain))
      throw new ProgramFailure(`with donated arguments ${what} are ${JSON.stringify(found)}, not ${JSON.stringify(plain)}`);
  }
}
