import type { Backend, DeviceBuffer, Executable } from "../backend/backend.js";
import { UsageError } from "../errors.js";
import type { HostArray } from "../ir/dtype.js";
import { graphKey } from "../ir/graph.js";
import { show, sizeOf } from "../ir/shape.js";
import { formatValues } from "./format.js";
import { ProgramCache } from "./program-cache.js";
import { currentBackend } from "./runtime.js";
import { fromHost, type NestedNumbers, Storage, type Tensor } from "./tensor.js";
import { deviceBuffer, type Traced, traceGraph } from "./trace.js";
import { isTracing } from "./tracing.js";
import { tensorsOf } from "./tree.js";

/** Programs of graphs that were realised without `compile`, by structure. */
const programs = new WeakMap<Backend, ProgramCache<{ readonly executable: Executable }>>();
/** Programs that each backend keeps of them. */
const maxPrograms = 512;

function programFor(backend: Backend, { graph }: Traced): Executable {
  // Graphs that are the same computation come from different lines.
  if (backend.notesOrigins) return backend.compile(graph, { label: "realize" });
  let known = programs.get(backend);
  if (known === undefined) {
    known = new ProgramCache(backend, maxPrograms);
    programs.set(backend, known);
  }
  const key = graphKey(graph);
  const found = known.find(key);
  if (found !== undefined) return found.executable;
  const executable = backend.compile(graph, { label: "realize" });
  known.add(key, { executable });
  return executable;
}

/** Runs a program on the leaves that its trace found and on `leaves`, the arguments, and wraps the results. */
export function runTraced(
  backend: Backend,
  executable: Executable,
  traced: Traced,
  leaves: readonly (Tensor | number)[],
  donated: ReadonlySet<Tensor>,
  label: string,
): Storage[] {
  const scalars = traced.scalars.map((origin) => {
    if ("value" in origin) return origin.value;
    const number = leaves[origin.argument] as number;
    return origin.map === undefined ? number : origin.map(number);
  });
  const tensors = traced.buffers.map((origin) => (typeof origin === "number" ? (leaves[origin] as Tensor) : origin));
  const transients: DeviceBuffer[] = [];
  /** Host tensors that are moved to the device to be given away there. */
  const moved = tensors.filter(({ source }, i) => donated.has(tensors[i] as Tensor) && source.kind === "host" && !source.copy?.live);
  let results: DeviceBuffer[];
  try {
    const inputs = tensors.map((tensor) => {
      const { buffer, transient } = deviceBuffer(tensor, backend, donated.has(tensor));
      if (transient) transients.push(buffer);
      return buffer;
    });
    results = backend.run(executable, inputs, scalars);
  } catch (error) {
    for (const { source } of moved) if (source.kind === "host") source.copy?.dispose();
    throw error;
  } finally {
    for (const buffer of transients) backend.free(buffer);
  }
  for (const tensor of tensors) if (donated.has(tensor)) giveAway(tensor, label);
  return results.map((buffer) => new Storage(backend, buffer));
}

/** Makes every later use of a tensor an error that names who took its memory, wherever its numbers were. */
function giveAway(tensor: Tensor, takenBy: string): void {
  const { source } = tensor;
  const storage = source.kind === "device" ? source.storage : source.kind === "host" ? source.copy : undefined;
  if (storage === undefined) return;
  storage.donate(takenBy);
  tensor.source = { kind: "device", storage };
}

let warnedOfGrowth = false;
const suspiciousDepth = 20_000;

/**
 * Throws UsageError inside of a function that is traced. What reads numbers asks this at its call and not in the promise that it
 * returns: a promise that such a function drops would fail with nobody to hear it.
 */
function refuseWhileTracing(reader?: string): void {
  if (!isTracing()) return;
  throw new UsageError(`${reader ? `${reader}(): ` : ""}a tensor cannot be realised while a function is compiled or differentiated`, {
    hint:
      "there are no numbers yet: compute with tensors (where() chooses), return what is to be read and read it outside, or name an " +
      "argument that must be a number in compile(f, { static: [position] })",
  });
}

