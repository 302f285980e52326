import { type AttentionBackwardKernel, type AttentionKernel, hiddenScore } from "../../../compiler/program.js";
import { AttentionText, beginnings, keysOf, queriesOf, scoreOf, tilesOf, unseen } from "./attention-text.js";
import { own, puts, type Rows, scaled, sums, Tiles, threadLines, threads, xyzw } from "./attention-tiles.js";
import { type Context, indented, type KernelSource, range, steps } from "./source.js";

/**
 * Attention for GPUs (Dao 2023): a workgroup has a tile of rows, queries or keys, and goes over tiles of the other side. Scores of a tile
 * of pairs come from slabs of channels in workgroup memory, 4 × 2 in the registers of each invocation, or 4 × 4; what is made of them lies
 * in workgroup memory for the product that follows. Everything fits into the 16 KiB and 256 invocations that every device has, and larger
 * tiles into 32 KiB. No atomics: q̄ has the queries for its rows, k̄ and v̄ the keys.
 */

type Attention = AttentionKernel | AttentionBackwardKernel;

/** That both of a pair exist, whose tiles may reach beyond the last. */
const exists = ({ loops: { query, key } }: Attention, i: string, j: string): string[] => [
  `${i} < ${query.extent}u`,
  `${j} < ${key.extent}u`,
];

