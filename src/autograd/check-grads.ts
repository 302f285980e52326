import {
  callable,
  checkArgument,
  checkOptions,
  integer,
  listOf,
  notNegative,
  type OptionKinds,
  oneOf,
  optional,
  positive,
} from "../arguments.js";
import { GradientError } from "../errors.js";
import type { DType } from "../ir/dtype.js";
import { type Shape, show, sizeOf, stridesOf } from "../ir/shape.js";
import { threefry2x32 } from "../ir/threefry.js";
import { compile } from "./compile.js";
import { type Flat, flatFunction, type Numbers, tensorOf, type Variable } from "./flat-function.js";
import { jvp, vjp } from "./grad.js";
import { data } from "./realize.js";
import { currentBackend } from "./runtime.js";
import { fromHost, type Tensor } from "./tensor.js";

/** "reverse" holds `vjp` against differences, "forward" holds `jvp`. */
export type GradientMode = "forward" | "reverse";

export interface CheckGradsOptions {
  /** How many times to differentiate: 2 checks the derivative of the derivative as well. Default 1. */
  readonly order?: number;
  /** Which ways of differentiating to check, at each order. Default both. */
  readonly modes?: readonly GradientMode[];
  /** Half the distance h between the points of a central difference. Default 1e-5 in f64, 1e-2 in f32. */
  readonly step?: number;
  /** Allowed difference, relative to the expected value. Default 1e-6 in f64, 2e-2 in f32. */
  readonly relative?: number;
  /** Allowed difference whatever the expected value. Default 1e-6 in f64, 5e-3 in f32. */
  readonly absolute?: number;
  /** Elements of one argument that reverse mode is checked at, spread evenly. Default 64. */
  readonly places?: number;
  /** Chooses the random cotangents and directions. Default 0. */
  readonly seed?: number;
}

const checkKinds: OptionKinds<CheckGradsOptions> = {
  order: optional(integer(1)),
  modes: optional(listOf(oneOf("forward", "reverse"))),
  step: optional(positive),
  relative: optional(notNegative),
  absolute: optional(notNegative),
  places: optional(integer(1)),
  seed: optional(integer(0)),
};

type Settings = Required<CheckGradsOptions>;
/**
 * Holds the derivatives of f at `args` against central differences (f(x + h) − f(x − h))/2h: in reverse mode
 * vᵀ·∂f/∂x for a random v, element by element; in forward mode ∂f/∂x · u for a random u; and with `order: 2` the same for
 * these derivatives as functions of x. Arguments are trees of tensors and numbers; floats are varied, all else is kept as
 * it is. Computes in f64 where the backend has it, else in f32 with wider tolerances. Where f jumps between the two points,
 * differences of a sixteenth and of a 256th of h decide.
 *
 * @throws GradientError that names the argument, the place, the derivative found and the one expected; or if f has nothing
 * to differentiate.
 */
export async function checkGrads<A extends readonly unknown[]>(
  f: (...args: A) => unknown,
  args: A,
  options: CheckGradsOptions = {},
): Promise<void> {
  checkArgument("checkGrads", "f", f, callable);
  checkArgument("checkGrads", "args", args, { wanted: "a list of the arguments of f", fits: Array.isArray });
  checkOptions("checkGrads", options, checkKinds);
  const wide = currentBackend().info.dtypes.has("f64");
  const settings: Settings = {
    order: 1,
    modes: ["forward", "reverse"],
    ...(wide ? { step: 1e-5, relative: 1e-6, absolute: 1e-6 } : { step: 1e-2, relative: 2e-2, absolute: 5e-3 }),
    places: 64,
    seed: 0,
    ...options,
  };
  const { flat, variables } = await flatFunction("checkGrads", f, args);
  await checkOrder(flat, variables, settings, 1, "");
}

