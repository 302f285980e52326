import { attentionValues, type Kernel, type Store, type Value } from "./program.js";

/**
 * Patterns: what kernels have in common that do the same to other buffers, as those of a model's layers do. Code is generated once for
 * each pattern.
 *
 *   c[o] = a[o] · b[o], d[o] = c[o] + a[o]        buffers a, b, c, d
 *   r[o] = p[o] · q[o], s[o] = r[o] + p[o]        buffers p, q, r, s: the same pattern where types and lengths agree
 */
export interface Pattern {
  /** A text that two kernels share exactly when one code serves both. */
  readonly key: string;
  /** The buffers of the kernel, in the order in which the key mentions them. */
  readonly buffers: readonly number[];
}

/** The pattern of a kernel. `describe` says of a buffer, the numbers of those before it being given, all that code depends on. */
export function patternOf(kernel: Kernel, describe: (buffer: number, before: readonly number[]) => string): Pattern {
  const buffers: number[] = [];
  const places = new Map<number, number>();
  const nameOf = (buffer: number): string => {
    const place = places.get(buffer);
    if (place !== undefined) return `b${place}`;
    const text = `b${buffers.length}:${describe(buffer, buffers)}`;
    places.set(buffer, buffers.push(buffer) - 1);
    return text;
  };
  const values = kernel.values.map((value) => valueKey(value, nameOf)).join(" ");
  const stores = kernel.stores.map((store) => storeKey(store, nameOf)).join(" ");
  const where = kernel.kind === "map" && kernel.where !== undefined ? ` where ${kernel.where.id}` : "";
  return { key: `${kernel.label}\n${kernel.kind} ${loopsKey(kernel, nameOf)}\n${values}\n${stores}${where}`, buffers };
}

function loopsKey(kernel: Kernel, nameOf: (buffer: number) => string): string {
  switch (kernel.kind) {
    case "map":
      return `${kernel.outer.extent}`;
    case "row": {
      const stages = kernel.stages.map((stage) =>
        stage.map(({ register, reducer, value, dtype }) => `${register} ${reducer} ${value.id} ${dtype}`).join(),
      );
      return `${kernel.outer.extent} ${kernel.inner.extent} ${stages.join(";")}`;
    }
    case "matmul": {
      const { batch, m, n, k, a, b } = kernel;
      return `${batch.extent} ${m.extent} ${n.extent} ${k.extent} ${valueKey(a, nameOf)} ${valueKey(b, nameOf)}`;
    }
    case "bins":
      return `${kernel.bin.extent} ${kernel.entry.extent} ${kernel.target.id}`;
    case "scatter": {
      const { from, to, order, value } = kernel;
      return `${kernel.bin.extent} ${kernel.column.extent} ${kernel.entry.extent} ${[from, to, order, value].map(({ id }) => id)}`;
    }
    case "attention":
    case "attentionBackward": {
      const chunk = kernel.kind === "attention" && kernel.chunk !== undefined ? [kernel.chunk] : [];
      const extents = [...Object.values(kernel.loops), ...chunk].map(({ name, extent }) => `${name}<${extent}`);
      const parts = attentionValues(kernel).map((value) => valueKey(value, nameOf));
      return `${extents} ${kernel.causal} ${kernel.window} ${kernel.visible !== undefined} ${kernel.results} ${parts}`;
    }
  }
}

const storeKey = ({ buffer, index, value, inner }: Store, nameOf: (buffer: number) => string): string =>
  `${nameOf(buffer)}[${index.key}]=${value.id}${inner ? " inner" : ""}`;

function valueKey(value: Value, nameOf: (buffer: number) => string): string {
  return `${value.id}:${value.dtype} ${bodyKey(value, nameOf)}`;
}

function bodyKey(value: Value, nameOf: (buffer: number) => string): string {
  switch (value.kind) {
    case "load":
      return `${nameOf(value.buffer)}[${value.index.key}]`;
    case "scalar":
      return `scalar ${value.scalar}`;
    case "const":
      return `const ${Object.is(value.value, -0) ? "-0" : value.value}`;
    case "index":
      return `index ${value.index.key}`;
    case "inside":
      return `${value.low}<=${value.index.key}<${value.high}`;
    case "register":
      return `register ${value.register}`;
    case "threefry":
      return `threefry ${value.key[0].id} ${value.key[1].id} ${value.counter.key}`;
    case "operation":
      return `${value.operation}(${value.args.map(({ id }) => id).join()})`;
  }
}
