import type { MatmulKernel } from "../../../compiler/program.js";
import type { Target } from "./source.js";
import { invocations, type Tiling, tilingBytes } from "./tiling.js";

const tiling = (rows: number, columns: number, rowsEach: number, columnsEach: number, groups: number, slab: number): Tiling => ({
  rows,
  columns,
  rowsEach,
  columnsEach,
  groups,
  slab,
});

/** From those for large products, whose groups are one, to those for a few rows, where many invocations share the steps of k. */
export const tilings: readonly Tiling[] = [
  tiling(128, 64, 8, 4, 1, 16),
  tiling(64, 64, 8, 4, 1, 16),
  tiling(32, 64, 4, 4, 1, 16),
  tiling(64, 32, 4, 4, 1, 16),
  tiling(32, 32, 4, 4, 1, 16),
  tiling(32, 32, 4, 4, 2, 16),
  tiling(32, 32, 4, 4, 4, 16),
  tiling(16, 64, 4, 4, 4, 8),
  tiling(16, 16, 4, 4, 8, 8),
  tiling(16, 16, 4, 4, 16, 8),
  tiling(8, 32, 4, 4, 8, 8),
  tiling(8, 32, 4, 4, 16, 8),
  tiling(32, 8, 4, 4, 8, 8),
  tiling(32, 8, 4, 4, 16, 8),
  tiling(4, 64, 4, 4, 4, 8),
  tiling(4, 64, 4, 4, 8, 8),
  tiling(4, 16, 4, 4, 32, 4),
  tiling(4, 16, 4, 4, 64, 4),
  tiling(4, 8, 4, 4, 64, 4),
];

/**
 * A model of how long a product takes, in steps of an invocation with 4 × 4 results. A workgroup goes through k in rounds; each takes a moment
 * until its numbers are there and the barriers are passed, and the time of its products, multiplied where workgroups are more than processors
 * hold at once; then the groups' sums are added. The constants are fitted to times of 38 shapes × 40 tilings on an H100, where what the model
 * chooses takes 1.04 times as long as the best of each on average (geometric mean) and 1.22 times at most; how many processors a device has
 * is not told.
 */
const model = { moment: 1.4, wide: 0.52, merge: 5, processors: 132, resident: 256 };

function estimate(tiling: Tiling, batch: number, m: number, n: number, k: number): number {
  const { rows, columns, rowsEach, columnsEach, groups, slab } = tiling;
  const workgroups = Math.ceil(m / rows) * Math.ceil(n / columns) * batch;
  const threads = invocations(tiling);
  const load = (workgroups * threads) / (model.processors * model.resident);
  // A few waves of workgroups take whole ones; many even out.
  const wave = Math.max(1, Math.floor((model.processors * model.resident) / threads));
  const waves = load <= 1 ? 1 : load < 6 ? Math.ceil(workgroups / wave) : load;
  const results = rowsEach * columnsEach;
  const products = (slab * results * (results > 16 ? model.wide : 1)) / 16;
  const rounds = Math.ceil(k / (groups * slab));
  return rounds * (model.moment + products * waves) + model.merge * Math.log2(groups) * (1 + load);
}

/** The tiling of a product: the quickest of those that the device has memory for, as far as the model knows. */
export function chooseTiling({ batch, m, n, k }: MatmulKernel, target: Target): Tiling {
  if (target.tiling) return target.tiling;
  const memory = target.workgroupBytes ?? 16_384;
  // Software drivers take up to twenty seconds to compile a kernel whose groups share a sum, and gain nothing by it.
  const most = target.softwareDriver ? 1 : Number.POSITIVE_INFINITY;
  let best: { tiling: Tiling; time: number } | undefined;
  for (const tiling of tilings) {
    if (tilingBytes(tiling) > memory || tiling.groups > most) continue;
    const time = estimate(tiling, batch.extent, m.extent, n.extent, k.extent);
    if (best === undefined || time < best.time) best = { tiling, time };
  }
  if (best === undefined) throw new Error("no tiling fits a workgroup");
  return best.tiling;
}
