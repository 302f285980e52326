import { callable, checkArgument, checkOptions, integer, type Kind } from "../arguments.js";
import { DtypeError, ShapeError, UsageError } from "../errors.js";
import { sameShape, show } from "../ir/shape.js";
import { tensorKind } from "./kinds.js";
import * as ops from "./operations.js";
import { pullThrough } from "./pullback.js";
import { evaluate, makeCall, traceBody } from "./region.js";
import { type TensorsOfTree, tensorArguments, tensorResults } from "./region-trees.js";
import { scan } from "./scan.js";
import { apply, type CallPullback, type Tensor } from "./tensor.js";
import { sameForm } from "./tree.js";

/** One side of a choice as a function of tensors; null stands for a zero. */
type Side = (inputs: readonly Tensor[]) => readonly (Tensor | null)[];

/**
 * What one of two functions of the same tensors gives, as a call: both are computed, and `where` takes each result from one of them. The rule
 * for its derivative is a choice of the same kind between the derivatives of both, so that what the side not taken makes of its inputs, NaN and
 * infinities included, has no influence on derivatives of any order.
 */
function choose(condition: Tensor, inputs: readonly Tensor[], sides: readonly [Side, Side]): (Tensor | null)[] {
  const n = inputs.length;
  /** Which results there are: not those that both sides say are zero. */
  let present: boolean[] = [];
  const { body, captured } = traceBody([condition, ...inputs], ([taken, ...xs]) => {
    const [first, second] = [sides[0](xs), sides[1](xs)];
    present = first.map((y, i) => y !== null || second[i] !== null);
    return first.flatMap((y, i) => {
      const other = second[i] ?? null;
      const like = y ?? other;
      return like === null ? [] : [ops.where(taken as Tensor, y ?? ops.zerosLike(like), other ?? ops.zerosLike(like))];
    });
  });
  const places = present.flatMap((is, i) => (is ? [i] : []));
  const pullback: CallPullback = ({ inputs: all }, cts, needs) => {
    const asked = places.flatMap((place, k) => (cts[k] ? [{ place, ct: cts[k] as Tensor }] : []));
    const back =
      (side: Side): Side =>
      (xs) => {
        const variables = xs.slice(0, n).map((x) => apply("alias", [x], {}));
        const outputs = side(variables);
        const pairs = asked.flatMap(({ place }, k): [Tensor, Tensor][] => (outputs[place] ? [[outputs[place], xs[n + k] as Tensor]] : []));
        const [ys, seeds] = [pairs.map(([y]) => y), pairs.map(([, ct]) => ct)];
        return pullThrough(ys, variables, seeds, needs.slice(1, 1 + n));
      };
    return [null, ...choose(all[0] as Tensor, [...all.slice(1, 1 + n), ...asked.map(({ ct }) => ct)], [back(sides[0]), back(sides[1])])];
  };
  const { results } = makeCall({ name: "cond", params: {}, body, inputs: [condition, ...inputs, ...captured], pullback });
  return present.map((is, i) => (is ? (results[places.indexOf(i)] as Tensor) : null));
}

/** Throws unless a condition is a bool scalar. */
function checkCondition(where: string, condition: Tensor): void {
  if (condition.dtype !== "bool") {
    throw new DtypeError(`${where}: the condition is ${condition.dtype}, not bool`, {
      hint: "compare: x.greater(0), or count.notEqual(0)",
    });
  }
  if (condition.rank !== 0) {
    throw new ShapeError(`${where}: the condition is ${show(condition.shape)}, not a scalar`, {
      hint: "where() chooses element by element; vmap(cond) for each example",
    });
  }
}

/**
 * `whenTrue(...args)` where the condition, a bool scalar, holds, and `whenFalse(...args)` elsewhere; both give trees of one form, shapes and
 * dtypes. Programs have no branches: both are computed and one of them is taken, so a choice costs both; a condition that the host knows is
 * an `if`. Values and derivatives of any order are those of the side taken alone, also where the other one gives NaN:
 *
 *   cond(x.greater(0), (x) => x.sqrt(), (x) => x.mul(0), x)     // derivative 0 at x = −1
 *
 * @throws UsageError where the two results differ in form, ShapeError and DtypeError where they do in shape or dtype
 */
