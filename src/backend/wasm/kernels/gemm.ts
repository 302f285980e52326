import { blockTerms } from "../../../compiler/summation.js";
import { type DType, isHalf } from "../../../ir/dtype.js";
import type { Half } from "../../../ir/halves.js";
import {
  type Code,
  type Expression,
  type FunctionReference,
  f32x4,
  i32,
  i32x4,
  type Local,
  load,
  type MemoryType,
  ModuleBuilder,
  op,
  type Place,
  shuffle,
  shuffleHalves,
} from "../assembler.js";
import { type AttentionExports, attentionPrinters, attentionSignatures } from "./attention-loops.js";
import { copyOne, type Element, elements, readFour, readLast } from "./gemm-elements.js";
import { addProduct, transposed, words } from "./inner-loops.js";
import { multiply, panelColumns, tileRows } from "./multiply.js";
import { bytesOf } from "./operations.js";

export { panelColumns, tileRows } from "./multiply.js";

/**
 * The inner loops of every product, one module for all programs, so that the engine optimises them once.
 *
 *   C[rows × 8·panels] (+)= A[rows × depth] · B[depth × 8·panels]
 *
 * A is packed in tiles of four rows, [tile][k][4], and B in panels of eight columns, [panel][k][8], zero where the matrix ends.
 * Packing costs less than it saves: one moving pointer for each operand, and no strides that fight over one cache set. A tile of
 * 4 × 8 results stays in registers while k runs through a block of `blockTerms` steps, whose sums are then added to C. The loop over k does one step at a time: optimising compilers move the loads and
 * the products of an unrolled body apart, and then sixteen vector registers are too few (half the speed); with a way out between
 * the steps they do not, and it wins nothing, because products and sums fill their units already.
 */

/** Floats of a cache line. */
const lineElements = 16;

/** The functions that read an operand where it lies; there is one for each dtype of it, which widens halves to f32. */
interface Readers {
  /** Packs `columns` columns of `depth` steps of k into panels of eight. */
  packPanels(from: number, stepK: number, stepColumn: number, to: number, depth: number, columns: number): void;
  /** Packs rows of A into tiles of four, likewise. */
  packTiles(from: number, stepK: number, stepRow: number, to: number, depth: number, rows: number): void;
  /**
   * c = a·B for one row, B not packed and its columns contiguous. c and each row of B are read to the next multiple of four; `block`
   * is room for one more row like c.
   */
  rowByColumns(a: number, b: number, stepK: number, c: number, columns: number, depth: number, block: number): void;
  /** c = a·B for one row, B not packed and k contiguous. */
  rowByRows(a: number, b: number, stepColumn: number, c: number, columns: number, depth: number): void;
  /** Copies `length` elements of k that are `step` bytes apart to a row of f32, which is written to the next multiple of four. */
  gather(from: number, step: number, to: number, length: number): void;
}

type ReaderName = keyof Readers | `${keyof Readers}_${Half}`;

/** The functions of the module. All strides are in bytes. */
export type GemmExports = {
  readonly [Name in ReaderName]: Readers[Name extends `${infer Reader extends keyof Readers}_${Half}` ? Reader : Name & keyof Readers];
} & {
  /** C (+)= A·B where A is not packed: its rows are `aRow` bytes apart, and k is contiguous. B is packed. */
  multiplyRows(
    a: number,
    aRow: number,
    b: number,
    c: number,
    cRow: number,
    rows: number,
    panels: number,
    depth: number,
    accumulate: number,
  ): void;
  /** C (+)= A·B. Adds to C where `accumulate` is not 0. */
  multiply(a: number, b: number, c: number, cRow: number, rows: number, panels: number, depth: number, accumulate: number): void;
  /**
   * The same for operands that are packed in part or not at all: `aTile` and `bPanel` are the bytes from tile to tile and from panel to
   * panel, `aStep` and `bStep` those from one step of k to the next.
   */
  multiplyPart(
    a: number,
    aTile: number,
    aStep: number,
    b: number,
    bPanel: number,
    bStep: number,
    c: number,
    cRow: number,
    rows: number,
    panels: number,
    depth: number,
    accumulate: number,
  ): void;
} & AttentionExports;

