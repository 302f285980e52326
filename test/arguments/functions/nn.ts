import * as dawngrad from "../../../src/index.js";
import { tensor } from "../../../src/index.js";
import {
  aBoundedNumber,
  aFlag,
  aFunction,
  aList,
  alsoFor,
  aName,
  anInteger,
  anObject,
  aShape,
  aTensor,
  aText,
  aTree,
  matrix,
  optional,
  options,
} from "../parameters.js";
import { batch, blocks, config, documents, hostTokens, key, llama, optimizer, tables, training, x } from "./values.js";

const ropeTensors = (length = 4): unknown => dawngrad.ropeTensors(tables(length));
const bare = { targetLength: anInteger(2), maxContext: anInteger(8), documents: aList(documents) };
const sampling = {
  repetitionPenalty: optional(aBoundedNumber()),
  temperature: optional(aBoundedNumber(0)),
  topK: optional(anInteger(1)),
  topP: optional(aBoundedNumber()),
  minP: optional(aBoundedNumber()),
  seed: optional(anInteger(0)),
};
/** A name of a folder, or files by name. */
const aSource = alsoFor(
  aText("/nonexistent"),
  (value) => typeof value === "string" || (typeof value === "object" && value !== null && !(value instanceof Promise)),
);
const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Promise);

const aTokenizer = anObject(() => dawngrad.byteTokenizer);
const aTokenText = alsoFor(aText("abc"), (value) => typeof value === "string" || value instanceof Uint8Array);
const adapted = (): unknown => dawngrad.applyLora(llama() as never, { rank: 1 });
const loraSettings = { alpha: optional(aBoundedNumber()), rslora: optional(aFlag()), dropout: optional(aBoundedNumber(0.5)) };
const encoding = optional(
  options({ special: optional(aFlag()), parseSpecial: optional(aFlag()), onProgress: optional(aFunction(() => () => undefined)) }),
);

const aTokenizerFile = () => ({
  "tokenizer.json": JSON.stringify({ model: { type: "BPE", vocab: { a: 0 }, merges: [] }, pre_tokenizer: { type: "ByteLevel" } }),
});
const ggufOptions = {
  dtype: optional(aName("q8_0")),
  extraConfig: optional(
    alsoFor(
      anObject(() => ({})),
      isObject,
    ),
  ),
  name: optional(aText("a model")),
  tokenizer: optional(alsoFor(anObject(aTokenizerFile), (value) => typeof value === "string" || isObject(value))),
  pre: optional(aText("smollm")),
  metadata: optional(
    alsoFor(
      anObject(() => ({})),
      isObject,
    ),
  ),
};

const cell = (): unknown => dawngrad.RnnCell.create(dawngrad.key(0), 2, 2);
const aLayer = alsoFor(
  anObject(() => new dawngrad.Linear(matrix())),
  (value) => typeof value === "function",
);
const slope = { slope: optional(alsoFor(aBoundedNumber(), (value) => value === -1.5)) };
const kaiming = { ...slope, mode: optional(aName("fanOut")), nonlinearity: optional(aName("tanh")) };
const scales = { weight: aTensor(() => tensor([1, 1])), bias: aTensor(() => tensor([0, 0])) };
const gates = (count: number) => ({
  weights: options({
    weight_ih: aTensor(() => dawngrad.zeros([2 * count, 3])),
    weight_hh: aTensor(() => dawngrad.zeros([2 * count, 2])),
    bias_ih: optional(
      alsoFor(
        aTensor(() => dawngrad.zeros([2 * count])),
        (value) => value === null,
      ),
    ),
    bias_hh: optional(
      alsoFor(
        aTensor(() => dawngrad.zeros([2 * count])),
        (value) => value === null,
      ),
    ),
  }),
});
const warmup = { warmup: optional(anInteger(0)), peak: aBoundedNumber() };
const decay = { weightDecay: optional(aBoundedNumber()), decayMask: optional(aFunction(() => () => true)) };
const adamOptions = { ...decay, betas: optional(aList(() => [0.9, 0.95])), eps: optional(aBoundedNumber()) };

const saveTensors = {
  rename: optional(aFunction(() => (path: string) => path)),
  metadata: optional(
    alsoFor(
      anObject(() => ({})),
      isObject,
    ),
  ),
};

