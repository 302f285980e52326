import { checkArgument, integer } from "../../arguments.js";
import { attention } from "../../autograd/attention.js";
import { add, gather, log, maximum, mul, neg, stopGradient, sub, zeros } from "../../autograd/operations.js";
import { split, uniform } from "../../autograd/random.js";
import { type Tensor, tensor } from "../../autograd/tensor.js";
import type { AttentionContext } from "../attention-context.js";
import type { StaticEncodingConfig } from "./encoding-config.js";
import { attendBiased, distanceOf, type PairCoordinates, type PositionBias, requireOrder } from "./position-bias.js";

/** B = 0: softmax(q·kᵀ/√D)·v, causal, without positions (Haviv et al. 2022, 2203.16634; Kazemnejad et al. 2023, 2305.19466). */
export class Nope implements PositionBias {
  get config(): StaticEncodingConfig {
    return { type: "nope" };
  }

  attend(queries: Tensor, context: AttentionContext): Tensor {
    requireOrder(context);
    const { keys, values, offset, window } = context;
    return attention(queries, keys, values, { causal: true, offset, ...(window === undefined ? {} : { window }) });
  }

  bias({ head }: PairCoordinates): Tensor {
    return zeros(head.shape);
  }
}

/**
 * The slopes of ALiBi (Press et al. 2022, 2108.12409, section 3): for H a power of two the geometric sequence that starts at 2^(−8/H) and
 * has that ratio, 1/2, 1/4, …, 1/256 for 8 heads; for other H those of the next smaller power of two P, and then every second one of 2P.
 */
export function alibiSlopes(heads: number): Float64Array {
  checkArgument("alibiSlopes", "heads", heads, integer(1));
  const power = 2 ** Math.floor(Math.log2(heads));
  return Float64Array.from({ length: heads }, (_, h) => 2 ** (h < power ? (-8 * (h + 1)) / power : (-4 * (2 * (h - power) + 1)) / power));
}

/** B = −slope_h·(m − n), with fixed slopes: {@link alibiSlopes}. */
export class Alibi implements PositionBias {
  get config(): StaticEncodingConfig {
    return { type: "alibi" };
  }

  attend(queries: Tensor, context: AttentionContext): Tensor {
    return attendBiased(queries, context, (at) => this.bias(at));
  }

  bias(at: PairCoordinates): Tensor {
    const slopes = tensor(Float32Array.from(alibiSlopes(at.head.shape[1] as number)));
    return neg(mul(gather(slopes, at.head), distanceOf(at)));
  }
}

/** The least p and a of Kerple. */
const leastKerple = 0.01;

/**
 * B = −p_h·ln(1 + a_h·(m − n)), with learned p, a > 0: Kerple's logarithmic kernel (Chi et al. 2022, 2205.09921, eq. 8).
 *
 * At the start p is uniform on [0, 2) and a on [0, 1). As in the paper's code both are the parameters themselves, counted as 0.01 where they
 * are smaller. There they keep the derivative that they have at 0.01, so that a step can lead back; the code writes the bound back into them.
 */
export class Kerple implements PositionBias {
  p: Tensor; // [H]
  a: Tensor; // [H]

  constructor(heads: number, key: Tensor) {
    const [ofP, ofA] = split(key) as [Tensor, Tensor];
    this.p = mul(uniform(ofP, [heads]), 2);
    this.a = uniform(ofA, [heads]);
  }

  get config(): StaticEncodingConfig {
    return { type: "kerple" };
  }

  attend(queries: Tensor, context: AttentionContext): Tensor {
    return attendBiased(queries, context, (at) => this.bias(at));
  }

  bias(at: PairCoordinates): Tensor {
    const [p, a] = [this.p, this.a].map((x) => gather(bounded(x), at.head)) as [Tensor, Tensor];
    return neg(mul(p, log(add(mul(a, distanceOf(at)), 1))));
  }
}

/** max(x, 0.01), with the derivative of x. */
const bounded = (x: Tensor): Tensor => add(x, stopGradient(sub(maximum(x, leastKerple), x)));
