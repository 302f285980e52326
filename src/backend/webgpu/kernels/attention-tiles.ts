import type { AttentionText } from "./attention-text.js";
import { indented, range, steps, type Target } from "./source.js";

/**
 * Products of tiles in workgroup memory, for attention on GPUs: 256 invocations, 16 × 16, over 64 own rows and 32 or 64 of the other side
 * at a time. Each has four own rows by two or four of the other side in registers; channels come in slabs.
 *
 *   tile    pairs of rows, 64 for each row of the other side
 *   near    a slab of channels of the own rows, or 32 channels of the rows of the other side
 *   far     a slab of channels of the other side
 */

/** Rows of a workgroup, and channels at a time. */
export const own = 64;
const slab = 16;
export const threads = 256;
const across = 16;
/** Channels of the other side that are multiplied with a tile of pairs at a time. */
const columns = 32;

/** Workgroup memory that WebGPU guarantees, and what tiles of 64 × 64 pairs need. */
const leastBytes = 2 ** 14;
const largeBytes = 2 ** 15;

const parts = (channels: number): number => Math.ceil(channels / 4);
export const xyzw = ["x", "y", "z", "w"];

/** Rows of one side: the function that loads them, where they begin, the variable of the first, and the last that there is. */
export interface Rows {
  readonly name: string;
  readonly at: string;
  readonly first: string;
  readonly last: number;
  readonly channels: number;
}

/** A pair of an own row and one of the other side, in the registers of an invocation. */
export interface TiledPair {
  /** Which of the invocation's rows of the other side, and of its own rows. */
  readonly c: number;
  readonly e: number;
  readonly mine: string;
  readonly theirs: string;
  /** Its place in the tile. */
  readonly place: string;
}

/** A vector of a row, zeros beyond the channels. */
const vector = ({ name, at, first, last, channels }: Rows, row: string, part: string): string[] => [
  "var x = vec4<f32>(0.0);",
  `if (${part} < ${parts(channels)}u) { x = ${name}(${at}, min(${first} + ${row}, ${last}u), ${part}); }`,
];

export class Tiles {
  private readonly target: Target;
  /** Rows of the other side at a time, and those of one invocation. */
  readonly other: number;
  readonly held: readonly number[];
  readonly pairs: readonly TiledPair[];
  readonly memory: readonly string[];

  constructor({ context: { target } }: AttentionText) {
    this.target = target;
    const other = (target.workgroupBytes ?? leastBytes) >= largeBytes ? 64 : 32;
    const each = other / across;
    this.other = other;
    this.held = range(each);
    this.pairs = this.held.flatMap((c) =>
      range(4).map((e) => ({
        c,
        e,
        mine: `first + ty * 4u + ${e}u`,
        theirs: `start + tx * ${each}u + ${c}u`,
        place: `tile[(tx * ${each}u + ${c}u) * ${own}u + ty * 4u + ${e}u]`,
      })),
    );
    this.memory = [
      `var<workgroup> tile: array<f32, ${own * other}>;`,
      `var<workgroup> near: array<f32, ${Math.max(own * slab, other * columns)}>;`,
      `var<workgroup> far: array<f32, ${other * slab}>;`,
      "var<workgroup> bounds: vec2<u32>;",
    ];
  }

