/**
 * How long sums are taken, on every backend. The rounding error of a sum grows with the longest chain of additions that one of its
 * terms goes through (Higham 2002, §4.2): n where n terms are added one after another, log₂ n where they are added in pairs. Adding in
 * pairs from the start would cost a memory access for each term, so kernels add up blocks of terms one after another, and the sums of
 * the blocks in pairs of equal size:
 *
 *   block       0   1   2   3   4
 *   put away    0  01   2   0123    4          as carries run through a binary counter
 *
 * Blocks depend on the extents of a kernel alone, so that no sum depends on how work is shared out.
 */

/** Terms that one accumulator adds up one after another. The blocks of one product, which are few, follow one another too. */
export const blockTerms = 128;

/** Sums of blocks that wait for others of their size, at most, where there are `blocks` of them. */
export const waitingSums = (blocks: number): number => Math.floor(Math.log2(Math.max(1, blocks))) + 1;
