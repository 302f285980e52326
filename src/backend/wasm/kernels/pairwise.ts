import { waitingSums } from "../../../compiler/summation.js";
import { type Expression, i32, type Local, load, op } from "../assembler.js";
import { smaller } from "./epilogue.js";
import type { KernelFunction } from "./kernel.js";
import { combine, identity } from "./operations.js";

/** A loop in blocks of `steps`; `end` is printed after each. */
export interface Blocks {
  readonly steps: number;
  readonly end: () => void;
}

/** Prints a loop from 0 to `extent` block by block: `body` does what is from one number up to another. */
export function eachBlock(
  f: KernelFunction,
  extent: number,
  { steps, end }: Blocks,
  body: (from: Expression, to: Expression) => void,
): void {
  const { code } = f;
  const [from, to] = [code.local("i32"), code.local("i32")];
  code.for(from, i32(0), i32(extent), steps, () => {
    code.set(to, smaller(op("i32.add", from.get, i32(steps)), i32(extent)));
    body(from.get, to.get);
    end();
  });
  code.release(from, to);
}

/** Bytes of a sum that waits: four lanes. */
const sumBytes = 16;

/** Sums of floats in pairs: `count` of them side by side, each of as many blocks, lane by lane. Those that wait lie in scratch memory. */
export class PairwiseSums {
  private readonly blocks: Local;
  private readonly waiting: Local;

  /** Begins with no blocks. `offset` is where in the scratch memory of this thread there is room. */
  constructor(
    private readonly f: KernelFunction,
    private readonly count: number,
    offset: number,
  ) {
    const { code } = f;
    this.blocks = code.local("i32", i32(0));
    this.waiting = code.local("i32", op("i32.add", f.scratch.get, i32(offset)));
  }

  /** Bytes of scratch memory that `count` sums of so many blocks take. */
  static bytes(count: number, blocks: number): number {
    return sumBytes * count * waitingSums(blocks);
  }

  private plus(sum: Local, at: Local, i: number): void {
    this.f.code.set(sum, combine("sum", load("v128.load", at.get, sumBytes * i), sum.get, "f32"));
  }

  /** Takes the sums of one more block, and sets them back to nothing. */
  put(sums: readonly Local[]): void {
    const { code } = this.f;
    const [carry, at] = [code.local("i32", this.blocks.get), code.local("i32", this.waiting.get)];
    code.while(op("i32.and", carry.get, i32(1)), () => {
      sums.forEach((sum, i) => this.plus(sum, at, i));
      code.increase(at, i32(sumBytes * this.count));
      code.set(carry, op("i32.shr_u", carry.get, i32(1)));
    });
    sums.forEach((sum, i) => {
      code.store("v128.store", at.get, sum.get, sumBytes * i);
      code.set(sum, identity("sum", "f32"));
    });
    code.increase(this.blocks, i32(1));
    code.release(carry, at);
  }

  /** Adds everything that waits to `sums`, from the smallest on; afterwards there are no blocks. */
  finish(sums: readonly Local[]): void {
    const { code } = this.f;
    const at = code.local("i32", this.waiting.get);
    code.while(this.blocks.get, () => {
      code.if(op("i32.and", this.blocks.get, i32(1)), () => sums.forEach((sum, i) => this.plus(sum, at, i)));
      code.increase(at, i32(sumBytes * this.count));
      code.set(this.blocks, op("i32.shr_u", this.blocks.get, i32(1)));
    });
    code.release(at, this.blocks, this.waiting);
  }
}
