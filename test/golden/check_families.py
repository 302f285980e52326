"""Writes test/golden/families/exports.json: what Hugging Face's transformers finds in the folders of write-families.mjs.

    python3 -m pip install torch transformers safetensors
    npm run build && node test/golden/write-families.mjs /tmp/families
    python3 test/golden/check_families.py /tmp/families test/golden/families && npx biome check --write test/golden/families

Of each folder: the class that opens it, the dtype of its weights, config.json, and the largest difference of its logits from those of the
original model with its weights in that dtype, both computed in f32 (at scale 2 the original's RoPE is scaled by transformers itself).
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

exports, folder = Path(sys.argv[1]), Path(sys.argv[2])
golden = json.loads((folder / "golden.json").read_text())["models"]
dtypes = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "g2": torch.float32}


def logits(path, tokens, dtype, config):
    model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=dtype, attn_implementation="eager").float().eval()
    with torch.no_grad():
        return type(model).__name__, model(tokens, use_cache=False).logits


found = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "exports": {}}
for path in sorted(exports.iterdir()):
    name, kind = path.name.rsplit("-", 1)
    tokens = torch.tensor(golden[name]["tokens"]).view(golden[name]["shape"])
    original = AutoConfig.from_pretrained(folder / name)
    if kind == "g2":
        original.rope_parameters = {**original.rope_parameters, "rope_type": "linear", "factor": 2.0}
    opened, ours = logits(path, tokens, dtypes[kind], None)
    _, theirs = logits(folder / name, tokens, dtypes[kind], original)
    stored = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    found["exports"][path.name] = {
        "class": opened,
        "dtype": str(stored.dtype),
        "difference": (ours - theirs).abs().max().item(),
        "config": json.loads((path / "config.json").read_text()),
    }
(folder / "exports.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")
