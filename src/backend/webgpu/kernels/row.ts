import type { Reduction, RowKernel, Value } from "../../../compiler/program.js";
import { blockTerms } from "../../../compiler/summation.js";
import { beats, combine, identity, index, registerType, ValuePrinter } from "../wgsl.js";
import { pairwise } from "./pairwise.js";
import { Bindings, type Context, fold, foldedGroup, type KernelSource, steps } from "./source.js";

/** Rows from which on a workgroup shares each; shorter ones get an invocation of their own. */
const sharedRow = 64;
/** Rows that fill a GPU with one invocation each. */
const plentyOfRows = 16384;

/** Reductions with what comes before and after them, all rows independent. */
export function rowKernel(kernel: RowKernel, context: Context): KernelSource {
  const { target } = context;
  const shared =
    target.kernelClass === "gpu" && kernel.inner.extent >= sharedRow && (kernel.outer.extent < plentyOfRows || readsAlong(kernel));
  const width = target.kernelClass === "software" ? 16 : shared ? (kernel.inner.extent >= 512 ? 256 : 64) : 64;
  const workgroups = fold(shared ? kernel.outer.extent : Math.ceil(kernel.outer.extent / width), target);
  const bindings = new Bindings(context, kernel);
  const printer = new ValuePrinter(
    kernel,
    (buffer, place) => bindings.read(buffer, place),
    (register) => `row${register}`,
  );
  const { prelude } = printer;
  const { name: outer, extent: rows } = kernel.outer;
  const { name: inner, extent: length } = kernel.inner;

  const lines: string[] = [];
  const outside = new Set<number>();
  const fixed = (value: Value): boolean => !printer.varies(value, inner);
  const header = shared
    ? `for (var ${inner} = lane; ${inner} < ${length}u; ${inner} += ${width}u) {`
    : `for (var ${inner} = 0u; ${inner} < ${steps(length, target)}; ${inner}++) {`;

  const stride = shared ? width : 1;
  /** Steps of one invocation, which a sum takes in blocks. */
  const blocks = Math.ceil(length / (stride * blockTerms));
  kernel.stages.forEach((stage, s) => {
    const values = stage.map(({ value }) => value);
    const long = blocks > 1 ? stage.filter(isRoundedSum) : [];
    const sums = long.map(({ register }) => pairwise(`sum${register}`, `blocks${s}`, blocks));
    lines.push(...printer.statements(values, outside, fixed));
    for (const reduction of stage) lines.push(...start(reduction, prelude));
    const body = [
      ...printer.statements(values, new Set(outside)),
      ...stage.flatMap((reduction) => step(reduction, printer.name(reduction.value), inner, prelude)),
    ];
    if (sums.length === 0) lines.push(header, ...indented(body), "}");
    else {
      lines.push(
        ...sums.map(({ declaration }) => declaration),
        `var blocks${s} = 0u;`,
        `for (var start = 0u; start < ${steps(length, target)}; start += ${stride * blockTerms}u) {`,
        `  let stop = min(start + ${stride * blockTerms}u, ${length}u);`,
        `  for (var ${inner} = start${shared ? " + lane" : ""}; ${inner} < stop; ${inner} += ${stride}u) {`,
        ...indented(indented(body)),
        "  }",
        ...indented(sums.flatMap(({ put }) => put)),
        `  blocks${s}++;`,
        "}",
        ...sums.flatMap(({ finish }) => finish),
      );
    }
    for (const reduction of stage) lines.push(...finish(reduction, shared ? width : 0, prelude));
  });
  const rowStores = kernel.stores.filter((store) => !store.inner);
  const fullStores = kernel.stores.filter((store) => store.inner);
  const write = ({ buffer, index: place, value }: RowKernel["stores"][number]): string =>
    bindings.write(buffer, index(place), printer.name(value));
  lines.push(
    ...printer.statements(
      kernel.stores.map(({ value }) => value),
      outside,
      fixed,
    ),
  );
  if (rowStores.length > 0) lines.push(...(shared ? ["if (lane == 0u) {", ...rowStores.map(write), "}"] : rowStores.map(write)));
  if (fullStores.length > 0) {
    lines.push(header);
    lines.push(
      ...printer
        .statements(
          fullStores.map(({ value }) => value),
          new Set(outside),
        )
        .map((line) => `  ${line}`),
      ...fullStores.map((store) => `  ${write(store)}`),
      "}",
    );
  }

  const reductions = kernel.stages.flat();
  const scratch = shared ? scratchFor(reductions, width) : "";
  const place = shared ? foldedGroup(workgroups) : `${foldedGroup(workgroups)} * ${width}u + lane`;
  const head = [`let ${outer} = ${place};`, `if (${outer} >= ${rows}u) { return; }`];
  return bindings.finish({ width, workgroups, declarations: [scratch, prelude.text()], lines: [...head, ...lines] });
}

