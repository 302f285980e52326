import { type AttentionBackwardKernel, type AttentionKernel, hiddenScore } from "../../../compiler/program.js";
import { AttentionText, beginnings, keysOf, queriesOf, scoreOf, tilesOf, unseen } from "./attention-text.js";
import { type Context, indented, type KernelSource, range, steps, type Target } from "./source.js";

/**
 * Attention for software adapters. An invocation has a few rows (queries, or keys where their cotangents are wanted) in registers, whole,
 * and goes over the rows of the other side, which all invocations of a workgroup need at the same time. Loads cost drivers most: a
 * subgroup that is the workgroup loads a different vector in each invocation and passes them around. No workgroup memory, no barriers; and little text, since drivers compile each vector for long.
 */

/** Vectors that the rows of an invocation have together, unless one row has more. */
const heldVectors = 32;
/** Pairs of rows that are written out. */
const mostPairs = 4;
/** Vectors of the other side that are written out for each row of an invocation, unless one row has more. */
const sharedVectors = 8;

interface Shape {
  readonly width: number;
  /** Rows of an invocation. */
  readonly rows: number;
  /** Rows of the other side at a time. */
  readonly block: number;
}

/** How a kernel whose rows hold so many vectors, and read rows of `parts` vectors, is cut up. */
function shapeOf(held: number, parts: number, count: number, target: Target): Shape {
  const width = target.subgroupSize as number;
  const rows = Math.max(1, Math.min(2, Math.floor(heldVectors / held), Math.ceil(count / width)));
  const block = Math.max(1, Math.min(Math.floor(mostPairs / rows), Math.floor(sharedVectors / parts)));
  return { width, rows, block };
}

/** Rows that the invocations of a workgroup read together, a block of them at a time. */
interface Shared {
  /** The function that loads, and the place of the first row. */
  readonly name: string;
  readonly at: string;
  readonly parts: number;
}

/** Loads of a block of shared rows from row `start` on, `last` being the last there is; and the text of one of their vectors. */
function share(
  { name, at, parts }: Shared,
  { width, block }: Shape,
  start: string,
  last: number,
): { readonly before: string[]; readonly loads: string[]; readonly vector: (row: number, part: number) => string } {
  const loads = range(Math.ceil((block * parts) / width));
  const single = block === 1;
  const row = (i: number): string => (single ? start : `min(${start} + ${name}_row${i}, ${last}u)`);
  const part = (i: number): string => `${name}_part${i}`;
  return {
    before: loads.flatMap((i) => [
      ...(single ? [] : [`let ${name}_row${i} = (lane + ${i * width}u) / ${parts}u;`]),
      `let ${part(i)} = ${single ? `min(lane + ${i * width}u, ${parts - 1}u)` : `(lane + ${i * width}u) % ${parts}u`};`,
    ]),
    loads: loads.map((i) => `let ${name}_load${i} = ${name}(${at}, ${row(i)}, ${part(i)});`),
    vector: (r, p) => {
      const place = r * parts + p;
      return `subgroupBroadcast(${name}_load${Math.floor(place / width)}, ${place % width}u)`;
    },
  };
}

/** Sums, the terms in one line. */
const sum = (terms: readonly string[]): string => terms.join(" + ");

