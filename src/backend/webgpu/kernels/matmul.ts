import type { BufferInfo, MatmulKernel } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { coefficient, type IndexExpression, literal, substitute } from "../../../ir/index-expression.js";
import { index, ValuePrinter } from "../wgsl.js";
import { Bindings, type Context, fold, foldedGroup, indent, type KernelSource, steps, type Target } from "./source.js";
import { aligned, quarter } from "./vectors.js";

/** Where the elements of an operand lie: base + row·(row stride) + column·(column stride). */
interface Layout {
  readonly base: IndexExpression;
  readonly row: number;
  readonly column: number;
}

function layoutOf(place: IndexExpression, row: string, column: string): Layout {
  const [atRow, atColumn] = [coefficient(place, row), coefficient(place, column)];
  if (atRow === undefined || atColumn === undefined) throw new Error("an operand of a product is not linear");
  const zero = literal(0);
  return {
    base: substitute(
      place,
      new Map([
        [row, zero],
        [column, zero],
      ]),
    ),
    row: atRow,
    column: atColumn,
  };
}

/** True if groups of four along the columns are whole vectors of memory. */
const vectorColumns = (x: Layout, columns: number): boolean => x.column === 1 && columns % 4 === 0 && x.row % 4 === 0 && aligned(x.base);
const vectorRows = (x: Layout, rows: number): boolean => x.row === 1 && rows % 4 === 0 && x.column % 4 === 0 && aligned(x.base);

/** Products with what happens to each element of the result. Transposed operands are read where they lie. */
export function matmulKernel(kernel: MatmulKernel, context: Context): KernelSource {
  const { info, target } = context;
  const a = layoutOf(kernel.a.index, "m", "k");
  const b = layoutOf(kernel.b.index, "k", "n");
  const whole = target.kernelClass === "software" ? vectorStore(kernel, a, b, info) : undefined;
  const bindings = new Bindings(context, kernel, whole ? 4 : 1);
  const printer = new ValuePrinter(
    kernel,
    (buffer, place) => bindings.read(buffer, place),
    () => "total",
  );
  const body = target.kernelClass === "gpu" ? tiled(kernel, a, b, bindings, target) : inRegisters(kernel, a, b, bindings, target, whole);
  const lines = printer.statements(
    kernel.stores.map(({ value }) => value),
    new Set(),
  );
  const writes = kernel.stores.map(({ buffer, index: place, value }) => bindings.write(buffer, index(place), printer.name(value)));
  const finish = `fn finish(b: u32, m: u32, n: u32, total: f32) {\n${indent([...lines, ...writes])}\n}`;
  const declarations = [printer.prelude.text(), whole ? "" : finish, body.declarations];
  return bindings.finish({ width: body.width, workgroups: body.workgroups, declarations, lines: body.lines });
}

/** Where the results lie if they are stored as they are and four columns are one vector. */
function vectorStore(kernel: MatmulKernel, a: Layout, b: Layout, info: (buffer: number) => BufferInfo): Layout | undefined {
  const [only] = kernel.stores;
  if (kernel.stores.length !== 1 || only === undefined || only.value.kind !== "register" || info(only.buffer).dtype !== "f32")
    return undefined;
  if (coefficient(only.index, "m") === undefined || coefficient(only.index, "n") === undefined) return undefined;
  const place = layoutOf(only.index, "m", "n");
  return vectorColumns(place, kernel.n.extent) && columnsOf(kernel, a, b) === 4 ? place : undefined;
}

/** Columns that an invocation computes: four where both operands can be read as vectors. */
function columnsOf({ n, k }: MatmulKernel, a: Layout, b: Layout): 1 | 4 {
  if (vectorColumns(b, n.extent)) return 4;
  return n.extent % 4 === 0 && vectorColumns(a, k.extent) && vectorRows(b, k.extent) ? 4 : 1;
}

/** What reads the vector of four with a number. */
type Reader = (place: string) => string;