export function cond<A extends readonly unknown[], R>(
  condition: Tensor,
  whenTrue: (...args: A) => R,
  whenFalse: (...args: A) => R,
  ...args: A
): R {
  checkArgument("cond", "condition", condition, tensorKind);
  checkArgument("cond", "whenTrue", whenTrue, callable);
  checkArgument("cond", "whenFalse", whenFalse, callable);
  checkCondition("cond", condition);
  const given = tensorArguments(args, "cond: the list of arguments");
  const values: TensorsOfTree<R>[] = [];
  const bodies = [whenTrue, whenFalse].map((f) =>
    traceBody(given.tensors, (placeholders) => {
      const value = tensorResults(f(...given.rebuild(placeholders)), "cond");
      values.push(value);
      return value.tensors;
    }),
  );
  const [first, second] = values as [TensorsOfTree<R>, TensorsOfTree<R>];
  checkAlike("cond", ["what whenTrue gives", "what whenFalse gives"], first, second);
  const [yes, no] = bodies as [(typeof bodies)[0], (typeof bodies)[0]];
  const own = given.tensors.length;
  const closed = yes.captured.length;
  const results = choose(
    condition,
    [...given.tensors, ...yes.captured, ...no.captured],
    [(xs) => evaluate(yes.body, xs.slice(0, own + closed)), (xs) => evaluate(no.body, [...xs.slice(0, own), ...xs.slice(own + closed)])],
  );
  return first.rebuild(results as Tensor[]);
}

/** Throws unless two trees of tensors have one form, with tensors of one shape and dtype at the same places. */
function checkAlike<T>(where: string, names: readonly [string, string], first: TensorsOfTree<T>, second: TensorsOfTree<T>): void {
  if (first.key !== second.key) {
    sameForm(where, names, first.rebuild(first.tensors), second.rebuild(second.tensors));
    throw new UsageError(`${where}: ${names[0]} and ${names[1]} have tensors at different places`, { hint: "give trees of one form" });
  }
  first.tensors.forEach((x, i) => {
    const y = second.tensors[i] as Tensor;
    const at = first.paths[i] === "" ? "" : ` at ${first.paths[i]}`;
    const found = `${where}: ${names[0]} is ${x.dtype}${show(x.shape)}${at}, and ${names[1]} ${y.dtype}${show(y.shape)}`;
    if (!sameShape(x.shape, y.shape)) throw new ShapeError(found, { hint: "both have one shape, whichever is taken" });
    if (x.dtype !== y.dtype) throw new DtypeError(found, { hint: "cast one of them" });
  });
}

export interface WhileLoopOptions {
  /** Steps after which the loop ends whatever the condition says: so many are computed, always. */
  readonly maxSteps: number;
}

const treeKind: Kind = { wanted: "a tree of tensors", fits: (value) => value !== undefined };

/**
 * `carry = body(carry)` for as long as `condition(carry)`, a bool scalar, holds, and at most `maxSteps` times: [the last carry, how many steps
 * were taken, an i32 scalar]. A loop of a program has a fixed number of steps: those after the last one are computed and thrown away, as the
 * side of a `cond` that is not taken is, so that the time is that of `maxSteps` steps and derivatives of any order exist. Where the number of
 * steps varies much, loop on the host: `while (await condition(carry).item()) carry = step(carry)` with a compiled step.
 *
 * @throws OptionError for maxSteps that are no positive integer, and as `scan` and `cond` do
 */
export function whileLoop<C>(
  condition: (carry: C) => Tensor,
  body: (carry: C) => C,
  carry: C,
  options: WhileLoopOptions,
): [carry: C, steps: Tensor] {
  checkArgument("whileLoop", "condition", condition, callable);
  checkArgument("whileLoop", "body", body, callable);
  checkArgument("whileLoop", "carry", carry, treeKind);
  checkOptions("whileLoop", options, { maxSteps: integer(0) });
  const start = { carry, steps: ops.full([], 0, { dtype: "i32" }), goes: ops.full([], 1, { dtype: "bool" }) };
  const step = (now: typeof start): [typeof start, null] => {
    const test = condition(now.carry);
    checkArgument("whileLoop", "what condition returned", test, tensorKind);
    checkCondition("whileLoop", test);
    const goes = ops.and(now.goes, test);
    const next = cond(
      goes,
      (at: C) => body(at),
      (at: C) => at,
      now.carry,
    );
    return [{ carry: next, steps: ops.add(now.steps, ops.cast(goes, "i32")), goes }, null];
  };
  const [last] = scan(step, start, null, { length: options.maxSteps });
  return [last.carry, last.steps];
}
