/** Sequences of random numbers on the host, each a pure function of a seed and of where it is used. */
import { checkArgument, integer } from "../arguments.js";
import { seedKey, threefry2x32, uniformBelow, type Words } from "./threefry.js";

const TWO_32 = 0x1_0000_0000;

/**
 * Random numbers one after another: the words of Threefry-2x32 at the counters (0, 0), (1, 0), (2, 0) … of one key. Two streams of
 * different keys are independent, so what is drawn from one never changes what another gives.
 */
export class RandomStream {
  private spare: number | undefined;
  private counter = 0;

  constructor(private readonly key: Words) {}

  /** The next 32 bits, as an integer below 2³². */
  word(): number {
    if (this.spare !== undefined) {
      const word = this.spare;
      this.spare = undefined;
      return word;
    }
    const [first, second] = threefry2x32(this.key[0], this.key[1], this.counter++, 0);
    this.spare = second;
    return first;
  }

  /** An integer, exactly uniform on {0, …, bound − 1}, for 1 ≤ bound ≤ 2³² (OptionError). The first one is {@link uniformBelow} of the key. */
  below(bound: number): number {
    if (!(Number.isInteger(bound) && bound >= 1 && bound <= TWO_32)) return uniformBelow(this.key, bound); // which refuses it
    const accepted = TWO_32 - (TWO_32 % bound);
    for (;;) {
      const word = this.word();
      if (word < accepted) return word % bound;
    }
  }

  /** A number, uniform on [0, 1), of 53 random bits. */
  unit(): number {
    return (this.word() * 0x20_0000 + (this.word() >>> 11)) / 0x20_0000_0000_0000;
  }

  /** The integers 0 … count − 1 in random order. */
  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j] as number, order[i] as number];
    }
    return order;
  }

  /** `count` distinct integers of {0, …, bound − 1} in ascending order, every set of them equally likely (Floyd's algorithm). */
  subset(count: number, bound: number): number[] {
    const chosen = new Set<number>();
    for (let last = bound - count; last < bound; last++) {
      const one = this.below(last + 1);
      chosen.add(chosen.has(one) ? last : one);
    }
    return [...chosen].sort((a, b) => a - b);
  }
}

/**
 * The stream of a seed for one purpose (any number of its own: it keeps purposes apart), at one place, such as row 3 of step 100. Every argument is an
 * integer below 2³², the seed one below 2⁵³ (OptionError).
 */
export function randomStream(seed: number, purpose: number, major = 0, minor = 0): RandomStream {
  checkArgument("randomStream", "seed", seed, integer(0));
  for (const [name, value] of Object.entries({ purpose, major, minor })) {
    checkArgument("randomStream", name, value, integer(0, TWO_32 - 1));
  }
  const [high, low] = seedKey(seed);
  const [k0, k1] = threefry2x32(high, low, purpose, 0);
  return new RandomStream(threefry2x32(k0, k1, major, minor));
}
