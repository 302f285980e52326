import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Backend } from "../../src/backend/backend.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { backendVariants, thinned } from "../support/backends.js";
import { magnitude } from "../support/cases.js";
import { difference } from "../support/compare.js";
import { compute, type HostTensor } from "../support/graphs.js";
import { epilogue, type ProductCase, productCases, productComputation } from "../support/products.js";
import { sumBound, unitRoundoff } from "../support/tolerances.js";

const reference = createReferenceBackend();

/** What is wrong with a product: |found − A·B| may be c·u·√K·(|A|·|B|), and an epilogue rounds twice more. */
async function problem(backend: Backend, product: ProductCase): Promise<string | undefined> {
  const computation = productComputation(product);
  const [expected] = (await compute(reference, computation)) as [HostTensor];
  const [magnitudes] = (await compute(reference, productComputation(product, { transform: magnitude, bare: true }))) as [HostTensor];
  const [found] = (await compute(backend, computation)) as [HostTensor];
  const message = difference(found, expected, (_, i) => {
    const size = magnitudes.data[i] as number;
    const bound = sumBound(product.K, size);
    return product.epilogue ? epilogue.factor * bound + 2 * unitRoundoff * (size + epilogue.bias) : bound;
  });
  return message === undefined ? undefined : `${product.title}: ${message}`;
}

describe.each(backendVariants())("products of matrices on $name", ({ name, create, stride }) => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  }, 120_000);
  afterAll(async () => backend.close());

  // Every size on the main backend, each with another way to lie. Software adapters take a second to compile one product.
  const step = name.startsWith("reference") ? 4 : stride <= 4 ? 11 : 33;

  it("are within the error bound in every size and however their operands lie", { timeout: 120_000 }, async () => {
    const found: (string | undefined)[] = [];
    for (const product of thinned(productCases, step)) found.push(await problem(backend, product));
    expect(found.length).toBeGreaterThan(3);
    expect(found.filter((message) => message !== undefined)).toEqual([]);
  });
});

describe("the error bound of a product", () => {
  it("finds a product that lost one step of K, or took a row for its neighbour", async () => {
    const product = productCases.find(({ title }) => title.startsWith("65 × 16 × 68, A rows, B rows")) as ProductCase;
    const computation = productComputation(product, { bare: true });
    const wrong = createReferenceBackend();
    const [a, b] = computation.inputs as [HostTensor, HostTensor];
    const spoiled = {
      "a step": { ...a, data: a.data.map((x, i) => (i % product.K === product.K - 1 ? 0 : x)) },
      "a row": { ...a, data: a.data.map((_, i) => a.data[(i + product.K) % a.data.length] as number) },
    };
    for (const [what, left] of Object.entries(spoiled)) {
      const [expected] = (await compute(reference, computation)) as [HostTensor];
      const [magnitudes] = (await compute(reference, productComputation(product, { transform: magnitude, bare: true }))) as [HostTensor];
      const [found] = (await compute(wrong, { ...computation, inputs: [left, b] })) as [HostTensor];
      expect(
        difference(found, expected, (_, i) => sumBound(product.K, magnitudes.data[i] as number)),
        what,
      ).toBeDefined();
    }
  });
});
