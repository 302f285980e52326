import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/nn/byte-source.js";
import { dequantizers, quantizeQ8 } from "../../../src/nn/gguf/blocks.js";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "../../../src/nn/gguf/header.js";

const golden = new URL("../../golden/gguf/blocks.gguf", import.meta.url);

describe("blocks of quantised numbers", () => {
  let header: GgufHeader;
  const bytesOf = async (name: string): Promise<[GgufTensor, Uint8Array]> => {
    const tensor = header.tensors.get(name) as GgufTensor;
    return [tensor, new Uint8Array(await header.source.read(tensor.offset, tensor.offset + tensor.bytes))];
  };
  const floatsOf = async (name: string): Promise<Float32Array> => new Float32Array((await bytesOf(name))[1].buffer);
  beforeAll(async () => {
    header = await readGgufHeader(bytesSource(await readFile(golden), "blocks.gguf"));
  });

  it.each(Object.keys(dequantizers))("of type %s are the numbers that Python's gguf reads, bit by bit", async (type) => {
    const [tensor, bytes] = await bytesOf(type);
    expect(tensor.type.name).toBe(type);
    const out = new Float32Array((bytes.length / tensor.type.blockBytes) * tensor.type.blockElements);
    dequantizers[type]?.(bytes, out);
    expect(out.some((value) => value !== 0)).toBe(true);
    expect(out).toEqual(await floatsOf(`${type}.numbers`));
  });

  it("are made of numbers as Python's gguf makes them", async () => {
    const numbers = await floatsOf("to be quantised");
    expect(quantizeQ8(numbers)).toEqual((await bytesOf("to be quantised.Q8_0"))[1]);
  });

  it("of type Q8_0 are no further from the numbers than half of a step", () => {
    const numbers = Float32Array.from({ length: 320 }, (_, i) => Math.sin(i) * 10 ** ((i >> 5) - 4));
    const out = new Float32Array(320);
    dequantizers["Q8_0"]?.(quantizeQ8(numbers), out);
    for (let block = 0; block < 10; block++) {
      const range = numbers.subarray(32 * block, 32 * block + 32);
      const step = Math.max(...range.map(Math.abs)) / 127;
      // The scale is rounded to 11 bits, which moves the largest by 127 · 2⁻¹² steps; scales below 2⁻¹⁴ have fewer bits.
      const bound = 0.5 * step + 127 * Math.max(step * 2 ** -11, 2 ** -25);
      range.forEach((value, i) => expect(Math.abs((out[32 * block + i] as number) - value)).toBeLessThanOrEqual(bound));
    }
  });
});
