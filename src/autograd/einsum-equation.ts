import { ShapeError } from "../errors.js";
import { type Shape, show } from "../ir/shape.js";

/** The language of `einsum`: "ij,jk->ik". */

export interface Equation {
  /** A name for each axis of each operand. Axes that "..." stands for are named by their place from the right. */
  readonly terms: readonly (readonly string[])[];
  readonly result: readonly string[];
  /** How far each name runs. */
  readonly extents: ReadonlyMap<string, number>;
}

const letter = /^[A-Za-z]$/;
const dots = "...";

/** The letters of a term, with "..." for an entry of its own. Throws ShapeError for anything else. */
function symbolsOf(term: string, equation: string): string[] {
  const [before, after, ...more] = term.split(dots) as [string, string?, ...string[]];
  if (more.length > 0) throw new ShapeError(`einsum: "..." stands twice in "${term}", in "${equation}"`);
  const symbols = [...before, ...(after === undefined ? [] : [dots, ...after])];
  const wrong = symbols.find((symbol) => symbol !== dots && !letter.test(symbol));
  if (wrong !== undefined) {
    throw new ShapeError(`einsum: "${wrong}" names no axis in "${equation}"`, {
      hint: 'axes are letters, or "..." for those that broadcast',
    });
  }
  return symbols;
}

/** Reads an equation for operands of these shapes. */
export function readEquation(equation: string, shapes: readonly Shape[]): Equation {
  const fail = (problem: string, hint?: string): never => {
    throw new ShapeError(`einsum: ${problem}`, hint === undefined ? {} : { hint });
  };
  const [left, right, ...more] = equation.replace(/\s/g, "").split("->") as [string, string?, ...string[]];
  if (more.length > 0) fail(`"${equation}" has more than one arrow`);
  const written = left.split(",").map((term) => symbolsOf(term, equation));
  if (written.length !== shapes.length) {
    fail(`"${equation}" has ${written.length} terms for ${shapes.length} operands`, 'write a term for each, as in "ij,jk->ik"');
  }
  const extents = new Map<string, number>();
  const terms = written.map((symbols, i) => {
    const shape = shapes[i] as Shape;
    const free = shape.length - symbols.filter((symbol) => symbol !== dots).length;
    if (free < 0 || (free > 0 && !symbols.includes(dots))) {
      fail(
        `"${symbols.join("")}" does not name the axes of ${show(shape)}, in "${equation}"`,
        'one letter for each axis; "..." stands for the rest',
      );
    }
    const names = symbols.flatMap((symbol) =>
      symbol === dots ? Array.from({ length: free }, (_, k) => `axis −${free - k} of "..."`) : [symbol],
    );
    names.forEach((name, axis) => {
      const [known, found] = [extents.get(name), shape[axis] as number];
      if (known !== undefined && known !== found && known !== 1 && found !== 1) {
        fail(
          `${name} is ${known} and ${found} in "${equation}" of ${shapes.map(show).join(" and ")}`,
          "a letter has one extent, or 1, in all terms",
        );
      }
      if (known === undefined || known === 1) extents.set(name, found);
    });
    return names;
  });
  const broadcast = [...extents.keys()].filter((name) => !letter.test(name)).sort((a, b) => placeOf(b) - placeOf(a));
  const all = terms.flat();
  const result =
    right === undefined
      ? [...broadcast, ...[...extents.keys()].filter((name) => letter.test(name) && all.indexOf(name) === all.lastIndexOf(name)).sort()]
      : symbolsOf(right, equation).flatMap((symbol) => (symbol === dots ? broadcast : [symbol]));
  for (const name of result) if (!extents.has(name)) fail(`${name} is on the right of "${equation}" only`);
  if (new Set(result).size !== result.length) fail(`"${equation}" names an axis of the result twice`);
  if (broadcast.some((name) => !result.includes(name))) {
    fail(`the result of "${equation}" does not say where the axes of "..." go`, 'write "..." on the right too, or sum over letters');
  }
  return { terms, result, extents };
}

/** Which axis of "...", counted from the right. */
const placeOf = (name: string): number => Number(/\d+/.exec(name)?.[0]);
