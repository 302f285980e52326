import { type AttentionScore, attention, attentionWithLogSumExp } from "../autograd/attention.js";
import { maskedScore, rope, sigmoid } from "../autograd/composites.js";
import { add, and, cast, greaterEqual, less, minimum, mul, neg, sub, take, unsqueeze, where } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { ShapeError, UsageError } from "../errors.js";
import { show } from "../ir/shape.js";
import type { AttentionContext, AttentionPart, PositionEncoding, RopeTensors, Rotations } from "./attention-context.js";

/**
 * Rotary positions (Su et al. 2021): queries and keys are turned by the angles of their places, so that scores depend on differences alone.
 *
 * Where far pairs have tables of their own, near and far keys are attended apart and put together by their log-sum-exps, as if it had been
 * one softmax over all of them; see `attentionWithLogSumExp`. So nothing is ever T × S here either.
 */
export const rotary: PositionEncoding = {
  attend(queries, { far, ...near }) {
    const { offset, window, first } = near;
    const last = window === undefined ? {} : { window };
    const counted = first === undefined ? {} : { score: withoutPadding(first) };
    if (far === undefined) return attention(...turned(queries, near), { causal: true, offset, ...last, ...counted });
    if (first !== undefined) throw new UsageError("tables for far pairs read rows without padding", { hint: "read one prompt at a time" });
    const { near: width, count, places } = far;
    const place = (key: Tensor): Tensor => (places === undefined ? key : take(places, key));
    const [ofNear, nearSum] = attentionWithLogSumExp(...turned(queries, near), {
      causal: places === undefined,
      offset,
      score: (score, { query, key }) => {
        const age = sub(add(query, offset), place(key));
        const isNear = less(age, window === undefined ? width : minimum(width, window));
        return where(places === undefined ? isNear : and(isNear, greaterEqual(age, 0)), score, maskedScore);
      },
    });
    const [ofFar, farSum] = attentionWithLogSumExp(...turned(queries, far), {
      causal: true,
      offset,
      ...last,
      score: (score, { query, key }) => {
        const isFar = greaterEqual(sub(add(query, offset), key), width);
        return where(and(isFar, less(key, count)), score, maskedScore);
      },
    });
    // e^l₁/(e^l₁ + e^l₂) = σ(l₁ − l₂): 1 where a query sees no far key, whose l₂ is −10³⁰, and never NaN.
    const gap = sub(nearSum, farSum); // [B, H, T]
    const share = (x: Tensor): Tensor => unsqueeze(sigmoid(x), -1);
    return add(mul(ofNear, share(gap)), mul(ofFar, share(neg(gap))));
  },
};

const turned = (queries: Tensor, { keys, values, queryTables, keyTables }: AttentionPart): [q: Tensor, k: Tensor, v: Tensor] => [
  rope(queries, queryTables.cos, queryTables.sin),
  keyTables === undefined ? keys : rope(cast(keys, queries.dtype), keyTables.cos, keyTables.sin),
  values,
];

/** Scores of pairs whose key counts. */
const withoutPadding =
  (first: Tensor): AttentionScore =>
  (score, { batch, key }) =>
    where(less(key, take(first, batch)), maskedScore, score);

/** Keys with tables for their places, and queries at those of `rowsOf`. */
export function contextOf(
  keys: Tensor,
  values: Tensor,
  tables: RopeTensors,
  { offset, rowsOf }: { readonly offset: Tensor | number; readonly rowsOf: (tables: Rotations) => Rotations },
): AttentionContext {
  const { query = tables, far } = tables;
  const context = { keys, values, keyTables: tables, queryTables: rowsOf(query), offset };
  if (far === undefined) return context;
  const found = { keys, values, keyTables: far.key, queryTables: rowsOf(far.query), near: far.near, count: far.keys };
  return { ...context, far: found };
}

/** Nothing came before: the queries look at the keys of their own tokens. */
export const freshContext = (keys: Tensor, values: Tensor, tables: RopeTensors): AttentionContext =>
  contextOf(keys, values, tables, { offset: 0, rowsOf: (all) => all });

/**
 * Throws ShapeError unless all tables are [B or 1, T, D/2].
 *
 * @param sizes.B undefined where any number of rows will do
 */
export function checkTables(
  where: string,
  { query, far, ...plain }: RopeTensors,
  { B, T, D }: { readonly B?: number; readonly T: number; readonly D: number },
): void {
  const all = { "": plain, "query.": query, "far.query.": far?.query, "far.key.": far?.key };
  for (const [name, rotations] of Object.entries(all)) {
    if (rotations === undefined) continue;
    for (const field of ["cos", "sin"] as const) {
      const { shape } = rotations[field];
      const [rows, length, half] = shape;
      if (shape.length === 3 && length === T && half === D / 2 && (B === undefined || rows === 1 || rows === B)) continue;
      const wanted = B === undefined ? "B or 1" : B === 1 ? "1" : `${B} or 1`;
      throw new ShapeError(`${where}: the RoPE table ${name}${field} is ${show(shape)}, expected [${wanted}, ${T}, ${D / 2}]`, {
        hint: "one row of D/2 cosines (sines) per token, for each sample or for all of them",
      });
    }
  }
}
