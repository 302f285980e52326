// Who is compared, how each is started and how one finds out whether it is installed. A script gets --threads and --seconds
// and prints one line of JSON (see shared/case.mjs).
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { packageFolder as llamaFolder } from "../peers/llama.cpp/package.mjs";

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url));
const inPackage = (folder) => () => existsSync(path(`peers/node_modules/${folder}`));
const install = "npm ci --prefix bench/peers";

/** The Python that has PyTorch. */
const python = process.env.PYTHON ?? "python3";
const hasTorch = () => spawnSync(python, ["-c", "import torch"]).status === 0;
const hasCuda = () => spawnSync(python, ["-c", "import torch; assert torch.cuda.is_available()"]).status === 0;

/** Node 20 hides relaxed SIMD, with which dawngrad multiplies and adds in one instruction, behind this switch. */
const relaxedSimd = "--experimental-wasm-relaxed-simd";
const hidesRelaxedSimd = process.versions.node.startsWith("20.");

/** The scripts of a library in a folder, named for their workloads. */
const scriptsIn = (folder, names, suffix = "mjs") =>
  Object.fromEntries(names.map((name) => [name, `${folder}/${name === "lengths" ? "step" : name}.${suffix}`]));
const everywhere = ["matmul", "step", "lengths", "evaluation", "attention", "head"];
const alone = ["elementwise", "shapes", "attention-definition"];
/** What long contexts are measured by, where dawngrad has relaxed SIMD as in every newer Node. */
const long = ["lengths", "evaluation", "attention", "attention-definition", "head", "lora", "decoding"];

/**
 * name; the scripts of its workloads; how to start a script; the ways to run it, each in some workloads ("as it comes": in Node
 * these libraries use one thread unless one helps them); whether it is here, and what brings it here.
 * `sized`: its products take --sides and --calls.
 * @param backend which backend runs, of dawngrad and of peers that have it
 */
export function contestants({ backend }) {
  const node = (script) => [process.execPath, path(script)];
  const ofBackend = (script) => [...node(script), "--backend", backend];
  const fused = hidesRelaxedSimd && backend === "wasm";
  return [
    {
      name: "dawngrad",
      sized: true,
      scripts: scriptsIn("dawngrad", [...everywhere, ...alone, "lora", "decoding"]),
      start: ofBackend,
      ways: [
        { name: "dawngrad", workloads: ["matmul", "step", "elementwise", "shapes", ...(fused ? [] : long)] },
        { name: "dawngrad, 1 thread", threads: 1, workloads: ["step"] },
        ...(fused
          ? [{ name: "dawngrad, relaxed SIMD", nodeOptions: [relaxedSimd], workloads: ["matmul", "step", "elementwise", ...long] }]
          : []),
        {
          name: "dawngrad, all logits at once",
          nodeOptions: fused ? [relaxedSimd] : [],
          arguments: ["--logits"],
          workloads: ["head"],
        },
      ],
      installed: () => existsSync(path("../dist/index.js")),
      remedy: "npm ci && npm run build",
    },
    {
      name: "jax-js",
      sized: true,
      scripts: scriptsIn("peers/jax-js", everywhere),
      start: (script) => (backend === "webgpu" ? ofBackend(script) : node(script)),
      ways: [
        { name: "jax-js", workloads: everywhere },
        ...(backend === "webgpu" ? [] : [{ name: "jax-js as it comes", threads: 1, workloads: ["matmul", "step"] }]),
      ],
      installed: inPackage("@jax-js/jax"),
      remedy: install,
    },
    {
      name: "TensorFlow.js",
      scripts: scriptsIn("peers/tfjs", everywhere),
      start: node,
      ways: [
        { name: "TensorFlow.js", workloads: everywhere },
        { name: "TensorFlow.js as it comes", threads: 1, workloads: ["matmul", "step"] },
      ],
      installed: inPackage("@tensorflow/tfjs-backend-wasm"),
      remedy: install,
    },
    {
      name: "onnxruntime-node",
      scripts: scriptsIn("peers/onnxruntime", ["matmul"]), // it runs models and does not train them
      start: node,
      ways: [{ name: "onnxruntime-node", workloads: ["matmul"] }],
      installed: inPackage("onnxruntime-node"),
      remedy: install,
    },
    {
      name: "llama.cpp",
      scripts: scriptsIn("peers/llama.cpp", ["decoding"]),
      start: node,
      ways: [{ name: "llama.cpp", workloads: ["decoding"] }],
      installed: () => existsSync(llamaFolder),
      remedy:
        "npm install --prefix bench/peers --no-save node-llama-cpp@3.22.1, or name a folder that has it in its node_modules: LLAMA=FOLDER",
    },
    {
      name: "PyTorch",
      sized: true,
      scripts: scriptsIn("peers/pytorch", [...everywhere, "lora"], "py"), // the latter with transformers and peft
      start: (script) => [python, path(script)],
      // Beside WebGPU, on a GPU where it finds one.
      ways:
        backend === "webgpu" && hasCuda()
          ? [{ name: "PyTorch, CUDA", workloads: [...everywhere, "lora"], arguments: ["--device", "cuda"] }]
          : [{ name: "PyTorch", workloads: [...everywhere, "lora"] }],
      installed: hasTorch,
      remedy: "pip install torch (in the Python that the environment variable PYTHON names, python3 by default)",
    },
  ];
}

/** The command of a way to run a script of a contestant. */
export function commandOf({ scripts, start }, way, workload, { threads, seconds, arguments: given = [] }) {
  const [program, ...rest] = start(scripts[workload]);
  const timing = ["--threads", String(way.threads ?? threads), "--seconds", String(seconds)];
  return [program, ...(way.nodeOptions ?? []), ...rest, ...timing, ...given, ...(way.arguments ?? [])];
}
