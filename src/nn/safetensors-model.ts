/**
 * A Hugging Face folder, opened: `config.json` with `model.safetensors`, or with the files that `model.safetensors.index.json` names. Headers
 * are held against the configuration before anything behind them is read.
 */
import { FormatError } from "../errors.js";
import { type ByteSource, bytesSource, MissingFileError, readAll, START_BYTES, sourceOf } from "./byte-source.js";
import { type LlamaConfig, llamaShapes } from "./config.js";
import { parseLlamaConfig } from "./config-json.js";
import { type DerivedTensor, derivedTensors } from "./derived-tensors.js";
import { identifyFile } from "./file-kinds.js";
import { showValue } from "./json.js";
import { type ModelFiles, openIfThere, readingFile } from "./model-source.js";
import { checkTensors, showNames, toFloat32 } from "./safetensors.js";
import { ELEMENT_BYTES, readSafetensorsHeader, type SafetensorsHeader, type SafetensorsPlace, wrongLength } from "./safetensors-header.js";
import { indexFile, readSafetensorsIndex, type SafetensorsIndex } from "./safetensors-index.js";
import type { StoredModel, StoredTensor } from "./stored-model.js";

export const configFile = "config.json";
export const weightsFile = "model.safetensors";

const MAX_CONFIG_BYTES = 2 ** 24;

/** The configuration of a folder. Throws FormatError. */
export async function readConfig(files: ModelFiles): Promise<LlamaConfig> {
  return readingFile(files, configFile, async (file) => {
    const bytes = await readAll(file, MAX_CONFIG_BYTES);
    const begins = bytes.find((byte) => byte > 0x20);
    const kind = begins === 0x7b ? undefined : identifyFile(bytes.subarray(0, START_BYTES));
    if (kind !== undefined)
      throw new FormatError(`expected the JSON of a config.json, found ${kind.what}`, { file: file.name, hint: kind.hint });
    return parseLlamaConfig(new TextDecoder().decode(bytes), file.name);
  });
}

/**
 * Opens a Hugging Face folder. Names, shapes and dtypes are held against the configuration, an index against the headers of its files,
 * and tensors that follow from others (see {@link derivedTensors}) against these. Files of an index are opened as they are needed.
 *
 * @throws FormatError for what does not fit together
 */
export async function openSafetensorsModel(files: ModelFiles): Promise<StoredModel> {
  const config = await readConfig(files);
  const parts = await openParts(files);
  try {
    return await checkedModel(files, config, parts);
  } catch (error) {
    await parts.close();
    throw error;
  }
}

interface Parts {
  /** By the name of the file, in order. */
  readonly files: ReadonlyMap<string, WeightsFile>;
  readonly metadata: StoredModel["metadata"];
  close(): Promise<void>;
}

async function checkedModel(files: ModelFiles, config: LlamaConfig, parts: Parts): Promise<StoredModel> {
  const places = new Map([...parts.files.values()].flatMap(({ header }) => [...header.tensors]));
  const derived = derivedTensors(config, places);
  const file = parts.files.size === 1 ? files.label(weightsFile) : files.label(indexFile);
  const derivedShapes = derived.map(({ name, shape }) => [name, shape] as const);
  checkTensors(places, new Map([...llamaShapes(config), ...derivedShapes]), { file });
  if (derived.length > 0) await checkDerived(derived, parts);
  const left = new Set(derived.map(({ name }) => name));
  const tensors = [...tensorsOf(parts)].filter(([name]) => !left.has(name));
  return {
    format: "safetensors",
    label: files.name,
    config,
    tensors: new Map(tensors),
    fileBytes: [...parts.files.values()].reduce((sum, { header }) => sum + header.fileBytes, 0),
    metadata: parts.metadata,
    close: parts.close,
  };
}

async function checkDerived(derived: readonly DerivedTensor[], parts: Parts): Promise<void> {
  // They are compared with tensors that stand elsewhere.
  for (const part of parts.files.values()) await part.makeSeekable();
  const tensors = tensorsOf(parts);
  for (const one of derived) await one.check(tensors);
}

const tensorsOf = (parts: Parts): Map<string, StoredTensor> =>
  new Map([...parts.files.values()].flatMap((part) => [...storedTensors(part.header, (begin, end) => part.read(begin, end))]));

/** Opens `model.safetensors`, or else the files of the index, and reads their headers. */
async function openParts(files: ModelFiles): Promise<Parts> {
  const source = await files.open(weightsFile).catch(async (error: unknown) => {
    if (!(error instanceof MissingFileError)) throw error;
    const index = await openIfThere(files, indexFile);
    if (index === undefined) throw error;
    return readSafetensorsIndex(index).finally(() => index.close());
  });
  return "files" in source ? openIndexed(files, source) : openSingle(files, source);
}

