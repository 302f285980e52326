import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { layOut } from "../../src/autograd/explain/layout.js";
import { vjpFormulas } from "../../src/autograd/vjp-formulas.js";
import { createReferenceBackend } from "../../src/backend/reference/index.js";
import { createWasmBackend } from "../../src/backend/wasm/index.js";
import { createWebGpuBackend } from "../../src/backend/webgpu/index.js";
import {
  attention,
  type Backend,
  checkpoint,
  compile,
  createTrainStep,
  customVjp,
  type Explanation,
  explain,
  grad,
  hessian,
  key,
  matmul,
  OptionError,
  randn,
  scan,
  sgd,
  softmax,
  type Tensor,
  tensor,
  UsageError,
  useBackend,
  vmap,
  withBackend,
  zeros,
} from "../../src/index.js";
import { graphKey } from "../../src/ir/graph.js";
import { recordOrigins } from "../../src/ir/origin.js";
import { createRecordingBackend } from "../support/recording-backend.js";

const here = fileURLToPath(import.meta.url);
const backends: Backend[] = [];
beforeAll(async () => {
  backends.push(createReferenceBackend(), await createWasmBackend({ threads: 1 }), await createWebGpuBackend());
});
afterAll(() => Promise.all(backends.map((backend) => backend.close())));
beforeEach(() => {
  useBackend(backends[1]);
});

/** The text after a line of this file that has a mark in it, so that tests need not count lines. */
async function lineWith(mark: string): Promise<number> {
  const lines = (await readFile(here, "utf8")).split("\n");
  return 1 + lines.findIndex((line) => line.includes(`// ${mark}`));
}

const loss = ({ w, x }: { w: Tensor; x: Tensor }): Tensor => {
  const scores = matmul(x, w);
  const p = softmax(scores); // the softmax
  return p.log().mean(); // the log
};
const point = (): { w: Tensor; x: Tensor } => ({ w: zeros([4, 3]), x: zeros([8, 4]) });

/** Functions with everything that graphs are made of. */
const programs: Readonly<Record<string, readonly [f: (x: Tensor) => unknown, x: Tensor]>> = {
  elementwise: [(x) => x.mul(2).sin().sum(), tensor([1, 2, 3])],
  gradient: [grad((x: Tensor) => softmax(x).log().sum()), tensor([1, 2, 3])],
  hessian: [hessian((x: Tensor) => x.sin().square().sum()), tensor([1, 2])],
  "loop and its gradient": [
    grad((xs: Tensor) => scan((c: Tensor, x: Tensor) => [c.mul(x).sin(), c.sum()], xs.sum(0), xs)[1].sum()),
    zeros([5, 3]),
  ],
  checkpoint: [grad((x: Tensor) => checkpoint((y: Tensor) => y.exp().sin().sum())(x)), tensor([1, 2])],
  customVjp: [
    grad((x: Tensor) =>
      customVjp(
        (y: Tensor) => y.log(),
        (y: Tensor) => [y.log(), y] as const,
        (y: Tensor, ct: Tensor) => [ct.div(y.maximum(1e-6))],
      )(x).sum(),
    ),
    tensor([1, 2]),
  ],
  "per-example gradients": [vmap(grad((x: Tensor) => x.exp().sum())), zeros([3, 2])],
  attention: [grad((q: Tensor) => attention(q, q, q, { causal: true }).sum()), zeros([1, 2, 8, 4])],
  "sums, indices and random numbers": [
    (x) => [
      x.argmax(1),
      x.gather(tensor([1, 0], { dtype: "i32" })),
      randn(key(0), [4]),
      x.scatterAdd(tensor([0, 0, 1], { dtype: "i32" }), 2),
    ],
    zeros([3, 4]),
  ],
  "no kernels at all": [(x) => x, zeros([2])],
};

