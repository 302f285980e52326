import { beforeAll, describe, expect, it } from "vitest";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import {
  broadcastArrays,
  chunk,
  DtypeError,
  diag,
  diagEmbed,
  diagonal,
  eye,
  flatten,
  meshgrid,
  moveaxis,
  OptionError,
  type PadMode,
  pad,
  type Range,
  repeat,
  roll,
  ShapeError,
  slice,
  type Tensor,
  tensor,
  tile,
  trace,
  tril,
  triu,
  unstack,
  useBackend,
  zeros,
} from "../../src/index.js";
import { type CompositeCase, counted, element, on, type Plain, tabulate, testComposites } from "../support/composite-cases.js";

/** x at other coordinates: what every movement is. */
const moved = (x: Plain, shape: readonly number[], from: (...at: number[]) => readonly number[]): Plain =>
  tabulate(shape, (...at) => element(x, ...from(...at)));

/** The places of one range, as a loop that counts. */
function placesOf(range: Range, extent: number): number[] {
  const step = range?.[2] ?? 1;
  const at = (position: number | null | undefined, missing: number): number =>
    position == null ? missing : position < 0 ? position + extent : position;
  const [first, end] = [at(range?.[0], step > 0 ? 0 : extent - 1), at(range?.[1], step > 0 ? extent : -1)];
  const places: number[] = [];
  for (let i = first; step > 0 ? i < end : i > end; i += step) places.push(i);
  return places;
}

function sliced(x: Plain, ...ranges: Range[]): CompositeCase {
  const places = x.shape.map((extent, axis) => placesOf(ranges[axis] ?? null, extent));
  const expected = moved(
    x,
    places.map(({ length }) => length),
    (...at) => at.map((p, axis) => (places[axis] as number[])[p] as number),
  );
  return on((t: Tensor) => slice(t, ranges), [x], expected);
}

/** The place of an element that is mirrored or repeated, found by walking there one step after another. */
function walked(mode: PadMode, place: number, n: number): number {
  if (n === 1) return 0;
  if (mode === "edge") return place < 0 ? 0 : place >= n ? n - 1 : place;
  let [i, direction] = [0, 1];
  for (let step = 0; step < Math.abs(place); step++) {
    const back = place < 0 ? -1 : 1;
    const next = i + direction * back;
    if (next >= 0 && next < n) i = next;
    else if (mode === "wrap") i = next < 0 ? n - 1 : 0;
    else {
      direction = -direction;
      if (mode === "reflect") i += direction * back;
    }
  }
  return i;
}

function padded(x: Plain, mode: PadMode, ...widths: [number, number][]): CompositeCase {
  const shape = x.shape.map((extent, axis) => extent + (widths[axis]?.[0] ?? 0) + (widths[axis]?.[1] ?? 0));
  const expected = moved(x, shape, (...at) => at.map((p, axis) => walked(mode, p - (widths[axis]?.[0] ?? 0), x.shape[axis] as number)));
  return on((t: Tensor) => pad(t, widths, mode), [x], expected);
}

const x = counted(3, 4);
const cube = counted(2, 3, 4);
const vector = counted(5);

/** Several results one after another. */
const joined = (parts: readonly Plain[]): Plain => ({
  shape: [parts.reduce((n, { data }) => n + data.length, 0)],
  data: parts.flatMap(({ data }) => data),
});
const concatenated = (parts: readonly Tensor[]): Tensor =>
  (parts as [Tensor, ...Tensor[]])
    .map((part) => part.ravel())
    .reduce((all, part) => pad(all, [[0, part.size]]).add(pad(part, [[all.size, 0]])));
const several = (f: (...args: never[]) => Tensor[], args: readonly Plain[], parts: readonly Plain[]): CompositeCase =>
  on((...tensors: never[]) => concatenated(f(...tensors)), args, joined(parts));

const modulo = (a: number, n: number): number => ((a % n) + n) % n;
const modes: readonly PadMode[] = ["edge", "reflect", "symmetric", "wrap"];

