import type { MapKernel } from "../../../compiler/program.js";
import { index, ValuePrinter } from "../wgsl.js";
import { Bindings, type Context, fold, foldedGroup, indented, type KernelSource } from "./source.js";

/** Elementwise kernels: one invocation for each element. */
export function mapKernel(kernel: MapKernel, context: Context): KernelSource {
  const { target } = context;
  const width = target.kernelClass === "software" ? 64 : 256;
  const { extent } = kernel.outer;
  const workgroups = fold(Math.ceil(extent / width), target);
  const bindings = new Bindings(context, kernel);
  const printer = new ValuePrinter(
    kernel,
    (buffer, place) => bindings.read(buffer, place),
    () => "",
  );
  const body = printer.statements(
    [...kernel.stores.map(({ value }) => value), ...(kernel.where === undefined ? [] : [kernel.where])],
    new Set(),
  );
  const writes = kernel.stores.map(({ buffer, index: place, value }) => bindings.write(buffer, index(place), printer.name(value)));
  const lines = [
    `let ${kernel.outer.name} = ${foldedGroup(workgroups)} * ${width}u + lane;`,
    `if (${kernel.outer.name} >= ${extent}u) { return; }`,
    ...body,
    ...(kernel.where === undefined ? writes : [`if (${printer.name(kernel.where)}) {`, ...indented(writes), "}"]),
  ];
  return bindings.finish({ width, workgroups, declarations: [printer.prelude.text()], lines });
}
