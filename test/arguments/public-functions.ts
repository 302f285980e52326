import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as dawngrad from "../../src/index.js";
import { type Llama, type LlamaConfig, type Tensor, tensor } from "../../src/index.js";
import {
  aBoundedNumber,
  aFlag,
  aFunction,
  aList,
  alsoFor,
  aName,
  aNumber,
  anInteger,
  anObject,
  anyNumber,
  aShape,
  aTensor,
  aTensorLike,
  aText,
  aTree,
  axes,
  isNumber,
  matrix,
  optional,
  options,
  type Parameter,
  parameters,
} from "./parameters.js";

/** A public function or class with the parameters it takes, each with a value that fits. */
export interface PublicFunction {
  readonly name: string;
  readonly call: (...args: never[]) => unknown;
  readonly parameters: readonly Parameter[];
}

export const config: LlamaConfig = dawngrad.llamaConfig({
  vocab_size: 11,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 16,
});
const llama = (): Llama => new dawngrad.Llama(config, { key: dawngrad.key(0) });
const integers = (values: number[] = [0, 1], shape: number[] = [values.length]): Tensor => tensor(values, { dtype: "i32", shape });
const cube = (): Tensor => tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], { shape: [1, 1, 2, 4] });
const loss = (): unknown => (x: Tensor) => x.mul(x).sum();
const documents = (): unknown => [{ name: "one", tokens: Int32Array.from({ length: 60 }, (_, i) => i % 11) }];
const windows = (): unknown => dawngrad.createWindowSampler({ documents: documents() as never, length: 4, batch: 1 });
const frequencies = (): unknown => dawngrad.ropeFrequencies({ type: "default" }, { headDim: 4, theta: 10_000 });
const tables = (length = 4): dawngrad.RopeTables =>
  dawngrad.ropeTables(dawngrad.plainPositions({ length }), frequencies() as dawngrad.RopeFrequencies);