interface Body {
  readonly width: number;
  readonly workgroups: [number, number, number];
  readonly declarations: string;
  readonly lines: string[];
}

/** The tile of this workgroup, counted batch by batch, column tiles fastest. */
function tileLines(
  kernel: MatmulKernel,
  tileM: number,
  tileN: number,
  target: Target,
): { workgroups: [number, number, number]; lines: string[] } {
  const [acrossN, acrossM] = [Math.ceil(kernel.n.extent / tileN), Math.ceil(kernel.m.extent / tileM)];
  const total = acrossN * acrossM * kernel.batch.extent;
  const workgroups = fold(total, target);
  const lines = [
    `let tile = ${foldedGroup(workgroups)};`,
    ...(workgroups[1] === 1 ? [] : [`if (tile >= ${total}u) { return; }`]),
    `let nLeft = (tile % ${acrossN}u) * ${tileN}u;`,
    `let mTop = ((tile / ${acrossN}u) % ${acrossM}u) * ${tileM}u;`,
    `let b = tile / ${acrossN * acrossM}u;`,
  ];
  return { workgroups, lines };
}

/**
 * The loop over k, `stride` steps at a time; `body` adds to `sum0`, `sum1`, … Long ones go block by block, and what a block came to is
 * added to the blocks before.
 */
function overDepth(
  depth: number,
  stride: number,
  rows: readonly number[],
  zero: string,
  target: Target,
  body: readonly string[],
): string[] {
  const [count, block] = [depth / stride, blockTerms / stride];
  if (depth <= 2 * blockTerms) return [`for (var k = 0u; k < ${steps(count, target)}; k++) {`, ...body, "}"];
  return [
    ...rows.map((i) => `var total${i} = ${zero};`),
    `for (var start = 0u; start < ${steps(count, target)}; start += ${block}u) {`,
    ...rows.map((i) => `  sum${i} = ${zero};`),
    `  let stop = min(start + ${block}u, ${count}u);`,
    "  for (var k = start; k < stop; k++) {",
    ...body.map((line) => `  ${line}`),
    "  }",
    ...rows.map((i) => `  total${i} += sum${i};`),
    "}",
    ...rows.map((i) => `sum${i} = total${i};`),
  ];
}

const lanes = 8;

/**
 * For software adapters: a small workgroup side by side along n, each invocation with a few rows in registers. Elements of
 * `a` are the same for the whole workgroup, so a load of one is a broadcast; loads of `b` are vectors. No barriers.
 */