/** Realises tensors at once, without waiting for the device: afterwards each owns its numbers and no graph. */
export function realizeNow(tensors: readonly Tensor[]): void {
  const pending = [...new Set(tensors)].filter((tensor) => !tensor.isRealised);
  if (pending.length === 0) return;
  refuseWhileTracing();
  if (!warnedOfGrowth && pending.some((tensor) => tensor.depth > suspiciousDepth)) {
    warnedOfGrowth = true;
    console.warn(
      `dawngrad: a graph ${Math.max(...pending.map((t) => t.depth))} operations deep is being realised; it probably contains all earlier steps of a loop.` +
        " Compile the step (`const step = compile(...)`) or end each step with `await realize(params, state)`.",
    );
  }
  const backend = currentBackend();
  const traced = traceGraph(pending, { liftConstants: true });
  const storages = runTraced(backend, programFor(backend, traced), traced, [], new Set(), "realize");
  pending.forEach((tensor, i) => {
    tensor.source = { kind: "device", storage: storages[i] as Storage };
  });
}

/** Computes every tensor of the trees, so that each becomes a leaf that owns its numbers, and waits for the device. */
export function realize(...trees: unknown[]): Promise<void> {
  refuseWhileTracing("realize");
  return realizeAll(trees);
}

async function realizeAll(trees: readonly unknown[]): Promise<void> {
  realizeNow(trees.flatMap((tree) => tensorsOf(tree).map(({ tensor }) => tensor)));
  await currentBackend().sync();
}

/** Bytes up to which a result that was read stays on the host alone. */
const keptOnHost = 256;

/**
 * The numbers in row-major order: Float32Array for f32, f16 and bf16, Int32Array, Uint32Array, Uint8Array for bool. This and the
 * readers below throw UsageError at once inside of a function that is compiled or differentiated, where there are no numbers.
 */
export function data(tensor: Tensor): Promise<HostArray> {
  refuseWhileTracing("data");
  return read(tensor);
}

async function read(tensor: Tensor): Promise<HostArray> {
  if (tensor.source.kind === "host") return tensor.source.data.slice();
  realizeNow([tensor]);
  const { source } = tensor;
  if (source.kind !== "device") throw new UsageError(`${tensor} has no numbers`);
  const { storage } = source;
  const length = sizeOf(tensor.shape);
  const values = await storage.backend.read(storage.buffer, tensor.dtype, length);
  if (values.byteLength <= keptOnHost && tensor.source === source && storage.live) {
    tensor.source = { kind: "host", data: values.slice(), copy: undefined, uses: 0 };
    storage.dispose();
  }
  return values;
}

/** The number in a tensor of one element. */
export function item(tensor: Tensor): Promise<number> {
  refuseWhileTracing("item");
  return readItem(tensor);
}

async function readItem(tensor: Tensor): Promise<number> {
  if (tensor.size !== 1)
    throw new UsageError(`item() needs one element, and ${tensor} has ${tensor.size}`, { hint: "use data() or array()" });
  return (await read(tensor))[0] as number;
}

/** The numbers as nested arrays. */
export function array(tensor: Tensor): Promise<NestedNumbers> {
  refuseWhileTracing("array");
  return readNested(tensor);
}

async function readNested(tensor: Tensor): Promise<NestedNumbers> {
  const flat = await read(tensor);
  let next = 0;
  const nest = (axis: number): NestedNumbers => {
    if (axis === tensor.rank) {
      const value = flat[next++] as number;
      return tensor.dtype === "bool" ? value !== 0 : value;
    }
    return Array.from({ length: tensor.shape[axis] as number }, () => nest(axis + 1));
  };
  return nest(0);
}

/**
 * Writes dtype, shape and values to the console, long axes cut in the middle. Computes the tensor if need be; inside of a function
 * that is compiled or differentiated, where there are no values, it writes dtype and shape.
 */
export async function print(tensor: Tensor): Promise<void> {
  if (tensor.source.kind === "host" || isTracing()) console.log(tensor.describe());
  else console.log(`Tensor ${tensor.dtype}${show(tensor.shape)} ${formatValues(tensor.shape, tensor.dtype, await data(tensor))}`);
}

/** A realised tensor around a result of a program. */
export function fromStorage(shape: readonly number[], dtype: Tensor["dtype"], storage: Storage): Tensor {
  const result = fromHost(shape, dtype, new Uint8Array(0));
  result.source = { kind: "device", storage };
  return result;
}
