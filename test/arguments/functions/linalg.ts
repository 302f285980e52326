import { aBoundedNumber, aFlag, aName, anInteger, aTensor, optional, options } from "../parameters.js";
import { x } from "./values.js";

const of1 = { a: x };
const equations = { a: x, b: aTensor() };

const rank = optional(options({ rtol: optional(aBoundedNumber(0.1)) }));

/** The functions of the namespace `linalg`. */
export const functions = {
  "linalg.cholesky": of1,
  "linalg.triangularSolve": {
    ...equations,
    options: optional(options({ lower: optional(aFlag()), transpose: optional(aFlag()), unitDiagonal: optional(aFlag()) })),
  },
  "linalg.solve": equations,
  "linalg.inverse": of1,
  "linalg.det": of1,
  "linalg.slogdet": of1,
  "linalg.qr": of1,
  "linalg.eigh": of1,
  "linalg.svd": of1,
  "linalg.matrixRank": { ...of1, options: rank },
  "linalg.pinv": { ...of1, options: rank },
  "linalg.lstsq": { ...equations, options: rank },
  "linalg.matrixNorm": { ...of1, order: optional(aName("nuc")), keepDims: optional(aFlag()) },
  "linalg.matrixPower": { ...of1, n: anInteger(2) },
  "linalg.expm": of1,
} as const;
