/** What other programs call the options of this one, for "did you mean". Each list is tried in its order. */
const spellings: readonly (readonly [options: readonly string[], names: readonly string[]])[] = [
  [["batch"], ["batch-size", "bs", "num-sequences"]],
  [
    ["micro-batch", "batch"],
    [
      "micro-batch-size",
      "microbatch",
      "per-device-train-batch-size",
      "device-batch-size",
      "gradient-accumulation-steps",
      "grad-accum",
      "accumulate-grad-batches",
    ],
  ],
  [["checkpoint"], ["gradient-checkpointing", "activation-checkpointing", "recompute", "rematerialize", "remat", "grad-checkpoint"]],
  [["lr"], ["learning-rate", "learningrate", "max-lr", "peak-lr", "rate", "alpha"]],
  [
    ["tokens", "steps"],
    ["max-tokens", "max-new-tokens", "num-tokens", "n-tokens", "n-predict", "new-tokens", "bytes", "max-bytes", "num-predict"],
  ],
  [
    ["steps"],
    [
      "max-steps",
      "num-steps",
      "n-steps",
      "train-steps",
      "num-train-steps",
      "iters",
      "iterations",
      "max-iters",
      "num-iters",
      "epochs",
      "num-epochs",
      "num-train-epochs",
    ],
  ],
  [["weight-decay"], ["wd", "decay", "l2"]],
  [["clip"], ["grad-clip", "clip-grad", "gradient-clip", "gradient-clipping", "max-grad-norm", "max-norm", "clip-norm"]],
  [["warmup"], ["warmup-steps", "warmup-iters", "num-warmup-steps", "warm-up"]],
  [["save-every"], ["save-steps", "save-interval", "checkpoint-every", "checkpoint-interval", "checkpoint-steps", "eval-interval"]],
  [
    ["length", "contexts", "tokens"],
    [
      "seq-len",
      "seq-length",
      "sequence-length",
      "seqlen",
      "max-length",
      "max-seq-len",
      "max-seq-length",
      "train-length",
      "training-length",
      "max-len",
    ],
  ],
  [
    ["window", "contexts"],
    [
      "context",
      "context-length",
      "context-window",
      "context-size",
      "ctx",
      "ctx-size",
      "n-ctx",
      "block-size",
      "window-size",
      "max-position-embeddings",
      "contexts-lengths",
    ],
  ],
  [["hidden"], ["hidden-size", "hidden-dim", "d-model", "dim", "model-dim", "n-embd", "n-embed", "embed-dim", "width", "embedding-size"]],
  [["layers"], ["num-layers", "n-layers", "n-layer", "num-hidden-layers", "depth", "blocks"]],
  [["heads"], ["num-heads", "n-heads", "n-head", "num-attention-heads", "attention-heads"]],
  [["kv-heads"], ["num-kv-heads", "n-kv-heads", "n-kv-head", "num-key-value-heads", "key-value-heads", "kvheads"]],
  [["intermediate"], ["intermediate-size", "ffn", "ffn-dim", "d-ff", "mlp-dim", "mlp", "feed-forward", "ffn-hidden-size"]],
  [["text"], ["data", "dataset", "data-dir", "data-path", "input", "corpus", "file", "train-file", "txt"]],
  [["out"], ["output", "output-dir", "out-dir", "outdir", "output-folder", "save-dir", "dest", "destination", "o"]],
  [
    ["model", "resume"],
    ["model-path", "model-dir", "model-name-or-path", "checkpoint", "ckpt", "checkpoint-path", "weights", "from", "load", "m"],
  ],
  [["resume"], ["continue", "resume-from", "resume-from-checkpoint", "init-from", "restore"]],
  [["force"], ["overwrite", "overwrite-output-dir", "replace", "f"]],
  [["prompt"], ["input-text", "start", "text", "p"]],
  [["temperature"], ["temp", "t", "sampling-temperature"]],
  [["top-k"], ["topk", "k", "top"]],
  [["seed"], ["random-seed", "rng-seed", "manual-seed", "random-state"]],
  [["schedule"], ["scaling", "rope-scaling", "rope-schedule", "rope", "rope-type"]],
  [["scale"], ["factor", "rope-factor", "scaling-factor", "rope-scale", "g"]],
  [["g-max"], ["gmax", "max-scale", "max-g", "scale-max", "scales"]],
  [["method"], ["mode", "algorithm"]],
  [["targets"], ["num-targets", "eval-tokens", "num-samples", "samples"]],
  [["contexts"], ["lengths", "context-lengths", "eval-contexts"]],
  [["extend-steps"], ["e2-steps", "extension-steps", "finetune-steps"]],
  [["backend"], ["device", "accelerator", "provider", "engine"]],
  [["adapter"], ["gpu", "gpu-name", "device-name"]],
  [["threads"], ["num-threads", "n-threads", "workers", "num-workers", "cores", "cpus", "jobs", "j"]],
  [["verbose"], ["debug", "trace", "v"]],
  [["json"], ["format-json", "output-json", "as-json"]],
];

/** The option of a command that a flag of another program stands for; both without their dashes. */
export function otherSpelling(flag: string, options: ReadonlySet<string>): string | undefined {
  const name = flag.toLowerCase().replaceAll("_", "-");
  if (options.has(name)) return name;
  for (const [candidates, names] of spellings) {
    if (!names.includes(name)) continue;
    const found = candidates.find((candidate) => options.has(candidate));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Every option that the table names, for a test that all of them exist. */
export const spelledOptions: ReadonlySet<string> = new Set(spellings.flatMap(([options]) => options));
