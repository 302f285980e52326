import * as dawngrad from "../../../src/index.js";
import { type Tensor, tensor } from "../../../src/index.js";
import {
  aBoundedNumber,
  aFlag,
  aFunction,
  aList,
  alsoFor,
  aName,
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
} from "../parameters.js";
import { key, x } from "./values.js";

const integers = (values: number[] = [0, 1], shape: number[] = [values.length]): Tensor => tensor(values, { dtype: "i32", shape });
const cube = (): Tensor => tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], { shape: [1, 1, 2, 4] });
const signal = (): Tensor => tensor([0.1, 0.2, 0.3, 0.4], { shape: [1, 1, 4] });
const steps = optional(axes(1));
const ofConvolution = {
  bias: optional(aTensor(() => tensor([1]))),
  stride: steps,
  padding: optional(axes(1)),
  dilation: steps,
  groups: optional(anInteger(1)),
};
const ofTransposed = { ...ofConvolution, outputPadding: optional(axes(0)) };
const ofPool = { stride: steps, padding: optional(axes(1)) };
const loss = (): unknown => (x: Tensor) => x.mul(x).sum();
/** An axis, null, or a tree of them. */
const batchAxes = alsoFor(anInteger(0), (value) => value === null || (typeof value === "object" && !(value instanceof Promise)));
const attentionOptions = {
  causal: optional(aFlag()),
  offset: optional(aTensorLike(() => 0)),
  mask: optional(aTensor(() => tensor([true]))),
  scale: optional(anyNumber()),
};
const ofAttention = { q: aTensor(cube), k: aTensor(cube), v: aTensor(cube), options: optional(options(attentionOptions)) };
const normalOptions = { mean: optional(aTensorLike(() => 1)), std: optional(aTensor(() => 2)) };
const dtype = optional(aName("f32"));
const crossEntropyOptions = options({
  reduction: optional(aName("sum")),
  ignoreIndex: optional(anInteger(-100)),
  labelSmoothing: optional(aBoundedNumber(0.5)),
});
const like = aTensorLike();
const anyLike = (value: number) => aTensorLike(() => value);
const reduction = { x, axes: optional(axes()), keepDims: optional(aFlag()) };
const cumulative = { x, axis: optional(anInteger(0)), options: optional(options({ reverse: optional(aFlag()) })) };
const sorting = { x, axis: optional(anInteger(0)), options: optional(options({ descending: optional(aFlag()) })) };
const spread = {
  x,
  axes: optional(axes()),
  options: optional(options({ keepDims: optional(aFlag()), correction: optional(aBoundedNumber(0)) })),
};

const of1 = { x };
const like1 = { x: like };
const like2 = { a: like, b: like };
const booleans = aTensor(() => tensor([true, false]));

const backend = (): unknown => {
  const chosen = dawngrad.useBackend(undefined);
  dawngrad.useBackend(chosen);
  return chosen;
};

