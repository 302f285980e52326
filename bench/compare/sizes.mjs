// The sizes at which training steps and readings of long texts are measured.
import { positiveInteger } from "../shared/case.mjs";
import { batchOf } from "../shared/llama.mjs";

/** T of the steps; software adapters of WebGPU take too long for the longest. */
const lengths = { webgpu: [128, 256, 512, 1024, 2048, 4096], others: [128, 256, 512, 1024, 2048, 4096, 8192] };
/** T of the step that keeps what each layer begins with alone. */
const checkpointed = 16384;
/** W of the readings. */
const contexts = [1024, 2048, 4096, 8192, 16384, 32768, 65536];

/** Who can compute a layer a second time in the backward pass instead of keeping all of it. */
const hasCheckpoints = (name) => /^(dawngrad|PyTorch)/.test(name);
const never = () => false;

/** From an option, "128,256": increasing. */
function chosen(option, text) {
  const sizes = text.split(",").map((size) => positiveInteger(option, size));
  return sizes.sort((a, b) => a - b);
}

/** Steps whose losses are compared at each length. */
const compared = ["--compared", "2"];

/** Sizes of the workload "lengths". A length with a "c" behind it, as in 16384c, is a step with checkpoints. */
export function stepSizes({ lengths: text, backend }) {
  const plain = (text ?? "").split(",").filter((size) => size !== "" && !size.endsWith("c"));
  const withCheckpoints = (text ?? "").split(",").filter((size) => size.endsWith("c"));
  const all = {
    plain: text === undefined ? (lengths[backend] ?? lengths.others) : plain.length === 0 ? [] : chosen("lengths", plain.join()),
    checkpointed:
      text === undefined
        ? backend === "webgpu"
          ? []
          : [checkpointed]
        : withCheckpoints.map((size) => positiveInteger("lengths", size.slice(0, -1))),
  };
  const size = (length, checkpoint) => ({
    label: `T = ${length} (× ${batchOf(length)})${checkpoint ? " with checkpoints" : ""}`,
    length,
    batch: batchOf(length),
    checkpoint,
    argumentsFor: (name) => ["--length", String(length), ...compared, ...(checkpoint && hasCheckpoints(name) ? ["--checkpoint"] : [])],
    apart: (name) => checkpoint && hasCheckpoints(name),
  });
  return [...all.plain.map((length) => size(length, false)), ...all.checkpointed.map((length) => size(length, true))];
}

/** Sizes of the workload "evaluation". */
export function readingSizes({ contexts: text }) {
  const all = text === undefined ? contexts : chosen("contexts", text);
  return all.map((length) => ({
    label: `W = ${length}`,
    length,
    batch: 1,
    checkpoint: false,
    argumentsFor: () => ["--length", String(length)],
    apart: never,
  }));
}

/** The one size of a workload that has no others. */
export const onlySize = { label: "", argumentsFor: () => [], apart: never };
