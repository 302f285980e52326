import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { laws } from "../../src/testing/laws.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The test that holds the laws of the library. */
const ofTheLibrary = "test/properties/autodiff.test.ts";

/** The chapters of the page, and the tests in which their laws are. */
const chapters: Readonly<Record<string, readonly string[]>> = {
  "Derivatives and transformations": [ofTheLibrary, "test/gradients/symbolic.test.ts", "test/gradients/rope.test.ts"],
  "Compiled functions, batches and loops": [
    "test/properties/compile.test.ts",
    "test/autograd/vmap.test.ts",
    "test/properties/loops.test.ts",
  ],
  Backends: [
    "test/properties/programs.test.ts",
    "test/properties/programs-on-webgpu.test.ts",
    "test/conformance/random-graphs.test.ts",
    "test/properties/integer-programs.test.ts",
    "test/properties/random.test.ts",
  ],
  "Shapes, views and trees": [
    "test/properties/shapes.test.ts",
    "test/properties/index-expressions.test.ts",
    "test/properties/trees.test.ts",
  ],
  "The compiler": [
    "test/properties/keys.test.ts",
    "test/properties/access.test.ts",
    "test/properties/groups.test.ts",
    "test/properties/barriers.test.ts",
    "test/properties/plans.test.ts",
  ],
};

interface Statement {
  readonly name: string;
  readonly statement: string;
}

/** The laws of a test: of `law`, in whose calls names and statements are literals, and those of the library. */
function lawsIn(path: string): Statement[] {
  const file = ts.createSourceFile(path, readFileSync(join(root, path), "utf8"), ts.ScriptTarget.ES2022, true);
  const found: Statement[] = path === ofTheLibrary ? [...laws] : [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && node.expression.getText(file) === "law") {
      const [name, statement] = node.arguments;
      if (name && statement && ts.isStringLiteralLike(name) && ts.isStringLiteralLike(statement))
        found.push({ name: name.text, statement: statement.text });
      else throw new Error(`${path}: a law whose name and statement are no literals: ${name?.getText(file)}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

const head = `# Laws

What is true of every program, each in words, and the test that holds it against random ones. This page is made from those tests:
\`npx vitest run test/properties/page.test.ts -u\` writes it anew.

\`npm run test:properties\` runs them with fixed seeds. \`npm run test:properties -- --long\` makes ten thousand random programs, and
\`-- --seed random\` draws others and prints the seed, with which \`-- --seed N\` draws them again.

The laws marked with ∘ can be held against functions and modules of your own:

\`\`\`ts
import type { Tensor } from "dawngrad";
import { checkLaws, shapes, tensors } from "dawngrad/testing";

const swish = (x: Tensor): Tensor => x.mul(x.sigmoid());
await checkLaws(swish, [tensors(shapes())]);
\`\`\`

Arguments are fast-check arbitraries or values, a module among them is a tree like any other. Where a law does not hold, the error names
it, says what it states and shows the smallest arguments that were found. \`dawngrad/testing\` also has \`checkGrads\`, and arbitraries of shapes
(\`shapes\`, \`broadcastPairs\`), axes (\`axes\`, \`axisLists\`, \`permutations\`), dtypes and values (\`dtypes\`, \`values\` with edge cases, \`tensors\`). It needs
fast-check: \`npm install --save-dev fast-check\`.
`;

describe("docs/laws.md", () => {
  it("says what the tests hold (vitest -u brings the page up to date)", async () => {
    const own = new Set(laws.map(({ name }): string => name));
    const parts = Object.entries(chapters).map(([title, paths]) => {
      const blocks = paths.flatMap((path) => {
        const rows = lawsIn(path).map(({ name, statement }) => `- **${name}**${own.has(name) ? " ∘" : ""}: ${statement}`);
        return rows.length === 0 ? [] : [`\`${path}\`\n\n${rows.join("\n")}\n`];
      });
      return `## ${title}\n\n${blocks.join("\n")}`;
    });
    await expect(`${head}\n${parts.join("\n")}`).toMatchFileSnapshot(join(root, "docs/laws.md"));
  });

  it("leaves no law out, and names none twice", () => {
    const listed = new Set(Object.values(chapters).flat());
    const tests = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".test.ts"));
    const with_ = tests
      .map((path) => `test/${path.replaceAll("\\", "/")}`)
      .filter((path) => /^\s*law\(/m.test(readFileSync(join(root, path), "utf8")));
    expect(with_.filter((path) => !listed.has(path))).toEqual([]);
    const names = [...listed].flatMap((path) => lawsIn(path).map(({ name }) => name));
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
    expect(names.length).toBeGreaterThan(30);
  });
});