/** o and lse: an invocation for each query, online softmax over blocks of keys. */
export function softwareAttention(kernel: AttentionKernel, context: Context): KernelSource {
  const { target } = context;
  const { batch, head, query, key, channel, valueChannel } = kernel.loops;
  const [parts, valueParts] = [Math.ceil(channel.extent / 4), Math.ceil(valueChannel.extent / 4)];
  const shape = shapeOf(parts + valueParts, Math.max(parts, valueParts), query.extent, target);
  const { width, rows, block } = shape;
  const text = new AttentionText(kernel, context);
  text.operands();
  const exp = text.use("exp_f32");
  const [r, z] = [range(rows), range(block)];

  const k = share({ name: "k", at: "at_k", parts }, shape, "j", key.extent - 1);
  const v = share({ name: "v", at: "at_v", parts: valueParts }, shape, "j", key.extent - 1);
  const [from, stop] = keysOf(kernel, "first", "last", steps(key.extent, target));
  const exists = (y: number): string[] => (block > 1 ? [`${shifted("j", y)} < ${key.extent}u`] : []);
  const { workgroups, lines: place } = tilesOf(text, "query", width * rows);

  const lines = [
    ...place,
    ...beginnings(["q"], "head"),
    ...beginnings(["k", "v"], "key_head"),
    // Rows beyond the last are the last once more.
    ...r.flatMap((x) => [
      `let i${x} = min(first + lane + ${x * width}u, ${query.extent - 1}u);`,
      ...range(parts).map((c) => `let q${x}_${c} = q(at_q, i${x}, ${c}u);`),
      `var m${x} = ${unseen}f;`,
      `var l${x} = 0.0;`,
      ...range(valueParts).map((c) => `var o${x}_${c} = vec4<f32>(0.0);`),
    ]),
    ...k.before,
    ...v.before,
    `let from_key = ${from};`,
    `let stop_key = ${stop};`,
    `for (var j = from_key; j < stop_key; j += ${block}u) {`,
    ...indented([
      ...k.loads,
      ...r.flatMap((x) => z.map((y) => `var s${x}_${y} = 0.0;`)),
      ...z.flatMap((y) => range(parts).flatMap((c) => oneVector("x", k.vector(y, c), r, (x) => `s${x}_${y} += dot(q${x}_${c}, x);`))),
      ...r.flatMap((x) => [
        ...z.map((y) => `s${x}_${y} = ${scoreOf(kernel, { query: `i${x}`, key: shifted("j", y) }, `scale * s${x}_${y}`, exists(y))};`),
        `let n${x} = ${z.reduce((most, y) => `max(${most}, s${x}_${y})`, `m${x}`)};`,
        `let a${x} = ${exp}(m${x} - n${x});`,
        `m${x} = n${x};`,
        ...z.map((y) => `let p${x}_${y} = select(${exp}(s${x}_${y} - n${x}), 0.0, s${x}_${y} <= ${unseen}f);`),
        `l${x} = l${x} * a${x} + (${sum(z.map((y) => `p${x}_${y}`))});`,
      ]),
      ...v.loads,
      ...range(valueParts).flatMap((c) => [
        "{",
        ...z.map((y) => `  let x${y} = ${v.vector(y, c)};`),
        ...r.map((x) => `  o${x}_${c} = o${x}_${c} * a${x} + (${sum(z.map((y) => `p${x}_${y} * x${y}`))});`),
        "}",
      ]),
    ]),
    "}",
  ];
  if (text.put("put_o", 0, [batch, head, query, valueChannel])) {
    for (const x of r) {
      lines.push(`let w${x} = select(1.0 / l${x}, 0.0, l${x} == 0.0);`);
      lines.push(...puts("put_o", `batch, head, i${x}`, valueChannel.extent, (c) => `o${x}_${c}`, `w${x}`));
    }
  }
  if (text.put("put_lse", 1, [batch, head, query])) {
    const log = text.use("log_f32");
    for (const x of r) lines.push(`put_lse(batch, head, i${x}, select(m${x} + ${log}(l${x}), ${hiddenScore}f, l${x} == 0.0));`);
  }
  return text.finish({ width, workgroups, lines, subgroups: true });
}

