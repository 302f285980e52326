import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import * as e2llm from "../../src/e2llm/index.js";
import * as errors from "../../src/errors.js";
import * as dawngrad from "../../src/index.js";
import { init, type Optimizer, Tensor, tensor } from "../../src/index.js";
import * as adapters from "../../src/nn/adapters.js";
import * as batch from "../../src/nn/batch.js";
import * as chat from "../../src/nn/chat.js";
import * as checkpoint from "../../src/nn/checkpoint.js";
import * as config from "../../src/nn/config.js";
import * as configJson from "../../src/nn/config-json.js";
import * as configOptions from "../../src/nn/config-options.js";
import * as convert from "../../src/nn/convert.js";
import * as data from "../../src/nn/data.js";
import * as encodings from "../../src/nn/encodings/create.js";
import * as biases from "../../src/nn/encodings/static-biases.js";
import * as targets from "../../src/nn/evaluation-targets.js";
import * as generate from "../../src/nn/generate.js";
import * as gguf from "../../src/nn/gguf/save.js";
import * as cache from "../../src/nn/kv-cache.js";
import * as llama from "../../src/nn/llama.js";
import * as lora from "../../src/nn/lora.js";
import * as openModel from "../../src/nn/open-model.js";
import * as positionEncodings from "../../src/nn/position-encodings.js";
import * as sampling from "../../src/nn/sampling.js";
import * as streamingCache from "../../src/nn/streaming-cache.js";
import * as tokenizers from "../../src/nn/tokenizers.js";
import * as training from "../../src/nn/training.js";
import * as trainingMemory from "../../src/nn/training-memory.js";
import { arrays } from "./api-table/arrays.js";
import { networks } from "./api-table/networks.js";
import { programs } from "./api-table/programs.js";
import { none, type Section } from "./api-table/section.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const sections: readonly Section[] = [...arrays, ...networks, ...programs];
const rows = sections.flatMap((section) => section.rows);

/** What other pages are about: E²-LLM, and language models with their files, their texts and their training. A module that is not here is in the table. */
const elsewhere: readonly object[] = [
  ...[e2llm, errors],
  ...[llama, cache, streamingCache, generate, sampling, encodings, biases, positionEncodings, lora],
  ...[config, configJson, configOptions, adapters, checkpoint, convert, gguf, openModel],
  ...[batch, chat, data, targets, tokenizers, training, trainingMemory],
];

/** A value as the page shows it: tensors as nested arrays, numbers to four decimals. */
async function show(given: unknown): Promise<string> {
  const value = await given;
  if (value instanceof Tensor) return show(value.array());
  if (typeof value === "number") return String(Number.isFinite(value) ? Math.round(value * 1e4) / 1e4 + 0 : value);
  if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    return `[${(await Promise.all([...(value as Iterable<unknown>)].map(show))).join(", ")}]`;
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? String(value);
  return `{ ${(await Promise.all(Object.entries(value).map(async ([name, field]) => `${name}: ${await show(field)}`))).join(", ")} }`;
}

const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
  ...parts: string[]
) => (...given: unknown[]) => Promise<unknown>;

/** What an expression gives, with these names for these values. */
function evaluate(expression: string, names: Readonly<Record<string, unknown>>): Promise<unknown> {
  const used = [...new Set(expression.match(/[A-Za-z_]\w*/g))].filter((name) => Object.hasOwn(names, name));
  return new AsyncFunction(...used, `return (${expression});`)(...used.map((name) => names[name]));
}

const head = `# The functions beside those of PyTorch, JAX and TensorFlow.js

Every function of arrays, derivatives, networks and training, with the nearest name elsewhere and an example with what it gives: a test runs every row.
The order of arguments and what is left out may differ (\`variance\` divides by n, as NumPy does): the doc comment of a function says what it computes.
Most functions of one tensor are methods too: \`sum(x, 0)\` is \`x.sum(0)\`. \`F\` stands for \`torch.nn.functional\`, \`nn\` for
\`torch.nn\`, \`jnp\` for \`jax.numpy\`, \`nnx\` for \`flax.nnx\`, \`eqx\` for \`equinox\` and \`tf\` for \`@tensorflow/tfjs\`; "${none}" says that there is no such
function, though there may be a way. Numbers are shown to four decimals. What belongs to language models is in [models.md](models.md), [tasks.md](tasks.md)
and [e2llm.md](e2llm.md), layers and optimizers are introduced in [modules.md](modules.md).

This page is made from \`test/programs/api-table/\`: \`npx vitest run test/programs/api-table.test.ts -u\` writes it anew.
`;

