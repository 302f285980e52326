/**
 * Two orders of a head's channels. RoPE turns pairs: here and in Hugging Face channel j with j + D/2, in Meta's checkpoints, llama2.c and
 * llama.cpp's "llama" 2j with 2j + 1. The rows of the matrices that make queries and keys are in the order of their channels.
 */

type Numbers = Float32Array | Uint16Array;

/** Rows of `width` numbers, D for every head, from pairs side by side to pairs of halves. */
export const fromInterleaved = <N extends Numbers>(rows: N, headDim: number, width: number): N => reorder(rows, headDim, width, false);

/** The inverse of {@link fromInterleaved}. */
export const toInterleaved = <N extends Numbers>(rows: N, headDim: number, width: number): N => reorder(rows, headDim, width, true);

function reorder<N extends Numbers>(rows: N, headDim: number, width: number, toPairs: boolean): N {
  const out = rows.slice() as N;
  const half = headDim / 2;
  for (let head = 0; head < rows.length; head += headDim * width) {
    for (let j = 0; j < headDim; j++) {
      const inHalves = head + j * width;
      const inPairs = head + (j < half ? 2 * j : 2 * (j - half) + 1) * width;
      const [from, to] = toPairs ? [inHalves, inPairs] : [inPairs, inHalves];
      out.set(rows.subarray(from, from + width), to);
    }
  }
  return out;
}