/** The same functions, as a program imports them. */
export type Gemm = { readonly [Name in keyof GemmExports]: FunctionReference };

/** The function that reads an operand of some dtype. */
export const reading = (name: keyof Readers, dtype: DType): ReaderName => (isHalf(dtype) ? `${name}_${dtype}` : name);

const readerWords: Readonly<Record<keyof Readers, number>> = { packPanels: 6, packTiles: 6, rowByColumns: 7, rowByRows: 6, gather: 4 };
const readerNames = Object.keys(readerWords) as (keyof Readers)[];

/** What a module that calls these functions imports as `gemm`. */
export const gemmSignatures = {
  multiply: words(8),
  multiplyPart: words(12),
  multiplyRows: words(9),
  ...attentionSignatures,
  ...Object.fromEntries(elements.flatMap((dtype) => readerNames.map((name) => [reading(name, dtype), words(readerWords[name])]))),
} as Readonly<Record<keyof GemmExports, ReturnType<typeof words>>>;

/** Prints the body of a function. */
type Printer = (code: Code, parameters: readonly Local[]) => void;

/** How the functions are printed. `fused` multiplies and adds in one instruction with one rounding, where the engine has relaxed SIMD. */
function gemmPrinters(fused: boolean): Readonly<Record<keyof GemmExports, Printer>> {
  const readers: Readonly<Record<keyof Readers, (dtype: Element) => Printer>> = {
    packPanels: (dtype) => (code, p) => pack(code, p, panelColumns, dtype),
    packTiles: (dtype) => (code, p) => pack(code, p, tileRows, dtype),
    rowByColumns: (dtype) => (code, p) => rowByColumns(code, p, dtype, fused),
    rowByRows: (dtype) => (code, p) => rowByRows(code, p, dtype, fused),
    gather: (dtype) => (code, p) => gather(code, p, dtype),
  };
  const attention = Object.entries(attentionPrinters).map(([name, print]): [string, Printer] => [name, (code, p) => print(code, p, fused)]);
  return {
    multiply: (code, p) => {
      const [a, b, c, cRow, rows, panels, depth, accumulate] = p as [Local, Local, Local, Local, Local, Local, Local, Local];
      const aTile = code.local("i32", times(depth.get, tileRows * 4));
      const bPanel = code.local("i32", times(depth.get, panelColumns * 4));
      const steps = { aStep: i32(tileRows * 4), bStep: i32(panelColumns * 4), blockBytes: i32(blockTerms * panelColumns * 4) };
      multiply(code, { fused, a, aTile, b, bPanel, ...steps, c, cRow, rows, panels, depth, accumulate });
    },
    multiplyPart: (code, p) => {
      const [a, aTile, aStep, b, bPanel, bStep, ...rest] = p as [Local, Local, Local, Local, Local, Local, ...Local[]];
      const [c, cRow, rows, panels, depth, accumulate] = rest as [Local, Local, Local, Local, Local, Local];
      const blockBytes = code.local("i32", times(bStep.get, blockTerms)).get;
      const steps = { aStep: aStep.get, bStep: bStep.get, blockBytes };
      multiply(code, { fused, a, aTile, b, bPanel, ...steps, c, cRow, rows, panels, depth, accumulate });
    },
    multiplyRows: (code, p) => {
      const [a, aRow, b, c, cRow, rows, panels, depth, accumulate] = p as [Local, Local, Local, Local, Local, Local, Local, Local, Local];
      const aTile = code.local("i32", times(aRow.get, tileRows));
      const bPanel = code.local("i32", times(depth.get, panelColumns * 4));
      const steps = { aStep: i32(4), bStep: i32(panelColumns * 4), blockBytes: i32(blockTerms * panelColumns * 4) };
      multiply(code, { fused, a, aRow, aTile, b, bPanel, ...steps, c, cRow, rows, panels, depth, accumulate });
    },
    ...(Object.fromEntries([
      ...attention,
      ...elements.flatMap((dtype) => readerNames.map((name) => [reading(name, dtype), readers[name](dtype)])),
    ]) as Record<keyof AttentionExports | ReaderName, Printer>),
  };
}

