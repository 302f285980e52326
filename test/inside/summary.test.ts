import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { applyLora, key, Linear, Llama, loraTrainable, parameterCount, summary, tensor, UsageError, zeros } from "../../src/index.js";
import { tinyConfig } from "../nn/tiny.js";

const model = (): Llama => new Llama({ ...tinyConfig, num_hidden_layers: 3 }, { key: key(0) });

describe("summary(model)", () => {
  it("lists each tensor with its name, module, shape, dtype, parameters and bytes, and sums them up", () => {
    const found = summary(model());
    const { rows, parameters, bytes, trainableParameters, frozenParameters } = found;
    expect(parameters).toBe(parameterCount(model()));
    expect(bytes).toBe(4 * parameters);
    expect([trainableParameters, frozenParameters]).toEqual([parameters, 0]);
    expect(rows.reduce((n, row) => n + row.parameters, 0)).toBe(parameters);
    expect(rows.find(({ name }) => name === "model.layers.1.mlp.up_proj.weight")).toEqual({
      name: "model.layers.1.mlp.up_proj.weight",
      module: "Linear",
      shape: [24, 16],
      dtype: "f32",
      parameters: 384,
      bytes: 1536,
      trainable: true,
      tiedTo: undefined,
    });
  });

  it("is a table as text, in which layers that are alike are one line", () => {
    const found = summary(model());
    const text = String(found);
    expect(inspect(found)).toBe(text);
    expect(text).toMatch(/^name +module +shape +dtype +parameters +bytes$/m);
    expect(text).toMatch(/^model\.layers\.0…2\.mlp\.up_proj\.weight +Linear +3 × \[24, 16\] +f32 +1,152 +4\.61 kB +trained$/m);
    expect(text.split("\n").at(-1)).toBe(
      `${found.parameters.toLocaleString("en")} parameters, ${(found.bytes / 1000).toPrecision(3)} kB: ` +
        `${found.parameters.toLocaleString("en")} trained (${(found.bytes / 1000).toPrecision(3)} kB), 0 frozen`,
    );
    // One line for each kind of tensor.
    expect(text.split("\n").length).toBeLessThan(found.rows.length);
  });

  it("tells what is trained by the predicate that training is given", () => {
    const lora = applyLora(model(), { rank: 2 });
    const { rows, trainableParameters, frozenParameters, parameters } = summary(lora, { trainable: loraTrainable });
    expect(trainableParameters + frozenParameters).toBe(parameters);
    expect(frozenParameters).toBe(parameterCount(model()));
    for (const { name, trainable } of rows) expect(trainable, name).toBe(/lora/i.test(name));
    expect(String(summary(lora, { trainable: loraTrainable }))).toMatch(/frozen$/m);
  });

  it("counts a tensor that stands at two places once, and says where it is tied to", () => {
    const weight = zeros([4, 4]);
    const { rows, parameters } = summary({ embedding: new Linear(weight), layers: [{ head: weight }] });
    expect(parameters).toBe(16);
    expect(rows.map(({ tiedTo, module }) => [tiedTo, module])).toEqual([
      [undefined, "Linear"],
      ["embedding.weight", ""],
    ]);
    expect(String(summary({ a: weight, b: weight }))).toContain("is a");
  });

  it("takes any tree: integers are frozen, empty tensors and trees without tensors count nothing", () => {
    const ints = summary({ steps: tensor([1, 2], { dtype: "i32" }), empty: zeros([0, 3]), note: "text", nothing: null });
    expect(ints.rows.map(({ trainable, parameters }) => [trainable, parameters])).toEqual([
      [false, 2],
      [true, 0],
    ]);
    expect(ints.frozenParameters).toBe(2);
    expect(String(summary([]))).toContain("0 parameters, 0 B");
    expect(summary({ half: tensor([1], { dtype: "bf16" }) }).bytes).toBe(2);
    const separate = summary({ layers: [zeros([2]), zeros([3]), zeros([2]), zeros([2])] });
    expect(String(separate)).toMatch(/^layers\.0, 2…3 +3 × \[2\]/m);
    expect(() => summary({ map: new Map() })).toThrow(UsageError);
  });
});