/** o and lse: 64 queries for a workgroup, online softmax over tiles of keys. */
export function gpuAttention(kernel: AttentionKernel, context: Context): KernelSource {
  const { subgroupSize = 1, subgroupIds = false } = context.target;
  const { batch, head, query, key, channel, valueChannel } = kernel.loops;
  const text = new AttentionText(kernel, context);
  text.operands();
  const exp = text.use("exp_f32");
  const tiles = new Tiles(text);
  const { workgroups, lines: place } = tilesOf(text, "query", own);
  const q: Rows = { name: "q", at: "at_q", first: "first", last: query.extent - 1, channels: channel.extent };
  const k: Rows = { name: "k", at: "at_k", first: "start", last: key.extent - 1, channels: channel.extent };
  const v: Rows = { name: "v", at: "at_v", first: "start", last: key.extent - 1, channels: valueChannel.extent };
  // For the softmax four invocations share a row, each with its part of the keys; they look up all, or ask each other in a subgroup.
  const mine = range(tiles.other / 4);
  const asks = subgroupIds && subgroupSize >= 4;
  const maximum = asks
    ? [
        `var largest = ${mine.reduce((most, j) => `max(${most}, score${j})`, "most")};`,
        ...[1, 2].map((apart) => `largest = max(largest, subgroupShuffleXor(largest, ${apart}u));`),
      ]
    : [
        "var largest = most;",
        `for (var j = 0u; j < ${steps(tiles.other, context.target)}; j++) { largest = max(largest, tile[j * ${own}u + row_of_sums]); }`,
        // What others look up is written over below.
        "workgroupBarrier();",
      ];
  const lines = [
    ...place,
    ...threadLines,
    ...beginnings(["q"], "head"),
    ...beginnings(["k", "v"], "key_head"),
    `var most = ${unseen}f;`,
    "var total = 0.0;",
    "let row_of_sums = lane / 4u;",
    `let keys_of_sums = (lane % 4u) * ${mine.length}u;`,
    ...sums("o", valueChannel.extent),
    ...tiles.over(keysOf(kernel, "first", "last", `${key.extent}u`), [
      ...tiles.product(q, k, "s"),
      ...tiles.pairs.map(
        (pair) =>
          `${pair.place} = ${scoreOf(kernel, { query: pair.mine, key: pair.theirs }, `scale * s${pair.c}.${xyzw[pair.e]}`, exists(kernel, pair.mine, pair.theirs))};`,
      ),
      "workgroupBarrier();",
      ...mine.map((j) => `let score${j} = tile[(keys_of_sums + ${j}u) * ${own}u + row_of_sums];`),
      ...maximum,
      `let shrunk = ${exp}(most - largest);`,
      "most = largest;",
      ...mine.map((j) => `let p${j} = select(${exp}(score${j} - most), 0.0, score${j} <= ${unseen}f);`),
      `total = total * shrunk + (${mine.map((j) => `p${j}`).join(" + ")});`,
      ...mine.map((j) => `tile[(keys_of_sums + ${j}u) * ${own}u + row_of_sums] = p${j};`),
      "if (lane % 4u == 0u) { shrinking[row_of_sums] = shrunk; }",
      "workgroupBarrier();",
      "let factor = vec4<f32>(shrinking[ty * 4u], shrinking[ty * 4u + 1u], shrinking[ty * 4u + 2u], shrinking[ty * 4u + 3u]);",
      ...scaled("o", valueChannel.extent, "factor"),
      ...tiles.multiply(v, "o"),
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
  const declarations = [...tiles.memory, `var<workgroup> shrinking: array<f32, ${own}>;`];
  return text.finish({ width: threads, workgroups, declarations, lines, ...(asks ? { subgroupSize } : {}) });
}

/** q̄: 64 queries for a workgroup, over tiles of keys. */
export function gpuQueryCotangent(kernel: AttentionBackwardKernel, context: Context): KernelSource {
  const { batch, head, query, key, channel, valueChannel } = kernel.loops;
  const text = new AttentionText(kernel, context);
  text.operands();
  text.put("put_q", 0, [batch, head, query, channel]);
  const exp = text.use("exp_f32");
  const tiles = new Tiles(text);
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
    ...tiles.over(keysOf(kernel, "first", "last", `${key.extent}u`), [
      ...tiles.product(q, k, "s"),
      ...tiles.product(g, v, "t"),
      ...tiles.pairs.flatMap((pair) => {
        const { c, e, mine, theirs } = pair;
        return [
          "{",
          `  let raw = scale * s${c}.${xyzw[e]};`,
          `  let score = ${scoreOf(kernel, { query: mine, key: theirs }, "raw", exists(kernel, mine, theirs))};`,
          `  let pulled = pulled_of(batch, head, i${e}, ${theirs}, raw, ${exp}(score - lse${e}) * (t${c}.${xyzw[e]} - delta${e}));`,
          `  ${pair.place} = select(pulled, 0.0, score <= ${unseen}f);`,
          "}",
        ];
      }),
      "workgroupBarrier();",
      ...tiles.multiply(k, "d"),
    ]),
    ...puts("put_q", "head", query.extent, "d", channel.extent, () => " * scale"),
  ];
  return text.finish({ width: threads, workgroups, declarations: tiles.memory, lines });
}

/** k̄, v̄ or both: 64 keys for a workgroup, over tiles of queries of all heads that read them. */
export function gpuKeyCotangent(kernel: AttentionBackwardKernel, context: Context): KernelSource {
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const { target } = context;
  const [wantsK, wantsV] = [kernel.results.includes(1), kernel.results.includes(2)];
  const text = new AttentionText(kernel, context);
  text.operands(wantsK);
  if (wantsK) text.put("put_k", 1, [batch, keyHead, key, channel]);
  if (wantsV) text.put("put_v", 2, [batch, keyHead, key, valueChannel]);
  const exp = text.use("exp_f32");
  const tiles = new Tiles(text);
  const group = head.extent / keyHead.extent;
  const { workgroups, lines: place } = tilesOf(text, "key", own);
  const k: Rows = { name: "k", at: "at_k", first: "first", last: key.extent - 1, channels: channel.extent };
  const v: Rows = { name: "v", at: "at_v", first: "first", last: key.extent - 1, channels: valueChannel.extent };
  const q: Rows = { name: "q", at: "at_q", first: "start", last: query.extent - 1, channels: channel.extent };
  const g: Rows = { name: "g", at: "at_g", first: "start", last: query.extent - 1, channels: valueChannel.extent };
  /** p of all pairs, for v̄, or the cotangent of the raw score, for k̄. */
  const weigh = (pulled: boolean): string[] => [
    ...tiles.pairs.flatMap((pair) => {
      const { c, e, mine, theirs } = pair;
      const weight = `${exp}(score - lse${c})`;
      return [
        "{",
        `  let raw = scale * s${c}.${xyzw[e]};`,
        `  let score = ${scoreOf(kernel, { query: theirs, key: mine }, "raw", exists(kernel, theirs, mine))};`,
        `  let weight = ${pulled ? `pulled_of(batch, head, i${c}, ${mine}, raw, ${weight} * (t${c}.${xyzw[e]} - delta${c}))` : weight};`,
        `  ${pair.place} = select(weight, 0.0, score <= ${unseen}f);`,
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
      ...tiles.over(queriesOf(kernel, "first", "last", `${query.extent}u`), [
        ...tiles.held.flatMap((c) => [
          `let i${c} = min(start + tx * ${tiles.held.length}u + ${c}u, ${query.extent - 1}u);`,
          `let lse${c} = lse_of(batch, head, i${c});`,
          ...(wantsK ? [`let delta${c} = delta_of(batch, head, i${c});`] : []),
        ]),
        ...tiles.product(k, q, "s"),
        ...(wantsV ? [...weigh(false), ...tiles.multiply(g, "e")] : []),
        ...(wantsK ? [...tiles.product(v, g, "t"), ...weigh(true), ...tiles.multiply(q, "d")] : []),
      ]),
    ]),
    "}",
    ...(wantsK ? puts("put_k", "key_head", key.extent, "d", channel.extent, () => " * scale") : []),
    ...(wantsV ? puts("put_v", "key_head", key.extent, "e", valueChannel.extent, () => "") : []),
  ];
  return text.finish({ width: threads, workgroups, declarations: tiles.memory, lines });
}