/** The module of all functions, for operands in the first memory. */
export function gemmModule(memory: MemoryType, fused: boolean): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(memory);
  const names = Object.keys(gemmSignatures) as (keyof GemmExports)[];
  const printers = gemmPrinters(fused);
  for (const name of names) module.function(gemmSignatures[name], (code, ...p) => printers[name](code, p), name);
  return module.finish();
}

/**
 * The functions as a program calls them: those of the module of all where every operand is in the first memory. For other operands the
 * program has functions of its own, which are printed when the first call to them is.
 */
export function importGemm(module: ModuleBuilder, fused: boolean): Gemm {
  const printers = gemmPrinters(fused);
  const own = new Map<string, FunctionReference>();
  const names = Object.keys(gemmSignatures) as (keyof GemmExports)[];
  const reference = (name: keyof GemmExports): FunctionReference => {
    const imported = module.import("gemm", name, gemmSignatures[name]);
    const on = (places: readonly Place[]): FunctionReference => {
      if (!places.some((place) => place !== undefined && place !== 0)) return imported;
      const key = `${name} ${places.join()}`;
      const known = own.get(key);
      if (known !== undefined) return known;
      const made = module.function(gemmSignatures[name], (code, ...p) => printers[name](code, p), undefined, places);
      own.set(key, made);
      return made;
    };
    return { ...imported, on };
  };
  return Object.fromEntries(names.map((name) => [name, reference(name)])) as unknown as Gemm;
}

const add = (a: Expression, b: Expression): Expression => op("i32.add", a, b);
const times = (a: Expression, n: number): Expression => (n === 1 ? a : op("i32.mul", a, i32(n)));

/** Copies elements into a row of f32: vectors of four where they are neighbours, else one by one. */
function gather(code: Code, parameters: readonly Local[], dtype: Element): void {
  const [from, step, to, length] = parameters as [Local, Local, Local, Local];
  code.if(
    op("i32.eq", step.get, i32(bytesOf[dtype])),
    () =>
      code.while(op("i32.gt_s", length.get, i32(0)), () => {
        readFour(code, dtype, from.get, 0, (four) => code.store("v128.store", to.get, four));
        code.increase(from, i32(4 * bytesOf[dtype]));
        code.increase(to, i32(16));
        code.increase(length, i32(-4));
      }),
    () =>
      code.while(op("i32.gt_s", length.get, i32(0)), () => {
        copyOne(code, dtype, from.get, to.get);
        code.increase(from, step.get);
        code.increase(to, i32(4));
        code.increase(length, i32(-1));
      }),
  );
}

