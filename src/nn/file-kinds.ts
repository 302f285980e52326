/** What files of other kinds are, for the message that refuses them. */

export interface FileKind {
  /** "a GGUF file", to follow "found". */
  readonly what: string;
  readonly hint: string;
}

const fromPyTorch =
  'convert it in Python: AutoModelForCausalLM.from_pretrained("…").save_pretrained("…", safe_serialization=True) writes safetensors';
const fromGguf = "name the file itself, which is a model with its configuration";
const anIndex = "an index is named model.safetensors.index.json and stands beside the files that it names; download all of them";
const unpack = "unpack it first";

/** Kinds that a fixed beginning tells: its bytes in hexadecimal. */
const magic: readonly (FileKind & { readonly bytes: readonly string[]; readonly at?: number })[] = [
  { bytes: ["47475546"], what: "a GGUF file, the format of llama.cpp", hint: fromGguf },
  {
    bytes: ["67676d6c", "6c6d6767", "67676a74", "746a6767", "67676d66", "666d6767"],
    what: "a GGML file, an older format of llama.cpp",
    hint: "get the model in safetensors",
  },
  { bytes: ["504b0304", "504b0506"], what: "a zip archive, such as PyTorch's .bin, .pt and .pth files", hint: fromPyTorch },
  { bytes: ["8002", "8003", "8004", "8005"], what: "a Python pickle, such as older files of PyTorch", hint: fromPyTorch },
  { bytes: ["1f8b"], what: "a gzip archive", hint: unpack },
  { bytes: ["425a68"], what: "a bzip2 archive", hint: unpack },
  { bytes: ["fd377a585a00"], what: "an xz archive", hint: unpack },
  { bytes: ["28b52ffd"], what: "a zstd archive", hint: unpack },
  { bytes: ["377abcaf"], what: "a 7z archive", hint: unpack },
  { bytes: ["7573746172"], at: 257, what: "a tar archive", hint: unpack },
  { bytes: ["89484446"], what: "an HDF5 file, such as TensorFlow's .h5 files", hint: "get the model in safetensors" },
  { bytes: ["934e554d5059"], what: "an array of NumPy", hint: "write it with safetensors.numpy.save_file" },
  { bytes: ["25504446"], what: "a PDF document", hint: "this is another file" },
];

/** Kinds of text. */
const texts: readonly (FileKind & { readonly begins: RegExp })[] = [
  {
    begins: /^version https:\/\/git-lfs/,
    what: "a pointer of Git LFS in place of the file",
    hint: "fetch the file itself with `git lfs pull`, or download it from its page",
  },
  {
    begins: /^<(?:!doctype html|html|head|body|!--)/i,
    what: "a web page (HTML)",
    hint: "the address led to a page about the file, a login or an error; at Hugging Face files are under /resolve/main/, not /blob/main/",
  },
  { begins: /^<(?:\?xml|[a-z]+[ >])/i, what: "an XML document", hint: "the server may have answered with an error; open the file to see" },
  { begins: /^\{.*"weight_map"/s, what: "the index of a checkpoint in several files", hint: anIndex },
  { begins: /^\{\s*("|\})/, what: "JSON", hint: "config.json and model.safetensors may have changed places" },
];

/** The kind of a file from its first bytes, or undefined where they tell nothing. */
export function identifyFile(start: Uint8Array): FileKind | undefined {
  if (start.length === 0) return { what: "an empty file", hint: "the download or the export was cut short; do it again" };
  const hex = Array.from(start, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const known = magic.find(({ bytes, at = 0 }) => bytes.some((one) => hex.startsWith(one, 2 * at)));
  if (known !== undefined) return { what: known.what, hint: known.hint };
  // Characters of control do not occur in text; the last character may be cut.
  if (start.some((byte) => byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)) return undefined;
  const text = new TextDecoder().decode(start).trim();
  const kind = texts.find(({ begins }) => begins.test(text));
  if (kind !== undefined) return { what: kind.what, hint: kind.hint };
  if (start.some((byte) => byte > 0x7e)) return undefined;
  const line = text.split("\n", 1)[0] ?? "";
  return { what: `text that begins with "${line.slice(0, 40)}"`, hint: "a server may have answered with a message in place of the file" };
}

const otherModels: readonly (FileKind & { readonly name: RegExp })[] = [
  {
    name: /^model-\d+-of-\d+\.safetensors$/,
    what: "a checkpoint in several files without its index",
    hint: anIndex,
  },
  { name: /\.gguf$/i, what: "a GGUF file, the format of llama.cpp", hint: fromGguf },
  { name: /^pytorch_model.*\.bin(\.index\.json)?$|^consolidated.*\.pth$|\.(pt|pth|ckpt)$/, what: "weights of PyTorch", hint: fromPyTorch },
  {
    name: /^adapter_(config\.json|model\..*)$/,
    what: "an adapter (LoRA), which is no model by itself",
    hint: "loadAdapter(model, folder) puts it on a model, loadAdaptedModel(folder) on the one that it names; mergeLora makes it part of that",
  },
  { name: /\.(onnx|h5|msgpack|tflite)$/, what: "weights of another framework", hint: "get the model in safetensors" },
  { name: /(?<!^model)\.safetensors$/, what: "safetensors of another name", hint: "name the weights model.safetensors" },
];

/** The first kind of model among the names of files, with the name. */
export function identifyFolder(names: readonly string[]): (FileKind & { readonly file: string }) | undefined {
  for (const { name, what, hint } of otherModels) {
    const file = names.find((found) => name.test(found));
    if (file !== undefined) return { what, hint, file };
  }
  return undefined;
}
