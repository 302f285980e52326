import type { Kernel } from "./program.js";

/** The loops of a kernel, for people. */
export function kernelSize(kernel: Kernel): string {
  switch (kernel.kind) {
    case "map":
      return `${kernel.outer.extent}`;
    case "row":
      return `${kernel.outer.extent} × ${kernel.inner.extent}`;
    case "matmul":
      return `${kernel.batch.extent} × (${kernel.m.extent} × ${kernel.k.extent})·(${kernel.k.extent} × ${kernel.n.extent})`;
    case "bins":
      return `${kernel.entry.extent} → ${kernel.bin.extent}`;
    case "scatter":
      return `${kernel.entry.extent} × ${kernel.column.extent} → ${kernel.bin.extent}`;
    case "attention":
    case "attentionBackward": {
      const { batch, head, query, key, channel } = kernel.loops;
      return `${batch.extent}·${head.extent} × (${query.extent} × ${channel.extent})·(${channel.extent} × ${key.extent})`;
    }
  }
}
