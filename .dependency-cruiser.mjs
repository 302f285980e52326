/**
 * What may import what; `npm run check` holds it. From top to bottom: each part of src/ and all that it may import beside itself.
 *
 *   cli → e2llm → nn → autograd → ir      compiler → ir      backend/* → compiler, ir
 *
 * The two halves meet in the interface of backends: tensors know nothing below it, and no backend knows of tensors.
 */
const common = ["errors.ts", "arguments.ts"];
const mayImport = {
  "index.ts": ["errors.ts", "init.ts", "e2llm/", "nn/", "autograd/", "backend/backend.ts", "ir/"],
  // The command looks at the machine itself, for `doctor`.
  "cli/": [
    ...common,
    "init.ts",
    "e2llm/",
    "nn/",
    "autograd/",
    "ir/",
    "backend/[^/]+.ts",
    "backend/webgpu/adapter.ts",
    "backend/wasm/features.ts",
    "platform/optional-packages.ts",
  ],
  // The one place that starts backends.
  "init.ts": [...common, "autograd/runtime.ts", "backend/[^/]+.ts", "backend/[^/]+/index.ts", "platform/"],
  "e2llm/": [...common, "nn/", "autograd/", "ir/"],
  "nn/": [...common, "autograd/", "ir/", "platform/"],
  // What users test their own operations with: the public functions, and fast-check.
  "testing/": [...common, "autograd/", "ir/"],
  "autograd/": [...common, "backend/backend.ts", "backend/checking.ts", "ir/"],
  "backend/webgpu/": [...common, "backend/[^/]+.ts", "compiler/", "ir/", "platform/"],
  "backend/wasm/": [...common, "backend/[^/]+.ts", "compiler/", "ir/", "platform/"],
  // The oracle of the other two shares no pass with them.
  "backend/reference/": [...common, "backend/[^/]+.ts", "ir/", "platform/"],
  "backend/[^/]+.ts": [...common, "ir/", "platform/"],
  "backend/backend.ts": ["ir/"],
  "compiler/": [...common, "ir/"],
  "ir/": common,
  "platform/": ["errors.ts"],
  "arguments.ts": ["errors.ts"],
  "errors.ts": [],
};

const inSource = (part) => `^src/${part.replace(/\.ts$/, "\\.ts$")}`;
const parts = Object.keys(mayImport).map(inSource);

export default {
  forbidden: [
    {
      name: "circle",
      comment: "What two files need of each other, be it a type, belongs into a third, or both are one.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "unknown part",
      comment: "Say in .dependency-cruiser.mjs what this part of src/ may import.",
      severity: "error",
      from: { path: "^src/", pathNot: parts },
      to: {},
    },
    ...Object.entries(mayImport).map(([part, others]) => ({
      name: `arrow from ${part}`,
      comment: `src/${part} may import ${others.join(", ") || "nothing"}.`,
      severity: "error",
      from: { path: inSource(part) },
      to: { path: "^(src|dist|test|bench|examples|scripts)/", pathNot: [part, ...others].map(inSource) },
    })),
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsConfig: { fileName: "tsconfig.json" },
    // Imports of types are imports.
    tsPreCompilationDeps: true,
  },
};