/** The functions of `src/autograd`, and `init`. */
export const functions = {
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
  eye: { n: anInteger(3), options: optional(options({ dtype, columns: optional(anInteger(2)), k: optional(anInteger(1)) })) },
  linspace: { start: anyNumber(0), stop: anyNumber(1), count: anInteger(3) },
  key: { seed: anInteger(1) },
  split: { parent: key, count: optional(anInteger(2)) },
  foldIn: { parent: key, data: anInteger(1) },
  uniform: { key, shape: aShape(), options: optional(options({ low: optional(anyNumber(0)), high: optional(anyNumber(1)) })) },
  randn: { key, shape: aShape() },
  randint: { key, shape: aShape(), low: anInteger(0), high: anInteger(3) },
  bernoulli: { key, shape: aShape(), p: optional(aBoundedNumber(0.5)) },
  normal: { key, shape: aShape(), options: optional(options(normalOptions)) },
  truncatedNormal: {
    key,
    shape: aShape(),
    options: optional(options({ ...normalOptions, low: optional(anyNumber(-1)), high: optional(anyNumber(1)) })),
  },
  exponential: { key, shape: aShape() },
  gumbel: { key, shape: aShape() },
  laplace: { key, shape: aShape() },
  categorical: { key, logits: x, options: optional(options({ axis: optional(anInteger(0)), shape: optional(aShape([3, 2])) })) },
  permutation: { key, x: aTensor(() => 5), axis: optional(anInteger(0)) },
  choice: {
    key,
    x: aTensor(matrix),
    shape: aShape([2]),
    options: optional(
      options({ replace: optional(aFlag()), p: optional(aTensor(() => tensor([0.5, 0.25]))), axis: optional(anInteger(1)) }),
    ),
  },
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
  prod: reduction,
  norm: { x, axes: optional(axes()), options: optional(options({ ord: optional(aBoundedNumber(3)), keepDims: optional(aFlag()) })) },
  any: reduction,
  all: reduction,
  countNonzero: reduction,
  cumsum: cumulative,
  cumprod: cumulative,
  cummax: cumulative,
  cummin: cumulative,
  cumlogsumexp: cumulative,
  quantile: { x, q: aBoundedNumber(0.5), axes: optional(axes()), keepDims: optional(aFlag()) },
  median: reduction,
  // Order.
  sort: sorting,
  argsort: sorting,
  topK: { x, k: anInteger(1), axis: optional(anInteger(0)), options: optional(options({ largest: optional(aFlag()) })) },
  searchsorted: {
    sorted: aTensor(() => tensor([1, 2, 3])),
    values: x,
    options: optional(options({ side: optional(aName("right")) })),
  },
  bincount: { x: aTensor(() => integers()), length: anInteger(3), weights: optional(aTensor(() => integers())) },
  histogram: { x, bins: anInteger(3), low: anyNumber(0), high: anyNumber(2) },
  unique: { x, options: optional(options({ counts: optional(aFlag()), inverse: optional(aFlag()) })) },
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
  expandDims: { x, axes: axes() },
  ravel: of1,
  flatten: { x, startAxis: optional(anInteger(0)), endAxis: optional(anInteger(1)) },
  moveaxis: { x, source: axes(), destination: axes(1) },
  swapaxes: { x, axis1: anInteger(0), axis2: anInteger(1) },
  roll: { x, shifts: axes(1), axes: optional(axes()) },
  tile: { x, counts: axes(2) },
  repeat: { x, counts: axes(2), axis: optional(anInteger(0)) },
  chunk: { x, count: anInteger(2), axis: optional(anInteger(0)) },
  unstack: { x, axis: optional(anInteger(0)) },
  broadcastArrays: { tensors: aList(() => [matrix(), matrix()]) },
  meshgrid: { tensors: aList(() => [tensor([1, 2]), tensor([3])]), options: optional(options({ indexing: optional(aName("ij")) })) },
  diagonal: { x, k: optional(anInteger(0)), axis1: optional(anInteger(0)), axis2: optional(anInteger(1)) },
  trace: { x, k: optional(anInteger(0)), axis1: optional(anInteger(0)), axis2: optional(anInteger(1)) },
  diag: { x, k: optional(anInteger(0)) },
  diagEmbed: { x, k: optional(anInteger(0)) },
  gather: { x, index: aTensor(() => integers()), axis: optional(anInteger(0)) },
  take: { x, index: aTensor(() => integers()), axis: optional(anInteger(0)) },
  takeAlongAxis: { x, index: aTensor(() => integers([0, 1, 1, 0], [2, 2])), axis: optional(anInteger(0)) },
  putAlongAxis: {
    x,
    index: aTensor(() => integers([0, 1, 1, 0], [2, 2])),
    values: aTensorLike(() => 1),
    axis: optional(anInteger(0)),
  },
  scatter: { x, index: aTensor(() => integers()), values: aTensorLike(() => 1), axis: optional(anInteger(0)) },
  maskedFill: { x, mask: aTensor(() => tensor([true, false])), value: aTensorLike(() => 1) },
  at: { x, index: alsoFor(axes(), (value) => value === null) },
  setAt: { x, indices: aList(() => [0, [0, 1]]), values: aTensorLike(() => 1) },
  scatterAdd: { x, index: aTensor(() => integers()), size: anInteger(3), axis: optional(axes()) },
  triu: { x, k: optional(anInteger(0)) },
  tril: { x, k: optional(anInteger(0)) },
  oneHot: { index: aTensor(() => integers()), classes: anInteger(3) },
  // Elementary functions.
  expm1: { x: aTensorLike() },
  log1p: { x: aTensorLike() },
  exp2: { x: aTensorLike() },
  log2: { x: aTensorLike() },
  log10: { x: aTensorLike() },
  tan: { x: aTensorLike() },
  asin: { x: aTensorLike() },
  acos: { x: aTensorLike() },
  atan: { x: aTensorLike() },
  sinh: { x: aTensorLike() },
  cosh: { x: aTensorLike() },
  asinh: { x: aTensorLike() },
  acosh: { x: aTensorLike() },
  atanh: { x: aTensorLike() },
  softplus: { x: aTensorLike() },
  logSigmoid: { x: aTensorLike() },
  mish: { x: aTensorLike() },
  ceil: { x },
  trunc: { x },
  round: { x },
  isnan: { x },
  isfinite: { x },
  isinf: { x },
  atan2: { a: aTensorLike(), b: aTensorLike() },
  hypot: { a: aTensorLike(), b: aTensorLike() },
  logAddExp: { a: aTensorLike(), b: aTensorLike() },
  xor: { a: aTensor(() => integers()), b: aTensor(() => integers()) },
  leakyRelu: { x: aTensorLike(), slope: optional(anyNumber(0.1)) },
  elu: { x: aTensorLike(), alpha: optional(anyNumber(1)) },
  // Products and networks.
  matmul: { a: x, b: x },
  outer: { a: x, b: x },
  inner: { a: x, b: x },
  dot: { a: x, b: x },
  vdot: { a: x, b: x },
  kron: { a: x, b: x },
  tensordot: { a: x, b: x, axes: optional(axes(1)) },
  einsum: { equation: aName("ij,jk->ik"), a: x, b: x },
  embedding: { index: aTensor(() => tensor([0, 1], { dtype: "i32" })), weight: x },
  groupNorm: {
    x,
    groups: anInteger(1),
    weight: aTensor(() => tensor([1, 1])),
    bias: aTensor(() => tensor([0, 0])),
    eps: optional(aBoundedNumber()),
  },
  batchStatistics: { x },
  batchNorm: {
    x,
    weight: aTensor(() => tensor([1, 1])),
    bias: aTensor(() => tensor([0, 0])),
    options: optional(
      options({
        statistics: optional(anObject(() => ({ mean: tensor([0, 0]), variance: tensor([1, 1]) }))),
        eps: optional(aBoundedNumber()),
      }),
    ),
  },
  conv1d: { x: aTensor(signal), weight: aTensor(signal), options: optional(options(ofConvolution)) },
  conv2d: { x: aTensor(cube), weight: aTensor(cube), options: optional(options(ofConvolution)) },
  convTranspose1d: { x: aTensor(signal), weight: aTensor(signal), options: optional(options(ofTransposed)) },
  convTranspose2d: { x: aTensor(cube), weight: aTensor(cube), options: optional(options(ofTransposed)) },
  maxPool1d: { x, size: axes(2), options: optional(options({ ...ofPool, dilation: optional(axes(1)) })) },
  maxPool2d: { x, size: axes(2), options: optional(options({ ...ofPool, dilation: optional(axes(1)) })) },
  avgPool1d: { x, size: axes(2), options: optional(options({ ...ofPool, countPadding: optional(aFlag()) })) },
  avgPool2d: { x, size: axes(2), options: optional(options({ ...ofPool, countPadding: optional(aFlag()) })) },
  rmsNorm: { x, weight: aTensor(() => tensor([1, 1])), eps: optional(aBoundedNumber()) },
  layerNorm: { x, weight: aTensor(() => tensor([1, 1])), bias: aTensor(() => tensor([0, 0])), eps: optional(aBoundedNumber()) },
  rope: { x: aTensor(cube), cos: aTensor(() => matrix().reshape([1, 2, 2])), sin: aTensor(() => matrix().reshape([1, 2, 2])) },
  attention: {
    ...ofAttention,
    options: optional(options({ ...attentionOptions, dropout: optional(aBoundedNumber(0.5)), key: optional(key) })),
  },
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
  mseLoss: { predictions: x, targets: x, options: optional(options({ reduction: optional(aName("sum")) })) },
  l1Loss: { predictions: x, targets: x, options: optional(options({ reduction: optional(aName("none")) })) },
  huberLoss: {
    predictions: x,
    targets: x,
    options: optional(options({ reduction: optional(aName("sum")), delta: optional(aBoundedNumber(0.5)) })),
  },
  smoothL1Loss: {
    predictions: x,
    targets: x,
    options: optional(options({ reduction: optional(aName("sum")), beta: optional(aBoundedNumber(0)) })),
  },
  binaryCrossEntropyWithLogits: {
    logits: x,
    targets: x,
    options: optional(options({ reduction: optional(aName("sum")), posWeight: optional(anyLike(2)) })),
  },
  klDiv: {
    logProbabilities: x,
    targets: x,
    options: optional(options({ reduction: optional(aName("sum")), logTarget: optional(aFlag()) })),
  },
  nllLoss: {
    logProbabilities: x,
    targets: aTensor(() => integers()),
    options: optional(options({ reduction: optional(aName("sum")), ignoreIndex: optional(anInteger(-100)) })),
  },
  cosineSimilarity: { a: x, b: x, axis: optional(anInteger(0)), eps: optional(aBoundedNumber(1e-6)) },
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
  jacobian: {
    f: aFunction(loss),
    options: optional(options({ argnum: optional(anInteger(0)), mode: optional(aName("reverse")) })),
  },
  hessian: { f: aFunction(loss), options: optional(options({ argnum: optional(anInteger(0)) })) },
  vmap: {
    f: aFunction(loss),
    options: optional(
      options({
        inAxes: optional(batchAxes),
        outAxes: optional(batchAxes),
      }),
    ),
  },
  cond: {
    condition: aTensor(() => tensor([1]).sum().greater(0)),
    whenTrue: aFunction(loss),
    whenFalse: aFunction(loss),
    x: aTree(matrix),
  },
  whileLoop: {
    condition: aFunction(() => (x: Tensor) => x.less(3)),
    body: aFunction(() => (x: Tensor) => x.add(1)),
    carry: aTree(() => tensor([1]).sum()),
    options: options({ maxSteps: anInteger(3) }),
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
  findNonFinite: { f: aFunction(loss), x: aTree(matrix) },
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
  profile: { f: aFunction(() => () => 1) },
  sync: {},
  useBackend: { backend: optional(anObject(() => dawngrad.useBackend(undefined))) },
  withBackend: { backend: anObject(() => backend()), f: aFunction(() => () => 1) },
  init: {
    options: optional(
      options({
        // Given in every call, since the backend that is chosen otherwise depends on the machine.
        backend: alsoFor(aName("reference"), (value) => value === undefined),
        // These two are options of other backends.
        adapter: optional({ ...aText(), valid: () => undefined }),
        threads: optional({ ...anInteger(), valid: () => undefined }),
        kernels: optional(aName("auto")),
        debug: optional(aName("nan")),
      }),
    ),
  },
} as const;