testComposites(
  "movement",
  {
    slice: [
      sliced(x, [1, 3], [0, 4, 2]),
      sliced(x, [null, null, -1]),
      sliced(x, [], [-1, 0, -2]),
      sliced(x, [-2], [null, -1]),
      sliced(vector, [3, null, -1]),
      sliced(vector, [3, 0, -1]),
      sliced(vector, [4, 1, -3]),
      sliced(vector, [-1, -5, -2]),
      sliced(vector, [null, null, -2]),
      sliced(vector, [null, null, -7]),
      sliced(vector, [2, 2, -1]),
      sliced(counted(0, 2), [null, null, -1], [null, null, -1]),
      sliced(cube, [1, null, -1], null, [3, 0, -2]),
    ],
    "pad that goes on": [
      ...modes.map((mode) => padded(counted(3), mode, [2, 1])),
      ...modes.map((mode) => padded(counted(3), mode, [7, 8])),
      ...modes.map((mode) => padded(counted(2, 3), mode, [1, 2], [2, 0])),
      ...modes.map((mode) => padded(counted(1, 2), mode, [2, 3], [0, 0])),
    ],
    roll: [
      on(
        (t: Tensor) => roll(t, 2, 0),
        [vector],
        moved(vector, [5], (i) => [modulo(i - 2, 5)]),
      ),
      on((t: Tensor) => t.roll(-13), [x], { shape: [3, 4], data: [...Array(12).keys()].map((i) => modulo(i + 13, 12) + 1) }),
      on(
        (t: Tensor) => roll(t, [1, -1], [0, -1]),
        [cube],
        moved(cube, [2, 3, 4], (i, j, k) => [modulo(i - 1, 2), j, modulo(k + 1, 4)]),
      ),
      on(
        (t: Tensor) => roll(t, 1, [0, 1]),
        [x],
        moved(x, [3, 4], (i, j) => [modulo(i - 1, 3), modulo(j - 1, 4)]),
      ),
      on((t: Tensor) => roll(t, 5, 0), [vector], vector),
      on((t: Tensor) => roll(t, 1), [counted(0)], counted(0)),
    ],
    tile: [
      on(
        (t: Tensor) => tile(t, 2),
        [vector],
        moved(vector, [10], (i) => [i % 5]),
      ),
      on(
        (t: Tensor) => tile(t, [2, 1, 2]),
        [x],
        moved(x, [2, 3, 8], (_, i, j) => [i, j % 4]),
      ),
      on(
        (t: Tensor) => tile(t, 2),
        [x],
        moved(x, [3, 8], (i, j) => [i, j % 4]),
      ),
      on((t: Tensor) => tile(t, [0, 2]), [x], counted(0, 8)),
      on((t: Tensor) => tile(t, []), [counted()], counted()),
    ],
    repeat: [
      on(
        (t: Tensor) => repeat(t, 2, 1),
        [x],
        moved(x, [3, 8], (i, j) => [i, Math.floor(j / 2)]),
      ),
      on(
        (t: Tensor) => repeat(t, 3),
        [counted(2)],
        moved(counted(2), [6], (i) => [Math.floor(i / 3)]),
      ),
      on(
        (t: Tensor) => repeat(t, [2, 0, 1], 0),
        [x],
        moved(x, [3, 4], (i, j) => [i === 2 ? 2 : 0, j]),
      ),
      on((t: Tensor) => repeat(t, 0, -1), [x], counted(3, 0)),
      on((t: Tensor) => repeat(t, [], 0), [counted(0, 2)], counted(0, 2)),
    ],
    "flatten and ravel": [
      on((t: Tensor) => t.ravel(), [cube], { shape: [24], data: cube.data }),
      on((t: Tensor) => flatten(t, 1), [cube], { shape: [2, 12], data: cube.data }),
      on((t: Tensor) => t.flatten(0, -2), [cube], { shape: [6, 4], data: cube.data }),
      on((t: Tensor) => t.flatten(), [counted()], counted(1)),
      on((t: Tensor) => t.expandDims([0, -1]), [x], counted(1, 3, 4, 1)),
      on((t: Tensor) => t.expandDims(1), [x], counted(3, 1, 4)),
    ],
    "moveaxis and swapaxes": [
      on(
        (t: Tensor) => moveaxis(t, 0, -1),
        [cube],
        moved(cube, [3, 4, 2], (j, k, i) => [i, j, k]),
      ),
      on(
        (t: Tensor) => moveaxis(t, [2, 0], [0, 1]),
        [cube],
        moved(cube, [4, 2, 3], (k, i, j) => [i, j, k]),
      ),
      on(
        (t: Tensor) => t.swapaxes(0, -1),
        [cube],
        moved(cube, [4, 3, 2], (k, j, i) => [i, j, k]),
      ),
    ],
    "split, chunk and unstack": [
      several(
        (t: Tensor) => t.split(2, 1),
        [x],
        [0, 2].map((from) => moved(x, [3, 2], (i, j) => [i, j + from])),
      ),
      several((t: Tensor) => t.split([1, 0, 3], -1), [x], [moved(x, [3, 1], (i) => [i, 0]), moved(x, [3, 3], (i, j) => [i, j + 1])]),
      several((t: Tensor) => chunk(t, 3), [counted(7)], [{ shape: [7], data: counted(7).data }]),
      several(
        (t: Tensor) => unstack(t, 1).reverse(),
        [x],
        [3, 2, 1, 0].map((j) => moved(x, [3], (i) => [i, j])),
      ),
    ],
    "meshgrid and broadcastArrays": [
      several(
        (a: Tensor, b: Tensor) => meshgrid([a, b]),
        [counted(2), counted(3)],
        [tabulate([3, 2], (_, j) => j + 1), tabulate([3, 2], (i) => i + 1)],
      ),
      several(
        (a: Tensor, b: Tensor, c: Tensor) => meshgrid([a, b, c], { indexing: "ij" }),
        [counted(2), counted(3), counted()],
        [tabulate([2, 3, 1], (i) => i + 1), tabulate([2, 3, 1], (_, j) => j + 1), tabulate([2, 3, 1], () => 1)],
      ),
      several(
        (a: Tensor, b: Tensor) => broadcastArrays([a, b]),
        [counted(2, 1), counted(3)],
        [tabulate([2, 3], (i) => i + 1), tabulate([2, 3], (_, j) => j + 1)],
      ),
    ],
    diagonal: [
      ...[-3, -2, 0, 1, 3, 4].map((k) => {
        const count = Math.max(0, Math.min(3 - Math.max(-k, 0), 4 - Math.max(k, 0)));
        return on(
          (t: Tensor) => diagonal(t, k),
          [x],
          moved(x, [count], (i) => [i + Math.max(-k, 0), i + Math.max(k, 0)]),
        );
      }),
      on(
        (t: Tensor) => t.diagonal(1, -1, 0),
        [cube],
        moved(cube, [3, 1], (j, i) => [i + 1, j, i]),
      ),
      on((t: Tensor) => trace(t, -1), [x], { shape: [], data: [5 + 10] }),
      on((t: Tensor) => t.trace(0, 1, 2), [cube], { shape: [2], data: [1 + 6 + 11, 13 + 18 + 23] }),
      on((t: Tensor) => t.diagonal(), [counted(0, 3)], counted(0)),
    ],
    diag: [
      ...[-2, 0, 1].map((k) =>
        on(
          (t: Tensor) => diag(t, k),
          [counted(3)],
          tabulate([3 + Math.abs(k), 3 + Math.abs(k)], (i, j) => (j - i === k ? Math.min(i, j) + 1 : 0)),
        ),
      ),
      on(
        (t: Tensor) => diag(t, 1),
        [x],
        moved(x, [3], (i) => [i, i + 1]),
      ),
      on(
        (t: Tensor) => diagEmbed(t, -1),
        [counted(2, 2)],
        tabulate([2, 3, 3], (b, i, j) => (i - j === 1 ? 2 * b + j + 1 : 0)),
      ),
      on(
        (t: Tensor) => diag(t, 2),
        [counted(0)],
        tabulate([2, 2], () => 0),
      ),
    ],
    eye: [
      on(
        () => eye(3, { columns: 2 }),
        [],
        tabulate([3, 2], (i, j) => Number(i === j)),
      ),
      on(
        () => eye(2, { columns: 4, k: 1, dtype: "i32" }),
        [],
        tabulate([2, 4], (i, j) => Number(j - i === 1), "i32"),
      ),
    ],
  },
  { thin: true, linear: true },
);