function inRegisters(kernel: MatmulKernel, a: Layout, b: Layout, bindings: Bindings, target: Target, whole: Layout | undefined): Body {
  const [M, N, K] = [kernel.m.extent, kernel.n.extent, kernel.k.extent];
  const rows = Math.min(M, 4);
  const r = Array.from({ length: rows }, (_, i) => i);
  const columnsVector = vectorColumns(b, N);
  const along = vectorColumns(a, K);
  const columns = columnsOf(kernel, a, b);
  const fourColumns = columns === 4 && !columnsVector;
  const { workgroups, lines } = tileLines(kernel, rows, lanes * columns, target);
  const down = vectorRows(a, M) && rows % 4 === 0 && M % rows === 0;

  lines.push(`let n = nLeft + lane * ${columns}u;`, `if (n >= ${N}u) { return; }`);
  // Rows beyond the last are the last once more: storing the same number twice costs less than asking.
  for (const i of r) lines.push(`let m${i} = min(mTop + ${i}u, ${M - 1}u);`);
  const nothing = columns === 4 ? "vec4<f32>(0.0)" : "0.0";
  for (const i of r) lines.push(`var sum${i} = ${nothing};`);
  const body: string[] = [];
  const [x, y] = [kernel.a, kernel.b].map(
    ({ buffer }) =>
      (place: string) =>
        bindings.read(buffer, place, 4),
  ) as [Reader, Reader];
  const left = (i: number): string => bindings.read(kernel.a.buffer, `${index(a.base)} + m${i} * ${a.row}u + k * ${a.column}u`);
  const stride = fourColumns || (columnsVector && along) ? 4 : 1;
  if (fourColumns) {
    // Both operands lie along k: four columns of four steps are a 4 × 4 block, turned over in registers.
    for (const i of r) lines.push(`let a${i} = ${quarter(a.base)} + m${i} * ${a.row / 4}u;`);
    lines.push(`let right = ${quarter(b.base)} + n * ${b.column / 4}u;`);
    for (const j of [0, 1, 2, 3]) body.push(`  let c${j} = ${y(`right + ${(j * b.column) / 4}u + k`)};`);
    ["x", "y", "z", "w"].forEach((part, j) => body.push(`  let y${j} = vec4<f32>(c0.${part}, c1.${part}, c2.${part}, c3.${part});`));
    for (const i of r) {
      body.push(`  let x${i} = ${x(`a${i} + k`)};`);
      body.push(`  sum${i} += x${i}.x * y0 + x${i}.y * y1 + x${i}.z * y2 + x${i}.w * y3;`);
    }
  } else if (columnsVector) {
    lines.push(`let right = ${quarter(b.base)} + n / 4u;`);
    if (along) {
      for (const i of r) lines.push(`let a${i} = ${quarter(a.base)} + m${i} * ${a.row / 4}u;`);
      for (const j of [0, 1, 2, 3]) body.push(`  let y${j} = ${y(`right + (k * 4u + ${j}u) * ${b.row / 4}u`)};`);
      for (const i of r) {
        body.push(`  let x${i} = ${x(`a${i} + k`)};`);
        body.push(`  sum${i} += x${i}.x * y0 + x${i}.y * y1 + x${i}.z * y2 + x${i}.w * y3;`);
      }
    } else if (down) {
      lines.push(`let left = ${quarter(a.base)} + mTop / 4u;`);
      body.push(`  let y = ${y(`right + k * ${b.row / 4}u`)};`);
      for (let q = 0; q < rows / 4; q++) {
        body.push(`  let x${q} = ${x(`left + k * ${a.column / 4}u + ${q}u`)};`);
        ["x", "y", "z", "w"].forEach((part, j) => body.push(`  sum${q * 4 + j} += x${q}.${part} * y;`));
      }
    } else {
      body.push(`  let y = ${y(`right + k * ${b.row / 4}u`)};`);
      for (const i of r) body.push(`  sum${i} += ${left(i)} * y;`);
    }
  } else {
    body.push(`  let y = ${bindings.read(kernel.b.buffer, `${index(b.base)} + k * ${b.row}u + n * ${b.column}u`)};`);
    for (const i of r) body.push(`  sum${i} += ${left(i)} * y;`);
  }
  lines.push(...overDepth(K, stride, r, nothing, target, body));
  if (whole) {
    const output = bindings.name((kernel.stores[0] as MatmulKernel["stores"][number]).buffer, 4);
    for (const i of r) lines.push(`${output}[${quarter(whole.base)} + m${i} * ${whole.row / 4}u + n / 4u] = sum${i};`);
  } else {
    for (const i of r) {
      const parts = columns === 4 ? ["x", "y", "z", "w"].map((part, j) => [`${j}u`, `.${part}`]) : [["0u", ""]];
      for (const [column, part] of parts) lines.push(`finish(b, m${i}, n + ${column}, sum${i}${part});`);
    }
  }
  return { width: lanes, workgroups, declarations: "", lines };
}

const tile = 64;
const slab = 16;
const side = 16;
const perSide = tile / side;

/**
 * For GPUs: 64 × 64 results for a workgroup of 16 × 16, 4 × 4 in the registers of each invocation, 16 steps of k at a time
 * through workgroup memory (8 KiB).
 */
