/**
 * How a workgroup shares out a tile of the result. `groups` of invocations take different steps of k and add up what they have at the end, in
 * pairs; each invocation holds `rowsEach` × `columnsEach` results of its group in registers; a group takes `slab` steps of k between two
 * barriers. All are multiples of four but `groups`, a power of two.
 */
export interface Tiling {
  readonly rows: number;
  readonly columns: number;
  readonly rowsEach: number;
  readonly columnsEach: number;
  readonly groups: number;
  readonly slab: number;
}

/** Invocations of a workgroup. */
export const invocations = ({ rows, columns, rowsEach, columnsEach, groups }: Tiling): number =>
  (rows / rowsEach) * (columns / columnsEach) * groups;

/** Vectors of four that each row of a slab takes in the memory of the workgroup; one more, where there is room, spreads columns over its banks. */
export const stride = (extent: number, padding: number): number => extent / 4 + padding;

const slabVectors = ({ rows, columns, groups, slab }: Tiling, padding: number): number =>
  groups * slab * (stride(rows, padding) + stride(columns, padding));
export const mergedVectors = ({ rows, columns, groups }: Tiling): number => ((groups >> 1) * rows * columns) / 4;

/** Bytes of memory that a workgroup needs. */
export const tilingBytes = (tiling: Tiling, padding = 0): number => 16 * (slabVectors(tiling, padding) + mergedVectors(tiling));
