/**
 * Small dense matrices, as in `numpy.linalg`, `jax.numpy.linalg` and `torch.linalg`: the last two axes are rows and columns, axes before them
 * count matrices. Integers become f32; f16 and bf16 are computed in f32 and given back as they came. Each function is a fixed number of loop
 * steps of a program, so it composes with `grad` of any order, `vmap`, `scan` and `compile`, and takes the time of n steps over n² elements at
 * least: meant for n up to some hundreds.
 */
export { eigh } from "./linalg/eigh.js";
export { lstsq, matrixRank, pinv, type RankOptions } from "./linalg/least-squares.js";
export { det, inverse, slogdet, solve } from "./linalg/lu.js";
export { expm, type MatrixNormOrder, matrixNorm, matrixPower } from "./linalg/matrix-functions.js";
export { qr } from "./linalg/qr.js";
export { svd } from "./linalg/svd.js";
export { cholesky, type TriangularSolveOptions, triangularSolve } from "./linalg/triangular.js";