/** Packs [k, column] into [panel][k][width]. Three ways: columns contiguous, k contiguous (a transpose in registers), neither. */
function pack(code: Code, parameters: readonly Local[], width: number, dtype: Element): void {
  const bytes = bytesOf[dtype];
  const [from, stepK, stepColumn, to, depth, columns] = parameters as [Local, Local, Local, Local, Local, Local];
  const [column, left, k, source, target] = [0, 1, 2, 3, 4].map(() => code.local("i32")) as [Local, Local, Local, Local, Local];
  const quads = width / 4;

  /** Copies `count` panels side by side, so that a cache line of the source is read once. */
  const copyRows = (count: number): void => {
    const targets = Array.from({ length: count }, () => code.local("i32"));
    targets.forEach((each, p) => code.set(each, p === 0 ? target.get : add((targets[p - 1] as Local).get, times(depth.get, 4 * width))));
    code.for(k, i32(0), depth.get, 1, () => {
      targets.forEach((each, p) => {
        for (let q = 0; q < quads; q++) {
          readFour(code, dtype, source.get, 4 * bytes * (p * quads + q), (four) => code.store("v128.store", each.get, four, 16 * q));
        }
        code.increase(each, i32(4 * width));
      });
      code.increase(source, stepK.get);
    });
    code.release(...targets);
  };
  /** Element by element from a step of k on; columns that do not exist become zeros. */
  const copyElements = (start: Expression): void => {
    const [c, element, place] = [code.local("i32"), code.local("i32"), code.local("i32")];
    code.for(c, i32(0), i32(width), 1, () => {
      code.set(k, start);
      code.set(element, add(add(source.get, op("i32.mul", c.get, stepColumn.get)), op("i32.mul", k.get, stepK.get)));
      code.set(place, add(add(target.get, times(c.get, 4)), times(k.get, 4 * width)));
      code.while(op("i32.lt_s", k.get, depth.get), () => {
        code.if(
          op("i32.lt_s", c.get, left.get),
          () => copyOne(code, dtype, element.get, place.get),
          () => code.store("i32.store", place.get, i32(0)),
        );
        code.increase(element, stepK.get);
        code.increase(place, i32(4 * width));
        code.increase(k, i32(1));
      });
    });
    code.release(c, element, place);
  };
  const transpose = (): void => {
    const [whole, element, place] = [code.local("i32", op("i32.and", depth.get, i32(-4))), code.local("i32"), code.local("i32")];
    for (let q = 0; q < quads; q++) {
      code.set(element, add(source.get, times(stepColumn.get, 4 * q)));
      code.set(place, add(target.get, i32(16 * q)));
      code.for(k, i32(0), whole.get, 4, () => {
        const lines = [0, 1, 2, 3].map(() => code.local("v128"));
        lines.forEach((line, r) => readFour(code, dtype, add(element.get, times(stepColumn.get, r)), 0, (four) => code.set(line, four)));
        transposed(code, lines as [Local, Local, Local, Local]).forEach((line, s) =>
          code.store("v128.store", place.get, line, 4 * width * s),
        );
        code.release(...lines);
        code.increase(element, i32(4 * bytes));
        code.increase(place, i32(16 * width));
      });
    }
    copyElements(whole.get);
    code.release(whole, element, place);
  };

  const place = (): void => {
    code.set(source, add(from.get, op("i32.mul", column.get, stepColumn.get)));
    code.set(target, add(to.get, times(op("i32.mul", column.get, depth.get), 4)));
    code.set(left, op("i32.sub", columns.get, column.get));
  };
  code.set(column, i32(0));
  code.if(op("i32.eq", stepColumn.get, i32(bytes)), () =>
    code.while(op("i32.le_s", add(column.get, i32(lineElements)), columns.get), () => {
      place();
      copyRows(lineElements / width);
      code.increase(column, i32(lineElements));
    }),
  );
  code.while(op("i32.lt_s", column.get, columns.get), () => {
    place();
    code.if(
      op("i32.lt_s", left.get, i32(width)),
      () => copyElements(i32(0)),
      () =>
        code.if(
          op("i32.eq", stepColumn.get, i32(bytes)),
          () => copyRows(1),
          () => code.if(op("i32.eq", stepK.get, i32(bytes)), transpose, () => copyElements(i32(0))),
        ),
    );
    code.increase(column, i32(width));
  });
}

/**
 * Four rows of B at a time (two of f16) are added to a block of sums, which stays in the first cache; after `blockTerms` rows it is added to c.
 * A single block is c itself.
 */
