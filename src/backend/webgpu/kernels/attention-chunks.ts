import { type AttentionKernel, hiddenScore, type Loop } from "../../../compiler/program.js";
import { subgroupTeam, workgroupTeam } from "./attention-teams.js";
import { AttentionText, keysOf, scoreOf, unseen } from "./attention-text.js";
import { type Context, fold, foldedGroup, indented, type KernelSource, range, steps } from "./source.js";

/** Rows of a workgroup: as many as leave their sums in registers. */
const mostRows = { software: 4, gpu: 8 } as const;

/**
 * Attention of few queries to many keys, as a model that generates has it (Dao et al. 2023, flash-decoding): the keys that the queries
 * see are cut into chunks, so that there is work for a whole device, and each chunk gives results of its own. A workgroup has a chunk and
 * rows, which are the queries of all heads that read its keys; an invocation computes the scores of one key, then channels of all values.
 *
 *   3 queries of 4 heads that share their keys, 48 chunks, at most 8 rows     →     2 · 48 workgroups of 6 rows
 *
 * Where all subgroups have the same size a workgroup is one of them, which needs neither barriers nor memory of its own.
 */
export function attentionChunks(kernel: AttentionKernel & { readonly chunk: Loop }, context: Context): KernelSource {
  const { target } = context;
  const { chunk } = kernel;
  const { batch, head, keyHead, query, key, channel, valueChannel } = kernel.loops;
  const [parts, valueParts] = [Math.ceil(channel.extent / 4), Math.ceil(valueChannel.extent / 4)];
  const group = head.extent / keyHead.extent;
  const allRows = group * query.extent;
  const tiles = Math.ceil(allRows / mostRows[target.kernelClass]);
  const rows = Math.ceil(allRows / tiles);
  const r = range(rows);
  const team = target.subgroupSize === undefined ? workgroupTeam(rows, target) : subgroupTeam(target.subgroupSize, target);
  const { width } = team;
  // Few channels leave invocations over: they take every second key, every fourth, …
  const slices = 2 ** Math.max(0, Math.floor(Math.log2(width / valueParts)));
  const held = range(Math.ceil(valueParts / width));
  const workgroupCount = tiles * chunk.extent * keyHead.extent * batch.extent;
  const workgroups = fold(workgroupCount, target);

  const text = new AttentionText(kernel, context);
  text.operands();
  const exp = text.use("exp_f32");
  const [from, stop] = keysOf(kernel, "0u", `${query.extent - 1}u`, `${key.extent}u`);

  const lines = [
    `let place = ${foldedGroup(workgroups)};`,
    ...(workgroups[1] === 1 ? [] : [`if (place >= ${workgroupCount}u) { return; }`]),
    `let ${chunk.name} = place % ${chunk.extent}u;`,
    `let first = (place / ${chunk.extent}u) % ${tiles}u * ${rows}u;`,
    `let key_head = (place / ${chunk.extent * tiles}u) % ${keyHead.extent}u;`,
    `let batch = place / ${chunk.extent * tiles * keyHead.extent}u;`,
    "let offset = offset_of();",
    "let scale = scale_of();",
    "let at_k = k_at(batch, key_head);",
    "let at_v = v_at(batch, key_head);",
    // Rows beyond the last are the last once more.
    ...r.flatMap((x) => [
      `let row${x} = min(first + ${x}u, ${allRows - 1}u);`,
      `let head${x} = key_head * ${group}u + row${x} / ${query.extent}u;`,
      `let i${x} = row${x} % ${query.extent}u;`,
      `let at_q${x} = q_at(batch, head${x});`,
      `var m${x} = ${unseen}f;`,
      `var l${x} = 0.0;`,
      ...held.map((c) => `var o${x}_${c} = vec4<f32>(0.0);`),
    ]),
    `let slice = (lane / ${valueParts}u) % ${slices}u;`,
    ...held.map((c) => `let part${c} = ${held.length > 1 ? `min(lane + ${c * width}u, ${valueParts - 1}u)` : `lane % ${valueParts}u`};`),
    `let from_key = ${from};`,
    `let stop_key = max(${stop}, from_key);`,
    `let many = (stop_key - from_key + ${chunk.extent - 1}u) / ${chunk.extent}u;`,
    `let from_own = min(from_key + ${chunk.name} * many, stop_key);`,
    ...team.uniform("own", "vec2<u32>(from_own, min(from_own + many, stop_key))"),
    `for (var start = own.x; start < own.y; start += ${width}u) {`,
    ...indented([
      "let last = own.y - 1u;",
      "let j = min(start + lane, last);",
      ...r.map((x) => `var s${x} = 0.0;`),
      `for (var c = 0u; c < ${steps(parts, target)}; c++) {`,
      "  let x = k(at_k, j, c);",
      ...r.map((x) => `  s${x} += dot(q(at_q${x}, i${x}, c), x);`),
      "}",
      ...r.map((x) => {
        const pair = { head: `head${x}`, query: `i${x}`, key: "j" };
        return `s${x} = ${scoreOf(kernel, pair, `scale * s${x}`, ["start + lane <= last"])};`;
      }),
      ...team.reduce(r, "max", "s", "top"),
      ...r.flatMap((x) => [
        `let n${x} = max(m${x}, top${x});`,
        `let a${x} = ${exp}(m${x} - n${x});`,
        `m${x} = n${x};`,
        `let p${x} = select(${exp}(s${x} - n${x}), 0.0, s${x} <= ${unseen}f);`,
        `l${x} = l${x} * a${x} + p${x};`,
        ...held.map((c) => `o${x}_${c} *= a${x};`),
      ]),
      ...team.share(r, "p"),
      `for (var y = 0u; y < min(${steps(width, target)}, own.y - start); y += ${slices}u) {`,
      ...held.map((c) => `  let x${c} = v(at_v, min(start + y + slice, last), part${c});`),
      ...r.flatMap((x) => [`  let w${x} = ${team.shared("p", x, "y + slice")};`, ...held.map((c) => `  o${x}_${c} += w${x} * x${c};`)]),
      "}",
      ...team.barrier,
    ]),
    "}",
    ...team.reduce(r, "+", "l", "sum"),
  ];
  if (text.put("put_o", 0, [batch, head, query, valueChannel, chunk])) {
    for (const x of r) {
      lines.push(`let weight${x} = select(1.0 / sum${x}, 0.0, sum${x} == 0.0);`);
      for (const c of held) {
        if (slices > 1) lines.push(...team.addSlices(`o${x}_${c}`, slices, valueParts));
        lines.push(`if (lane + ${c * width}u < ${valueParts}u) {`);
        for (const e of range(4)) {
          const put = `put_o(batch, head${x}, i${x}, part${c} * 4u + ${e}u, ${chunk.name}, o${x}_${c}.${"xyzw"[e]} * weight${x});`;
          const isThere = valueChannel.extent % 4 === 0 || e === 0 ? "" : `if (part${c} * 4u + ${e}u < ${valueChannel.extent}u) `;
          lines.push(`  ${isThere === "" ? put : `${isThere}{ ${put} }`}`);
        }
        lines.push("}");
      }
    }
  }
  if (text.put("put_lse", 1, [batch, head, query, chunk])) {
    const log = text.use("log_f32");
    lines.push(
      "if (lane == 0u) {",
      ...r.map((x) => {
        const lse = `select(m${x} + ${log}(sum${x}), ${hiddenScore}f, sum${x} == 0.0)`;
        return `  put_lse(batch, head${x}, i${x}, ${chunk.name}, ${lse});`;
      }),
      "}",
    );
  }
  return text.finish({ width, workgroups, declarations: team.memory, lines, subgroups: team.subgroups });
}