async function openSingle(files: ModelFiles, source: ByteSource): Promise<Parts> {
  try {
    const header = await readSafetensorsHeader(source);
    const part = new WeightsFile(header, () => files.open(weightsFile), source);
    return { files: new Map([[weightsFile, part]]), metadata: header.metadata, close: () => part.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openIndexed(files: ModelFiles, index: SafetensorsIndex): Promise<Parts> {
  const parts = new Map<string, WeightsFile>();
  for (const name of [...new Set(index.files.values())].sort()) {
    const header = await readingFile(files, name, readSafetensorsHeader);
    for (const { name: tensor, file, offset } of header.tensors.values()) {
      const listed = index.files.get(tensor);
      if (listed === name) continue;
      const problem = listed === undefined ? `which ${indexFile} does not list` : `which ${indexFile} places in ${listed}`;
      throw new FormatError(`found ${showValue(tensor)}, ${problem}`, { file, offset, hint: ofOneCheckpoint });
    }
    parts.set(name, new WeightsFile(header, () => files.open(name)));
  }
  const missing = [...index.files].filter(([tensor, name]) => !parts.get(name)?.header.tensors.has(tensor));
  const [first] = missing;
  if (first !== undefined) {
    const inFile = missing.filter(([, name]) => name === first[1]).map(([tensor]) => tensor);
    throw new FormatError(`expected the tensors ${showNames(inFile)} of ${indexFile}, found none of these names`, {
      file: files.label(first[1]),
      hint: ofOneCheckpoint,
    });
  }
  const metadata = Object.assign({}, ...[...parts.values()].map(({ header }) => header.metadata), index.metadata);
  return { files: parts, metadata, close: async () => void (await Promise.all([...parts.values()].map((part) => part.close()))) };
}

const ofOneCheckpoint = "all files of a checkpoint must come from one export; download or export them again";

/** A file of weights whose header was read: opened when its data are needed. */
class WeightsFile {
  private source: Promise<ByteSource> | undefined;

  constructor(
    readonly header: SafetensorsHeader,
    private readonly open: () => Promise<ByteSource>,
    source?: ByteSource,
  ) {
    this.source = source && Promise.resolve(source);
  }

  async read(begin: number, end: number): Promise<Uint8Array> {
    const { fileBytes } = this.header;
    const source = await this.opened();
    const bytes = await source.read(begin, end);
    // What a download is longer than its header says shows at its end.
    if (end === fileBytes && source.size === undefined) {
      const length = await source.length(fileBytes);
      if (length !== fileBytes) throw wrongLength(source.name, length, fileBytes);
    }
    return bytes;
  }

  /** What comes as one stream is kept in memory from here on, where its tensors are needed in another order. */
  async makeSeekable(): Promise<void> {
    const source = await this.opened();
    if (source.seekable) return;
    const { fileBytes } = this.header;
    const begin = Math.min(fileBytes, ...[...this.header.tensors.values()].map(({ offset }) => offset));
    const data = bytesSource(await this.read(begin, fileBytes), source.name);
    await source.close();
    const read = (from: number, to: number): Promise<Uint8Array> => data.read(from - begin, to - begin);
    this.source = Promise.resolve(sourceOf({ name: source.name, size: fileBytes, read }));
  }

  async close(): Promise<void> {
    const source = await this.source?.catch(() => undefined);
    this.source = undefined;
    await source?.close();
  }

  private opened(): Promise<ByteSource> {
    this.source ??= this.open().then((source) => {
      const { fileBytes } = this.header;
      if (source.size !== undefined && source.size !== fileBytes) throw wrongLength(source.name, source.size, fileBytes);
      return source;
    });
    return this.source;
  }
}

/** The tensors of a header, in the order of the data; `read` gives bytes of the file. Their dtypes have been checked. */
export const storedTensors = (
  { tensors }: SafetensorsHeader,
  read: (begin: number, end: number) => Promise<Uint8Array>,
): Map<string, StoredTensor> => new Map([...tensors].map(([name, place]) => [name, storedTensor(place, read)]));

function storedTensor(place: SafetensorsPlace, read: (begin: number, end: number) => Promise<Uint8Array>): StoredTensor {
  const { name, shape, dtype: storedAs, bytes } = place;
  const width = ELEMENT_BYTES[storedAs];
  const dtype = storedAs === "F16" ? "f16" : storedAs === "BF16" ? "bf16" : "f32";
  return {
    ...{ name, shape, storedAs, dtype, bytes, unit: 1 },
    read: async (begin, end) => {
      const offset = place.offset + begin * width;
      const data = await read(offset, place.offset + end * width);
      if (dtype === "f32") return toFloat32({ ...place, offset, data });
      const aligned = data.byteOffset % 2 === 0 ? data : new Uint8Array(data);
      return new Uint16Array(aligned.buffer, aligned.byteOffset, end - begin);
    },
  };
}
