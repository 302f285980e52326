import { readFileSync } from "node:fs";
import { einsum, type Index, type Tensor } from "../../src/index.js";
import { indices, on, type Plain, sizeOf, testComposites } from "../support/composite-cases.js";

/** Against numbers of NumPy, which test/golden/make_arrays.py wrote. */

interface IndexCase {
  readonly shape: readonly number[];
  readonly index: readonly (Exclude<Index, Tensor> | Plain)[];
  readonly result: Plain;
}
interface EinsumCase {
  readonly equation: string;
  readonly shapes: readonly (readonly number[])[];
  readonly result: Plain;
}

const read = <T>(name: string): readonly T[] =>
  JSON.parse(readFileSync(new URL(`../golden/arrays/${name}.json`, import.meta.url), "utf8")) as readonly T[];

/** What the script fills its operands with. */
const numbers = (shape: readonly number[], stride: number): Plain => ({
  shape,
  data: Array.from({ length: sizeOf(shape) }, (_, i) => ((i * stride) % 11) - 5),
});
const strides = [7, 3, 9, 4, 8];

const isPlain = (entry: IndexCase["index"][number]): entry is Plain => typeof entry === "object" && entry !== null && "data" in entry;

testComposites(
  "NumPy's numbers",
  {
    indexing: read<IndexCase>("indexing").map(({ shape, index, result }, i) => {
      const tensors = index.filter(isPlain).map(({ shape, data }) => indices(data, shape));
      return on(
        (x: Tensor, ...given: Tensor[]) => x.at(...index.map((entry) => (isPlain(entry) ? (given.shift() as Tensor) : entry))),
        [numbers(shape, 7), ...tensors],
        result,
        i % 16 === 0,
      );
    }),
    einsum: read<EinsumCase>("einsum").map(({ equation, shapes, result }, i) =>
      on(
        (...operands: Tensor[]) => einsum(equation, ...operands),
        shapes.map((shape, k) => numbers(shape, strides[k] as number)),
        result,
        i % 4 === 0,
      ),
    ),
  },
  { thin: true, linear: true },
);
