import { describe } from "../arguments.js";
import { valueAndGrad } from "../autograd/grad.js";
import { add, cast, greater, mul, slice as narrow, recip, reshape, squeeze, stack, sum, where, zeros } from "../autograd/operations.js";
import { scan } from "../autograd/scan.js";
import { Tensor } from "../autograd/tensor.js";
import { flattenTree, isBranch, mapTensors, sameForm, type TreeDef, tensorsOf } from "../autograd/tree.js";
import { WeakScalar } from "../autograd/weak-scalar.js";
import { OptionError, ShapeError, UsageError } from "../errors.js";
import { summableDtype } from "../ir/dtype.js";
import { sameShape, show } from "../ir/shape.js";
import type { Moved } from "./moved-tensors.js";

/**
 * A batch, or micro-batches of one form and size whose gradients are averaged: as if they were one batch, in the memory of one of them.
 * A list is one of micro-batches if its entries are lists or objects of one form: `[x, y]`, a list of tensors, is a batch, and
 * `[[x, y], [x, y]]` are two.
 */
export type Batches<Batch> = Batch | readonly Batch[];

/** Whether a list holds micro-batches. */
export function isMicroBatches<Batch>(batches: Batches<Batch>): batches is readonly Batch[] {
  if (!Array.isArray(batches) || batches.length === 0) return false;
  if (!batches.every(isBranch)) return false;
  const [first, ...others] = batches.map((batch) => flattenTree(batch).shape.key);
  return others.every((key) => key === first);
}

/** The micro-batches of a step. Throws OptionError for an empty list. */
export function microBatchesOf<Batch>(batches: Batches<Batch>): readonly Batch[] {
  if (Array.isArray(batches) && batches.length === 0) throw new OptionError("a training step needs at least one batch");
  return isMicroBatches(batches) ? batches : [batches as Batch];
}

/** Micro-batches one after another: what differs between them as stacks [count, …], and a micro-batch from slices of these. */
interface MicroBatches<Batch> {
  readonly count: number;
  readonly stacked: readonly Tensor[];
  readonly slice: (slices: readonly Tensor[]) => Batch;
}

export interface MeanOptions<Batch> {
  /** Rows of a piece into which a single batch is cut. */
  readonly rows?: number | undefined;
  /** What a micro-batch counts, a scalar of at least 0; its loss is the mean over so much. Default: all the same. */
  readonly weight?: ((batch: Batch) => Tensor) | undefined;
  /** The tensors that a pass may move, by path. */
  readonly places?: Moved | undefined;
}

/**
 * The averages of the losses and gradients of several batches, or of one in pieces of `rows` rows: a loop over them that carries the sums,
 * in f32 for halves, so that what one of them needs is there once. With weights w of the micro-batches these are Σ w·gradient / Σ w, the
 * gradient of the mean over all of them; one that counts nothing adds nothing, whatever its loss is. What a loss moves beside, it is given by the
 * next batch, and comes back as the last one leaves it. Throws OptionError for several batches that are to be cut on top.
 */
export function meanGradients<Params, Batch>(
  loss: (params: Params, batch: Batch, moved: Moved) => [loss: Tensor, moved: Moved],
  params: Params,
  batches: Batches<Batch>,
  { rows, weight, places: movable = new Map() }: MeanOptions<Batch> = {},
): [loss: Tensor, grads: Params, moved: Moved] {
  const differentiate = (batch: Batch, before: Moved = new Map()): [Tensor, Params, Moved] => {
    const [[value, moved], grads] = valueAndGrad((at: Params) => loss(at, batch, before), { hasAux: true })(params);
    return [value, grads, moved];
  };
  const several = microBatchesOf(batches);
  if (rows !== undefined && several.length > 1)
    throw new OptionError(`createTrainStep: ${several.length} micro-batches were given, and microBatch: ${rows} makes them itself`, {
      hint: "give one batch, or leave microBatch out",
    });
  const [first] = several as readonly [Batch, ...Batch[]];
  if (rows === undefined && several.length === 1) return differentiate(first);
  const { count, stacked, slice } = rows === undefined ? stackBatches(several) : splitRows(first, rows);
  if (count === 1) return differentiate(first);
  const wide = (x: Tensor): Tensor => cast(x, summableDtype(x.dtype));
  /** The first place of each tensor: one that stands at several has one gradient. */
  const places = new Map<Tensor, string>();
  for (const { tensor, path } of tensorsOf(params)) if (!places.has(tensor)) places.set(tensor, path);
  const none = [...places.keys()].map((p) => zeros(p.shape, { dtype: summableDtype(p.dtype) }));
  // Which tensors move is known when the loss has been traced once.
  const paths = [...loss(params, slice(stacked.map((x) => squeeze(narrow(x, [[0, 1]]), 0))), new Map())[1].keys()];
  const start = paths.map((path) => movable.get(path) as Tensor);
  const [[sums, ends], [losses, weights]] = scan(
    ([sofar, before]: Carry, x: readonly Tensor[]): [Carry, [Tensor, Tensor | null]] => {
      const batch = slice(x);
      const [value, grads, moved] = differentiate(batch, new Map(paths.map((path, i) => [path, before[i] as Tensor])));
      const counts = weight === undefined ? null : cast(weight(batch), summableDtype(value.dtype));
      const found = new Map(tensorsOf(grads).map(({ path, tensor }) => [path, tensor]));
      const next = [...places.values()].map((path, i) => add(sofar[i] as Tensor, weighed(wide(found.get(path) as Tensor), counts)));
      return [
        [next, paths.map((path, i) => moved.get(path) ?? (before[i] as Tensor))],
        [value, counts],
      ];
    },
    [none, start],
    stacked,
    // Batches that share every tensor leave nothing to count.
    { length: count },
  );
  const share = weights === null ? 1 / count : recip(sum(weights));
  const sumOf = new Map([...places.keys()].map((p, i) => [p, sums[i] as Tensor]));
  const mean = (total: Tensor): Tensor => mul(total, typeof share === "number" ? share : cast(share, total.dtype));
  return [
    cast(mean(sum(weighed(wide(losses), weights))), losses.dtype),
    mapTensors(params, (p) => cast(mean(sumOf.get(p) as Tensor), p.dtype)),
    new Map(paths.map((path, i) => [path, ends[i] as Tensor])),
  ];
}

