import { indented, steps, type Target } from "./source.js";

/** How the invocations of a workgroup tell each other their numbers: in a subgroup that is the workgroup, or through workgroup memory. */
export interface Team {
  /** Invocations. */
  readonly width: number;
  readonly subgroups: boolean;
  /** Variables of the module. */
  readonly memory: readonly string[];
  /** What comes before numbers are shared anew. */
  readonly barrier: readonly string[];
  /** let name = value, which is known to be the same in all invocations. */
  uniform(name: string, value: string): string[];
  /** let to0, to1, … = what numbers from0, from1, … of all invocations come to, in an order that is always the same. */
  reduce(rows: readonly number[], by: "max" | "+", from: string, to: string): string[];
  /** Shows numbers name0, name1, … of each invocation to all. */
  share(rows: readonly number[], name: string): string[];
  /** The number of invocation `lane` that was shared. */
  shared(name: string, row: number, lane: string): string;
  /** Adds the vectors of invocations that are `stride` apart, `count` of them, in the first `stride` invocations. */
  addSlices(name: string, count: number, stride: number): string[];
}

/** A workgroup that is one subgroup. */
export function subgroupTeam(width: number, target: Target): Team {
  return {
    width,
    subgroups: true,
    memory: [],
    barrier: [],
    uniform: (name, value) => [`let ${name} = ${value};`],
    reduce: (rows, by, from, to) => rows.map((x) => `let ${to}${x} = ${by === "max" ? "subgroupMax" : "subgroupAdd"}(${from}${x});`),
    share: () => [],
    shared: (name, row, lane) => `subgroupShuffle(${name}${row}, ${lane})`,
    addSlices: (name, count, stride) => [
      "{",
      `  let own = ${name};`,
      `  for (var s = 1u; s < ${steps(count, target)}; s++) { ${name} += subgroupShuffle(own, (lane + s * ${stride}u) % ${width}u); }`,
      "}",
    ],
  };
}

/** Invocations of a workgroup without subgroups. */
const width = 64;
/** Invocations that reduce the numbers of one row, each as many as they are. */
const reducers = Math.sqrt(width);

/** A workgroup whose invocations share numbers of up to eight rows in workgroup memory, whose reads all lie between two barriers. */
export function workgroupTeam(rows: number, target: Target): Team {
  const share = (list: readonly number[], name: string): string[] => [
    ...list.map((x) => `shared_numbers[${x * width}u + lane] = ${name}${x};`),
    "workgroupBarrier();",
  ];
  return {
    width,
    subgroups: false,
    memory: [
      `var<workgroup> shared_numbers: array<f32, ${rows * width}>;`,
      `var<workgroup> reduced: array<f32, ${width}>;`,
      `var<workgroup> shared_vectors: array<vec4<f32>, ${width}>;`,
      "var<workgroup> shared_bounds: vec2<u32>;",
    ],
    barrier: ["workgroupBarrier();"],
    uniform: (name, value) => [`if (lane == 0u) { shared_bounds = ${value}; }`, `let ${name} = workgroupUniformLoad(&shared_bounds);`],
    reduce: (list, by, from, to) => {
      const combine = (a: string, b: string): string => (by === "max" ? `max(${a}, ${b})` : `${a} + ${b}`);
      return [
        ...share(list, from),
        "{",
        ...indented([
          `let at = min(lane / ${reducers}u, ${rows - 1}u) * ${width}u + lane % ${reducers}u * ${reducers}u;`,
          "var whole = shared_numbers[at];",
          `for (var e = 1u; e < ${steps(reducers, target)}; e++) { whole = ${combine("whole", "shared_numbers[at + e]")}; }`,
          "reduced[lane] = whole;",
        ]),
        "}",
        "workgroupBarrier();",
        ...list.flatMap((x) => [
          `var ${to}${x} = reduced[${x * reducers}u];`,
          `for (var e = 1u; e < ${steps(reducers, target)}; e++) { ${to}${x} = ${combine(`${to}${x}`, `reduced[${x * reducers}u + e]`)}; }`,
        ]),
      ];
    },
    share,
    shared: (_, row, lane) => `shared_numbers[${row * width}u + ${lane}]`,
    addSlices: (name, count, stride) => [
      `shared_vectors[lane] = ${name};`,
      "workgroupBarrier();",
      `for (var s = 1u; s < ${steps(count, target)}; s++) { ${name} += shared_vectors[(lane + s * ${stride}u) % ${width}u]; }`,
      "workgroupBarrier();",
    ],
  };
}
