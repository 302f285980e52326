import type { MapKernel } from "../../program.js";
import { i32, op } from "../assembler.js";
import { type Context, costOf, type KernelCode, KernelFunction, placesOf, splitLoop, unitsPerChunk } from "./kernel.js";

/** Elementwise kernels: the elements as rows whose places in memory move evenly, four elements at a time. */
export function mapKernel(kernel: MapKernel, context: Context): KernelCode {
  const { name, extent } = kernel.outer;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const split = splitLoop(name, extent, placesOf(kernel));
  const { outer, inner } = split;
  const results = kernel.stores.map(({ value }) => value);
  values.replace(name, split.expression);
  values.prepare(results, [outer.name, inner.name]);

  const [at, row, from, to] = [code.local("i32", f.begin.get), code.local("i32"), code.local("i32"), code.local("i32")];
  code.while(op("i32.lt_s", at.get, f.end.get), () => {
    code.set(row, op("i32.div_u", at.get, i32(inner.extent)));
    code.set(from, op("i32.rem_u", at.get, i32(inner.extent)));
    code.set(to, op("i32.add", from.get, op("i32.sub", f.end.get, at.get)));
    code.if(op("i32.gt_s", to.get, i32(inner.extent)), () => code.set(to, i32(inner.extent)));
    values.within(outer.name, row, () => {
      values.prepare(results, [inner.name], inner.name);
      for (const { buffer, index } of kernel.stores) values.prepareStore(buffer, index, inner.name);
      f.vectorLoop({ from: from.get, to: to.get, extent: inner.extent }, (width, [counter]) =>
        values.within(
          inner.name,
          counter as never,
          () => {
            const computed = results.map((value) => values.get(value));
            kernel.stores.forEach(({ buffer, index }, i) => values.store(buffer, index, computed[i] as never));
          },
          width,
        ),
      );
    });
    code.increase(at, op("i32.sub", to.get, from.get));
  });
  const cost = costOf(kernel.values);
  return f.finish({
    label: kernel.label,
    units: extent,
    // Whole vectors and cache lines, so that threads do not write to the same one.
    unitsPerChunk: unitsPerChunk(cost, 256),
    scratchBytes: 0,
    arenaBytes: 0,
    cost: cost * extent,
  });
}