describe("movement", () => {
  beforeAll(() => {
    useBackend(createReferenceBackend());
  });
  const m = zeros([2, 3]);

  it("keeps integers and bools", async () => {
    for (const dtype of ["i32", "u32", "bool"] as const) {
      const square = tensor([1, 1, 0, 1], { shape: [2, 2], dtype });
      for (const f of [
        triu,
        tril,
        diag,
        diagEmbed,
        (x: Tensor) =>
          pad(x, [
            [0, 0],
            [1, 1],
          ]),
      ])
        expect(f(square).dtype).toBe(dtype);
      expect(await triu(square).cast("i32").array()).toEqual([
        [1, 1],
        [0, 1],
      ]);
    }
    const bits = tensor([true, false]);
    expect(await pad(bits, [[1, 1]], "wrap").array()).toEqual([false, true, false, true]);
    expect(await diag(bits).array()).toEqual([
      [true, false],
      [false, false],
    ]);
    expect(await tensor([4000000001, 2], { dtype: "u32" }).roll(1).array()).toEqual([2, 4000000001]);
  });

  it("chunk gives parts of equal extent but for the last, and fewer where there is no more", () => {
    const extents = (n: number, count: number): unknown[] => chunk(zeros([n]), count).map(({ shape }) => shape[0]);
    expect([extents(7, 3), extents(6, 4), extents(5, 5), extents(2, 5), extents(0, 3)]).toEqual([
      [3, 3, 1],
      [2, 2, 2],
      [1, 1, 1, 1, 1],
      [1, 1],
      [0],
    ]);
  });

  it.each([
    ["a start behind a backward range's stop", ShapeError, () => slice(m, [null, [0, 2, -1]])],
    ["a backward range that begins outside", ShapeError, () => slice(m, [null, [3, 0, -1]])],
    ["a backward range that ends outside", ShapeError, () => slice(m, [null, [2, -5, -1]])],
    ["a step of 0", ShapeError, () => slice(m, [[0, 1, 0]])],
    ["reflecting nothing", ShapeError, () => pad(zeros([0]), [[1, 0]], "reflect")],
    [
      "wrapping by negative widths",
      ShapeError,
      () =>
        pad(
          m,
          [
            [-1, 0],
            [0, 0],
          ],
          "wrap",
        ),
    ],
    ["too few widths", ShapeError, () => pad(m, [[1, 0]], "edge")],
    [
      "another library's word for a mode",
      OptionError,
      () =>
        pad(
          m,
          [
            [1, 0],
            [0, 0],
          ],
          "replicate" as PadMode,
        ),
    ],
    ["parts that are not equal", ShapeError, () => m.split(2, 1)],
    ["rolling without axes by several", OptionError, () => roll(m, [1, 2])],
    ["rolling by two along one axis", ShapeError, () => roll(m, [1, 2], [0])],
    ["counts that do not fit", ShapeError, () => repeat(m, [1, 2, 3], 0)],
    ["moving an axis to two places", ShapeError, () => moveaxis(m, 0, [0, 1])],
    ["moving an axis twice", ShapeError, () => moveaxis(m, [0, -2], [0, 1])],
    ["flattening backwards", ShapeError, () => flatten(m, 1, 0)],
    ["a grid of matrices", ShapeError, () => meshgrid([m])],
    ["arrays that do not broadcast", ShapeError, () => broadcastArrays([m, zeros([2])])],
    ["the diagonal of a vector", ShapeError, () => diagonal(zeros([3]))],
    ["the diagonal of one axis twice", ShapeError, () => diagonal(m, 0, 1, -1)],
    ["the diagonal matrix of a cube", ShapeError, () => diag(zeros([1, 1, 1]))],
    ["a scalar on a diagonal", ShapeError, () => diagEmbed(zeros([]))],
    ["an axis of two names", ShapeError, () => m.expandDims([0, 0])],
    ["an identity of no dtype", DtypeError, () => eye(2, { dtype: "f23" as "f32" })],
  ] as const)("refuses %s", (_, error, call) => expect(call).toThrow(error));

  it("words of other libraries are answered with the word here", () => {
    const hints = ["replicate", "circular", "symetric"].map((mode) => {
      try {
        pad(
          m,
          [
            [0, 0],
            [0, 0],
          ],
          mode as PadMode,
        );
      } catch (error) {
        return (error as OptionError).hint;
      }
      return undefined;
    });
    expect(hints).toEqual(['write "edge"', 'write "wrap"', 'did you mean "symmetric"?']);
  });
});
