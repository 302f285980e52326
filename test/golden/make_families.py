"""Writes test/golden/families/: tiny random models of Hugging Face transformers of each family that is read, with logits and greedy tokens.

    python3 -m pip install torch transformers safetensors
    python3 test/golden/make_families.py test/golden/families && npx biome check --write test/golden/families

Each folder has what save_pretrained writes; golden.json has the logits of some tokens, computed in f32 from the stored weights, and the tokens
that greedy generation appends to the first row.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

folder = Path(sys.argv[1])
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)

sizes = dict(
    vocab_size=37,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    attn_implementation="eager",
    bos_token_id=None,
    eos_token_id=None,
)
window = dict(use_sliding_window=True, sliding_window=4)
models = {
    "llama": (LlamaConfig(**sizes, tie_word_embeddings=True), {}),
    "llama-biases": (LlamaConfig(**sizes, attention_bias=True, mlp_bias=True, rope_theta=500.0), {}),
    "mistral": (MistralConfig(**sizes, sliding_window=5), {}),
    "mistral-plain": (MistralConfig(**sizes, sliding_window=None, head_dim=6), dict(dtype=torch.bfloat16)),
    "qwen2": (Qwen2Config(**sizes), dict(max_shard_size="8KB")),
    "qwen2-window": (Qwen2Config(**sizes, **window, max_window_layers=1), dict(dtype=torch.float16)),
    "qwen3": (Qwen3Config(**sizes, head_dim=6, rope_theta=1e6), dict(dtype=torch.bfloat16, max_shard_size="8KB")),
    "qwen3-window": (Qwen3Config(**sizes, head_dim=4, attention_bias=True, **window, max_window_layers=0), {}),
}

golden = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "models": {}}
batch, time, generated = 2, 14, 16
for name, (config, saving) in models.items():
    torch.manual_seed(len(golden["models"]) + 1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            # Larger than at a real start, so that attention is far from uniform and every path carries signal.
            parameter.copy_(1 + 0.2 * torch.randn_like(parameter) if "norm" in path else 0.3 * torch.randn_like(parameter))
    model = model.to(saving.pop("dtype", torch.float32))
    model.save_pretrained(folder / name, **saving)
    (folder / name / "generation_config.json").unlink(missing_ok=True)

    model = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.randint(0, config.vocab_size, (batch, time))
    seen = torch.ones_like(tokens[:1])
    with torch.no_grad():
        logits = model(tokens, use_cache=False).logits
        greedy = model.generate(tokens[:1], attention_mask=seen, max_new_tokens=generated, do_sample=False, pad_token_id=0)[0, time:]
    golden["models"][name] = {
        "shape": [batch, time],
        "tokens": tokens.flatten().tolist(),
        "logits": [float(f"{x:.7g}") for x in logits.flatten().tolist()],
        "greedy": greedy.tolist(),
    }

(folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