/** The functions of `src/nn`. */
export const functions = {
  // Modules and training.
  sequential: { layer: aLayer },
  scanCell: {
    cell: anObject(cell),
    xs: aTensor(() => dawngrad.zeros([1, 2, 2])),
    options: optional(options({ state: optional(anObject(() => ({ h: dawngrad.zeros([1, 2]) }))), reverse: optional(aFlag()) })),
  },
  torchRnnName: { path: aText("cells.0.weight_ih") },
  gainOf: { nonlinearity: aName("relu"), options: optional(options(slope)) },
  xavierUniform: { key, shape: aShape(), options: optional(options({ gain: optional(aBoundedNumber()) })) },
  xavierNormal: { key, shape: aShape(), options: optional(options({ gain: optional(aBoundedNumber()) })) },
  kaimingUniform: { key, shape: aShape(), options: optional(options(kaiming)) },
  kaimingNormal: { key, shape: aShape(), options: optional(options(kaiming)) },
  orthogonal: { key, shape: aShape(), options: optional(options({ gain: optional(aBoundedNumber()) })) },
  parameterCount: { tree: aTree(matrix) },
  summary: { model: aTree(llama), options: optional(options({ trainable: optional(aFunction(() => () => true)) })) },
  copyTree: { tree: aTree(matrix) },
  globalNorm: { tree: aTree(matrix) },
  clipByGlobalNorm: { grads: aTree(matrix), maxNorm: aBoundedNumber() },
  sgd: {
    options: optional(
      options({ ...decay, momentum: alsoFor(aBoundedNumber(0.5), (value) => value === undefined), nesterov: optional(aFlag()) }),
    ),
  },
  lion: { options: optional(options({ ...decay, betas: optional(aList(() => [0.9, 0.99])) })) },
  adagrad: { options: optional(options({ ...decay, eps: optional(aBoundedNumber()) })) },
  rmsprop: {
    options: optional(
      options({ ...decay, alpha: optional(aBoundedNumber(0.9)), eps: optional(aBoundedNumber()), momentum: optional(aBoundedNumber(0.5)) }),
    ),
  },
  adam: { options: optional(options(adamOptions)) },
  adamw: { options: optional(options(adamOptions)) },
  muon: {
    options: optional(
      options({
        momentum: optional(aBoundedNumber(0.5)),
        nesterov: optional(aFlag()),
        steps: optional(anInteger(5)),
        weightDecay: optional(aBoundedNumber()),
        adjust: optional(aName("original")),
        matrices: optional(aFunction(() => () => true)),
        adamw: optional(options(adamOptions)),
        adamwRate: optional(aBoundedNumber()),
      }),
    ),
  },
  adafactor: {
    options: optional(
      options({
        ...decay,
        beta2Decay: optional(alsoFor(anInteger(-1), (value) => value === -1.5)),
        eps1: optional(aBoundedNumber()),
        eps2: optional(aBoundedNumber()),
        clipThreshold: optional(aBoundedNumber()),
        relativeStep: optional(aFlag()),
        scaleParameter: optional(aFlag()),
      }),
    ),
  },
  warmupCosine: {
    options: options({ warmup: optional(anInteger(0)), total: anInteger(3), peak: aBoundedNumber(), floor: optional(aBoundedNumber(0)) }),
  },
  constant: { rate: aBoundedNumber() },
  warmupLinear: { options: options({ ...warmup, total: anInteger(3), floor: optional(aBoundedNumber(0)) }) },
  warmupStableDecay: {
    options: options({
      ...warmup,
      total: anInteger(3),
      decay: anInteger(1),
      floor: optional(aBoundedNumber(0)),
      shape: optional(aName("sqrt")),
    }),
  },
  inverseSquareRoot: { options: options({ warmup: anInteger(1), peak: aBoundedNumber() }) },
  stepDecay: { options: options({ ...warmup, factor: aBoundedNumber(0.5), every: anInteger(2) }) },
  exponentialDecay: { options: options({ ...warmup, factor: aBoundedNumber(0.5), every: optional(anInteger(2)) }) },
  polynomialDecay: {
    options: options({ ...warmup, total: anInteger(3), floor: optional(aBoundedNumber(0)), power: optional(aBoundedNumber(2)) }),
  },
  oneCycle: {
    options: options({
      warmup: optional(anInteger(1)),
      total: anInteger(3),
      peak: aBoundedNumber(),
      start: optional(aBoundedNumber(0)),
      floor: optional(aBoundedNumber(0)),
      shape: optional(aName("linear")),
    }),
  },
  ema: { options: optional(options({ decay: optional(aBoundedNumber(0.5)), biasCorrected: optional(aFlag()) })) },
  createTrainStep: {
    options: options({
      optimizer: anObject(optimizer),
      loss: aFunction(() => dawngrad.languageLoss),
      maxNorm: optional(aBoundedNumber()),
      trainable: optional(aFunction(() => () => true)),
      microBatch: optional(anInteger(1)),
      weight: optional(aFunction(() => dawngrad.languageWeight)),
    }),
  },
  languageWeight: { batch: anObject(batch) },
  languageLoss: { model: anObject(llama), batch: anObject(batch), options: optional(options({ checkpoint: optional(aFlag()) })) },
  languageBatch: { tokens: anObject(hostTokens), tables: anObject(tables) },
  ropeTensors: { tables: anObject(tables) },
  llamaLoss: {
    model: anObject(llama),
    batch: anObject(batch),
    tables: anObject(ropeTensors),
    options: optional(options({ checkpoint: optional(aFlag()) })),
  },
  trainingMemory: {
    options: options({
      model: anObject(llama),
      optimizer: anObject(optimizer),
      optimizerState: training.optimizerState,
      maxNorm: training.maxNorm,
      trainable: training.trainable,
      checkpoint: training.checkpoint,
      microBatch: training.microBatch,
      batch: anInteger(1),
      length: anInteger(1),
      tableRows: optional(anInteger(1)),
      saves: optional(aFlag()),
    }),
  },
  train: { options: options({ ...training, batches: aFunction(() => () => batch()) }) },
  llamaConfig: {
    options: options({
      vocab_size: anInteger(11),
      hidden_size: anInteger(8),
      num_hidden_layers: anInteger(1),
      num_attention_heads: anInteger(2),
      num_key_value_heads: optional(anInteger(1)),
      intermediate_size: optional(anInteger(8)),
      head_dim: optional(anInteger(4)),
      max_position_embeddings: optional(anInteger(16)),
      rms_norm_eps: optional(aBoundedNumber(1e-5)),
      rope_theta: optional(aBoundedNumber(1e4)),
      tie_word_embeddings: optional(aFlag()),
      initializer_range: optional(aBoundedNumber(0.02)),
    }),
  },
  parseLlamaConfig: { json: anObject(() => dawngrad.toHfConfig(config)), file: aText("config.json") },
  toHfConfig: { config: anObject(() => config) },
  llamaShapes: { config: anObject(() => config) },
  countParameters: { config: anObject(() => config) },
  createPositionEncoding: { config: anObject(() => ({ type: "kerple" })), options: options({ heads: anInteger(2), key }) },
  alibiSlopes: { heads: anInteger(2) },
  clexPlaces: { draw: anObject(() => ({ ...dawngrad.plainPositions({ length: 4, scale: 2 }) })) },
  withPositionEncoding: {
    model: anObject(llama),
    make: alsoFor(
      anObject(() => ({ type: "kerple" })),
      (value) => value === null,
    ),
    options: optional(options({ key: optional(key) })),
  },
  applyLora: {
    model: anObject(llama),
    options: options({
      ...loraSettings,
      rank: anInteger(2),
      targets: optional(aList(() => ["q_proj"])),
      modulesToSave: optional(aList(() => ["norm"])),
      trainNorms: optional(aFlag()),
      trainEmbeddings: optional(aFlag()),
      key: optional(key),
    }),
  },
  mergeLora: { model: anObject(adapted) },
  saveAdapter: {
    folder: aText("/dev/null/none"),
    model: anObject(adapted),
    options: optional(options({ base: optional(aText("base")) })),
  },
  adapterBlobs: { model: anObject(adapted), options: optional(options({ base: optional(aText("base")) })) },
  loadAdapter: { model: anObject(llama), source: aSource },
  loadAdapterConfig: { source: aSource },
  loadAdaptedModel: {
    source: aSource,
    options: optional(options({ dtype: optional(aName("f32")), base: optional(alsoFor(aSource, () => true)) })),
  },
  unloadLora: { model: anObject(adapted) },
  dropoutKeys: {
    options: options({ seed: optional(anInteger(0)), step: anInteger(0), rows: anInteger(1), from: optional(anInteger(0)) }),
  },
  generate: {
    options: options({
      model: anObject(llama),
      prompt: aList(() => [1]),
      tokens: anInteger(1),
      tables: aFunction(() => (length: number) => ropeTensors(length)),
      cache: optional(options({ window: anInteger(2), sinks: optional(anInteger(1)) })),
      cacheDtype: optional(aName("f32")),
      block: optional(anInteger(1)),
      stopTokens: optional(aList(() => [1])),
      stopStrings: optional(aList(() => ["."])),
      // Given with what needs it.
      tokenizer: alsoFor(
        anObject(() => dawngrad.byteTokenizer),
        (value) => value === undefined,
      ),
      onText: optional(aFunction(() => () => undefined)),
      onToken: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
      ...sampling,
    }),
  },
  createSampler: { options: optional(options(sampling)) },
  applyChatTemplate: {
    template: aText("{{ messages[0].content }}"),
    messages: aList(() => [{ role: "user", content: "hello" }]),
    options: optional(
      options({
        addGenerationPrompt: optional(aFlag()),
        bos: optional(aText()),
        eos: optional(aText()),
        tools: optional(
          alsoFor(
            aList(() => []),
            Array.isArray,
          ),
        ),
        variables: optional(
          alsoFor(
            anObject(() => ({ date: "today" })),
            isObject,
          ),
        ),
      }),
    ),
  },
  // Data.
  encodeDocuments: { documents: aList(() => [{ name: "a", text: "abc" }]), tokenizer: anObject(() => dawngrad.byteTokenizer) },
  trainTokenizer: {
    texts: aList(() => ["the whale the whale"]),
    options: options({
      vocabSize: anInteger(260),
      minFrequency: optional(anInteger(2)),
      specialTokens: optional(aList(() => ["<|end|>"])),
      pattern: optional(aName("llama3")),
      onProgress: optional(aFunction(() => () => undefined)),
    }),
  },
  encodeText: { tokenizer: aTokenizer, text: aTokenText, options: encoding },
  encodeTextCached: { tokenizer: aTokenizer, text: aTokenText, file: aText("/dev/null/none"), options: encoding },
  encodeFileCached: { tokenizer: aTokenizer, path: aText("package.json"), options: encoding },
  tokensFile: { path: aText("a.txt"), tokenizer: aTokenizer },
  countTokens: { documents: aList(documents) },
  splitHeldOut: { documents: aList(documents), options: optional(options({ fraction: optional(aBoundedNumber(0.5)) })) },
  createWindowSampler: {
    options: options({ documents: aList(documents), length: anInteger(4), batch: anInteger(1), seed: optional(anInteger(0)) }),
  },
  windows: {
    options: options({
      documents: aList(documents),
      length: anInteger(4),
      batch: anInteger(1),
      seed: optional(anInteger(0)),
      step: anInteger(0),
    }),
  },
  availableTargets: { options: options(bare) },
  evaluationTargets: { options: options({ ...bare, count: anInteger(1) }) },
  targetWindows: {
    options: options({ documents: aList(documents), blocks: aList(blocks), targetLength: anInteger(2), context: anInteger(4) }),
  },
  // Files. Paths are any text; a folder that is not there is a typed error of its own.
  saveModel: {
    folder: aText("/dev/null/none"),
    model: anObject(llama),
    options: optional(
      options({
        dtype: optional(aName("bf16")),
        maxShardBytes: optional(anInteger(1000)),
        copyFrom: optional(aSource),
        extraConfig: optional(
          alsoFor(
            anObject(() => ({})),
            isObject,
          ),
        ),
      }),
    ),
  },
  modelBlobs: {
    model: anObject(llama),
    options: optional(
      options({
        dtype: optional(aName("bf16")),
        maxShardBytes: optional(anInteger(1000)),
        copyFrom: optional(aSource),
        extraConfig: optional(
          alsoFor(
            anObject(() => ({})),
            isObject,
          ),
        ),
      }),
    ),
  },
  trainingBlobs: { checkpoint: anObject(() => ({ model: llama(), optimizerState: {}, step: 0 })) },
  loadModel: { source: aSource, options: optional(options({ dtype: optional(aName("bf16")) })) },
  loadConfig: { source: aSource },
  openModel: { source: aSource },
  saveGguf: { path: aText("/dev/null/none.gguf"), model: anObject(llama), options: optional(options(ggufOptions)) },
  ggufBlob: { model: anObject(llama), options: optional(options(ggufOptions)) },
  convertModel: {
    source: aSource,
    target: aText("/dev/null/none.gguf"),
    options: optional(
      options({
        dtype: optional(aName("f16")),
        extraConfig: optional(
          alsoFor(
            anObject(() => ({})),
            isObject,
          ),
        ),
        name: optional(aText("a model")),
        pre: optional(aText("smollm")),
      }),
    ),
  },
  loadTokenizer: { source: aSource },
  saveTraining: { folder: aText("/dev/null/none"), checkpoint: anObject(() => ({ model: llama(), optimizerState: {}, step: 0 })) },
  loadTraining: { source: aSource, optimizer: anObject(optimizer) },
  saveTensors: { path: aText("/dev/null/none"), tree: aTree(() => ({ x: matrix() })), options: optional(options(saveTensors)) },
  tensorsBlob: { tree: aTree(() => ({ x: matrix() })), options: optional(options(saveTensors)) },
  loadTensors: {
    source: aText("/nonexistent/tensors.safetensors"),
    options: optional(
      options({
        like: optional(aTree(() => ({ x: matrix() }))),
        rename: optional(aFunction(() => (path: string) => path)),
        strict: optional(aFlag()),
      }),
    ),
  },
  readSafetensors: { bytes: anObject(() => dawngrad.writeSafetensors([])), file: aText("a.safetensors") },
  writeSafetensors: { tensors: aList(() => []), metadata: optional(anObject(() => ({}))) },
  checkTensors: {
    tensors: anObject(() => new Map()),
    expected: anObject(() => new Map()),
    options: options({ file: aText("a.safetensors") }),
  },
  float32Tensor: { values: anObject(() => new Float32Array(2)), shape: aShape([2]) },
  toFloat32: {
    entry: anObject(() => ({ name: "a", file: "f", offset: 0, dtype: "F32", shape: [1], data: new Uint8Array(4) })),
  },
} as const;