/** True if neighbouring steps of the inner loop read neighbouring elements. */
function readsAlong(kernel: RowKernel): boolean {
  return kernel.values.some(
    (value) =>
      value.kind === "load" &&
      value.index.terms.some(({ factor, atom }) => factor === 1 && atom.kind === "variable" && atom.name === kernel.inner.name),
  );
}

const indented = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

/** Whether a reduction is a sum that rounds. */
const isRoundedSum = ({ reducer, dtype }: Reduction): boolean => reducer === "sum" && registerType[dtype] === "f32";

const isArg = (reduction: Reduction): boolean => reduction.reducer === "argmax" || reduction.reducer === "argmin";

function start(reduction: Reduction, prelude: ValuePrinter["prelude"]): string[] {
  const { register, reducer, dtype } = reduction;
  const lines = [`var sum${register}: ${registerType[dtype]} = ${identity(reducer, dtype, prelude)};`];
  if (isArg(reduction)) lines.push(`var place${register} = 0xffffffffu;`);
  return lines;
}

function step(reduction: Reduction, value: string, inner: string, prelude: ValuePrinter["prelude"]): string[] {
  const { register, reducer, dtype } = reduction;
  if (!isArg(reduction)) return [`sum${register} = ${combine(reducer, `sum${register}`, value, dtype, prelude)};`];
  return [
    `if (place${register} == 0xffffffffu || ${beats(reducer, value, `sum${register}`, dtype, prelude)}) { sum${register} = ${value}; place${register} = ${inner}; }`,
  ];
}

function finish(reduction: Reduction, width: number, prelude: ValuePrinter["prelude"]): string[] {
  const { register, reducer, dtype } = reduction;
  if (width === 0) return [`let row${register} = ${isArg(reduction) ? `i32(place${register})` : `sum${register}`};`];
  const scratch = scratchName(dtype);
  const lines = ["workgroupBarrier();", `${scratch}[lane] = sum${register};`];
  if (isArg(reduction)) lines.push(`scratch_place[lane] = place${register};`);
  lines.push("workgroupBarrier();", `for (var half = ${width / 2}u; half > 0u; half /= 2u) {`, "  if (lane < half) {");
  if (isArg(reduction)) {
    const [better, worse] = [beats(reducer, "other", "mine", dtype, prelude), beats(reducer, "mine", "other", dtype, prelude)];
    lines.push(
      `    let mine = ${scratch}[lane]; let other = ${scratch}[lane + half]; let at = scratch_place[lane]; let there = scratch_place[lane + half];`,
      `    if (there != 0xffffffffu && (at == 0xffffffffu || ${better} || (!(${worse}) && there < at))) { ${scratch}[lane] = other; scratch_place[lane] = there; }`,
    );
  } else lines.push(`    ${scratch}[lane] = ${combine(reducer, `${scratch}[lane]`, `${scratch}[lane + half]`, dtype, prelude)};`);
  lines.push("  }", "  workgroupBarrier();", "}");
  lines.push(`let row${register} = ${isArg(reduction) ? "i32(scratch_place[0])" : `${scratch}[0]`};`);
  return lines;
}

const scratchName = (dtype: Reduction["dtype"]): string => `scratch_${registerType[dtype]}`;

function scratchFor(reductions: readonly Reduction[], width: number): string {
  const types = new Set(reductions.map(({ dtype }) => registerType[dtype]));
  const lines = [...types].map((type) => `var<workgroup> scratch_${type}: array<${type}, ${width}>;\n`);
  if (reductions.some(isArg)) lines.push(`var<workgroup> scratch_place: array<u32, ${width}>;\n`);
  return lines.join("");
}