function rowByColumns(code: Code, parameters: readonly Local[], dtype: Element, fused: boolean): void {
  const [a, b, stepK, c, columns, depth, block] = parameters as [Local, Local, Local, Local, Local, Local, Local];
  const [k, at, place, end, left] = [0, 1, 2, 3, 4].map(() => code.local("i32")) as [Local, Local, Local, Local, Local];
  const sum = code.local("v128");
  code.set(end, op("i32.and", add(times(columns.get, 4), i32(15)), i32(-16)));
  code.clear(c.get, end.get);
  code.if(op("i32.le_s", depth.get, i32(blockTerms)), () => code.set(block, c.get));
  const addRows = (count: number): void => {
    const elements = Array.from({ length: count }, (_, s) => code.local("v128", load("v128.load32_splat", a.get, 4 * s)));
    const rows = Array.from({ length: count }, () => code.local("i32"));
    rows.forEach((row, s) => code.set(row, s === 0 ? b.get : add((rows[s - 1] as Local).get, stepK.get)));
    code.for(at, i32(0), end.get, 16, () => {
      code.set(place, add(block.get, at.get));
      code.set(sum, load("v128.load", place.get));
      elements.forEach((element, s) => {
        const from = add((rows[s] as Local).get, isHalf(dtype) ? op("i32.shr_u", at.get, i32(1)) : at.get);
        readFour(code, dtype, from, 0, (four) => code.set(sum, addProduct(sum.get, element.get, four, fused)));
      });
      code.store("v128.store", place.get, sum.get);
    });
    code.increase(a, i32(4 * count));
    code.increase(b, times(stepK.get, count));
    code.release(...elements, ...rows);
  };
  code.set(left, depth.get);
  code.while(op("i32.gt_s", left.get, i32(0)), () => {
    code.set(k, op("select", left.get, i32(blockTerms), op("i32.lt_s", left.get, i32(blockTerms))));
    code.increase(left, op("i32.sub", i32(0), k.get));
    code.if(op("i32.ne", block.get, c.get), () => code.clear(block.get, end.get));
    // To widen f16 takes registers, of which four rows would leave none.
    for (const count of dtype === "f16" ? [2, 1] : [4, 1]) {
      code.while(op("i32.ge_s", k.get, i32(count)), () => {
        addRows(count);
        code.increase(k, i32(-count));
      });
    }
    code.if(op("i32.ne", block.get, c.get), () =>
      code.for(at, i32(0), end.get, 16, () => {
        code.set(place, add(c.get, at.get));
        const sum = op("f32x4.add", load("v128.load", place.get), load("v128.load", add(block.get, at.get)));
        code.store("v128.store", place.get, sum);
      }),
    );
  });
}

/**
 * Columns as they lie in memory, each from its beginning to its end: a large B is read once and at the rate of memory. Two of them take turns,
 * the first of all columns and the first of their second half, then the second of both: processors fetch ahead for an instruction whose
 * addresses go on evenly, which those of each load here do from the first column to the last of a half, and two such streams have more
 * under way than one. (With a loop for each of four neighbours, half the rate.) The sums run along k in four lanes of several chains, block
 * by block, which are added up at the end.
 */