describe("explain.object", () => {
  it("says as text what explain says, for functions, compiled functions and steps of training", () => {
    const f = compile(loss, { name: "loss" });
    expect(String(explain.object(f, point()))).toBe(explain(f, point()));
    expect(explain.object(f, point()).text).toBe(f.explain.object(point()).text);
    expect(explain.object(loss, point()).text.split("\n").slice(1)).toEqual(explain(loss, point()).split("\n").slice(1));
    const step = createTrainStep({ optimizer: sgd(), loss: (w: Tensor, x: Tensor) => w.mul(x).sum() });
    const w = tensor([1, 2]);
    expect(explain.object(step, w, sgd().init(w), tensor([3, 4]), 0.1).kernels.length).toBeGreaterThan(0);
    expect(f.traces).toBe(1);
  });

  it("knows the line of the user's program that made each node, and what was called there", async () => {
    const { nodes } = explain.object(loss, point()).graph;
    const exp = nodes.find(({ operation }) => operation === "exp");
    expect(exp?.line).toMatch(new RegExp(`explain\\.test\\.ts:${await lineWith("the softmax")}:\\d+$`));
    expect(exp?.line?.startsWith(here)).toBe(true);
    expect(exp?.calls[0]).toBe("softmax");
    expect(nodes.find(({ operation }) => operation === "log")?.line).toMatch(new RegExp(`:${await lineWith("the log")}:\\d+$`));
    expect(nodes.filter(({ kind }) => kind === "input").map(({ operation }) => operation)).toEqual(
      expect.arrayContaining(["argument 0 w", "argument 0 x"]),
    );
  });

  it("knows the rule that made each node of a gradient, and the forward node that it belongs to", async () => {
    const { nodes } = explain.object(grad(loss), point()).graph;
    const made = nodes.filter(({ part }) => part === "gradient");
    expect(made.length).toBeGreaterThan(10);
    for (const { rule } of made) expect(rule?.formula).toMatch(/\u0304|ā|ȳ/u);
    const ofLog = made.find(({ rule }) => rule?.of === "log");
    expect(ofLog).toMatchObject({ operation: "div", rule: { formula: "x̄ = ȳ/x" } });
    expect(ofLog?.rule?.line).toMatch(new RegExp(`:${await lineWith("the log")}:\\d+$`));
    // Where the forward value is computed as well, the rule leads to it.
    const ofExp = made.find(({ rule }) => rule?.of === "exp");
    expect(nodes[ofExp?.rule?.node as number]?.operation).toBe("exp");
    expect(ofExp?.rule?.calls[0]).toBe("softmax");
    for (const { rule, part } of nodes) expect(rule !== undefined).toBe(part === "gradient");
  });

  it("finds lines inside of loops, calls and batches of examples too", async () => {
    const f = (xs: Tensor): Tensor =>
      scan(
        (c: Tensor, x: Tensor) => [checkpoint((y: Tensor) => y.exp())(c.mul(x)), c], // inside of the loop
        xs.sum(0),
        xs,
      )[1].sum();
    const wanted = new RegExp(`:${await lineWith("inside of the loop")}:\\d+$`);
    const found = new Set<string>();
    const visit = ({ nodes }: Explanation["graph"], within: string): void => {
      for (const node of nodes) {
        if (node.operation === "exp") {
          found.add(`${within}${node.part}`);
          expect(node.line).toMatch(wanted);
        }
        if (node.rule?.of === "exp") {
          found.add(`${within}rule`);
          expect(node.rule.line).toMatch(wanted);
        }
        if (node.body !== undefined) visit(node.body, `${within}${node.operation} `);
      }
    };
    visit(explain.object(vmap(grad(f)), zeros([2, 3, 4])).graph, "");
    expect([...found].join("; ")).toMatch(/loop × 3 .*rule/);
  });

  it("changes nothing of what is computed: graphs are the same whether origins are noted or not", () => {
    for (const [name, [f, x]] of Object.entries(programs)) {
      const graphs = [false, true].map((noted) => {
        const { backend, recorded } = createRecordingBackend();
        const end = noted ? recordOrigins() : () => undefined;
        withBackend(backend, () => explain(f, x));
        end();
        return graphKey(recorded.at(-1)?.graph as never);
      });
      expect(graphs[0], name).toBe(graphs[1]);
    }
  });

  it("has the formulas that the rules have in their comments", async () => {
    const source = await readFile(new URL("../../src/autograd/vjp.ts", import.meta.url), "utf8");
    const comments = source.slice(source.indexOf("export const vjpRules"));
    const words = (text: string): string => text.replace(/[\s,:]+/g, " ");
    let compared = 0;
    for (const [, comment, name] of comments.matchAll(/^ {2}\/\/ (.*)\n {2}(\w+):/gm)) {
      const formula = vjpFormulas[name as keyof typeof vjpFormulas];
      const [first = ""] = words(comment as string).split(" each in the dtype");
      expect(first.startsWith(words(formula).slice(0, first.length)) || words(formula).startsWith(first), name).toBe(true);
      compared++;
    }
    expect(compared).toBeGreaterThan(25);
    for (const name of Object.keys(vjpFormulas))
      expect(comments.includes(`\n  ${name}: flat`), name).toBe(vjpFormulas[name as "exp"] === "0");
  });

  it("counts operations and bytes by the loops of the kernels", () => {
    const count = (f: (...args: Tensor[]) => unknown, ...args: Tensor[]): [flops: number, read: number, written: number] => {
      const { flops, bytesRead, bytesWritten } = explain.object(f, ...args);
      return [flops, bytesRead, bytesWritten];
    };
    for (const backend of backends) {
      useBackend(backend);
      const [a, b] = [randn(key(1), [6, 5]), randn(key(2), [5, 7])];
      expect(
        count((x, y) => matmul(x as Tensor, y as Tensor), a, b),
        backend.info.name,
      ).toEqual([2 * 6 * 5 * 7, 4 * (30 + 35), 4 * 42]);
      expect(count((x) => x?.add(x), a)).toEqual([30, 120, 120]);
      expect(count((x) => x?.transpose().exp(), a).slice(0, 1)).toEqual([30]);
      expect(count((x) => x?.sum(1), a)).toEqual([30, 120, 24]);
      expect(count((x) => x?.less(0), a)).toEqual(backend.info.name === "reference" ? expect.arrayContaining([0]) : [0, 120, 120]);
      expect(count((x) => scan((c: Tensor, y: Tensor) => [c.mul(y), null], x?.sum(0) as Tensor, x as Tensor)[0], a)[0]).toBe(30 + 30);
      const index = tensor([1, 4], { dtype: "i32" });
      expect(count((x, i) => x?.gather(i as Tensor), a, index)[0]).toBe(0);
    }
    // Fused kernels compute what the single operations do, and move less.
    const fused = count((x) => softmax(x as Tensor), zeros([64, 32]));
    useBackend(backends[0]);
    const single = count((x) => softmax(x as Tensor), zeros([64, 32]));
    expect(fused[0]).toBe(single[0]);
    expect(fused[1] + fused[2]).toBeLessThan(0.5 * (single[1] + single[2]));
    const { intensity, kernels } = explain.object((x: Tensor) => matmul(x, x), zeros([64, 64]));
    expect(intensity).toBeCloseTo((2 * 64 ** 3) / (3 * 4 * 64 ** 2 - 4 * 64 ** 2), 10);
    expect(kernels[0]?.number).toBe(0);
  });

  it("knows when memory holds what, without overlaps", () => {
    const chosen = ["gradient", "hessian", "loop and its gradient", "attention"];
    for (const backend of backends.slice(0, 2)) {
      useBackend(backend);
      for (const [name, [f, x]] of Object.entries(programs).filter(([program]) => chosen.includes(program))) {
        const { memory, kernels } = explain.object(f, x);
        expect(memory.liveBytes).toHaveLength(kernels.length);
        expect(memory.peakBytes).toBe(Math.max(0, ...memory.liveBytes));
        const scratch = memory.values.filter(({ use }) => use === "scratch");
        for (const a of scratch) {
          expect(a.first, name).toBeLessThanOrEqual(a.last);
          expect(a.last).toBeLessThanOrEqual(Math.max(0, kernels.length - 1));
          for (const b of scratch) {
            // What is written over what it was made of is in the same slot.
            if (a === b || a.slot === b.slot || a.last < b.first || b.last < a.first) continue;
            expect(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset, `${name}: two values at one place`).toBe(true);
          }
        }
        for (const { reads, writes } of kernels) for (const value of [...reads, ...writes]) expect(memory.values[value]).toBeDefined();
      }
    }
  });

  it("lists the code of every kernel: WGSL, WebAssembly as text, or the operation", () => {
    for (const [i, opening] of [/^%?\w+/, /^\(func \$k\d+/, /@compute/].entries()) {
      useBackend(backends[i] as Backend);
      for (const [name, [f, x]] of Object.entries(programs)) {
        if (i === 2 && name !== "gradient") continue;
        const found = explain.object(f, x);
        for (const { number } of found.kernels) expect(found.listing(number), name).toMatch(opening);
        expect(() => found.listing(found.kernels.length)).toThrow(OptionError);
      }
    }
    useBackend(backends[1]);
    const code = explain.object((x: Tensor) => x.mul(x), zeros([64])).listing(0);
    expect(code).toContain("f32x4.mul");
    // Blocks end where they began.
    const opened = code.match(/^\s*(if|loop|block)\b/gm)?.length ?? 0;
    expect(code.match(/^\s*end\b/gm)?.length ?? 0).toBe(opened);
  });

  it("refuses what it cannot explain with typed errors", () => {
    expect(() => explain.object(3 as never)).toThrow(OptionError);
    expect(() => explain.object(loss, point()).toSvg({ maxNodes: 0 })).toThrow(OptionError);
    expect(() => explain.object(loss, point()).toSvg({ nodes: 3 } as never)).toThrow(OptionError);
    expect(() => withBackend(createRecordingBackend().backend, () => explain.object(loss, point()))).toThrow(UsageError);
  });
});

/** Throws unless a text is XML whose elements are closed in the order in which they were opened. */
function checkXml(text: string): Map<string, number> {
  const open: string[] = [];
  const counts = new Map<string, number>();
  let at = 0;
  for (const found of text.matchAll(/<(\/?)([a-z]+)((?: [a-zA-Z:-]+="[^"<]*")*)(\/?)>/g)) {
    const between = text.slice(at, found.index);
    if (/[<>]|&(?!#\d+;)/.test(between)) throw new Error(`no XML: ${between}`);
    at = found.index + found[0].length;
    const [, closing, name = "", , empty] = found;
    if (closing === "/") {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
    } else {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      if (empty !== "/") open.push(name);
    }
  }
  if (open.length > 0 || text.slice(at).trim() !== "") throw new Error(`<${open.join("><")}> is not closed`);
  return counts;
}

describe("pictures", () => {
  const hostile = '<script>&"]]>\\ \u0000';

  it("are SVG that is whole, needs no other file and says NaN nowhere", () => {
    for (const [name, [f, x]] of Object.entries(programs)) {
      const found = explain.object(compile(f, { name: `${name} ${hostile}` }), x);
      const svg = found.toSvg({ listings: true });
      const counts = checkXml(svg);
      expect(svg.startsWith('<svg xmlns="http://www.w3.org/2000/svg"')).toBe(true);
      expect(svg.replace("http://www.w3.org/2000/svg", "")).not.toMatch(/href|https?:|url\(|NaN|<script/);
      const shown = found.graph.nodes.filter(({ operation }) => operation !== "const").length;
      expect(counts.get("g"), name).toBeGreaterThanOrEqual(shown);
    }
    const svg = explain.object(grad(loss), point()).toSvg();
    for (const part of ["x̄ = ȳ/x", "argument 0 w", "Memory over time", "FLOP/byte", "explain.test.ts:"]) expect(svg).toContain(part);
  });

  it("draw kernels where the graph is too large, and groups of them where these are too many", () => {
    const deep = explain.object((x: Tensor) => Array.from({ length: 40 }).reduce((y: Tensor) => matmul(y, x), x), zeros([4, 4]));
    const boxes = (svg: string): number => svg.match(/class="box /g)?.length ?? 0;
    expect(boxes(deep.toSvg())).toBe(41);
    expect(boxes(deep.toSvg({ maxNodes: 40 }))).toBe(40);
    expect(deep.toSvg({ maxNodes: 40 })).toContain("41 nodes; drawn are its kernels");
    expect(boxes(deep.toSvg({ maxNodes: 10 }))).toBe(10);
    expect(deep.toSvg({ maxNodes: 10 })).toContain("its kernels, 4 to a box");
    checkXml(deep.toSvg({ maxNodes: 1 }));
  });

  it("are in the language of Graphviz as well: a node for each value, an edge for each operand, a cluster for each body", () => {
    useBackend(backends[0]);
    for (const [name, [f, x]] of Object.entries(programs)) {
      const found = explain.object(compile(f, { name: `${name} ${hostile}` }), x);
      const { graph } = found;
      const dot = found.toDot();
      const outside = dot.replace(/"(?:[^"\\]|\\.)*"/g, '""');
      expect(outside.match(/\{/g)).toHaveLength(outside.match(/\}/g)?.length ?? -1);
      const all = (of: Explanation["graph"]): Explanation["graph"]["nodes"] =>
        of.nodes.flatMap((node) => [node, ...(node.body ? all(node.body) : [])]);
      const nodes = all(graph);
      expect(outside.split('[label=""')).toHaveLength(1 + nodes.length);
      expect(outside.match(/->/g)?.length ?? 0).toBe(nodes.reduce((n, { inputs }) => n + inputs.length, 0));
      expect(outside.match(/subgraph/g)?.length ?? 0).toBe(nodes.filter(({ body }) => body !== undefined).length);
    }
  });

  it("lay graphs out so that no two boxes overlap and every edge leads down", () => {
    const boxes = fc.array(
      fc.tuple(fc.integer({ min: 10, max: 120 }), fc.integer({ min: 10, max: 60 }), fc.array(fc.nat(), { maxLength: 3 })),
      {
        maxLength: 40,
      },
    );
    const holds = fc.property(boxes, (list) => {
      const given = list.map(([width, height, reads], i) => ({ width, height, inputs: i === 0 ? [] : reads.map((n) => n % i) }));
      const { places, edges, width, height } = layOut(given);
      given.forEach((a, i) => {
        const p = places[i] as { x: number; y: number };
        expect(p.x - a.width / 2).toBeGreaterThanOrEqual(-1e-6);
        expect(p.x + a.width / 2).toBeLessThanOrEqual(width + 1e-6);
        expect(p.y + a.height).toBeLessThanOrEqual(height + 1e-6);
        given.slice(0, i).forEach((b, j) => {
          const q = places[j] as { x: number; y: number };
          const apartX = Math.abs(p.x - q.x) >= (a.width + b.width) / 2 - 1e-6;
          const apartY = p.y >= q.y + b.height || q.y >= p.y + a.height;
          expect(apartX || apartY).toBe(true);
        });
      });
      for (const { from, to, points } of edges) {
        expect(points[0]?.[1]).toBe((places[from]?.y ?? 0) + (given[from]?.height ?? 0));
        expect(points.at(-1)?.[1]).toBe(places[to]?.y);
        points.reduce((before, point) => {
          expect(point[1]).toBeGreaterThan(before[1]);
          return point;
        });
      }
    });
    fc.assert(holds, { seed: 5, numRuns: 60 });
  });
});
