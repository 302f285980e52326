import type { PositionEncodingConfig, StaticEncodingConfig } from "../../src/nn/encodings/encoding-config.js";

/** Position encodings in plain loops over f64, written from the papers. */

/** Parameters of an encoding by name. */
export type Parameters = ReadonlyMap<string, readonly number[]>;

/** x[head][query][key] */
export type ScoreMap = number[][][];

/** The recursion of the paper's appendix. */
export function slopesOf(heads: number): number[] {
  if (Number.isInteger(Math.log2(heads))) {
    const start = 2 ** -(2 ** -(Math.log2(heads) - 3));
    return Array.from({ length: heads }, (_, i) => start * start ** i);
  }
  const power = 2 ** Math.floor(Math.log2(heads));
  const others = slopesOf(2 * power).filter((_, i) => i % 2 === 0);
  return [...slopesOf(power), ...others.slice(0, heads - power)];
}

const list = (parameters: Parameters, name: string): readonly number[] => parameters.get(name) as readonly number[];
const at = (values: readonly number[], i: number): number => values[i] as number;

/** B of the pair of a query at m and a key at n ≤ m. */
function biasAt(config: StaticEncodingConfig, parameters: Parameters, prefix: string, heads: number) {
  switch (config.type) {
    case "nope":
      return () => 0;
    case "alibi": {
      const slopes = slopesOf(heads);
      return (h: number, m: number, n: number) => -at(slopes, h) * (m - n);
    }
    case "kerple": {
      const [p, a] = [list(parameters, `${prefix}p`), list(parameters, `${prefix}a`)];
      return (h: number, m: number, n: number) => -Math.max(at(p, h), 0.01) * Math.log(1 + Math.max(at(a, h), 0.01) * (m - n));
    }
    case "fire": {
      const [c] = list(parameters, `${prefix}c`) as [number];
      const [scale] = list(parameters, `${prefix}length_scale`) as [number];
      const [w1, b1] = [list(parameters, `${prefix}hidden.weight`), list(parameters, `${prefix}hidden.bias`)];
      const [w2, b2] = [list(parameters, `${prefix}output.weight`), list(parameters, `${prefix}output.bias`)];
      const psi = (x: number): number => Math.log(Math.abs(c) * x + 1);
      return (h: number, m: number, n: number) => {
        const x = psi(m - n) / (psi(Math.max(Math.abs(scale) * (config.length ?? 512), m)) + 1e-6);
        return w1.reduce((sum, w, i) => sum + at(w2, h * w1.length + i) * Math.max(0, w * x + at(b1, i)), at(b2, h));
      };
    }
  }
}

/** One layer of the network of DAPE: [channels][query][key] to [out][query][key], `taps` neighbours along the keys, keys after m left out. */
function layer(x: ScoreMap, weight: readonly number[], bias: readonly number[], taps: number, offset: number): ScoreMap {
  const channels = x.length;
  return bias.map((b, o) =>
    (x[0] as number[][]).map((row, i) =>
      row.map((_, n) => {
        let sum = b;
        for (let c = 0; c < channels; c++) {
          for (let k = 0; k < taps; k++) {
            const near = n + k - (taps - 1) / 2;
            if (near >= 0 && near <= i + offset && near < row.length) {
              sum += at(weight, (o * channels + c) * taps + k) * ((x[c] as number[][])[i] as number[])[near]!;
            }
          }
        }
        return sum;
      }),
    ),
  );
}

/** What becomes of scaled scores of one sample. Entries of keys after their query mean nothing. */
export function encodedScores(config: PositionEncodingConfig, parameters: Parameters, scores: ScoreMap, offset: number): ScoreMap {
  const dape = config.type === "dape" || config.type === "dape-v2";
  const bias = biasAt(dape ? config.bias : config, parameters, dape ? "bias." : "", scores.length);
  const B = scores.map((map, h) => map.map((row, i) => row.map((_, n) => (n > i + offset ? 0 : bias(h, i + offset, n)))));
  const sum = (a: ScoreMap, b: ScoreMap): ScoreMap =>
    a.map((map, h) => map.map((row, i) => row.map((x, n) => x + ((b[h] as number[][])[i] as number[])[n]!)));
  if (!dape) return sum(scores, B);
  const taps = config.type === "dape" ? 1 : (config.kernel ?? 3);
  const of = (name: string): readonly number[] => list(parameters, name);
  const first = layer([...scores, ...B], of("hidden.weight"), of("hidden.bias"), taps, offset);
  const hidden = first.map((map) => map.map((row) => row.map((x) => (x > 0 ? x : 0.01 * x))));
  return sum(sum(scores, B), layer(hidden, of("output.weight"), of("output.bias"), taps, offset));
}

export interface OracleInputs {
  readonly q: Float32Array; // [B, H, T, D]
  readonly k: Float32Array; // [B, Hkv, S, D]
  readonly v: Float32Array; // [B, Hkv, S, D]
  readonly sizes: {
    readonly B: number;
    readonly H: number;
    readonly Hkv: number;
    readonly T: number;
    readonly S: number;
    readonly D: number;
  };
  readonly offset: number;
}

/** softmax(scores)·v, [B, H, T, D]. */
export function encodedAttention(config: PositionEncodingConfig, parameters: Parameters, inputs: OracleInputs): Float64Array {
  const { q, k, v, sizes, offset } = inputs;
  const { B, H, Hkv, T, S, D } = sizes;
  const y = new Float64Array(B * H * T * D);
  const keyRow = (b: number, h: number, n: number): number => ((b * Hkv + Math.floor(h / (H / Hkv))) * S + n) * D;
  for (let b = 0; b < B; b++) {
    const raw = Array.from({ length: H }, (_, h) =>
      Array.from({ length: T }, (_, i) =>
        Array.from({ length: S }, (_, n) => {
          let product = 0;
          for (let d = 0; d < D; d++) product += (q[((b * H + h) * T + i) * D + d] as number) * (k[keyRow(b, h, n) + d] as number);
          return product / Math.sqrt(D);
        }),
      ),
    );
    encodedScores(config, parameters, raw, offset).forEach((map, h) => {
      map.forEach((row, i) => {
        const seen = row.slice(0, i + offset + 1);
        const largest = Math.max(...seen);
        const weights = seen.map((x) => Math.exp(x - largest));
        const total = weights.reduce((a, c) => a + c, 0);
        weights.forEach((weight, n) => {
          for (let d = 0; d < D; d++) {
            const place = ((b * H + h) * T + i) * D + d;
            y[place] = (y[place] as number) + (weight / total) * (v[keyRow(b, h, n) + d] as number);
          }
        });
      });
    });
  }
  return y;
}