/** What goes from batch to batch: sums of gradients, and tensors that a pass moves. */
type Carry = readonly [sums: readonly Tensor[], moved: readonly Tensor[]];

/** w·y, and 0 where w is 0 even if y, a mean over nothing, is no number; y itself without weights. */
const weighed = (y: Tensor, w: Tensor | null): Tensor => {
  if (w === null) return y;
  const factor = cast(w, y.dtype);
  return where(greater(factor, 0), mul(y, factor), 0);
};

/**
 * A batch in pieces of so many rows. The first axis of its tensors counts the rows; tensors whose first extent is 1 while others have more,
 * scalars and numbers are the same for all of them. Throws ShapeError where first extents differ otherwise, OptionError for a size that does
 * not divide the rows.
 */
function splitRows<Batch>(batch: Batch, size: number): MicroBatches<Batch> {
  const { leaves, paths, shape } = flattenTree(batch, "createTrainStep: the batch");
  const extentOf = (leaf: unknown): number => (leaf instanceof Tensor ? (leaf.shape[0] ?? 1) : 1);
  const rows = leaves.reduce<number>((most, leaf) => Math.max(most, extentOf(leaf)), 1);
  if (rows % size !== 0)
    throw new OptionError(`createTrainStep: micro-batches of ${size} rows do not make up a batch of ${rows}`, {
      hint: `take a microBatch that divides ${rows}, or another batch`,
    });
  const count = rows / size;
  const stacked: Tensor[] = [];
  const places = leaves.map((leaf, i): number | undefined => {
    if (!(leaf instanceof Tensor) || extentOf(leaf) === 1) return undefined;
    if (extentOf(leaf) !== rows)
      throw new ShapeError(
        `createTrainStep: at ${paths[i] || "the root"} the batch has ${leaf.dtype}${show(leaf.shape)}, elsewhere ${rows} rows`,
        {
          hint: "for microBatch the first axis of every tensor counts the rows of the batch, or has extent 1 for all of them",
        },
      );
    return stacked.push(reshape(leaf, [count, size, ...leaf.shape.slice(1)])) - 1;
  });
  return { count, stacked, slice: slicesInto(shape, leaves, places) };
}

/** A tree again from slices, and from the leaves that have none. */
function slicesInto<Batch>(
  shape: TreeDef,
  leaves: readonly unknown[],
  places: readonly (number | undefined)[],
): (slices: readonly Tensor[]) => Batch {
  return (slices) => shape.build(leaves.map((leaf, i) => (places[i] === undefined ? leaf : slices[places[i] as number]))) as Batch;
}

/**
 * The tensors of batches of one form as stacks, and a batch of slices of these. What all batches share is the same in each. Throws
 * ShapeError for batches of different sizes, UsageError where something else than tensors and numbers differs.
 */
function stackBatches<Batch>(batches: readonly Batch[]): MicroBatches<Batch> {
  const [first, ...others] = batches as readonly [Batch, ...Batch[]];
  const { leaves, paths, shape } = flattenTree(first, "createTrainStep: a micro-batch");
  const columns = others.map((batch) => sameForm("createTrainStep", ["the first micro-batch", "another"], first, batch));
  const stacked: Tensor[] = [];
  const places = leaves.map((leaf, i): number | undefined => {
    const all = [leaf, ...columns.map((column) => column[i])];
    if (all.every((each) => Object.is(each, leaf))) return undefined;
    const tensors = all.map((each) => {
      if (each instanceof WeakScalar) return each.as("f32");
      if (each instanceof Tensor) return each;
      throw new UsageError(`createTrainStep: at ${paths[i]} micro-batches hold ${describe(leaf)} and ${describe(each)}`, {
        hint: "micro-batches differ in tensors and numbers alone",
      });
    });
    const [head] = tensors as [Tensor, ...Tensor[]];
    const odd = tensors.find((tensor) => !sameShape(tensor.shape, head.shape) || tensor.dtype !== head.dtype);
    if (odd !== undefined)
      throw new ShapeError(
        `createTrainStep: at ${paths[i] || "the root"} micro-batches are ${head.dtype}${show(head.shape)} and ${odd.dtype}${show(odd.shape)}`,
        {
          hint: "give micro-batches of one size",
        },
      );
    return stacked.push(stack(tensors)) - 1;
  });
  return { count: batches.length, stacked, slice: slicesInto(shape, leaves, places) };
}
