import { type AttentionBackwardKernel, type AttentionKernel, hiddenScore } from "../../../compiler/program.js";
import { AttentionText, beginnings, keysOf, queriesOf, scoreOf, tilesOf, unseen } from "./attention-text.js";
import { type Context, indented, type KernelSource, range, steps, type Target } from "./source.js";

/**
 * Attention for GPUs (Dao 2023): a workgroup has a tile of rows, queries or keys, and goes over tiles of the other side. Scores of a tile
 * of pairs come from slabs of channels in workgroup memory, 4 × 2 in the registers of each invocation; what is made of them lies in
 * workgroup memory for the product that follows. Everything fits into the 16 KiB and 256 invocations that every device has. No atomics:
 * q̄ has the queries for its rows, k̄ and v̄ the keys.
 */

type Attention = AttentionKernel | AttentionBackwardKernel;

/** Rows of a workgroup, rows of the other side at a time, channels at a time. */
const own = 64;
const other = 32;
const slab = 16;
const threads = 256;
/** Channels of the other side that are multiplied with a tile of pairs at a time. */
const columns = 32;

const parts = (channels: number): number => Math.ceil(channels / 4);
const xyzw = ["x", "y", "z", "w"];

const memory = [
  `var<workgroup> tile: array<f32, ${own * other}>;`,
  `var<workgroup> near: array<f32, ${own * slab}>;`,
  `var<workgroup> far: array<f32, ${other * slab}>;`,
  "var<workgroup> bounds: vec2<u32>;",
];

/** Rows of one side: the function that loads them, where they begin, the variable of the first, and the last that there is. */
interface Rows {
  readonly name: string;
  readonly at: string;
  readonly first: string;
  readonly last: number;
  readonly channels: number;
}

/** A vector of a row, zeros beyond the channels. */
const vector = ({ name, at, first, last, channels }: Rows, row: string, part: string): string[] => [
  "var x = vec4<f32>(0.0);",
  `if (${part} < ${parts(channels)}u) { x = ${name}(${at}, min(${first} + ${row}, ${last}u), ${part}); }`,
];

/** sum0 and sum1: products of four own rows with two of the other side. */
function product(mine: Rows, theirs: Rows, sum: string, target: Target): string[] {
  const load = (rows: Rows, array: string, width: number): string[] => [
    "{",
    "  let row = lane / 4u;",
    "  let c = lane % 4u;",
    ...indented(vector(rows, "row", "part + c")),
    ...xyzw.map((part, e) => `  ${array}[(c * 4u + ${e}u) * ${width}u + row] = x.${part};`),
    "}",
  ];
  return [
    `var ${sum}0 = vec4<f32>(0.0);`,
    `var ${sum}1 = vec4<f32>(0.0);`,
    `for (var part = 0u; part < ${steps(parts(mine.channels), target)}; part += ${slab / 4}u) {`,
    ...indented(load(mine, "near", own)),
    `  if (lane < ${other * 4}u) {`,
    ...indented(indented(load(theirs, "far", other))),
    "  }",
    "  workgroupBarrier();",
    `  for (var c = 0u; c < ${steps(slab, target)}; c++) {`,
    `    let a = c * ${own}u + ty * 4u;`,
    `    let b = c * ${other}u + tx * 2u;`,
    "    let x = vec4<f32>(near[a], near[a + 1u], near[a + 2u], near[a + 3u]);",
    `    ${sum}0 += x * far[b];`,
    `    ${sum}1 += x * far[b + 1u];`,
    "  }",
    "  workgroupBarrier();",
    "}",
  ];
}

