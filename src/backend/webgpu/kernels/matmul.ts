import type { BufferInfo, MatmulKernel } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { coefficient } from "../../../ir/index-expression.js";
import { index, ValuePrinter } from "../wgsl.js";
import { chooseTiling } from "./matmul-choice.js";
import { type Layout, layoutOf, tileLines, vectorColumns, vectorRows } from "./matmul-layout.js";
import { tiledProduct } from "./matmul-tiles.js";
import { Bindings, type Context, indent, type KernelSource, steps, type Target } from "./source.js";
import { quarter } from "./vectors.js";

/** Products with what happens to each element of the result. Transposed operands are read where they lie. */
export function matmulKernel(kernel: MatmulKernel, context: Context): KernelSource {
  const { info, target } = context;
  const a = layoutOf(kernel.a.index, "m", "k");
  const b = layoutOf(kernel.b.index, "k", "n");
  const gpu = target.kernelClass === "gpu";
  const whole = gpu || columnsOf(kernel, a, b) === 4 ? vectorStore(kernel, info) : undefined;
  const bindings = new Bindings(context, kernel, whole ? 4 : 1);
  const printer = new ValuePrinter(
    kernel,
    (buffer, place) => bindings.read(buffer, place),
    () => "total",
  );
  const body = gpu
    ? tiledProduct(kernel, { a, b, tiling: chooseTiling(kernel, target) }, bindings, target, whole && storeOf(kernel, whole, bindings))
    : inRegisters(kernel, a, b, bindings, target, whole);
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
function vectorStore(kernel: MatmulKernel, info: (buffer: number) => BufferInfo): Layout | undefined {
  const [only] = kernel.stores;
  if (kernel.stores.length !== 1 || only === undefined || only.value.kind !== "register" || info(only.buffer).dtype !== "f32")
    return undefined;
  if (coefficient(only.index, "m") === undefined || coefficient(only.index, "n") === undefined) return undefined;
  const place = layoutOf(only.index, "m", "n");
  return vectorColumns(place, kernel.n.extent) ? place : undefined;
}

/** The statement that stores a vector of the result that begins at a row and a column. */
function storeOf({ stores }: MatmulKernel, place: Layout, bindings: Bindings): (row: string, column: string, value: string) => string {
  const output = bindings.name((stores[0] as MatmulKernel["stores"][number]).buffer, 4);
  return (row, column, value) => `${output}[${quarter(place.base)} + ${row} * ${place.row / 4}u + ${column} / 4u] = ${value};`;
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
    const store = storeOf(kernel, whole, bindings);
    for (const i of r) lines.push(store(`m${i}`, "n", `sum${i}`));
  } else {
    for (const i of r) {
      const parts = columns === 4 ? ["x", "y", "z", "w"].map((part, j) => [`${j}u`, `.${part}`]) : [["0u", ""]];
      for (const [column, part] of parts) lines.push(`finish(b, m${i}, n + ${column}, sum${i}${part});`);
    }
  }
  return { width: lanes, workgroups, declarations: "", lines };
}
