"""Writes test/golden/ropes/: what Hugging Face's transformers computes with every RoPE type that it knows.

    python3 -m pip install torch transformers safetensors
    npm run build && node test/golden/write-exports.mjs /tmp/exports
    python3 test/golden/make_ropes.py /tmp/exports test/golden/ropes

schedules.json: frequencies and attention factor from the keys that this library writes, in both forms and each alone.
llama.json: logits, loss and gradients of the model of test/golden/llama beyond its window, with RoPE objects written by hand here.
export.json: logits and greedy tokens of that model as this library exports it at two scales.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, LlamaRMSNorm

exports, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
llama = Path(__file__).parent / "llama"
versions = {"torch": torch.__version__, "transformers": transformers.__version__}


def numbers(tensor, digits=9):
    return [float(f"{x:.{digits}g}") for x in tensor.detach().double().flatten().tolist()]


def write(name, content):
    (folder / name).write_text(json.dumps({"versions": versions, **content}, separators=(",", ":")) + "\n")


def frequencies(keys, head_dim, length):
    keys = json.loads(json.dumps(keys))  # transformers writes into what it is given
    config = LlamaConfig.from_dict({"hidden_size": head_dim, "num_attention_heads": 1, "head_dim": head_dim, **keys})
    rotary = LlamaRotaryEmbedding(config)
    rotary(torch.zeros(1), torch.arange(length)[None])
    return rotary.inv_freq, float(rotary.attention_scaling)


def schedules():
    found = []
    for case in json.loads((exports / "schedules.json").read_text()):
        keys, head_dim, length = case["config"], case["options"]["headDim"], case["length"]
        inv_freq, factor = frequencies(keys, head_dim, length)
        older = {key: value for key, value in keys.items() if key != "rope_parameters"}
        newer = {key: value for key, value in keys.items() if key not in ("rope_scaling", "rope_theta")}
        for form in (older, newer):
            again, factor_again = frequencies(form, head_dim, length)
            assert torch.equal(inv_freq, again) and factor == factor_again, case
        found.append({**case, "invFreq": numbers(inv_freq), "attentionFactor": factor})
    return found


WINDOW = 16
ORIGINAL = {"original_max_position_embeddings": WINDOW}
ROPES = {
    "linear": (4 * WINDOW, {"rope_type": "linear", "factor": 4.0}),
    "dynamic": (WINDOW, {"rope_type": "dynamic", "factor": 2.0}),
    "yarn": (4 * WINDOW, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}),
    "llama3": (4 * WINDOW, {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}),
    "longrope": (
        4 * WINDOW,
        {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0, 1.0, 1.25, 1.5], "long_factor": [1.0, 1.5, 3.0, 4.0], **ORIGINAL},
    ),
    "proportional": (4 * WINDOW, {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 4.0}),
}


def gradients_of():
    """In f64 but for frequencies and angles, which are made as transformers makes them, in f32."""
    kept = LlamaRMSNorm.forward, torch.nn.functional.softmax
    LlamaRMSNorm.forward = lambda self, x: self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))
    torch.nn.functional.softmax = lambda x, dim=-1, dtype=None: kept[1](x, dim=dim)
    cases = []
    torch.manual_seed(7)
    base = json.loads((llama / "config.json").read_text())
    for time in (12, 40):
        tokens = torch.randint(0, base["vocab_size"], (1, time + 1))
        for name, (positions, rope) in ROPES.items():
            rope = {**rope, "rope_theta": 10000.0}
            keys = {**base, "max_position_embeddings": positions, "rope_parameters": rope}
            config = LlamaConfig.from_dict(json.loads(json.dumps(keys)))
            config._attn_implementation = "eager"
            model = LlamaForCausalLM.from_pretrained(llama, config=config, dtype=torch.float64)
            rotary = LlamaRotaryEmbedding(config)  # with frequencies in f32 whatever the dtype of the model
            model.model.rotary_emb = rotary
            logits = model(tokens[:, :-1], use_cache=False).logits
            assert logits.dtype == torch.float64
            loss = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:])
            loss.backward()
            parameters = dict(model.named_parameters())
            wanted = [f"model.layers.{layer}.self_attn.{which}_proj.weight" for layer in (0, 1) for which in "qk"]
            cases.append(
                {
                    "name": f"{name} at {time} tokens",
                    "rope": {"max_position_embeddings": positions, "rope_parameters": rope},
                    "inputs": tokens[0, :-1].tolist(),
                    "targets": tokens[0, 1:].tolist(),
                    "logits": numbers(logits[0, :: time // 4]),
                    "every": time // 4,
                    "loss": loss.item(),
                    "gradNorms": {name: p.grad.norm().item() for name, p in parameters.items()},
                    "gradients": {name: numbers(parameters[name].grad)[:24] for name in wanted},
                }
            )
    LlamaRMSNorm.forward, torch.nn.functional.softmax = kept
    return cases


def greedy():
    cases = []
    torch.manual_seed(11)
    for scale in (2, 4):
        model = AutoModelForCausalLM.from_pretrained(exports / f"g{scale}", dtype=torch.float32)
        reach = model.config.max_position_embeddings
        prompt = torch.randint(0, model.config.vocab_size, (1, reach - 24))
        with torch.no_grad():
            everything = torch.ones_like(prompt)  # or token 0 would be taken for padding
            whole = model.generate(prompt, attention_mask=everything, max_new_tokens=24, do_sample=False, pad_token_id=0)
            logits = model(whole[:, :-1]).logits[0]
        assert whole[0, prompt.shape[1] :].tolist() == logits[prompt.shape[1] - 1 :].argmax(-1).tolist()
        margin = (logits.topk(2).values @ torch.tensor([1.0, -1.0]))[prompt.shape[1] - 1 :].min().item()
        assert margin > 1e-3, margin  # far above rounding, so that greedy tokens are no matter of luck
        cases.append(
            {
                "scale": scale,
                "config": json.loads((exports / f"g{scale}" / "config.json").read_text()),
                "prompt": prompt[0].tolist(),
                "greedy": whole[0, prompt.shape[1] :].tolist(),
                "every": 8,
                "logits": numbers(logits[::8], 8),
            }
        )
    return cases


write("schedules.json", {"cases": schedules()})
write("llama.json", {"cases": gradients_of()})
write("export.json", {"cases": greedy()})
