"""Writes test/golden/llama/: a tiny Llama of Hugging Face transformers with its logits, loss, gradients and ten AdamW steps.

    python3 -m pip install torch transformers safetensors
    python3 test/golden/make_llama.py test/golden/llama

Weights are f32; everything that is computed from them is computed in f64, so that the numbers are the truth for any backend.
"""

import json
import math
import sys
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(20240117)

config = LlamaConfig(
    vocab_size=61,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=32,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    tie_word_embeddings=False,
    initializer_range=0.02,
    attention_bias=False,
    mlp_bias=False,
    attn_implementation="eager",
)
model = LlamaForCausalLM(config)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        # Larger than at a real start, so that attention is far from uniform and every path carries signal.
        parameter.copy_(1 + 0.2 * torch.randn_like(parameter) if "norm" in name else 0.25 * torch.randn_like(parameter))
model.save_pretrained(folder)
(folder / "generation_config.json").unlink(missing_ok=True)

model = model.double()
# Tables in f32 would limit the truth to f32: make the frequencies again in f64.
rotary = model.model.rotary_emb
rotary.inv_freq = 1.0 / config.rope_parameters["rope_theta"] ** (torch.arange(0, 8, 2, dtype=torch.float64) / 8)


class F64Rotary(torch.nn.Module):
    def forward(self, x, position_ids):
        angles = position_ids[:, :, None].double() * rotary.inv_freq[None, None, :]
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


model.model.rotary_emb = F64Rotary()

# transformers normalises in f32 whatever the dtype of the model, which would limit the truth to f32 as well.
def norm_forward(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


transformers.models.llama.modeling_llama.LlamaRMSNorm.forward = norm_forward
softmax = torch.nn.functional.softmax
torch.nn.functional.softmax = lambda x, dim=-1, dtype=None: softmax(x, dim=dim)

batch, time = 2, 12
tokens = torch.randint(0, config.vocab_size, (batch, time + 1))
inputs, targets = tokens[:, :-1], tokens[:, 1:]


def loss_of():
    logits = model(inputs, use_cache=False).logits
    assert logits.dtype == torch.float64
    return logits, torch.nn.functional.cross_entropy(logits.reshape(-1, config.vocab_size), targets.reshape(-1))


def numbers(tensor):
    return [float(f"{x:.12g}") for x in tensor.detach().flatten().tolist()]


logits, loss = loss_of()
loss.backward()
wanted = [
    "model.embed_tokens.weight",
    "model.layers.0.input_layernorm.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.self_attn.k_proj.weight",
    "model.layers.1.self_attn.v_proj.weight",
    "model.layers.1.self_attn.o_proj.weight",
    "model.layers.1.mlp.down_proj.weight",
    "model.norm.weight",
]
parameters = dict(model.named_parameters())
golden = {
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    "shape": [batch, time],
    "inputs": inputs.flatten().tolist(),
    "targets": targets.flatten().tolist(),
    "logits": numbers(logits),
    "loss": loss.item(),
    "gradNorms": {name: p.grad.norm().item() for name, p in parameters.items()},
    # The first 40 elements of each: enough to tell a transposed or a scaled gradient.
    "gradients": {name: numbers(parameters[name].grad)[:40] for name in wanted},
}

weights, others = [p for p in model.parameters() if p.dim() >= 2], [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW(
    [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1.0, betas=(0.9, 0.95), eps=1e-8
)
steps = []
for step in range(10):
    lr = 0.01 * (0.5 + 0.5 * math.cos(math.pi * step / 10))
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    _, loss = loss_of()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    steps.append({"lr": lr, "loss": loss.item(), "gradNorm": norm.item()})
golden["training"] = {"betas": [0.9, 0.95], "eps": 1e-8, "weightDecay": 0.1, "maxNorm": 1.0, "steps": steps}

(folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
