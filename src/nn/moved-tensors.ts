/** What a pass through a model moves beside what gradients do: running averages, counts. */
import { describe } from "../arguments.js";
import { Tensor } from "../autograd/tensor.js";
import { flattenTree, sameForm } from "../autograd/tree.js";
import { ShapeError, UsageError } from "../errors.js";
import { sameShape, show } from "../ir/shape.js";

/** A mean loss, or with it the model as the pass leaves it. */
export type LossResult<Params> = Tensor | readonly [loss: Tensor, next: Params];

/** Tensors that take the places of others, by path. */
export type Moved = ReadonlyMap<string, Tensor>;

/**
 * A loss and what the pass moved: the tensors of the model that came back which are not those that went in. Throws UsageError where that model has another
 * form, ShapeError where a tensor of it has another shape or dtype.
 */
export function movedBy<Params>(where: string, model: Params, found: LossResult<Params>): [loss: Tensor, moved: Moved] {
  if (!Array.isArray(found)) return [found as Tensor, new Map()];
  const [loss, next] = found as readonly [Tensor, Params];
  const { leaves, paths } = flattenTree(model);
  const after = sameForm(where, ["the model", "what the loss returned beside its value"], model, next);
  const moved = new Map<string, Tensor>();
  leaves.forEach((before, i) => {
    if (!(before instanceof Tensor) || after[i] === before) return;
    const [path, fresh] = [paths[i] as string, after[i]];
    if (!(fresh instanceof Tensor))
      throw new UsageError(`${where}: at ${path} the loss returned ${describe(fresh)} for a tensor`, { hint: "return a tensor there" });
    if (!sameShape(before.shape, fresh.shape) || before.dtype !== fresh.dtype) {
      const [one, other] = [before, fresh].map(({ dtype, shape }) => `${dtype}${show(shape)}`);
      throw new ShapeError(`${where}: at ${path} the model has ${one}, and the loss returned ${other}`, {
        hint: "what a step carries on keeps its shape and dtype: cast it",
      });
    }
    moved.set(path, fresh);
  });
  return [loss, moved];
}

/** A tree with other tensors at some paths. */
export function withMoved<T>(tree: T, moved: Moved): T {
  if (moved.size === 0) return tree;
  const { leaves, paths, shape } = flattenTree(tree);
  return shape.build(leaves.map((leaf, i) => (leaf instanceof Tensor ? (moved.get(paths[i] as string) ?? leaf) : leaf))) as T;
}