/** Checks one order, then the derivatives that this order is made of. */
async function checkOrder(f: Flat, variables: readonly Variable[], settings: Settings, order: number, way: string): Promise<void> {
  const random = randomNumbers(settings.seed + order);
  const run = compile(f);
  const at = async (points: readonly Numbers[]): Promise<Numbers[]> => read(run(...variables.map((v, i) => tensorOf(v, points[i]))));
  const here = variables.map((v) => tensorOf(v));
  const shapes = f(...here).map((output) => ({ shape: output.shape, dtype: output.dtype }));
  const cotangents = shapes.map(({ shape, dtype }) => fromHost(shape, dtype, random(dtype, sizeOf(shape))));
  const weights = cotangents.map((cotangent) => (cotangent.source as { data: Numbers }).data);
  const tangents = variables.map((v) => tensorOf(v, random(v.dtype, v.values.length)));
  const directions = tangents.map((tangent) => (tangent.source as { data: Numbers }).data);
  const derivatives: { readonly [M in GradientMode]: Flat } = {
    reverse: (...primals) => [...vjp(f, ...primals)[1](cotangents)],
    forward: (...primals) => jvp(f, primals, tangents)[1],
  };

  for (const mode of settings.modes) {
    const route = `${way}${mode}`;
    const found = await read(compile(derivatives[mode])(...here));
    if (mode === "reverse") {
      for (const [i, variable] of variables.entries()) {
        for (const place of spread(variable.values.length, settings.places)) {
          const difference = async (step: number): Promise<number> => {
            const distance = step * Math.max(1, Math.abs(variable.values[place] as number));
            const moved = (by: number): Numbers[] => variables.map((v, j) => (j === i ? displaced(v.values, place, by) : v.values));
            const [above, below] = [await at(moved(distance)), await at(moved(-distance))];
            let sum = 0;
            weights.forEach((w, k) => {
              w.forEach((weight, e) => {
                sum += weight * ((above[k]?.[e] as number) - (below[k]?.[e] as number));
              });
            });
            return sum / (2 * distance);
          };
          await compare(
            found[i]?.[place] as number,
            difference,
            () => `the derivative by ${variable.path}${position(variable.shape, place)}`,
            { route, settings },
          );
        }
      }
    } else {
      const differences = async (step: number): Promise<number[][]> => {
        const moved = (by: number): Numbers[] => variables.map((v, j) => along(v.values, directions[j] as Numbers, by));
        const [above, below] = [await at(moved(step)), await at(moved(-step))];
        return above.map((list, k) => Array.from(list, (high, e) => (high - (below[k]?.[e] as number)) / (2 * step)));
      };
      const known = new Map<number, Promise<number[][]>>();
      for (const [k, { shape }] of shapes.entries()) {
        for (let e = 0; e < sizeOf(shape); e++) {
          await compare(
            found[k]?.[e] as number,
            async (step) => {
              if (!known.has(step)) known.set(step, differences(step));
              return (await known.get(step))?.[k]?.[e] as number;
            },
            () => `the directional derivative of output ${k}${position(shape, e)}`,
            { route, settings },
          );
        }
      }
    }
    if (order < settings.order) await checkOrder(derivatives[mode], variables, settings, order + 1, `${route} over `);
  }
  for (const tensor of [...here, ...cotangents, ...tangents]) tensor.dispose();
}

/**
 * Throws unless a derivative is the limit of a difference quotient. One that disagrees is looked at again from nearer by, since a jump of the
 * function between the two points says nothing of the derivative at the one in their middle.
 */
async function compare(
  found: number,
  difference: (step: number) => Promise<number>,
  what: () => string,
  { route, settings }: { readonly route: string; readonly settings: Settings },
): Promise<void> {
  const agrees = (expected: number): boolean => Math.abs(found - expected) <= settings.absolute + settings.relative * Math.abs(expected);
  const quotients: number[] = [];
  for (const nearer of [1, 16, 256]) {
    const quotient = await difference(settings.step / nearer);
    if (agrees(quotient)) return;
    quotients.push(quotient);
  }
  const [far, , near] = quotients as [number, number, number];
  const where = `checkGrads (${route}): ${what()} is ${found}`;
  // The height of a jump over a distance that shrinks: the quotient grows as much.
  if (Math.abs(near) > 100 * Math.abs(far)) {
    throw new GradientError(`${where}, and the function jumps there: differences give ${far}, and ${near} from nearer by`, {
      hint: "a jump has no derivative; choose another point, one where no two elements tie for example",
    });
  }
  throw new GradientError(`${where}, and central differences give ${far}`, {
    hint: "look at the rule of that derivative; differences are wrong where the function has a kink or needs a smaller step",
  });
}

const read = (tensors: readonly Tensor[]): Promise<Numbers[]> =>
  Promise.all(
    tensors.map(async (tensor) => {
      const values = (await data(tensor)) as Numbers;
      tensor.dispose();
      return values;
    }),
  );

function displaced(values: Numbers, place: number, by: number): Numbers {
  const copy = values.slice();
  copy[place] = (values[place] as number) + by;
  return copy;
}

const along = (values: Numbers, direction: Numbers, by: number): Numbers => values.map((x, i) => x + by * (direction[i] as number));

/** " at [1, 2]" for an element of a tensor with axes. */
const position = (shape: Shape, place: number): string =>
  shape.length === 0 ? "" : ` at ${show(stridesOf(shape).map((stride, axis) => Math.floor(place / stride) % (shape[axis] as number)))}`;

/** Up to `limit` places out of `length`, the first and the last among them. */
const spread = (length: number, limit: number): number[] =>
  length <= limit
    ? Array.from({ length }, (_, i) => i)
    : Array.from({ length: limit }, (_, i) => Math.round((i * (length - 1)) / Math.max(1, limit - 1)));

/** Numbers of either sign between ½ and 1½ in magnitude: none is so small that it could hide an error. */
function randomNumbers(seed: number): (dtype: DType, length: number) => Numbers {
  let counter = 0;
  return (dtype, length) => {
    const numbers = dtype === "f64" ? new Float64Array(length) : new Float32Array(length);
    return numbers.map(() => {
      const [word, sign] = threefry2x32(0, seed, counter++, 0);
      return (sign % 2 === 0 ? 1 : -1) * (0.5 + word / 2 ** 32);
    });
  };
}