const code = (text: string): string => (text === none ? none : `\`${text}\``);

const pageOf = (section: Section): string =>
  [
    `\n## ${section.title}\n`,
    ...(section.note === undefined ? [] : [`${section.note}\n`]),
    "| dawngrad | PyTorch | JAX | TensorFlow.js | example | gives |",
    "|---|---|---|---|---|---|",
    ...section.rows.map((row) => `| ${row.map(code).join(" | ")} |`),
    "",
  ].join("\n");

describe("docs/api-table.md", () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "dawngrad-table-"));
    await init({ backend: "reference" });
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
    dawngrad.useBackend(undefined)?.close();
    vi.restoreAllMocks();
  });

  it("says what each of its examples gives", async () => {
    vi.spyOn(console, "log").mockImplementation(() => undefined);
    const params = { w: tensor([1]) };
    const grads = { w: tensor([2]) };
    const step = <State>(optimizer: Optimizer<State>): unknown => optimizer.update(params, grads, optimizer.init(params), { lr: 0.1 })[0];
    const names = { ...dawngrad, params, grads, step, file: join(folder, "tree.safetensors") };
    const wrong: string[] = [];
    for (const [, , , , example, value] of rows) {
      const found = await evaluate(example, names).then(show, String);
      if (found !== value) wrong.push(`${example} gives ${found}, not ${value}`);
    }
    expect(wrong).toEqual([]);
  });

  it("is what the rows say (vitest -u brings the page up to date)", async () => {
    expect(rows.flat().filter((cell) => /[|`\n]/.test(cell))).toEqual([]);
    await expect(`${head}${sections.map(pageOf).join("")}`).toMatchFileSnapshot(join(root, "docs/api-table.md"));
  });

  it("has every function of the library in one row, and every method that is not one of them", () => {
    const others = new Set(elsewhere.flatMap((module): unknown[] => Object.values(module)));
    const isOwn = (value: unknown): boolean => typeof value === "function" && !others.has(value);
    const functions = Object.entries(dawngrad).flatMap(([name, value]) =>
      name === "linalg" ? Object.keys(value).map((inner) => `linalg.${inner}`) : isOwn(value) ? [name] : [],
    );
    const methods = Object.getOwnPropertyNames(Tensor.prototype)
      .filter((name) => !(name in dawngrad || name in Object.prototype || name === "toJSON"))
      .map((name) => `Tensor.${name}`);
    const listed = rows.map(([name]) => name);
    expect([...functions, ...methods].filter((name) => !listed.includes(name))).toEqual([]);
    expect(listed.filter((name, i) => listed.indexOf(name) !== i)).toEqual([]);
    const [own, x] = [new Set(functions), tensor([1])];
    expect(listed.filter((name) => !(own.has(name) || (name.startsWith("Tensor.") && name.slice(7) in x)))).toEqual([]);
  });

  it("shows each function in its own example", () => {
    const absent = rows.filter(([name, , , , example]) => !new RegExp(`\\b${name.replace("Tensor.", "")}\\b`).test(example));
    expect(absent.map(([name]) => name)).toEqual([]);
  });

  it("has names in the columns of names", () => {
    const columns = [/^(torch|F|nn|safetensors\.torch)(\.\w+)+$/, /^(jax|jnp|optax|nnx|eqx|safetensors\.flax)(\.\w+)+$/, /^tf(\.\w+)+$/];
    for (const [i, pattern] of columns.entries()) {
      const names = rows.map((row) => row[i + 1] as string).filter((name) => name !== none);
      expect(names.filter((name) => !pattern.test(name))).toEqual([]);
      expect(names.length).toBeGreaterThan(rows.length / 3);
    }
  });
});
