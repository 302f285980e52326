import type { BufferInfo, MapKernel } from "../../../compiler/program.js";
import { index, stored, ValuePrinter } from "../wgsl.js";
import { Bindings, entryPoint, fold, foldedGroup, indent, type KernelSource, type Target } from "./source.js";

/** Elementwise kernels: one invocation for each element. */
export function mapKernel(
  kernel: MapKernel,
  info: (buffer: number) => BufferInfo,
  slotOf: (buffer: number) => number,
  scalarCount: number,
  target: Target,
): KernelSource {
  const width = target.kernelClass === "software" ? 64 : 256;
  const { extent } = kernel.outer;
  const workgroups = fold(Math.ceil(extent / width), target);
  const bindings = new Bindings(info, slotOf, kernel);
  const printer = new ValuePrinter(
    kernel,
    (buffer) => bindings.name(buffer),
    () => "",
  );
  const body = printer.statements(
    kernel.stores.map(({ value }) => value),
    new Set(),
  );
  const writes = kernel.stores.map(
    ({ buffer, index: place, value }) => `${bindings.name(buffer)}[${index(place)}] = ${stored(printer.name(value), value.dtype)};`,
  );
  const { declarations, bindings: list, scalars } = bindings.finish(kernel, scalarCount);
  const wgsl = `${declarations}
${printer.prelude.text()}
@compute @workgroup_size(${width})
fn main(${entryPoint}) {
  let ${kernel.outer.name} = ${foldedGroup(workgroups)} * ${width}u + lane;
  if (${kernel.outer.name} >= ${extent}u) { return; }
${indent([...body, ...writes])}
}
`;
  return { label: kernel.label, wgsl, bindings: list, scalars, workgroups };
}
