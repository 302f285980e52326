import {
  callable,
  checkOptions,
  flag,
  fraction,
  integer,
  notNegative,
  type OptionKinds,
  object,
  oneOf,
  optional,
  positive,
} from "../arguments.js";
import { square } from "../autograd/composites.js";
import { add, div, matmul, mul, reshape, sqrt, sum, transpose } from "../autograd/operations.js";
import type { Tensor } from "../autograd/tensor.js";
import { type Tree, tensorsOf } from "../autograd/tree.js";
import { combine, type Part, partition } from "../autograd/tree-parts.js";
import { OptionError } from "../errors.js";
import { isFloat } from "../ir/dtype.js";
import { blend, decayOf, givenToUpdate, moved, type Optimizer, settled, whereGradients, wide, zerosLikeFloats } from "./optimizer-parts.js";
import { type AdamWOptions, type AdamWState, adamw } from "./optimizers.js";
import { refuseTorn } from "./trainable.js";

export interface MuonOptions {
  /** μ: how much of the momentum is kept. Default 0.95. */
  readonly momentum?: number;
  /** Nesterov's form. Default true. */
  readonly nesterov?: boolean;
  /** Newton–Schulz steps. Default 5. */
  readonly steps?: number;
  /** λ of the matrices. Default 0. */
  readonly weightDecay?: number;
  /**
   * What the step of an [R, C] matrix is multiplied by: "original" √max(1, R/C), with rates about 0.02, or "matchRmsAdamw"
   * 0.2·√max(R, C), with the rates of AdamW (Liu et al. 2025). Default "original".
   */
  readonly adjust?: "original" | "matchRmsAdamw";
  /**
   * Which parameters are matrices that Muon moves, of rank 2 and above; AdamW moves the rest. Default: those of rank 2 and above whose path names
   * no embedding and no head (`embed`, `lm_head`).
   */
  readonly matrices?: (path: string, tensor: Tensor) => boolean;
  /** The AdamW of the rest. */
  readonly adamw?: AdamWOptions;
  /** The learning rate of the rest as a multiple of `lr`. Default 1. */
  readonly adamwRate?: number;
}

const muonKinds: OptionKinds<MuonOptions> = {
  momentum: optional(fraction),
  nesterov: optional(flag),
  steps: optional(integer(1, 99)),
  weightDecay: optional(notNegative),
  adjust: optional(oneOf("original", "matchRmsAdamw")),
  matrices: optional(callable),
  adamw: optional(object),
  adamwRate: optional(positive),
};

export interface MuonState {
  /** Mean of gradients of the matrices, f32 for halves; null elsewhere. */
  readonly momentum: Tree;
  /** The state of the rest. */
  readonly adamw: AdamWState;
}

/** The quintic of Muon: its slope at 0 is steep, and it keeps singular values within about 0.7 … 1.2. */
const [a, b, c] = [3.4445, -4.775, 2.0315];

/**
 * Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum whose matrices are made orthogonal, nearly, before they are taken off.
 *
 *   B ← μ·B + (1 − μ)·G               M = B, Nesterov: (1 − μ)·G + μ·B
 *   X₀ = M/(‖M‖ + 10⁻⁷)               Xᵢ₊₁ = 3.4445·Xᵢ − 4.775·(XᵢXᵢᵀ)Xᵢ + 2.0315·(XᵢXᵢᵀ)²Xᵢ
 *   θ ← θ − η·(adjust·X₅ + λ·θ)
 *
 * Tensors of a higher rank, as of convolutions, are taken as [R, rest]. What is no matrix of a hidden layer (vectors, embeddings, the head) is
 * moved by {@link adamw}. Computed in f32, where the original rounds X to bf16. Throws OptionError for values outside of their range and where
 * `matrices` selects a vector, or a tensor at one of its places and not at another.
 */
export function muon(options: MuonOptions = {}): Optimizer<MuonState> {
  checkOptions("muon", options, muonKinds, givenToUpdate);
  const { momentum = 0.95, nesterov = true, steps = 5, weightDecay = 0, adjust = "original", adamwRate = 1 } = options;
  const { matrices = (path, tensor) => tensor.rank >= 2 && !/embed|lm_head/.test(path) } = options;
  const rest = adamw(options.adamw);
  const decayed = decayOf({ weightDecay, decayMask: () => true });

  const factor = (rows: number, columns: number): number =>
    adjust === "original" ? Math.sqrt(Math.max(1, rows / columns)) : 0.2 * Math.sqrt(Math.max(rows, columns));

  const stepOf = (mean: Tensor): Tensor => {
    const rows = mean.shape[0] as number;
    const columns = mean.size / Math.max(1, rows);
    // Without elements there is nothing to turn.
    if (mean.size === 0) return mean;
    return mul(reshape(orthogonalized(reshape(mean, [rows, columns]), steps), mean.shape), factor(rows, columns));
  };

  return {
    init: (params) => {
      const [chosen, others] = parted(params, matrices);
      return { momentum: zerosLikeFloats(chosen), adamw: rest.init(others) };
    },
    update: <P>(params: P, grads: P | Part<P>, state: MuonState, { lr }: Parameters<typeof rest.update>[3]) => {
      const [chosen, others] = parted(params, matrices);
      const paths = new Set(tensorsOf(chosen).map(({ path }) => path));
      const [slopes, otherSlopes] = partition(grads, (_, path) => paths.has(path));
      const mean = whereGradients(([old, g]) => blend(momentum, old, wide(g)), slopes, state.momentum, slopes);
      const ahead = nesterov ? whereGradients(([m, g]) => blend(momentum, m, wide(g)), slopes, mean, slopes) : mean;
      const moving = whereGradients(([p, m], path) => moved(p, mul(decayed(stepOf(m), p, path), lr)), slopes, chosen, ahead);
      const [moved2, state2] = rest.update(others, otherSlopes as typeof others, state.adamw, {
        lr: adamwRate === 1 ? lr : mul(lr, adamwRate),
      });
      return settled([combine<P>(moving, moved2), { momentum: mean, adamw: state2 }]);
    },
  };
}

/** A matrix [R, C] with singular values near 1 and the singular vectors of x, by Newton–Schulz steps on the smaller side. */
function orthogonalized(x: Tensor, steps: number): Tensor {
  const [rows, columns] = x.shape as [number, number];
  const wideX = rows > columns ? transpose(x) : x;
  let y = div(wideX, add(sqrt(sum(square(wideX))), 1e-7));
  for (let i = 0; i < steps; i++) {
    const gram = matmul(y, transpose(y));
    y = add(mul(y, a), matmul(add(mul(gram, b), mul(matmul(gram, gram), c)), y));
  }
  return rows > columns ? transpose(y) : y;
}

/** The matrices of a tree and the rest. */
function parted<P>(params: P, matrices: NonNullable<MuonOptions["matrices"]>): [Part<P>, Part<P>] {
  const parts = partition(params, (tensor, path) => isFloat(tensor.dtype) && matrices(path, tensor));
  const chosen = tensorsOf(parts[0]);
  const vector = chosen.find(({ tensor }) => tensor.rank < 2);
  if (vector !== undefined) {
    throw new OptionError(`muon: matrices selects ${vector.path}, which is ${vector.tensor.toString()}`, {
      hint: "Muon moves tensors of rank 2 and above",
    });
  }
  refuseTorn("muon: matrices", chosen, tensorsOf(parts[1]));
  return parts;
}
