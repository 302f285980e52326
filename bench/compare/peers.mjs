// Who is compared, how each is started and how one finds out whether it is installed. A script gets --threads and --seconds
// and prints one line of JSON (see shared/case.mjs).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url));
const inPackage = (folder) => () => existsSync(path(`peers/node_modules/${folder}`));
const install = "npm ci --prefix bench/peers";

/** The Python that has PyTorch. */
const python = process.env.PYTHON ?? "python3";
const hasTorch = () => spawnSync(python, ["-c", "import torch"]).status === 0;

/** Node 20 hides relaxed SIMD, with which dawngrad multiplies and adds in one instruction, behind this switch. */
const relaxedSimd = "--experimental-wasm-relaxed-simd";
const hidesRelaxedSimd = process.versions.node.startsWith("20.");

/**
 * name; the scripts of its workloads; how to start a script; other ways to run it, each in some workloads ("as it comes": in Node
 * these libraries use one thread unless one helps them); whether it is here, and what brings it here.
 * @param backend which backend of dawngrad runs
 */
export function contestants({ backend }) {
  const node = (script) => [process.execPath, path(script)];
  return [
    {
      name: "dawngrad",
      scripts: { matmul: "dawngrad/matmul.mjs", step: "dawngrad/step.mjs" },
      start: (script) => [...node(script), "--backend", backend],
      variants: [
        { name: "dawngrad, 1 thread", threads: 1, workloads: ["step"] },
        ...(hidesRelaxedSimd && backend === "wasm"
          ? [{ name: "dawngrad, relaxed SIMD", nodeOptions: [relaxedSimd], workloads: ["matmul", "step"] }]
          : []),
      ],
      installed: () => existsSync(path("../dist/index.js")),
      remedy: "npm ci && npm run build",
    },
    {
      name: "jax-js",
      scripts: { matmul: "peers/jax-js/matmul.mjs", step: "peers/jax-js/step.mjs" },
      start: node,
      variants: [{ name: "jax-js as it comes", threads: 1, workloads: ["matmul", "step"] }],
      installed: inPackage("@jax-js/jax"),
      remedy: install,
    },
    {
      name: "TensorFlow.js",
      scripts: { matmul: "peers/tfjs/matmul.mjs", step: "peers/tfjs/step.mjs" },
      start: node,
      variants: [{ name: "TensorFlow.js as it comes", threads: 1, workloads: ["matmul", "step"] }],
      installed: inPackage("@tensorflow/tfjs-backend-wasm"),
      remedy: install,
    },
    {
      name: "onnxruntime-node",
      scripts: { matmul: "peers/onnxruntime/matmul.mjs" }, // it runs models and does not train them
      start: node,
      installed: inPackage("onnxruntime-node"),
      remedy: install,
    },
    {
      name: "PyTorch",
      scripts: { matmul: "peers/pytorch/matmul.py", step: "peers/pytorch/step.py" },
      start: (script) => [python, path(script)],
      installed: hasTorch,
      remedy: "pip install torch (in the Python that the environment variable PYTHON names, python3 by default)",
    },
  ];
}