function rowByRows(code: Code, parameters: readonly Local[], dtype: Element, fused: boolean): void {
  const [a, b, stepColumn, c, columns, depth] = parameters as [Local, Local, Local, Local, Local, Local];
  const [half, column, k, stop] = [0, 1, 2, 3].map(() => code.local("i32")) as [Local, Local, Local, Local];
  const source = code.local("i32");
  const streams = [0, 1].map(() => ({
    row: code.local("i32"),
    pointer: code.local("i32"),
    result: code.local("i32"),
    sums: Array.from({ length: chains }, () => code.local("v128")),
    total: code.local("v128"),
  }));
  const { widest, four, single } = termsOf(code, dtype);
  /** Goes on by the terms of one step at once, `count` times for each turn of the loop. */
  const along = ({ width, sources, addends }: Terms, count: number): void =>
    code.while(op("i32.ge_s", k.get, add(stop.get, i32(width * count))), () => {
      let chain = 0;
      for (let step = 0; step < count; step++) {
        const elements = sources(source.get, 4 * width * step);
        for (const { pointer, sums } of streams) {
          addends(pointer.get, bytesOf[dtype] * width * step, (numbers, i) => {
            const sum = sums[(chain + i) % chains] as Local;
            code.set(sum, addProduct(sum.get, (elements[i] as Local).get, numbers, fused));
          });
        }
        chain += elements.length;
      }
      for (const { pointer } of streams) code.increase(pointer, i32(bytesOf[dtype] * width * count));
      code.increase(source, i32(4 * width * count));
      code.increase(k, i32(-width * count));
    });
  code.set(half, op("i32.shr_u", columns.get, i32(1)));
  // Of an odd number the one in the middle is computed by both.
  streams.forEach(({ row, result }, s) => {
    code.set(row, s === 0 ? b.get : add(b.get, op("i32.mul", half.get, stepColumn.get)));
    code.set(result, s === 0 ? c.get : add(c.get, times(half.get, 4)));
  });
  code.for(column, i32(0), op("i32.sub", columns.get, half.get), 1, () => {
    for (const { row, pointer, total } of streams) {
      code.set(pointer, row.get);
      code.set(total, f32x4(0));
    }
    code.set(source, a.get);
    code.set(k, depth.get);
    code.while(op("i32.gt_s", k.get, i32(0)), () => {
      code.set(stop, op("i32.sub", k.get, i32(4 * chains * blockTerms)));
      code.if(op("i32.lt_s", stop.get, i32(0)), () => code.set(stop, i32(0)));
      for (const { sums } of streams) for (const sum of sums) code.set(sum, f32x4(0));
      along(widest, (4 * chains) / widest.width);
      along(four, 1);
      along(single, 1);
      for (const { sums, total } of streams) for (const sum of sums) code.set(total, op("f32x4.add", total.get, sum.get));
    });
    for (const { row, result, total } of streams) {
      // (lane 0 + lane 1) + (lane 2 + lane 3)
      code.set(total, op("f32x4.add", total.get, shuffle(total.get, total.get, [1, 0, 3, 2])));
      code.set(total, op("f32x4.add", total.get, shuffle(total.get, total.get, [2, 3, 0, 1])));
      code.storeLane("v128.store32_lane", 0, result.get, total.get);
      code.increase(row, stepColumn.get);
      code.increase(result, i32(4));
    }
  });
}

/** Terms of a sum that are read and multiplied together. */
interface Terms {
  readonly width: number;
  /** Reads elements of a, in vectors. */
  readonly sources: (address: Expression, offset: number) => readonly Local[];
  /** Reads as many of B, in vectors that belong to these. */
  readonly addends: (address: Expression, offset: number, use: (numbers: Expression, vector: number) => void) => void;
}

/** Ways to read terms; whichever is taken, a term is added to the same lane of the same chain in every dtype. */
function termsOf(code: Code, dtype: Element): Record<"widest" | "four" | "single", Terms> {
  const element = code.local("v128");
  const one = (name: "v128.load" | "v128.load32_zero", width: number, read: typeof readFour): Terms => ({
    width,
    sources: (address, offset) => {
      code.set(element, load(name, address, offset));
      return [element];
    },
    addends: (address, offset, use) => read(code, dtype, address, offset, (numbers) => use(numbers, 0)),
  });
  const single = one("v128.load32_zero", 1, readLast);
  const four = one("v128.load", 4, readFour);
  if (dtype !== "bf16") return { widest: four, four, single };
  const [second, halves, zero] = [code.local("v128"), code.local("v128"), code.local("v128", i32x4(0))];
  const widest: Terms = {
    width: 8,
    sources: (address, offset) => {
      code.set(element, load("v128.load", address, offset));
      code.set(second, load("v128.load", address, offset + 16));
      return [element, second];
    },
    // A bf16 is the upper half of an f32: with zeros in between, eight of them are two vectors of floats.
    addends: (address, offset, use) => {
      code.set(halves, load("v128.load", address, offset));
      use(shuffleHalves(zero.get, halves.get, [0, 8, 1, 9, 2, 10, 3, 11]), 0);
      use(shuffleHalves(zero.get, halves.get, [4, 12, 5, 13, 6, 14, 7, 15]), 1);
    },
  };
  return { widest, four, single };
}

/** Sums that a row adds to in turn, so that no addition waits for the one before it. */
const chains = 4;
