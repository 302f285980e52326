import { turnDigits } from "./kernels/iterations.js";
import { fitUniform, type KernelSource } from "./kernels/source.js";

/** Bytes between two numbers: the alignment of dynamic offsets that every device has. */
const stride = 256;
/** The flags of GPUShaderStage, which Node has no global for. */
const compute = 0x4;

/** What the buffer of a {@link Turns} has to hold: the numbers 0 … 255, each at the offset that selects it. */
export function turnNumbers(): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((256 * stride) / 4);
  for (let i = 0; i < 256; i++) words[(i * stride) / 4] = i;
  return words;
}

/**
 * How kernels inside of loops learn whose turn it is, while one recording of the pass needs no new buffer, bind group or write for each:
 * a turn is a number of four digits to the base 256, and group 1 has a uniform binding for each digit, all over the same 256 numbers;
 * a dispatch chooses them by dynamic offsets.
 */
export class Turns {
  private readonly layout: GPUBindGroupLayout;
  private readonly group: GPUBindGroup;
  private readonly offsets: number[] = new Array<number>(turnDigits).fill(0);
  private readonly layouts = new Map<string, GPUPipelineLayout>();

  /** @param numbers A uniform buffer with {@link turnNumbers}. */
  constructor(
    private readonly gpu: GPUDevice,
    numbers: GPUBuffer,
  ) {
    const bindings = this.offsets.map((_, binding) => binding);
    this.layout = gpu.createBindGroupLayout({
      label: "turns",
      entries: bindings.map((binding) => ({ binding, visibility: compute, buffer: { type: "uniform", hasDynamicOffset: true } })),
    });
    this.group = gpu.createBindGroup({
      label: "turns",
      layout: this.layout,
      entries: bindings.map((binding) => ({ binding, resource: { buffer: numbers, size: 16 } })),
    });
  }

  /** The layout of a kernel that asks for its turn, in a program of so many scalars. */
  layoutFor({ bindings, scalars }: KernelSource, scalarCount: number): GPUPipelineLayout {
    const types: GPUBufferBindingType[] = bindings.map(({ access }) => (access === "read" ? "read-only-storage" : "storage"));
    if (scalars) types.unshift(fitUniform(scalarCount) ? "uniform" : "read-only-storage");
    const key = types.join();
    let layout = this.layouts.get(key);
    if (layout === undefined) {
      const entries = types.map((type, binding) => ({ binding, visibility: compute, buffer: { type } }));
      layout = this.gpu.createPipelineLayout({ bindGroupLayouts: [this.gpu.createBindGroupLayout({ entries }), this.layout] });
      this.layouts.set(key, layout);
    }
    return layout;
  }

  /** Tells the next dispatch its turn. */
  bind(pass: GPUComputePassEncoder, turn: number): void {
    for (let digit = 0; digit < turnDigits; digit++) this.offsets[digit] = ((turn >>> (8 * digit)) & 255) * stride;
    pass.setBindGroup(1, this.group, this.offsets);
  }
}