function tiled(kernel: MatmulKernel, a: Layout, b: Layout, bindings: Bindings, target: Target): Body {
  const [M, N, K] = [kernel.m.extent, kernel.n.extent, kernel.k.extent];
  const { workgroups, lines } = tileLines(kernel, tile, tile, target);
  const left = bindings.read(kernel.a.buffer, `${index(a.base)} + (mTop + am) * ${a.row}u + (k0 + ak) * ${a.column}u`);
  const right = bindings.read(kernel.b.buffer, `${index(b.base)} + (k0 + bk) * ${b.row}u + (nLeft + bn) * ${b.column}u`);
  const threads = side * side;
  const loads = (tile * slab) / threads;
  const i = [0, 1, 2, 3];
  lines.push(`let tx = lane % ${side}u;`, `let ty = lane / ${side}u;`);
  const long = K > 2 * blockTerms;
  for (const p of i) lines.push(`var sum${p} = vec4<f32>(0.0);`);
  if (long) for (const p of i) lines.push(`var total${p} = vec4<f32>(0.0);`);
  lines.push(`for (var k0 = 0u; k0 < ${K}u; k0 += ${slab}u) {`);
  lines.push(`  for (var load = 0u; load < ${loads}u; load++) {`, `    let e = load * ${threads}u + lane;`);
  // Neighbouring invocations read neighbouring elements, whichever way an operand lies.
  lines.push(a.column === 1 ? `    let ak = e % ${slab}u; let am = e / ${slab}u;` : `    let am = e % ${tile}u; let ak = e / ${tile}u;`);
  lines.push(
    `    var left = 0.0;`,
    `    if (mTop + am < ${M}u && k0 + ak < ${K}u) { left = ${left}; }`,
    `    tile_a[ak * ${tile}u + am] = left;`,
  );
  lines.push(b.column === 1 ? `    let bn = e % ${tile}u; let bk = e / ${tile}u;` : `    let bk = e % ${slab}u; let bn = e / ${slab}u;`);
  lines.push(
    `    var right = 0.0;`,
    `    if (k0 + bk < ${K}u && nLeft + bn < ${N}u) { right = ${right}; }`,
    `    tile_b[bk * ${tile}u + bn] = right;`,
    "  }",
    "  workgroupBarrier();",
    `  for (var k = 0u; k < ${slab}u; k++) {`,
    `    let row = k * ${tile}u + ty * ${perSide}u;`,
    `    let column = k * ${tile}u + tx * ${perSide}u;`,
    "    let yy = vec4<f32>(tile_b[column], tile_b[column + 1u], tile_b[column + 2u], tile_b[column + 3u]);",
  );
  for (const p of i) lines.push(`    sum${p} += tile_a[row + ${p}u] * yy;`);
  lines.push("  }", "  workgroupBarrier();");
  if (long) {
    // The steps of a block have passed.
    lines.push(`  if (k0 % ${blockTerms}u == ${blockTerms - slab}u) {`);
    for (const p of i) lines.push(`    total${p} += sum${p};`, `    sum${p} = vec4<f32>(0.0);`);
    lines.push("  }");
  }
  lines.push("}");
  if (long) for (const p of i) lines.push(`sum${p} += total${p};`);
  lines.push(`let m = mTop + ty * ${perSide}u;`, `let n = nLeft + tx * ${perSide}u;`);
  for (const p of i) {
    lines.push(`if (m + ${p}u < ${M}u) {`);
    ["x", "y", "z", "w"].forEach((part, q) => lines.push(`  if (n + ${q}u < ${N}u) { finish(b, m + ${p}u, n + ${q}u, sum${p}.${part}); }`));
    lines.push("}");
  }
  const declarations = `var<workgroup> tile_a: array<f32, ${tile * slab}>;\nvar<workgroup> tile_b: array<f32, ${tile * slab}>;\n`;
  return { width: threads, workgroups, declarations, lines };
}
