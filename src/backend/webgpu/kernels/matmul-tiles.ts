import type { MatmulKernel } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { index } from "../wgsl.js";
import { type Layout, tileLines, vectorColumns, vectorRows } from "./matmul-layout.js";
import type { Bindings, Target } from "./source.js";
import { indented, range } from "./source.js";
import { invocations, mergedVectors, stride, type Tiling, tilingBytes } from "./tiling.js";
import { quarter } from "./vectors.js";

const parts = ["x", "y", "z", "w"] as const;

/** An operand of a product, seen from its lead: m of A, n of B. */
interface Operand {
  readonly name: "a" | "b";
  readonly buffer: number;
  readonly base: Layout["base"];
  /** Elements of memory from one lead to the next, and from one step of k to the next. */
  readonly lead: number;
  readonly step: number;
  readonly extent: number;
  readonly depth: number;
  /** Leads of a tile, and the name of the first. */
  readonly tile: number;
  readonly top: string;
}

/** What an invocation does to bring numbers of an operand into the workgroup's memory: first into registers, then there. */
interface Transfer {
  readonly declare: readonly string[];
  /** For the steps of k from `k0` on. */
  readonly fetch: readonly string[];
  readonly put: readonly string[];
}

/** Along what vectors of four lie in memory, if along anything. */
function contiguous({ base, lead, step, extent, depth }: Operand): "depth" | "lead" | undefined {
  const layout = { base, row: lead, column: step };
  if (vectorColumns(layout, depth)) return "depth";
  return vectorRows(layout, extent) ? "lead" : undefined;
}

/** Blocks of four leads by four steps of k, fetched in vectors along what is contiguous and put down in vectors along the lead. */
function transferOf(operand: Operand, bindings: Bindings, tiling: Tiling, padding: number): Transfer {
  const { name, buffer, base, lead, step, extent, depth, tile, top } = operand;
  const [steps, threads] = [tiling.groups * tiling.slab, invocations(tiling)];
  const [alongLead, alongDepth] = [tile / 4, steps / 4];
  const total = alongLead * alongDepth;
  const vectors = contiguous(operand);
  // Neighbouring invocations read what lies side by side.
  const leadsFirst = vectors === "lead" || (vectors === undefined && lead === 1);
  const [declare, fetch, put] = [[], [], []] as [string[], string[], string[]];
  for (const e of range(Math.ceil(total / threads))) {
    const number = e === 0 ? "lane" : `(lane + ${e * threads}u)`;
    const [myLead, myStep] = [`${name}_lead${e}`, `${name}_step${e}`];
    const [leadBlock, stepBlock] = leadsFirst
      ? [`${number} % ${alongLead}u`, `${number} / ${alongLead}u`]
      : [`${number} / ${alongDepth}u`, `${number} % ${alongDepth}u`];
    declare.push(`let ${myLead} = (${leadBlock}) * 4u;`, `let ${myStep} = (${stepBlock}) * 4u;`);
    const held = range(4).map((i) => `${name}${e}_${i}`);
    for (const each of held) declare.push(`var ${each} = vec4<f32>(0.0);`);
    // Leads beyond the last are the last once more: what comes of them is not stored.
    const last = extent - (vectors === "lead" ? 4 : 1);
    const at = (offset: number): string => {
      const place = `${top} + ${myLead} + ${offset}u`;
      return extent % tile === 0 ? `(${place})` : `min(${place}, ${last}u)`;
    };
    const k = (offset: number): string => `(k0 + ${myStep} + ${offset}u)`;
    const value = (i: number): string => {
      if (vectors === "depth") return bindings.read(buffer, `${quarter(base)} + ${at(i)} * ${lead / 4}u + ${k(0)} / 4u`, 4);
      if (vectors === "lead") return bindings.read(buffer, `${quarter(base)} + ${at(0)} / 4u + ${k(i)} * ${step / 4}u`, 4);
      const single = (j: number): string => bindings.read(buffer, `${index(base)} + ${at(j)} * ${lead}u + ${k(i)} * ${step}u`);
      return `vec4<f32>(${range(4).map(single).join(", ")})`;
    };
    const fetched = held.flatMap((each, i) => {
      if (depth % steps === 0) return [`${each} = ${value(i)};`];
      const inside = `${k(vectors === "depth" ? 0 : i)} < ${depth}u`;
      return [`${each} = vec4<f32>(0.0);`, `if (${inside}) { ${each} = ${value(i)}; }`];
    });
    const turned = (i: number): string => `vec4<f32>(${held.map((each) => `${each}.${parts[i]}`).join(", ")})`;
    const places = range(4).map((i) => `tile_${name}[(${myStep} + ${i}u) * ${stride(tile, padding)}u + ${myLead} / 4u]`);
    const stored = places.map((place, i) => `${place} = ${vectors === "depth" ? turned(i) : held[i]};`);
    const partial = (e + 1) * threads > total;
    const guarded = (lines: string[]): string[] => (partial ? [`if (${number} < ${total}u) {`, ...indented(lines), "}"] : lines);
    fetch.push(...guarded(fetched));
    put.push(...guarded(stored));
  }
  return { declare, fetch, put };
}

