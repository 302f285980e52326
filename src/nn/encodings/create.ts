import { checkOptions, integer } from "../../arguments.js";
import { keyKind } from "../../autograd/kinds.js";
import { key, split } from "../../autograd/random.js";
import type { Tensor } from "../../autograd/tensor.js";
import { tensorsOf } from "../../autograd/tree.js";
import { OptionError } from "../../errors.js";
import type { PositionEncoding } from "../attention-context.js";
import { Dape } from "./dape.js";
import { encodingProblem, type PositionEncodingConfig, type StaticEncodingConfig } from "./encoding-config.js";
import { Fire } from "./fire.js";
import type { PositionBias } from "./position-bias.js";
import { Alibi, Kerple, Nope } from "./static-biases.js";

/**
 * A fresh position encoding for a layer of H heads, by its type:
 *
 *   nope      no positions
 *   alibi     −slope·(m − n), slopes fixed                (Press et al. 2022)
 *   kerple    −p·ln(1 + a·(m − n)), p and a learned       (Chi et al. 2022)
 *   fire      f(ψ(m − n)/ψ(max(L, m))), f and ψ learned   (Li et al. 2024)
 *   dape      A + B + f(A, B), pair by pair over heads    (Zheng et al. 2024, 2405.14722)
 *   dape-v2   the same with convolutions along the keys   (Zheng et al. 2024, 2410.04798)
 *
 * m and n are the positions of query and key in the text, 0, 1, …: RoPE tables are not read. "dape" and "dape-v2" take one of the first four
 * as `bias`. Throws OptionError for a type, field or value that does not exist.
 */
export function createPositionEncoding(
  config: PositionEncodingConfig,
  options: { readonly heads: number; readonly key: Tensor },
): PositionEncoding {
  checkEncodingConfig("createPositionEncoding", config);
  checkOptions("createPositionEncoding", options, { heads: integer(1), key: keyKind });
  const { heads } = options;
  if (config.type !== "dape" && config.type !== "dape-v2") return staticBias(config, heads, options.key);
  const [ofNetwork, ofBias] = split(options.key) as [Tensor, Tensor];
  return new Dape(heads, ofNetwork, config, staticBias(config.bias, heads, ofBias));
}

/** Throws OptionError for what is no configuration of an encoding. */
export function checkEncodingConfig(where: string, config: unknown): void {
  const problem = encodingProblem(config);
  if (problem !== undefined) throw new OptionError(`${where}: ${problem.message}`, { hint: problem.hint });
}

function staticBias(config: StaticEncodingConfig, heads: number, key: Tensor): PositionBias {
  switch (config.type) {
    case "nope":
      return new Nope();
    case "alibi":
      return new Alibi();
    case "kerple":
      return new Kerple(heads, key);
    case "fire":
      return new Fire(heads, key, config);
  }
}

/** Shapes of the parameters of an encoding by their names in it. */
export function encodingShapes(config: PositionEncodingConfig, heads: number): Map<string, readonly number[]> {
  const encoding = createPositionEncoding(config, { heads, key: key(0) });
  return new Map(tensorsOf(encoding).map(({ path, tensor }) => [path, tensor.shape]));
}