/** Classes that a user constructs. */
export const classes = {
  Llama: { config: anObject(() => config), options: options({ key }) },
  Linear: { weight: x },
  Embedding: { weight: x },
  LayerNorm: { ...scales, bias: optional(alsoFor(scales.bias, (value) => value === null)), eps: optional(aBoundedNumber(1e-5)) },
  GroupNorm: { groups: anInteger(1), ...scales, eps: optional(aBoundedNumber(1e-5)) },
  BatchNorm: {
    ...scales,
    options: optional(
      options({ momentum: optional(alsoFor(aBoundedNumber(0.1), (value) => value === null)), eps: optional(aBoundedNumber(1e-5)) }),
    ),
  },
  Conv1d: { weight: aTensor(() => dawngrad.zeros([2, 1, 3])), bias: optional(alsoFor(scales.bias, (value) => value === null)) },
  Conv2d: { weight: aTensor(() => dawngrad.zeros([2, 1, 3, 3])), bias: optional(alsoFor(scales.bias, (value) => value === null)) },
  Dropout: { rate: aBoundedNumber(0.5) },
  Sequential: { layers: aList(() => [new dawngrad.Linear(matrix())]) },
  RnnCell: gates(1),
  LstmCell: gates(4),
  GruCell: gates(3),
  Rnn: {
    cells: aList(() => [cell()]),
    options: optional(
      options({
        reverseCells: optional(
          alsoFor(
            aList(() => [cell()]),
            (value) => value === null,
          ),
        ),
        dropout: optional(aBoundedNumber(0.5)),
      }),
    ),
  },
  MultiHeadAttention: {
    heads: anInteger(1),
    weights: options({
      in_proj_weight: aTensor(() => dawngrad.zeros([6, 2])),
      in_proj_bias: optional(
        alsoFor(
          aTensor(() => dawngrad.zeros([6])),
          (value) => value === null,
        ),
      ),
      out_proj: anObject(() => new dawngrad.Linear(matrix())),
    }),
    options: optional(options({ keyHeads: optional(anInteger(1)), dropout: optional(aBoundedNumber(0.5)) })),
  },
  RMSNorm: { weight: aTensor(() => tensor([1, 1])), eps: aBoundedNumber(1e-5) },
  LoraLinear: {
    base: anObject(() => new dawngrad.Linear(matrix())),
    factors: options({ A: aTensor(), B: aTensor() }),
    settings: optional(options(loraSettings)),
  },
  TrainedModule: { original: anObject(() => new dawngrad.Linear(matrix())) },
  StreamingCache: {
    config: anObject(() => config),
    options: options({ window: anInteger(4), sinks: optional(anInteger(1)), batch: optional(anInteger(1)) }),
  },
  KeyValueCache: {
    config: anObject(() => config),
    options: options({
      capacity: anInteger(4),
      batch: optional(anInteger(1)),
      turned: optional(aFlag()),
      dtype: optional(aName("f32")),
      first: optional(aTensor(() => dawngrad.tensor([0], { dtype: "i32" }))),
    }),
  },
} as const;