/** q̄: an invocation for each query. */
export function softwareQueryCotangent(kernel: AttentionBackwardKernel, context: Context): KernelSource {
  const { target } = context;
  const { batch, head, query, key, channel, valueChannel } = kernel.loops;
  const [parts, valueParts] = [Math.ceil(channel.extent / 4), Math.ceil(valueChannel.extent / 4)];
  const shape = shapeOf(2 * parts + valueParts, Math.max(parts, valueParts), query.extent, target);
  const { width, rows, block } = shape;
  const text = new AttentionText(kernel, context);
  text.operands();
  const exp = text.use("exp_f32");
  const [r, z] = [range(rows), range(block)];

  const k = share({ name: "k", at: "at_k", parts }, shape, "j", key.extent - 1);
  const v = share({ name: "v", at: "at_v", parts: valueParts }, shape, "j", key.extent - 1);
  const [from, stop] = keysOf(kernel, "first", "last", steps(key.extent, target));
  const exists = (y: number): string[] => (block > 1 ? [`${shifted("j", y)} < ${key.extent}u`] : []);
  const { workgroups, lines: place } = tilesOf(text, "query", width * rows);

  const lines = [
    ...place,
    ...beginnings(["q", "g"], "head"),
    ...beginnings(["k", "v"], "key_head"),
    ...r.flatMap((x) => [
      `let i${x} = min(first + lane + ${x * width}u, ${query.extent - 1}u);`,
      ...range(parts).map((c) => `let q${x}_${c} = q(at_q, i${x}, ${c}u);`),
      ...range(valueParts).map((c) => `let g${x}_${c} = g(at_g, i${x}, ${c}u);`),
      `let lse${x} = lse_of(batch, head, i${x});`,
      `let delta${x} = delta_of(batch, head, i${x});`,
      ...range(parts).map((c) => `var d${x}_${c} = vec4<f32>(0.0);`),
    ]),
    ...k.before,
    ...v.before,
    `let from_key = ${from};`,
    `let stop_key = ${stop};`,
    `for (var j = from_key; j < stop_key; j += ${block}u) {`,
    ...indented([
      ...k.loads,
      ...v.loads,
      ...r.flatMap((x) => z.flatMap((y) => [`var s${x}_${y} = 0.0;`, `var t${x}_${y} = 0.0;`])),
      ...z.flatMap((y) => [
        ...range(parts).flatMap((c) => oneVector("x", k.vector(y, c), r, (x) => `s${x}_${y} += dot(q${x}_${c}, x);`)),
        ...range(valueParts).flatMap((c) => oneVector("x", v.vector(y, c), r, (x) => `t${x}_${y} += dot(g${x}_${c}, x);`)),
      ]),
      ...r.flatMap((x) =>
        z.flatMap((y) => [
          `let raw${x}_${y} = scale * s${x}_${y};`,
          `let score${x}_${y} = ${scoreOf(kernel, { query: `i${x}`, key: shifted("j", y) }, `raw${x}_${y}`, exists(y))};`,
          `let pulled${x}_${y} = pulled_of(batch, head, i${x}, ${shifted("j", y)}, raw${x}_${y}, ${exp}(score${x}_${y} - lse${x}) * (t${x}_${y} - delta${x}));`,
          `let u${x}_${y} = select(pulled${x}_${y}, 0.0, score${x}_${y} <= ${unseen}f);`,
        ]),
      ),
      ...range(parts).flatMap((c) => [
        "{",
        ...z.map((y) => `  let x${y} = ${k.vector(y, c)};`),
        ...r.map((x) => `  d${x}_${c} += ${sum(z.map((y) => `u${x}_${y} * x${y}`))};`),
        "}",
      ]),
    ]),
    "}",
  ];
  text.put("put_q", 0, [batch, head, query, channel]);
  for (const x of r) lines.push(...puts("put_q", `batch, head, i${x}`, channel.extent, (c) => `d${x}_${c}`, "scale"));
  return text.finish({ width, workgroups, lines, subgroups: true });
}

