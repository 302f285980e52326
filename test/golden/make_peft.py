"""Writes test/golden/peft/: LoRA adapters that PEFT makes for the Llama of test/golden/llama, and the logits of the adapted models.

    python3 -m pip install torch transformers peft safetensors
    python3 test/golden/make_peft.py test/golden/llama test/golden/peft

With a third folder it reads there what test/golden/write-adapters.mjs wrote instead: PEFT opens each adapter, and its logits must be those of
the golden files that the script wrote beside it.

    python3 test/golden/make_peft.py test/golden/llama test/golden/peft FOLDER
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

warnings.filterwarnings("ignore")
base_folder, folder = Path(sys.argv[1]), Path(sys.argv[2])
tokens = torch.tensor([[3, 14, 15, 9, 26, 53]])


def base_model(tied):
    model = LlamaForCausalLM.from_pretrained(base_folder, dtype=torch.float32, attn_implementation="eager")
    if tied:
        model.config.tie_word_embeddings = True
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


def logits_of(model):
    model.eval()
    with torch.no_grad():
        return model(tokens, use_cache=False).logits


cases = {
    "qv": (False, dict(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])),
    "all-linear": (False, dict(r=3, lora_alpha=4, use_rslora=True, target_modules="all-linear", modules_to_save=["lm_head", "norm"])),
    "patterns": (
        False,
        dict(
            r=2,
            lora_alpha=6,
            target_modules=r"model\.layers\.1\.(self_attn|mlp)\.\w+_proj",
            rank_pattern={"k_proj": 1, r"layers\.1\.mlp\.down_proj": 4},
            alpha_pattern={"k_proj": 3},
        ),
    ),
    "layers": (False, dict(r=2, target_modules=["o_proj", "gate_proj"], exclude_modules=["layers.0.mlp.gate_proj"], layers_to_transform=[0])),
    "tied": (True, dict(r=2, lora_alpha=4, target_modules=["up_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "untied": (True, dict(r=2, lora_alpha=4, target_modules=["up_proj"], modules_to_save=["embed_tokens"])),
}


def make():
    golden = {}
    for name, (tied, options) in cases.items():
        torch.manual_seed(len(name))
        model = get_peft_model(base_model(tied), LoraConfig(task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                if "lora_B" in path:
                    parameter.copy_(0.3 * torch.randn_like(parameter))
                elif "modules_to_save" in path:
                    parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
        logits = logits_of(model)
        target = folder / name
        model.save_pretrained(target)
        (target / "README.md").unlink(missing_ok=True)
        config = json.loads((target / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "../../llama"
        (target / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        golden[name] = {"tied": tied, "logits": logits.flatten().tolist()}
    (folder / "golden.json").write_text(json.dumps({"tokens": tokens.flatten().tolist(), "cases": golden}) + "\n")


def check(written):
    golden = json.loads((written / "golden.json").read_text())
    for name, case in golden.items():
        model = PeftModel.from_pretrained(base_model(case["tied"]), written / name)
        expected = torch.tensor(case["logits"]).reshape(1, len(tokens[0]), -1)
        gap = (logits_of(model) - expected).abs().max().item()
        print(f"{name}: largest difference {gap:.2e}")
        assert gap < 2e-5 * max(1, expected.abs().max().item()), name


if len(sys.argv) > 3:
    check(Path(sys.argv[3]))
else:
    folder.mkdir(parents=True, exist_ok=True)
    make()