const shape = (): unknown => ({ headDim: 4, theta: 10_000 });
const rowOptions = { granularity: optional(aName("batch")), seed: optional(anInteger(0)) };
const drawnScaling = { scaling: optional(aName("linear")), shape: optional(anObject(shape)) };
const e2Sampler = {
  window: anInteger(8),
  gMax: anInteger(2),
  sinks: optional(anInteger(1)),
  g: optional(anInteger(1)),
  t: optional(anInteger(0)),
  overflow: optional(aName("refuse")),
  ...rowOptions,
};
const ropeTensors = (length = 4): unknown => dawngrad.ropeTensors(tables(length));
const hostTokens = (): unknown => ({ inputs: new Int32Array(4), targets: new Int32Array(4), batch: 1, length: 4 });
const batch = (): unknown => dawngrad.languageBatch(hostTokens() as never, tables());
const optimizer = (): unknown => dawngrad.sgd();
const bare = { targetLength: anInteger(2), maxContext: anInteger(8), documents: aList(documents) };
const blocks = (): unknown => dawngrad.evaluationTargets({ documents: documents() as never, targetLength: 2, maxContext: 8, count: 1 });
const models = (): unknown => ({ base: llama(), plain: llama(), e2: llama() });
const rows = (): unknown => [{ variant: "base", schedule: "none", scale: 1, context: 4 }];
const task = (): unknown => dawngrad.ledgerTask({ names: 2, values: 2, fillers: 1 });
const example = (): unknown => ({
  inputs: Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7),
  targets: Int32Array.of(-100, -100, -100, -100, -100, -100, -100, 1),
  questions: [{ place: 7, kind: "a" }],
});
const scoreProducts = (): unknown => dawngrad.scoreProducts([1, 2, 3, 4], [4, 3, 2, 1]);
const between = options({ s: aNumber(0.5), s1: aNumber(0), s2: aNumber(1) });
const ofAttention = {
  q: aTensor(cube),
  k: aTensor(cube),
  v: aTensor(cube),
  options: optional(
    options({
      causal: optional(aFlag()),
      offset: optional(aTensorLike(() => 0)),
      mask: optional(aTensor(() => tensor([true]))),
      scale: optional(anyNumber()),
    }),
  ),
};
const continuation = {
  judge: optional(anObject(() => ({ model: llama() }))),
  buckets: optional(anInteger(1)),
  ngram: optional(anInteger(1)),
};
const scratch = mkdtempSync(join(tmpdir(), "experiment-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
const experiment = (): dawngrad.ExperimentDefinition => ({
  name: "one step",
  task: { type: "ledger", names: 2, values: 2, fillers: 1, asked: 3, warmUp: 4 },
  model: { hidden_size: 4, intermediate_size: 4, num_hidden_layers: 1, num_attention_heads: 2 },
  window: 8,
  base: { steps: 1, batch: 2, lr: 0.01 },
  readings: { none: { schedule: "none" } },
  rows: [{ variant: "base", reading: "none" }],
  evaluations: { all: { type: "contexts", contexts: ["L"], count: 2 } },
  seeds: [1],
  sizes: { small: { seeds: [2] } },
});
const experimentResults = (): unknown => ({
  ...{ name: "none", title: "none", description: "", window: 4, parameters: 1, backend: "reference", seeds: [1], complete: true },
  ...{ rows: [], evaluations: [], cells: [], chance: {}, runs: [], requirements: [], expectations: [] },
});
const tableOptions = { results: anObject(experimentResults), options: optional(options({ measure: optional(aName("nats")) })) };
const isObjectOrList = (value: unknown): boolean => typeof value === "object" && value !== null;
const training = {
  model: anObject(llama),
  optimizer: anObject(optimizer),
  optimizerState: optional(aTree(() => dawngrad.sgd().init(llama()))),
  steps: anInteger(0),
  startStep: optional(anInteger(0)),
  step: optional(anInteger(0)),
  extra: optional(
    alsoFor(
      anObject(() => ({})),
      isObjectOrList,
    ),
  ),
  schedule: aFunction(() => () => 0.1),
  maxNorm: optional(aBoundedNumber()),
  trainable: optional(aFunction(() => () => true)),
  checkpoint: optional(aFlag()),
  microBatch: optional(anInteger(1)),
  trainStep: optional(aFunction(() => dawngrad.createTrainStep({ optimizer: dawngrad.sgd(), loss: dawngrad.languageLoss }))),
  onStep: optional(aFunction(() => () => undefined)),
  shouldStop: optional(aFunction(() => () => false)),
  onSave: optional(aFunction(() => async () => undefined)),
  saveEvery: optional(anInteger(0)),
};
const scoring = {
  model: anObject(llama),
  tables: optional(aFunction(() => tables)),
  batch: optional(anInteger()),
  block: optional(anInteger()),
  onProgress: optional(aFunction(() => () => undefined)),
  shouldStop: optional(aFunction(() => () => false)),
};
const dtype = optional(aName("f32"));
const key = aTensor(() => dawngrad.key(1));
const x = aTensor();
const crossEntropyOptions = options({
  reduction: optional(aName("sum")),
  ignoreIndex: optional(anInteger(-100)),
  labelSmoothing: optional(aBoundedNumber(0.5)),
});
const like = aTensorLike();
const anyLike = (value: number) => aTensorLike(() => value);
const isFunction = (value: unknown): boolean => typeof value === "function";
const reduction = { x, axes: optional(axes()), keepDims: optional(aFlag()) };
const spread = {
  x,
  axes: optional(axes()),
  options: optional(options({ keepDims: optional(aFlag()), correction: optional(aBoundedNumber(0)) })),
};

/** A name of a folder, or files by name. */
const aSource = alsoFor(
  aText("/nonexistent"),
  (value) => typeof value === "string" || (typeof value === "object" && value !== null && !(value instanceof Promise)),
);
const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Promise);
const of1 = { x };
const like1 = { x: like };
const like2 = { a: like, b: like };
const booleans = aTensor(() => tensor([true, false]));

/** Every function that `index.ts` exports, by name. */
const functions = {
  // Making tensors.
  tensor: {
    data: alsoFor(
      aList(() => [1, 2]),
      isNumber,
    ),
    options: optional(options({ shape: optional(aShape([2])), dtype })),
  },
  full: { shape: aShape(), value: anyNumber(), options: optional(options({ dtype })) },
  zeros: { shape: aShape(), options: optional(options({ dtype })) },
  ones: { shape: aShape(), options: optional(options({ dtype })) },
  zerosLike: of1,
  onesLike: of1,
  arange: { n: anInteger(3), options: optional(options({ dtype })) },
  iota: { shape: aShape(), axis: anInteger(0), options: optional(options({ dtype })) },
  eye: { n: anInteger(3), options: optional(options({ dtype })) },
  linspace: { start: anyNumber(0), stop: anyNumber(1), count: anInteger(3) },
  key: { seed: anInteger(1) },
  split: { parent: key, count: optional(anInteger(2)) },
  foldIn: { parent: key, data: anInteger(1) },
  uniform: { key, shape: aShape(), options: optional(options({ low: optional(anyNumber(0)), high: optional(anyNumber(1)) })) },
  randn: { key, shape: aShape() },
  randint: { key, shape: aShape(), low: anInteger(0), high: anInteger(3) },
  bernoulli: { key, shape: aShape(), p: optional(aBoundedNumber(0.5)) },
  dropout: { key, x, rate: aBoundedNumber(0.5), dtype },
  // Elementwise.
  neg: like1,
  exp: like1,
  log: like1,
  sin: like1,
  cos: like1,
  tanh: like1,
  erf: like1,
  sqrt: like1,
  recip: like1,
  abs: like1,
  sign: like1,
  floor: like1,
  sigmoid: like1,
  relu: like1,
  silu: of1,
  gelu: of1,
  square: of1,
  rsqrt: of1,
  add: like2,
  sub: like2,
  mul: like2,
  div: like2,
  truncDiv: { a: aTensorLike(() => integers()), b: aTensorLike(() => integers([1, 2])) },
  pow: like2,
  mod: like2,
  maximum: like2,
  minimum: like2,
  less: like2,
  lessEqual: like2,
  greater: like2,
  greaterEqual: like2,
  equal: like2,
  notEqual: like2,
  and: { a: booleans, b: booleans },
  or: { a: booleans, b: booleans },
  not: { x: booleans },
  where: { condition: booleans, a: aTensorLike(), b: aTensorLike() },
  clip: { x, low: optional(anyLike(0)), high: optional(anyLike(1)) },
  cast: { x, dtype: aName("i32") },
  bitcast: { x, dtype: aName("i32") },
  stopGradient: of1,
  finite: of1,
  // Reductions.
  sum: reduction,
  mean: reduction,
  max: reduction,
  min: reduction,
  argmax: reduction,
  argmin: reduction,
  logSumExp: reduction,
  variance: spread,
  std: spread,
  softmax: { x, axis: optional(anInteger(0)) },
  logSoftmax: { x, axis: optional(anInteger(0)) },
  // Movement and indices.
  reshape: { x, shape: aShape([4]) },
  permute: { x, order: aShape([1, 0]) },
  transpose: { x, axis1: optional(anInteger(0)), axis2: optional(anInteger(1)) },
  broadcastTo: { x, shape: aShape() },
  expand: { x, shape: aShape() },
  slice: { x, ranges: aList(() => [[0, 1], null]) },
  pad: {
    x,
    widths: aList(() => [
      [0, 1],
      [1, 0],
    ]),
    value: optional(anyNumber(0)),
  },
  concat: { tensors: aList(() => [matrix(), matrix()]), axis: optional(anInteger(0)) },
  stack: { tensors: aList(() => [matrix(), matrix()]), axis: optional(anInteger(0)) },
  flip: { x, axes: optional(axes()) },
  squeeze: { x: aTensor(() => matrix().reshape([2, 1, 2])), axes: optional(axes(1)) },
  unsqueeze: { x, axis: anInteger(0) },
  gather: { x, index: aTensor(() => integers()), axis: optional(anInteger(0)) },
  take: { x, index: aTensor(() => integers()), axis: optional(anInteger(0)) },
  takeAlongAxis: { x, index: aTensor(() => integers([0, 1, 1, 0], [2, 2])), axis: optional(anInteger(0)) },
  scatterAdd: { x, index: aTensor(() => integers()), size: anInteger(3) },
  triu: { x, k: optional(anInteger(0)) },
  tril: { x, k: optional(anInteger(0)) },
  oneHot: { index: aTensor(() => integers()), classes: anInteger(3) },
  // Products and networks.
  matmul: { a: x, b: x },
  einsum: { equation: aName("ij,jk->ik"), a: x, b: x },
  rmsNorm: { x, weight: aTensor(() => tensor([1, 1])), eps: optional(aBoundedNumber()) },
  layerNorm: { x, weight: aTensor(() => tensor([1, 1])), bias: aTensor(() => tensor([0, 0])), eps: optional(aBoundedNumber()) },
  rope: { x: aTensor(cube), cos: aTensor(() => matrix().reshape([1, 2, 2])), sin: aTensor(() => matrix().reshape([1, 2, 2])) },
  attention: ofAttention,
  attentionWithLogSumExp: ofAttention,
  crossEntropy: {
    logits: x,
    targets: aTensor(() => integers()),
    options: optional(crossEntropyOptions),
  },
  linearCrossEntropy: {
    x,
    weight: x,
    targets: aTensor(() => integers()),
    options: optional(crossEntropyOptions),
  },
  // Derivatives and programs.
  grad: { f: aFunction(loss), argnum: optional(anInteger(0)) },
  valueAndGrad: { f: aFunction(loss), options: optional(options({ argnum: optional(anInteger(0)), hasAux: optional(aFlag()) })) },
  vjp: { f: aFunction(loss), primal: aTree(matrix) },
  jvp: {
    f: aFunction(loss),
    // A list of anything is a list of trees: what f makes of it is f's own.
    primals: alsoFor(
      aList(() => [matrix()]),
      Array.isArray,
    ),
    tangents: alsoFor(
      aList(() => [matrix()]),
      Array.isArray,
    ),
  },
  hvp: { f: aFunction(loss), x: aTree(matrix), v: aTree(matrix) },
  checkGrads: {
    f: aFunction(loss),
    args: aList(() => [matrix()]),
    options: optional(
      options({
        order: optional(anInteger(1)),
        modes: optional(aList(() => ["reverse"])),
        step: optional(aBoundedNumber(1e-5)),
        relative: optional(aBoundedNumber()),
        absolute: optional(aBoundedNumber()),
        places: optional(anInteger(4)),
        seed: optional(anInteger(0)),
      }),
    ),
  },
  checkpoint: { f: aFunction(loss) },
  customVjp: { f: aFunction(loss), forward: aFunction(loss), backward: aFunction(loss) },
  scan: {
    f: aFunction(() => (carry: Tensor, x: Tensor) => [carry.add(x), x]),
    carry: aTree(() => tensor([0, 0])),
    xs: aTree(matrix),
    options: optional(options({ length: optional(anInteger(2)), reverse: optional(aFlag()), checkpointEvery: optional(anInteger(1)) })),
  },
  compile: {
    f: aFunction(loss),
    settings: optional(
      options({
        donate: optional(aList(() => [0])),
        static: optional(aList(() => [1])),
        name: optional(aText("f")),
        maxPrograms: optional(anInteger(4)),
      }),
    ),
  },
  explain: { f: aFunction(loss), x: aTree(matrix) },
  memoryOf: { f: aFunction(loss), x: aTree(matrix) },
  realize: { tree: aTree(matrix) },
  flattenTree: { tree: aTree(matrix) },
  tensorsOf: { tree: aTree(matrix) },
  partition: { tree: aTree(matrix), predicate: aFunction(() => () => true) },
  combine: {
    first: aTree(matrix),
    second: alsoFor(
      aTree(() => null),
      () => true,
    ),
  },
  treeAt: { tree: aTree(() => ({ w: matrix() })), where: aFunction(() => (tree: { w: Tensor }) => tree.w), replacement: aTree(() => null) },
  trainablePart: { tree: aTree(matrix), trainable: optional(aFunction(() => () => true)) },
  mapTensors: { tree: aTree(matrix), f: aFunction(() => (t: Tensor) => t) },
  zipTensors: {
    f: aFunction(
      () =>
        ([t]: Tensor[]) =>
          t,
    ),
    first: aTree(matrix),
  },
  memory: {},
  sync: {},
  useBackend: { backend: optional(anObject(() => dawngrad.useBackend(undefined))) },
  withBackend: { backend: anObject(() => current()), f: aFunction(() => () => 1) },
  init: {
    options: optional(
      options({
        // Given in every call, since the backend that is chosen otherwise depends on the machine.
        backend: alsoFor(aName("reference"), (value) => value === undefined),
        // These two are options of other backends.
        adapter: optional({ ...aText(), valid: () => undefined }),
        threads: optional({ ...anInteger(), valid: () => undefined }),
        kernels: optional(aName("auto")),
      }),
    ),
  },
  // Modules and training.
  parameterCount: { tree: aTree(matrix) },
  copyTree: { tree: aTree(matrix) },
  globalNorm: { tree: aTree(matrix) },
  clipByGlobalNorm: { grads: aTree(matrix), maxNorm: aBoundedNumber() },
  sgd: { options: optional(options({ momentum: optional(aBoundedNumber(0.5)) })) },
  adamw: {
    options: optional(
      options({
        betas: optional(aList(() => [0.9, 0.95])),
        eps: optional(aBoundedNumber()),
        weightDecay: optional(aBoundedNumber()),
        decayMask: optional(aFunction(() => () => true)),
      }),
    ),
  },
  warmupCosine: {
    options: options({ warmup: optional(anInteger(0)), total: anInteger(3), peak: aBoundedNumber(), floor: optional(aBoundedNumber(0)) }),
  },
  constant: { rate: aBoundedNumber() },
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
  generate: {
    options: options({
      model: anObject(llama),
      prompt: aList(() => [1]),
      tokens: anInteger(1),
      tables: aFunction(() => (length: number) => ropeTensors(length)),
      cache: optional(options({ window: anInteger(2), sinks: optional(anInteger(1)) })),
      block: optional(anInteger(1)),
      onToken: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
      temperature: optional(aBoundedNumber(0)),
      topK: optional(anInteger(1)),
      seed: optional(anInteger(0)),
    }),
  },
  createSampler: {
    options: optional(options({ temperature: optional(aBoundedNumber()), topK: optional(anInteger(1)), seed: optional(anInteger(0)) })),
  },
  // Data.
  encodeDocuments: { documents: aList(() => [{ name: "a", text: "abc" }]), tokenizer: anObject(() => dawngrad.byteTokenizer) },
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
  loadModel: { source: aSource },
  loadConfig: { source: aSource },
  saveTraining: { folder: aText("/dev/null/none"), checkpoint: anObject(() => ({ model: llama(), optimizerState: {}, step: 0 })) },
  loadTraining: { source: aSource, optimizer: anObject(optimizer) },
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
  // Positions, schedules, E²-LLM.
  inferenceScale: { length: anInteger(8), window: anInteger(4) },
  plainPositions: { options: options({ length: anInteger(4), offset: optional(anInteger(0)), scale: optional(anInteger(1)) }) },
  largestShift: { g: anInteger(1), window: anInteger(4), length: anInteger(4) },
  e2Row: { options: options({ length: anInteger(4), g: anInteger(1), t: anInteger(0), sinks: optional(anInteger(1)) }) },
  e2Positions: {
    options: options({
      window: anInteger(4),
      gMax: anInteger(2),
      sinks: optional(anInteger(1)),
      granularity: optional(aName("batch")),
      seed: optional(anInteger(0)),
      batch: anInteger(1),
      length: anInteger(4),
      step: anInteger(0),
    }),
  },
  createPlainSource: { options: optional(options({ scale: optional(aBoundedNumber(2)), ...drawnScaling })) },
  createE2Source: { options: options({ ...e2Sampler, ...drawnScaling }) },
  createE2YarnSource: {
    options: options({ ...e2Sampler, shape: anObject(shape), ramp: optional(aName("turns")), betaFast: optional(aBoundedNumber(4)) }),
  },
  createPoseSource: {
    options: options({ window: anInteger(4), scale: aBoundedNumber(2), chunks: optional(anInteger(2)), ...rowOptions, ...drawnScaling }),
  },
  createRandomizedSource: { options: options({ lMax: anInteger(8), ...rowOptions, ...drawnScaling }) },
  createRandomScaleSource: { options: options({ gMax: anInteger(2), ...rowOptions, shape: anObject(shape) }) },
  createRandomIncrementsSource: { options: optional(options(rowOptions)) },
  createPositionSource: {
    options: anObject(() => ({ type: "e2", window: 8, gMax: 2 })),
    config: optional(anObject(() => config)),
  },
  extensionNotes: { positions: anObject(() => ({ type: "e2", window: 8, gMax: 2 })), config: anObject(() => config) },
  positionSourceReading: {
    options: anObject(() => ({ type: "e2", window: 8, gMax: 2 })),
    config: optional(anObject(() => config)),
  },
  rowSource: {
    options: options({
      draw: aFunction(() => ({ length }: dawngrad.RowRequest) => ({ positions: new Int32Array(length), draw: {} })),
      ...rowOptions,
    }),
  },
  ropeFrequencies: {
    scaling: anObject(() => ({ type: "linear", factor: 2 })),
    shape: options({ headDim: anInteger(4), theta: aBoundedNumber(1e4) }),
  },
  searchLongropeFactors: {
    options: options({
      evaluate: aFunction(
        () =>
          ({ factors }: { factors: readonly number[] }) =>
            factors[0] as number,
      ),
      headDim: anInteger(4),
      factor: aBoundedNumber(2),
      originalMaxPositions: anInteger(8),
      theta: optional(aBoundedNumber(1e4)),
      seed: anInteger(0),
      population: optional(anInteger(4)),
      parents: optional(anInteger(2)),
      generations: optional(anInteger(1)),
      mutations: optional(anInteger(1)),
      crossovers: optional(anInteger(1)),
      mutationRate: optional(aBoundedNumber(0.5)),
      step: optional(aBoundedNumber(0.5)),
      starts: optional(aList(() => [0, 2])),
      onGeneration: optional(aFunction(() => () => {})),
    }),
  },
  untouchedStart: { scaled: anObject(() => tables()), original: anObject(() => tables()), start: anInteger(1) },
  ntkTheta: { shape: options({ headDim: anInteger(4), theta: aBoundedNumber(1e4) }), factor: aBoundedNumber(2) },
  ropeTables: {
    positions: anObject(() => dawngrad.plainPositions({ length: 4 })),
    frequencies: anObject(frequencies),
    options: optional(options({ dtype: optional(aName("f64")) })),
  },
  selfExtendTables: {
    frequencies: anObject(frequencies),
    options: options({ length: anInteger(4), near: anInteger(2), group: anInteger(2) }),
  },
  selfExtendReach: { options: options({ window: anInteger(4), near: anInteger(2), group: anInteger(2) }) },
  selfExtendGroup: { options: options({ length: anInteger(8), window: anInteger(4), near: anInteger(2) }) },
  reRopeTables: { frequencies: anObject(frequencies), options: options({ length: anInteger(4), near: anInteger(2) }) },
  leakyReRopeTables: {
    frequencies: anObject(frequencies),
    options: options({ length: anInteger(4), near: anInteger(2), factor: aBoundedNumber(2) }),
  },
  leakyReRopeFactor: { options: options({ length: anInteger(8), window: anInteger(4), near: anInteger(2) }) },
  logNTables: { tables: anObject(tables), options: options({ window: anInteger(2) }) },
  streamingTables: {
    frequencies: anObject(frequencies),
    options: options({ length: anInteger(4), near: anInteger(2), sinks: optional(anInteger(1)) }),
  },
  toHfRope: {
    scaling: anObject(() => ({ type: "linear", factor: 2 })),
    options: options({ headDim: anInteger(4), theta: aBoundedNumber(1e4), window: anInteger(8) }),
  },
  fromHfRope: {
    config: anObject(() => dawngrad.toHfConfig(config)),
    options: optional(options({ file: optional(aText("config.json")), seqLen: optional(anInteger(4)) })),
  },
  readingScaling: { request: options({ schedule: aName("linear"), scale: aBoundedNumber(1), length: anInteger(4), window: anInteger(4) }) },
  readingTables: {
    config: anObject(() => config),
    request: options({ schedule: aName("linear"), scale: aBoundedNumber(1), length: anInteger(4), window: anInteger(4) }),
  },
  drawnCoverage: {
    options: options({
      positions: aFunction(() => dawngrad.createPlainSource()),
      length: anInteger(4),
      steps: anInteger(1),
      batch: optional(anInteger(1)),
      window: anInteger(4),
      scale: anInteger(2),
      from: optional(anInteger(0)),
    }),
  },
  scoreProducts: { q: aList(() => [1, 2, 3, 4]), k: aList(() => [1, 2, 3, 4]) },
  scoreAtDistance: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), distance: aNumber(1) },
  interpolationBound: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), distance: between },
  worstInterpolation: { shape: anObject(() => ({ headDim: 4, theta: 100 })), distance: between },
  interpolationCounterexample: { shape: anObject(() => ({ headDim: 4, theta: 100 })) },
  extrapolationBound: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), distance: aNumber(1) },
  resolutionAt: { products: anObject(scoreProducts), invFreq: aList(() => [1, 0.1]), scale: aBoundedNumber(2) },
  measureContinuations: {
    options: options({
      ...continuation,
      texts: aList(() => [Int32Array.of(1, 2, 3)]),
      promptLength: anInteger(1),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  longGeneration: {
    options: options({
      ...continuation,
      model: anObject(llama),
      prompts: aList(() => [Int32Array.of(1, 2, 3)]),
      tokens: anInteger(1),
      tables: optional(aFunction(() => tables)),
      temperature: optional(aBoundedNumber()),
      topK: optional(anInteger()),
      seed: optional(anInteger(0)),
      onProgress: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  automaticReading: { config: anObject(() => config), options: optional(options({ file: optional(aText("config.json")) })) },
  readingScale: { reading: anObject(() => ({ schedule: "linear" })), length: anInteger(4), window: anInteger(4) },
  automaticScale: { schedule: aName("linear"), length: anInteger(4), window: anInteger(4) },
  bodyDistanceCoverage: {
    options: options({
      window: anInteger(4),
      gMax: anInteger(2),
      scale: anInteger(2),
      length: optional(anInteger(4)),
      sinks: optional(anInteger(1)),
    }),
  },
  coveredBodyDistances: {
    options: options({
      window: anInteger(4),
      gMax: anInteger(2),
      scale: anInteger(2),
      length: optional(anInteger(4)),
      sinks: optional(anInteger(1)),
    }),
  },
  modelRope: {
    config: anObject(() => config),
    options: optional(options({ length: optional(anInteger(4)), file: optional(aText("config.json")) })),
  },
  modelFrequencies: {
    config: anObject(() => config),
    options: optional(options({ length: optional(anInteger(4)), file: optional(aText("config.json")) })),
  },
  interpolatedFrequencies: { frequencies: anObject(frequencies), factor: aBoundedNumber(2) },
  positionedBatches: {
    options: options({
      windows: anObject(windows),
      positions: aFunction(() => dawngrad.createPlainSource()),
      frequencies: alsoFor(anObject(frequencies), isFunction),
      onDraws: optional(aFunction(() => () => undefined)),
    }),
  },
  trainExtension: {
    options: options({
      ...training,
      windows: anObject(windows),
      positions: aFunction(() => dawngrad.createPlainSource()),
      onDraws: optional(aFunction(() => () => undefined)),
      frequencies: optional(alsoFor(anObject(frequencies), isFunction)),
    }),
  },
  evaluateContexts: {
    options: options({
      ...scoring,
      documents: aList(documents),
      blocks: aList(blocks),
      targetLength: anInteger(2),
      contexts: aList(() => [4]),
      accuracy: optional(aFlag()),
    }),
  },
  lossByPosition: {
    options: options({ ...scoring, tokens: anObject(() => Int32Array.of(1, 2, 3, 4, 5)), accuracy: optional(aFlag()) }),
  },
  positionBuckets: {
    nats: aList(() => [Float32Array.of(1, 2)]),
    options: optional(options({ first: optional(anInteger(1)), correct: optional(aList(() => [Uint8Array.of(0, 1)])) })),
  },
  bitsPerByte: { nats: anyNumber(1), bytesPerToken: optional(aBoundedNumber(4)) },
  attentionMaps: {
    options: options({
      model: anObject(llama),
      tokens: anObject(() => Int32Array.of(1, 2, 3, 4)),
      queries: aList(() => [3]),
      tables: optional(aFunction(() => tables)),
      sinks: optional(anInteger(1)),
      span: optional(options({ from: anInteger(1), to: anInteger(2) })),
    }),
  },
  stepCost: {
    options: options({
      model: anObject(llama),
      optimizer: anObject(optimizer),
      maxNorm: optional(aBoundedNumber()),
      trainable: optional(aFunction(() => () => true)),
      checkpoint: optional(aFlag()),
      microBatch: optional(anInteger(1)),
      sizes: aList(() => [{ length: 4, batch: 1 }]),
      steps: optional(anInteger(1)),
      onProgress: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  slidingWindowPerplexity: {
    options: options({
      ...scoring,
      tokens: anObject(() => Int32Array.of(1, 2, 3, 4, 5)),
      window: anInteger(4),
      stride: anInteger(2),
      bytes: optional(aBoundedNumber(4)),
    }),
  },
  randomStream: { seed: anInteger(0), purpose: anInteger(0), major: optional(anInteger(0)), minor: optional(anInteger(0)) },
  stackRows: { rows: anInteger(1), draw: aFunction(() => () => dawngrad.plainPositions({ length: 2 })) },
  ledgerTask: {
    options: optional(
      options({
        names: optional(anInteger(2)),
        values: optional(anInteger(2)),
        fillers: optional(anInteger(1)),
        asked: optional(anInteger(2)),
        warmUp: optional(anInteger(0)),
        unanswerable: optional(aBoundedNumber(0)),
      }),
    ),
  },
  passkeyTask: {
    options: optional(
      options({
        keys: optional(anInteger(2)),
        valuesPerKey: optional(anInteger(1)),
        asked: optional(anInteger(1)),
        names: optional(anInteger(4)),
        values: optional(anInteger(2)),
        fillers: optional(anInteger(1)),
        form: optional(aName("pair")),
        depth: optional(aBoundedNumber(0.5)),
      }),
    ),
  },
  recallTask: {
    options: optional(
      options({
        pairs: optional(anInteger(2)),
        keys: optional(anInteger(8)),
        values: optional(anInteger(8)),
        fillers: optional(anInteger(1)),
        power: optional(aBoundedNumber(1)),
      }),
    ),
  },
  inductionTask: {
    options: optional(
      options({ symbols: optional(anInteger(40)), segment: optional(anInteger(2)), freshWeight: optional(aBoundedNumber(0.5)) }),
    ),
  },
  posgenTask: {
    options: options({
      rule: aName("cot"),
      near: optional(anInteger(1)),
      far: optional(anInteger(1)),
      modulus: optional(anInteger(3)),
      asked: optional(anInteger(2)),
    }),
  },
  variableTask: {
    options: optional(
      options({
        chains: optional(anInteger(1)),
        hops: optional(anInteger(4)),
        names: optional(anInteger(24)),
        values: optional(anInteger(2)),
        fillers: optional(anInteger(1)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  commonWordTask: {
    options: optional(
      options({
        words: optional(anInteger(30)),
        common: optional(anInteger(4)),
        rare: optional(anInteger(8)),
        ratio: optional(aBoundedNumber(5)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  frequentWordTask: {
    options: optional(
      options({
        words: optional(anInteger(30)),
        used: optional(anInteger(8)),
        alpha: optional(aBoundedNumber(2)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  labelTask: {
    options: optional(
      options({
        classes: optional(anInteger(3)),
        words: optional(anInteger(2)),
        labels: optional(anInteger(16)),
        noise: optional(aBoundedNumber(0.1)),
        asked: optional(anInteger(2)),
      }),
    ),
  },
  textTask: {
    options: options({
      documents: aList(documents),
      heldOut: optional(aList(documents)),
      vocabulary: optional(anInteger(11)),
      asked: optional(anInteger(2)),
    }),
  },
  createTask: { options: anObject(() => ({ type: "ledger", names: 2 })) },
  trainingWindows: { options: options({ task: anObject(task), length: anInteger(8), batch: anInteger(1), seed: optional(anInteger(0)) }) },
  evaluationExamples: {
    options: options({ task: anObject(task), length: anInteger(8), count: anInteger(1), seed: optional(anInteger(0)) }),
  },
  cutExample: { task: anObject(task), example: anObject(example), context: anInteger(8) },
  evaluateTargets: { options: options({ ...scoring, examples: aList(() => [example()]) }) },
  evaluateAtContexts: {
    options: options({
      ...scoring,
      task: anObject(task),
      examples: aList(() => [example()]),
      contexts: aList(() => [8]),
      edges: optional(aList(() => [4])),
      window: optional(anInteger(8)),
      truncated: optional(aFunction(() => tables)),
    }),
  },
  evaluateGrid: {
    options: options({
      ...scoring,
      task: anObject(() => dawngrad.passkeyTask({ names: 1, values: 2, fillers: 1 })),
      lengths: aList(() => [6]),
      depths: aList(() => [0.5]),
      count: optional(anInteger(1)),
      seed: optional(anInteger(0)),
      window: optional(anInteger(8)),
      truncated: optional(aFunction(() => tables)),
    }),
  },
  summarizeByDistance: { scores: aList(() => [{ kind: "a", distance: 3, nats: 1, correct: true }]), edges: aList(() => [2]) },
  exampleObservations: {
    scores: aList(() => [{ example: 0, kind: "a", distance: 3, nats: 1, correct: true }]),
    options: options({
      measure: aName("nats"),
      kind: optional(aText("a")),
      from: optional(anInteger(0)),
      to: optional(anInteger(9)),
    }),
  },
  inductionScores: {
    scores: aList(() => [
      { example: 0, kind: "repeat", distance: 3, nats: 1, correct: true },
      { example: 0, kind: "fresh", nats: 2, correct: false },
    ]),
    edges: aList(() => [2]),
  },
  summarizeTargets: { scores: aList(() => [{ kind: "a", nats: 1, correct: true }]) },
  summarizeValues: { values: aList(() => [1, 2]) },
  pairedDifferences: { first: aList(() => [1, 2]), second: aList(() => [1, 3]) },
  bootstrapMean: {
    groups: aList(() => [1, 2]),
    options: optional(
      options({
        level: optional(aBoundedNumber(0.9)),
        resamples: optional(anInteger(3)),
        seed: optional(anInteger(0)),
        over: optional(aName("values")),
      }),
    ),
  },
  comparisonRows: {
    options: options({
      window: anInteger(4),
      contexts: optional(aList(() => [4])),
      scales: optional(aList(() => [1])),
      fullLength: optional(anInteger(4)),
    }),
  },
  compareVariants: {
    options: options({
      models: anObject(models),
      window: anInteger(4),
      rows: aList(rows),
      documents: aList(documents),
      blocks: aList(blocks),
      targetLength: anInteger(2),
      batch: optional(aFunction(() => () => 1)),
      onProgress: optional(aFunction(() => () => undefined)),
      shouldStop: optional(aFunction(() => () => false)),
    }),
  },
  runExperiment: {
    definition: anObject(experiment),
    options: optional(
      options({
        folder: optional(aText(scratch)),
        seeds: optional(aList(() => [3])),
        only: optional(aList(() => ["base"])),
        loadText: optional(aFunction(() => async () => ({ train: [], heldOut: [] }))),
        saveEvery: optional(anInteger(1)),
        onProgress: optional(aFunction(() => () => undefined)),
        shouldStop: optional(aFunction(() => () => false)),
      }),
    ),
  },
  experimentOfSize: { definition: anObject(experiment), size: aName("small") },
  experimentTable: tableOptions,
  experimentMarkdown: tableOptions,
  comparisonTokens: {
    rows: aList(rows),
    sizes: options({ window: anInteger(4), blocks: anInteger(1), weight: optional(aFunction(() => () => 1)) }),
  },
} as const;

/** Every class that a user constructs; errors are made by the library. */
const classes = {
  Llama: { config: anObject(() => config), options: options({ key }) },
  Linear: { weight: x },
  Embedding: { weight: x },
  RMSNorm: { weight: aTensor(() => tensor([1, 1])), eps: aBoundedNumber(1e-5) },
  ClexOde: {
    options: options({
      headDim: anInteger(4),
      theta: aBoundedNumber(10_000),
      factor: optional(anInteger(1)),
      activation: optional(aName("tanh")),
      steps: optional(anInteger(4)),
      key,
    }),
  },
  StreamingCache: {
    config: anObject(() => config),
    options: options({ window: anInteger(4), sinks: optional(anInteger(1)), batch: optional(anInteger(1)) }),
  },
  KeyValueCache: { config: anObject(() => config), options: options({ capacity: anInteger(4), batch: optional(anInteger(1)) }) },
} as const;

/** Exports that are no functions for users to call. */
export const others = [
  "positionSourceTypes",
  "checkpointFiles",
  "noTarget",
  "taskTypes",
  "readingSchedules",
  "primitives",
  "byteTokenizer",
  "maskedScore",
  "Tensor",
  "Block",
  "SelfAttention",
  "SwiGLU",
];

const current = (): unknown => {
  const backend = dawngrad.useBackend(undefined);
  dawngrad.useBackend(backend);
  return backend;
};

const exported = dawngrad as unknown as Readonly<Record<string, (...args: never[]) => unknown>>;

/** Methods whose parameters are others than those of the function of their name. */
const ofMethods: Readonly<Record<string, Readonly<Record<string, Omit<Parameter, "name">>>>> = {
  split: { x, extents: aList(() => [1, 1]), axis: optional(anInteger(0)) },
};

/** Methods of a tensor that take what the function of that name takes after its first argument. */
const methods = Object.entries(functions).filter(
  ([name, taken]) => typeof (matrix() as unknown as Record<string, unknown>)[name] === "function" && Object.keys(taken).length > 1,
);

export const publicFunctions: readonly PublicFunction[] = [
  ...Object.entries(functions).map(([name, taken]) => ({
    name,
    call: (...args: never[]) => (exported[name] as (...args: never[]) => unknown)(...args),
    parameters: parameters(taken),
  })),
  ...methods.map(([name, taken]) => ({
    name: `Tensor.${name}`,
    call: (self: never, ...rest: never[]) => (self as Record<string, (...rest: never[]) => unknown>)[name]?.(...rest),
    parameters: parameters(ofMethods[name] ?? taken).map((parameter, i) => (i === 0 ? { ...parameter, accepts: () => true } : parameter)),
  })),
  ...Object.entries(classes).map(([name, taken]) => ({
    name,
    call: (...args: never[]) => new (exported[name] as unknown as new (...args: never[]) => unknown)(...args),
    parameters: parameters(taken),
  })),
];