  /** sum0, sum1, …: products of four own rows with those of the other side. */
  product(mine: Rows, theirs: Rows, sum: string): string[] {
    const { other, held, target } = this;
    const load = (rows: Rows, array: string, width: number): string[] => [
      "{",
      "  let row = lane / 4u;",
      "  let c = lane % 4u;",
      ...indented(vector(rows, "row", "part + c")),
      ...xyzw.map((part, e) => `  ${array}[(c * 4u + ${e}u) * ${width}u + row] = x.${part};`),
      "}",
    ];
    const loadFar = load(theirs, "far", other);
    return [
      ...held.map((c) => `var ${sum}${c} = vec4<f32>(0.0);`),
      `for (var part = 0u; part < ${steps(parts(mine.channels), target)}; part += ${slab / 4}u) {`,
      ...indented([
        ...load(mine, "near", own),
        ...(other * 4 < threads ? [`if (lane < ${other * 4}u) {`, ...indented(loadFar), "}"] : loadFar),
        "workgroupBarrier();",
        `for (var c = 0u; c < ${steps(slab, target)}; c++) {`,
        `  let a = c * ${own}u + ty * 4u;`,
        `  let b = c * ${other}u + tx * ${held.length}u;`,
        "  let x = vec4<f32>(near[a], near[a + 1u], near[a + 2u], near[a + 3u]);",
        ...held.map((c) => `  ${sum}${c} += x * far[b + ${c}u];`),
        "}",
        "workgroupBarrier();",
      ]),
      "}",
    ];
  }

  /** Adds the tile of pairs times rows of the other side to what own rows have come to. */
  multiply(theirs: Rows, sum: string): string[] {
    const { other, target } = this;
    const rowsAtOnce = threads / (columns / 4);
    return range(Math.ceil(theirs.channels / columns)).flatMap((t) => [
      ...range(other / rowsAtOnce).flatMap((i) => [
        "{",
        `  let row = lane / ${columns / 4}u + ${i * rowsAtOnce}u;`,
        `  let c = lane % ${columns / 4}u;`,
        ...indented(vector(theirs, "row", `${t * (columns / 4)}u + c`)),
        ...xyzw.map((part, e) => `  near[row * ${columns}u + c * 4u + ${e}u] = x.${part};`),
        "}",
      ]),
      "workgroupBarrier();",
      `for (var row = 0u; row < ${steps(other, target)}; row++) {`,
      `  let a = row * ${own}u + ty * 4u;`,
      `  let b = row * ${columns}u + tx * 2u;`,
      "  let x = vec4<f32>(tile[a], tile[a + 1u], tile[a + 2u], tile[a + 3u]);",
      `  ${sum}${t}_0 += x * near[b];`,
      `  ${sum}${t}_1 += x * near[b + 1u];`,
      "}",
      "workgroupBarrier();",
    ]);
  }

  /** The loop over tiles of the other side, from row `start` on, with bounds that all invocations share. */
  over([from, stop]: readonly [string, string], body: readonly string[]): string[] {
    return [
      `if (lane == 0u) { bounds = vec2<u32>(${from}, ${stop}); }`,
      "let between = workgroupUniformLoad(&bounds);",
      `for (var start = between.x; start < between.y; start += ${this.other}u) {`,
      ...indented(body),
      "}",
    ];
  }
}

/** Where an invocation is. */
export const threadLines = [`let tx = lane % ${across}u;`, `let ty = lane / ${across}u;`];

/** The sums of own rows: two channels of each of the invocation's, for every `columns` channels. */
export const sums = (sum: string, channels: number): string[] =>
  range(Math.ceil(channels / columns)).flatMap((t) => [0, 1].map((c) => `var ${sum}${t}_${c} = vec4<f32>(0.0);`));

/** Scales the sums of own rows by a vector of factors. */
export const scaled = (sum: string, channels: number, factor: string): string[] =>
  range(Math.ceil(channels / columns)).flatMap((t) => [0, 1].map((c) => `${sum}${t}_${c} *= ${factor};`));

/** Writes what own rows came to. */
export function puts(put: string, row: string, rows: number, sum: string, channels: number, factor: (e: number) => string): string[] {
  return range(4).flatMap((e) => [
    "{",
    `  let row = first + ty * 4u + ${e}u;`,
    `  if (row < ${rows}u) {`,
    ...range(Math.ceil(channels / columns)).flatMap((t) =>
      [0, 1].map(
        (c) =>
          `    if (tx * 2u + ${t * columns + c}u < ${channels}u) { ${put}(batch, ${row}, row, tx * 2u + ${t * columns + c}u, ${sum}${t}_${c}.${xyzw[e]}${factor(e)}); }`,
      ),
    ),
    "  }",
    "}",
  ]);
}
