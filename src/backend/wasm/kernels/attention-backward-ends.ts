import type { AttentionBackwardKernel, Loop } from "../../../compiler/program.js";
import { call, type Expression, i32, type Local, load, op } from "../assembler.js";
import type { Blocks } from "./attention-backward-blocks.js";
import { less, plus, times } from "./attention-parts.js";
import { smaller } from "./epilogue.js";
import { type Gemm, reading } from "./gemm.js";
import { type Context, type KernelCode, KernelFunction, unitsPerChunk } from "./kernel.js";
import { addressOf, layoutOf } from "./operand-layout.js";

/** The steps before and after the main one of attention's backward pass. */

/** Prints how a tile of queries and what belongs to them is packed, those of the batch and head that have been entered. */
export function packQueries(
  f: KernelFunction,
  kernel: AttentionBackwardKernel,
  gemm: Gemm,
  blocks: Blocks,
  place: { readonly first: Local; readonly count: Local; readonly to: Local },
): void {
  const { query, channel, valueChannel } = kernel.loops;
  const { code, values } = f;
  const pack = (operand: AttentionBackwardKernel["q"], column: Loop, rowsAt: number, turnedAt: number): void => {
    const { base, row, column: step } = layoutOf(operand, query.name, column.name);
    const from = code.local("i32", addressOf(f, operand, base, times(place.first.get, row)));
    const packTiles = gemm[reading("packTiles", operand.dtype)];
    code.do(call(packTiles, from.get, i32(step), i32(row), plus(place.to.get, i32(rowsAt)), i32(column.extent), place.count.get));
    code.do(call(packTiles, from.get, i32(row), i32(step), plus(place.to.get, i32(turnedAt)), place.count.get, i32(column.extent)));
    code.release(from);
  };
  /** A number for each query. */
  const copy = (operand: AttentionBackwardKernel["lse"], at: number): void => {
    const base = code.local("i32", less(plus(place.to.get, i32(at)), times(place.first.get, 4)));
    const end = plus(place.first.get, place.count.get);
    values.prepare([operand], [query.name], query.name);
    f.vectorLoop({ from: place.first.get, to: end, extent: query.extent }, (width, [counter]) => {
      const c = counter as Local;
      values.within(
        query.name,
        c,
        () => {
          const value = values.get(operand);
          const to = plus(base.get, times(c.get, 4));
          if (width === 4) code.store("v128.store", to, value.get);
          else code.storeLane("v128.store32_lane", 0, to, value.get);
        },
        width,
      );
    });
    code.release(base);
  };
  if (!blocks.qReady) pack(kernel.q, channel, blocks.q, blocks.qTurned);
  if (!blocks.cotangentReady) pack(kernel.cotangent, valueChannel, blocks.cotangent, blocks.cotangentTurned);
  if (!blocks.lseReady) copy(kernel.lse, blocks.lse);
  if (!blocks.deltaReady) copy(kernel.delta, blocks.delta);
}

export function packKernel(kernel: AttentionBackwardKernel, context: Context, gemm: Gemm, blocks: Blocks): KernelCode {
  const { batch, head, query, channel, valueChannel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const arena = f.arena();
  const number = (): Local => code.local("i32");
  const [unit, b, h, first, count, to] = [number(), number(), number(), number(), number(), number()];
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(first, times(op("i32.rem_u", unit.get, i32(blocks.queryTiles)), blocks.queries));
    code.set(count, smaller(i32(blocks.queries), less(i32(query.extent), first.get)));
    code.set(h, op("i32.div_u", unit.get, i32(blocks.queryTiles)));
    code.set(b, op("i32.div_u", h.get, i32(head.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(head.extent)));
    code.set(to, plus(arena.get, times(unit.get, blocks.tileBytes)));
    values.within(batch.name, b, () => values.within(head.name, h, () => packQueries(f, kernel, gemm, blocks, { first, count, to })));
  });
  const cost = 0.5 * blocks.queries * (channel.extent + valueChannel.extent);
  const units = batch.extent * head.extent * blocks.queryTiles;
  return f.finish({
    label: `pack ${kernel.label}`,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost),
    scratchBytes: 0,
    arenaBytes: blocks.arenaBytes,
    cost: cost * units,
  });
}

/** q̄ from what the parts of the keys added up. */
export function sumKernel(kernel: AttentionBackwardKernel, context: Context, blocks: Blocks): KernelCode {
  const { batch, head, query, channel } = kernel.loops;
  const f = new KernelFunction(kernel, context);
  const { code, values } = f;
  const arena = f.arena();
  const store = kernel.stores[kernel.results.indexOf(0)] as AttentionBackwardKernel["stores"][number];
  values.prepare([kernel.scale], []);
  const scale = values.get(kernel.scale);
  const [unit, b, h, row, from] = [0, 1, 2, 3, 4].map(() => code.local("i32")) as [Local, Local, Local, Local, Local];
  const parts = Array.from({ length: blocks.parts - 1 }, () => code.local("i32"));
  code.for(unit, f.begin.get, f.end.get, 1, () => {
    code.set(row, op("i32.rem_u", unit.get, i32(query.extent)));
    code.set(h, op("i32.div_u", unit.get, i32(query.extent)));
    code.set(b, op("i32.div_u", h.get, i32(head.extent)));
    code.set(h, op("i32.rem_u", h.get, i32(head.extent)));
    code.set(from, plus(plus(arena.get, i32(blocks.sums)), times(unit.get, blocks.sumRow)));
    parts.forEach((each, i) => code.set(each, plus((i === 0 ? from : (parts[i - 1] as Local)).get, i32(blocks.partBytes))));
    values.within(batch.name, b, () =>
      values.within(head.name, h, () =>
        values.within(query.name, row, () => {
          values.prepareStore(store.buffer, store.index, channel.name);
          f.vectorLoop({ from: i32(0), to: i32(channel.extent), extent: channel.extent }, (width, [counter]) => {
            const c = counter as Local;
            const read = (place: Local): Expression =>
              load(width === 4 ? "v128.load" : "v128.load32_splat", plus(place.get, times(c.get, 4)));
            values.within(
              channel.name,
              c,
              () => {
                const sum = parts.reduce((left, part) => op("f32x4.add", left, read(part)), read(from));
                const value = code.local("v128", op("f32x4.mul", sum, scale.get));
                values.store(store.buffer, store.index, value);
                code.release(value);
              },
              width,
            );
          });
        }),
      ),
    );
  });
  const cost = 5 + 0.15 * channel.extent * (1 + blocks.parts);
  const units = batch.extent * head.extent * query.extent;
  return f.finish({
    label: `sum ${kernel.label}`,
    units,
    unitMultiple: 1,
    unitsPerChunk: unitsPerChunk(cost, 16),
    scratchBytes: 0,
    arenaBytes: blocks.arenaBytes,
    cost: cost * units,
  });
}