/** k̄, v̄ or both: an invocation for each key, over the queries of all heads that read it. */
export function softwareKeyCotangent(kernel: AttentionBackwardKernel, context: Context): KernelSource {
  const { target } = context;
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const [parts, valueParts] = [Math.ceil(channel.extent / 4), Math.ceil(valueChannel.extent / 4)];
  const [wantsK, wantsV] = [kernel.results.includes(1), kernel.results.includes(2)];
  const held = parts + (wantsK ? parts + valueParts : 0) + (wantsV ? valueParts : 0);
  const shape = shapeOf(held, Math.max(parts, valueParts), key.extent, target);
  const { width, rows, block } = shape;
  const text = new AttentionText(kernel, context);
  text.operands(wantsK);
  const exp = text.use("exp_f32");
  const [r, z] = [range(rows), range(block)];

  const q = share({ name: "q", at: "at_q", parts }, shape, "i", query.extent - 1);
  const g = share({ name: "g", at: "at_g", parts: valueParts }, shape, "i", query.extent - 1);
  const [from, stop] = queriesOf(kernel, "first", "last", steps(query.extent, target));
  const exists = (y: number): string[] => (block > 1 ? [`${shifted("i", y)} < ${query.extent}u`] : []);
  const { workgroups, lines: place } = tilesOf(text, "key", width * rows);
  const group = head.extent / keyHead.extent;
  const last = query.extent - 1;
  const queryAt = (y: number): string => (block === 1 ? "i" : `min(i + ${y}u, ${last}u)`);

  const lines = [
    ...place,
    ...beginnings(wantsK ? ["k", "v"] : ["k"], "key_head"),
    ...r.flatMap((x) => [
      `let j${x} = min(first + lane + ${x * width}u, ${key.extent - 1}u);`,
      ...range(parts).map((c) => `let k${x}_${c} = k(at_k, j${x}, ${c}u);`),
      ...(wantsK ? range(valueParts).map((c) => `let v${x}_${c} = v(at_v, j${x}, ${c}u);`) : []),
      ...(wantsK ? range(parts).map((c) => `var d${x}_${c} = vec4<f32>(0.0);`) : []),
      ...(wantsV ? range(valueParts).map((c) => `var e${x}_${c} = vec4<f32>(0.0);`) : []),
    ]),
    ...q.before,
    ...g.before,
    `let from_query = ${from};`,
    `let stop_query = ${stop};`,
    `for (var member = 0u; member < ${steps(group, target)}; member++) {`,
    `  let head = key_head * ${group}u + member;`,
    ...indented(beginnings(["q", "g"], "head")),
    `  for (var i = from_query; i < stop_query; i += ${block}u) {`,
    ...indented(
      indented([
        ...q.loads,
        ...g.loads,
        ...z.flatMap((y) => [
          `let lse${y} = lse_of(batch, head, ${queryAt(y)});`,
          ...(wantsK ? [`let delta${y} = delta_of(batch, head, ${queryAt(y)});`] : []),
        ]),
        ...r.flatMap((x) => z.flatMap((y) => [`var s${x}_${y} = 0.0;`, ...(wantsK ? [`var t${x}_${y} = 0.0;`] : [])])),
        ...z.flatMap((y) => [
          ...range(parts).flatMap((c) => oneVector("x", q.vector(y, c), r, (x) => `s${x}_${y} += dot(k${x}_${c}, x);`)),
          ...(wantsK
            ? range(valueParts).flatMap((c) => oneVector("x", g.vector(y, c), r, (x) => `t${x}_${y} += dot(v${x}_${c}, x);`))
            : []),
        ]),
        ...r.flatMap((x) =>
          z.flatMap((y) => [
            `let raw${x}_${y} = scale * s${x}_${y};`,
            `let score${x}_${y} = ${scoreOf(kernel, { query: shifted("i", y), key: `j${x}` }, `raw${x}_${y}`, exists(y))};`,
            `let p${x}_${y} = select(${exp}(score${x}_${y} - lse${y}), 0.0, score${x}_${y} <= ${unseen}f);`,
            ...(wantsK
              ? [
                  `let pulled${x}_${y} = pulled_of(batch, head, ${shifted("i", y)}, j${x}, raw${x}_${y}, p${x}_${y} * (t${x}_${y} - delta${y}));`,
                  `let u${x}_${y} = select(pulled${x}_${y}, 0.0, score${x}_${y} <= ${unseen}f);`,
                ]
              : []),
          ]),
        ),
        ...(wantsV
          ? range(valueParts).flatMap((c) => [
              "{",
              ...z.map((y) => `  let x${y} = ${g.vector(y, c)};`),
              ...r.map((x) => `  e${x}_${c} += ${sum(z.map((y) => `p${x}_${y} * x${y}`))};`),
              "}",
            ])
          : []),
        ...(wantsK
          ? range(parts).flatMap((c) => [
              "{",
              ...z.map((y) => `  let x${y} = ${q.vector(y, c)};`),
              ...r.map((x) => `  d${x}_${c} += ${sum(z.map((y) => `u${x}_${y} * x${y}`))};`),
              "}",
            ])
          : []),
      ]),
    ),
    "  }",
    "}",
  ];
  if (text.put("put_k", 1, [batch, keyHead, key, channel])) {
    for (const x of r) lines.push(...puts("put_k", `batch, key_head, j${x}`, channel.extent, (c) => `d${x}_${c}`, "scale"));
  }
  if (text.put("put_v", 2, [batch, keyHead, key, valueChannel])) {
    for (const x of r) lines.push(...puts("put_v", `batch, key_head, j${x}`, valueChannel.extent, (c) => `e${x}_${c}`));
  }
  return text.finish({ width, workgroups, lines, subgroups: true });
}

const shifted = (name: string, by: number): string => (by === 0 ? name : `${name} + ${by}u`);

/** One vector that several rows use. */
const oneVector = (name: string, vector: string, rows: readonly number[], use: (row: number) => string): string[] => [
  "{",
  `  let ${name} = ${vector};`,
  ...rows.map((row) => `  ${use(row)}`),
  "}",
];

/** Writes the channels of a row, times a factor. */
const puts = (name: string, row: string, channels: number, vector: (part: number) => string, factor?: string): string[] =>
  range(channels).map((c) => `${name}(${row}, ${c}u, ${vector(c >> 2)}.${"xyzw"[c & 3]}${factor === undefined ? "" : ` * ${factor}`});`);