/** Adds the tile of pairs times rows of the other side to what own rows have come to. */
function multiply(theirs: Rows, sum: string, target: Target): string[] {
  return range(Math.ceil(theirs.channels / columns)).flatMap((t) => [
    "{",
    "  let row = lane / 8u;",
    "  let c = lane % 8u;",
    ...indented(vector(theirs, "row", `${t * (columns / 4)}u + c`)),
    ...xyzw.map((part, e) => `  near[row * ${columns}u + c * 4u + ${e}u] = x.${part};`),
    "}",
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

const sums = (sum: string, channels: number): string[] =>
  range(Math.ceil(channels / columns)).flatMap((t) => [0, 1].map((c) => `var ${sum}${t}_${c} = vec4<f32>(0.0);`));

/** Four own rows by two of the other side, one after another. */
const pairs = range(2).flatMap((c) => range(4).map((e) => ({ c, e, mine: `first + ty * 4u + ${e}u`, theirs: `start + tx * 2u + ${c}u` })));
const placeInTile = ({ c, e }: { c: number; e: number }): string => `tile[(tx * 2u + ${c}u) * ${own}u + ty * 4u + ${e}u]`;

/** Writes what own rows came to. */
function puts(put: string, row: string, rows: number, sum: string, channels: number, factor: (e: number) => string): string[] {
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

/** That both of a pair exist, whose tiles may reach beyond the last. */
const exists = ({ loops: { query, key } }: Attention, i: string, j: string): string[] => [
  `${i} < ${query.extent}u`,
  `${j} < ${key.extent}u`,
];

/** The loop over tiles of the other side, with bounds that all invocations share. */
const overTiles = ([from, stop]: readonly [string, string], body: readonly string[]): string[] => [
  `if (lane == 0u) { bounds = vec2<u32>(${from}, ${stop}); }`,
  "let between = workgroupUniformLoad(&bounds);",
  `for (var start = between.x; start < between.y; start += ${other}u) {`,
  ...indented(body),
  "}",
];

const threadLines = ["let tx = lane % 16u;", "let ty = lane / 16u;"];

/** o and lse: 64 queries for a workgroup, online softmax over tiles of 32 keys. */
export function gpuAttention(kernel: AttentionKernel, context: Context): KernelSource {
  const { batch, head, query, key, channel, valueChannel } = kernel.loops;
  const { target } = context;
  const text = new AttentionText(kernel, context);
  text.operands();
  const exp = text.use("exp_f32");
  const { workgroups, lines: place } = tilesOf(text, "query", own);
  const q: Rows = { name: "q", at: "at_q", first: "first", last: query.extent - 1, channels: channel.extent };
  const k: Rows = { name: "k", at: "at_k", first: "start", last: key.extent - 1, channels: channel.extent };
  const v: Rows = { name: "v", at: "at_v", first: "start", last: key.extent - 1, channels: valueChannel.extent };
  // For the softmax four invocations share a row, each with eight keys.
  const mine = range(other / 4);
  const lines = [
    ...place,
    ...threadLines,
    ...beginnings(["q"], "head"),
    ...beginnings(["k", "v"], "key_head"),
    `var most = ${unseen}f;`,
    "var total = 0.0;",
    "let row_of_sums = lane / 4u;",
    `let keys_of_sums = (lane % 4u) * ${other / 4}u;`,
    ...sums("o", valueChannel.extent),
    ...overTiles(keysOf(kernel, "first", "last", `${key.extent}u`), [
      ...product(q, k, "s", target),
      ...pairs.map(
        (pair) =>
          `${placeInTile(pair)} = ${scoreOf(kernel, { query: pair.mine, key: pair.theirs }, `scale * s${pair.c}.${xyzw[pair.e]}`, exists(kernel, pair.mine, pair.theirs))};`,
      ),
      "workgroupBarrier();",
      "var largest = most;",
      `for (var j = 0u; j < ${steps(other, target)}; j++) { largest = max(largest, tile[j * ${own}u + row_of_sums]); }`,
      `let shrunk = ${exp}(most - largest);`,
      "most = largest;",
      ...mine.map((j) => `let score${j} = tile[(keys_of_sums + ${j}u) * ${own}u + row_of_sums];`),
      ...mine.map((j) => `let p${j} = select(${exp}(score${j} - most), 0.0, score${j} <= ${unseen}f);`),
      `total = total * shrunk + (${mine.map((j) => `p${j}`).join(" + ")});`,
      "workgroupBarrier();",
      ...mine.map((j) => `tile[(keys_of_sums + ${j}u) * ${own}u + row_of_sums] = p${j};`),
      "if (lane % 4u == 0u) { shrinking[row_of_sums] = shrunk; }",
      "workgroupBarrier();",
      "let factor = vec4<f32>(shrinking[ty * 4u], shrinking[ty * 4u + 1u], shrinking[ty * 4u + 2u], shrinking[ty * 4u + 3u]);",
      ...range(Math.ceil(valueChannel.extent / columns)).flatMap((t) => [`o${t}_0 *= factor;`, `o${t}_1 *= factor;`]),
      ...multiply(v, "o", target),
    ]),
    // What the four invocations of a row came to.
    "near[lane] = total;",
    "workgroupBarrier();",
  ];
  const whole = (row: string): string => `(near[${row}] + near[${row} + 1u] + near[${row} + 2u] + near[${row} + 3u])`;
  if (text.put("put_o", 0, [batch, head, query, valueChannel])) {
    for (const e of range(4)) {
      lines.push(`let sum${e} = ${whole(`(ty * 4u + ${e}u) * 4u`)};`, `let weight${e} = select(1.0 / sum${e}, 0.0, sum${e} == 0.0);`);
    }
    lines.push(...puts("put_o", "head", query.extent, "o", valueChannel.extent, (e) => ` * weight${e}`));
  }
  if (text.put("put_lse", 1, [batch, head, query])) {
    lines.push(
      "let query_of_sums = first + row_of_sums;",
      `if (lane % 4u == 0u && query_of_sums < ${query.extent}u) {`,
      `  let sum = ${whole("lane")};`,
      `  put_lse(batch, head, query_of_sums, select(most + ${text.use("log_f32")}(sum), ${hiddenScore}f, sum == 0.0));`,
      "}",
    );
  }
  const declarations = [...memory, `var<workgroup> shrinking: array<f32, ${own}>;`];
  return text.finish({ width: threads, workgroups, declarations, lines });
}

/** q̄: 64 queries for a workgroup, over tiles of 32 keys. */
export function gpuQueryCotangent(kernel: AttentionBackwardKernel, context: Context): KernelSource {
  const { batch, head, query, key, channel, valueChannel } = kernel.loops;
  const { target } = context;
  const text = new AttentionText(kernel, context);
  text.operands();
  text.put("put_q", 0, [batch, head, query, channel]);
  const exp = text.use("exp_f32");
  const { workgroups, lines: place } = tilesOf(text, "query", own);
  const q: Rows = { name: "q", at: "at_q", first: "first", last: query.extent - 1, channels: channel.extent };
  const g: Rows = { name: "g", at: "at_g", first: "first", last: query.extent - 1, channels: valueChannel.extent };
  const k: Rows = { name: "k", at: "at_k", first: "start", last: key.extent - 1, channels: channel.extent };
  const v: Rows = { name: "v", at: "at_v", first: "start", last: key.extent - 1, channels: valueChannel.extent };
  const lines = [
    ...place,
    ...threadLines,
    ...beginnings(["q", "g"], "head"),
    ...beginnings(["k", "v"], "key_head"),
    ...range(4).flatMap((e) => [
      `let i${e} = min(first + ty * 4u + ${e}u, ${query.extent - 1}u);`,
      `let lse${e} = lse_of(batch, head, i${e});`,
      `let delta${e} = delta_of(batch, head, i${e});`,
    ]),
    ...sums("d", channel.extent),
    ...overTiles(keysOf(kernel, "first", "last", `${key.extent}u`), [
      ...product(q, k, "s", target),
      ...product(g, v, "t", target),
      ...pairs.flatMap((pair) => {
        const { c, e, mine, theirs } = pair;
        return [
          "{",
          `  let raw = scale * s${c}.${xyzw[e]};`,
          `  let score = ${scoreOf(kernel, { query: mine, key: theirs }, "raw", exists(kernel, mine, theirs))};`,
          `  let pulled = pulled_of(batch, head, i${e}, ${theirs}, raw, ${exp}(score - lse${e}) * (t${c}.${xyzw[e]} - delta${e}));`,
          `  ${placeInTile(pair)} = select(pulled, 0.0, score <= ${unseen}f);`,
          "}",
        ];
      }),
      "workgroupBarrier();",
      ...multiply(k, "d", target),
    ]),
    ...puts("put_q", "head", query.extent, "d", channel.extent, () => " * scale"),
  ];
  return text.finish({ width: threads, workgroups, declarations: memory, lines });
}

/** k̄, v̄ or both: 64 keys for a workgroup, over tiles of 32 queries of all heads that read them. */
export function gpuKeyCotangent(kernel: AttentionBackwardKernel, context: Context): KernelSource {
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const [wantsK, wantsV] = [kernel.results.includes(1), kernel.results.includes(2)];
  const { target } = context;
  const text = new AttentionText(kernel, context);
  text.operands(wantsK);
  if (wantsK) text.put("put_k", 1, [batch, keyHead, key, channel]);
  if (wantsV) text.put("put_v", 2, [batch, keyHead, key, valueChannel]);
  const exp = text.use("exp_f32");
  const group = head.extent / keyHead.extent;
  const { workgroups, lines: place } = tilesOf(text, "key", own);
  const k: Rows = { name: "k", at: "at_k", first: "first", last: key.extent - 1, channels: channel.extent };
  const v: Rows = { name: "v", at: "at_v", first: "first", last: key.extent - 1, channels: valueChannel.extent };
  const q: Rows = { name: "q", at: "at_q", first: "start", last: query.extent - 1, channels: channel.extent };
  const g: Rows = { name: "g", at: "at_g", first: "start", last: query.extent - 1, channels: valueChannel.extent };
  /** p of all pairs, for v̄, or the cotangent of the raw score, for k̄. */
  const weigh = (pulled: boolean): string[] => [
    ...pairs.flatMap((pair) => {
      const { c, e, mine, theirs } = pair;
      const weight = `${exp}(score - lse${c})`;
      return [
        "{",
        `  let raw = scale * s${c}.${xyzw[e]};`,
        `  let score = ${scoreOf(kernel, { query: theirs, key: mine }, "raw", exists(kernel, theirs, mine))};`,
        `  let weight = ${pulled ? `pulled_of(batch, head, i${c}, ${mine}, raw, ${weight} * (t${c}.${xyzw[e]} - delta${c}))` : weight};`,
        `  ${placeInTile(pair)} = select(weight, 0.0, score <= ${unseen}f);`,
        "}",
      ];
    }),
    "workgroupBarrier();",
  ];
  const lines = [
    ...place,
    ...threadLines,
    ...beginnings(wantsK ? ["k", "v"] : ["k"], "key_head"),
    ...(wantsK ? sums("d", channel.extent) : []),
    ...(wantsV ? sums("e", valueChannel.extent) : []),
    `for (var member = 0u; member < ${steps(group, target)}; member++) {`,
    ...indented([
      `let head = key_head * ${group}u + member;`,
      ...beginnings(["q", "g"], "head"),
      ...overTiles(queriesOf(kernel, "first", "last", `${query.extent}u`), [
        ...[0, 1].flatMap((c) => [
          `let i${c} = min(start + tx * 2u + ${c}u, ${query.extent - 1}u);`,
          `let lse${c} = lse_of(batch, head, i${c});`,
          ...(wantsK ? [`let delta${c} = delta_of(batch, head, i${c});`] : []),
        ]),
        ...product(k, q, "s", target),
        ...(wantsV ? [...weigh(false), ...multiply(g, "e", target)] : []),
        ...(wantsK ? [...product(v, g, "t", target), ...weigh(true), ...multiply(q, "d", target)] : []),
      ]),
    ]),
    "}",
    ...(wantsK ? puts("put_k", "key_head", key.extent, "d", channel.extent, () => " * scale") : []),
    ...(wantsV ? puts("put_v", "key_head", key.extent, "e", valueChannel.extent, () => "") : []),
  ];
  return text.finish({ width: threads, workgroups, declarations: memory, lines });
}