/** For GPUs: tiles through the memory of the workgroup, in vectors of four. `wholeVectors`: how a vector of the result is stored, if it can be. */
export function tiledProduct(
  kernel: MatmulKernel,
  { a, b, tiling }: { readonly a: Layout; readonly b: Layout; readonly tiling: Tiling },
  bindings: Bindings,
  target: Target,
  wholeVectors: ((row: string, column: string, value: string) => string) | undefined,
): { width: number; workgroups: [number, number, number]; declarations: string; lines: string[] } {
  const [M, N, K] = [kernel.m.extent, kernel.n.extent, kernel.k.extent];
  const { rows, columns, rowsEach, columnsEach, groups, slab } = tiling;
  const width = invocations(tiling);
  const padding = tilingBytes(tiling, 1) <= (target.workgroupBytes ?? 16_384) ? 1 : 0;
  const { workgroups, lines } = tileLines(kernel, rows, columns, target);
  const perGroup = width / groups;
  const across = columns / columnsEach;
  const [aVectors, bVectors] = [range(rowsEach / 4), range(columnsEach / 4)];
  const [aStride, bStride] = [stride(rows, padding), stride(columns, padding)];
  const [aApart, bApart] = [rows / rowsEach, columns / columnsEach];
  const operands: readonly Operand[] = [
    { name: "a", buffer: kernel.a.buffer, base: a.base, lead: a.row, step: a.column, extent: M, depth: K, tile: rows, top: "mTop" },
    { name: "b", buffer: kernel.b.buffer, base: b.base, lead: b.column, step: b.row, extent: N, depth: K, tile: columns, top: "nLeft" },
  ];
  const transfers = operands.map((operand) => transferOf(operand, bindings, tiling, padding));
  const [declare, fetch, put] = (["declare", "fetch", "put"] as const).map((part) => transfers.flatMap((each) => each[part])) as [
    string[],
    string[],
    string[],
  ];
  const sums = range(rowsEach).flatMap((i) => bVectors.map((j) => `${i}_${j}`));
  const steps = groups * slab;
  const depthOfGroup = Math.ceil(K / steps) * slab;
  const long = depthOfGroup > 2 * blockTerms;
  lines.push(
    ...(groups === 1
      ? [`let tx = lane % ${across}u;`, `let ty = lane / ${across}u;`]
      : [
          `let part = lane / ${perGroup}u;`,
          `let tx = (lane % ${perGroup}u) % ${across}u;`,
          `let ty = (lane % ${perGroup}u) / ${across}u;`,
        ]),
  );
  lines.push(...declare);
  for (const at of sums) lines.push(`var sum${at} = vec4<f32>(0.0);`);
  if (long) for (const at of sums) lines.push(`var total${at} = vec4<f32>(0.0);`);
  const row = groups === 1 ? "k" : `(part * ${slab}u + k)`;
  const multiply = [
    `for (var k = 0u; k < ${slab}u; k++) {`,
    ...aVectors.map((i) => `  let x${i} = tile_a[${row} * ${aStride}u + ty${i === 0 ? "" : ` + ${i * aApart}u`}];`),
    ...bVectors.map((j) => `  let y${j} = tile_b[${row} * ${bStride}u + tx${j === 0 ? "" : ` + ${j * bApart}u`}];`),
    ...range(rowsEach).flatMap((i) => bVectors.map((j) => `  sum${i}_${j} += x${i >> 2}.${parts[i & 3]} * y${j};`)),
    "}",
  ];
  const flush = long
    ? [
        `if ((start / ${steps}u) % ${Math.ceil(blockTerms / slab)}u == ${Math.ceil(blockTerms / slab) - 1}u) {`,
        ...sums.flatMap((at) => [`  total${at} += sum${at};`, `  sum${at} = vec4<f32>(0.0);`]),
        "}",
      ]
    : [];
  // The numbers of the next slab are on their way while this one is multiplied.
  lines.push("var k0 = 0u;", ...fetch, `for (var start = 0u; start < ${K}u; start += ${steps}u) {`);
  lines.push(...indented(put), "  workgroupBarrier();");
  if (K > steps) lines.push(`  k0 = start + ${steps}u;`, `  if (k0 < ${K}u) {`, ...indented(indented(fetch)), "  }");
  lines.push(...indented(multiply), ...indented(flush), "  workgroupBarrier();", "}");
  if (long) for (const at of sums) lines.push(`sum${at} += total${at};`);
  // The sums of the groups, in pairs.
  for (let half = groups >> 1; half >= 1; half >>= 1) {
    const place = (i: number, part: string): string => `merged[((${part}) * ${sums.length}u + ${i}u) * ${perGroup}u + lane % ${perGroup}u]`;
    lines.push(`if (part >= ${half}u && part < ${2 * half}u) {`);
    lines.push(...sums.map((at, i) => `  ${place(i, `part - ${half}u`)} = sum${at};`), "}", "workgroupBarrier();");
    lines.push(`if (part < ${half}u) {`, ...sums.map((at, i) => `  sum${at} += ${place(i, "part")};`), "}");
    if (half > 1) lines.push("workgroupBarrier();");
  }
  if (groups > 1) lines.push("if (part > 0u) { return; }");
  for (const i of range(rowsEach)) {
    const m = `m${i}`;
    lines.push(`let ${m} = mTop + (ty + ${(i >> 2) * aApart}u) * 4u + ${i & 3}u;`);
    const stores: string[] = [];
    for (const j of bVectors) {
      const n = `nLeft + (tx + ${j * bApart}u) * 4u`;
      if (wholeVectors) {
        const store = wholeVectors(m, `(${n})`, `sum${i}_${j}`);
        stores.push(N % columns === 0 ? store : `if (${n} < ${N}u) { ${store} }`);
      } else {
        parts.forEach((part, q) => {
          const store = `finish(b, ${m}, ${n} + ${q}u, sum${i}_${j}.${part});`;
          stores.push(N % columns === 0 ? store : `if (${n} + ${q}u < ${N}u) { ${store} }`);
        });
      }
    }
    lines.push(...(M % rows === 0 ? stores : [`if (${m} < ${M}u) {`, ...indented(stores), "}"]));
  }
  const memory = (name: string, vectors: number): string => `var<workgroup> ${name}: array<vec4<f32>, ${vectors}>;`;
  const declarations = [
    memory("tile_a", steps * aStride),
    memory("tile_b", steps * bStride),
    ...(groups > 1 ? [memory("merged", mergedVectors(tiling))] : []),
  ].join("\n");
  return { width, workgroups, declarations, lines };
}
