"""One training step of the small Llama in PyTorch on the CPU: fused attention, fused AdamW, no compiler."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "shared"))

import llama_definition as llama  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from case import measure, once, read_options, report  # noqa: E402

options = read_options()
torch.set_num_threads(options.threads)
cos, sin = llama.rope_angles()
weights = {name: weight.requires_grad_() for name, weight in llama.initial_weights().items()}


def rope(x: torch.Tensor) -> torch.Tensor:
    """Split-half rotation, [B, H, T, D]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def norm(x: torch.Tensor, name: str) -> torch.Tensor:
    return F.rms_norm(x, (llama.WIDTH,), weights[name], llama.NORM_EPS)


def heads(x: torch.Tensor, name: str) -> torch.Tensor:
    """[B, T, C] → [B, H, T, D]"""
    return F.linear(x, weights[name]).view(llama.BATCH, llama.LENGTH, llama.HEADS, llama.HEAD_DIM).transpose(1, 2)


def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    x = F.embedding(inputs, weights["model.embed_tokens.weight"])
    for i in range(llama.LAYERS):
        layer = f"model.layers.{i}"
        y = norm(x, f"{layer}.input_layernorm.weight")
        q, k, v = (heads(y, f"{layer}.self_attn.{part}_proj.weight") for part in "qkv")
        y = F.scaled_dot_product_attention(rope(q), rope(k), v, is_causal=True)
        y = y.transpose(1, 2).reshape(llama.BATCH, llama.LENGTH, llama.WIDTH)
        x = x + F.linear(y, weights[f"{layer}.self_attn.o_proj.weight"])
        y = norm(x, f"{layer}.post_attention_layernorm.weight")
        gate, up = (F.linear(y, weights[f"{layer}.mlp.{part}_proj.weight"]) for part in ("gate", "up"))
        x = x + F.linear(F.silu(gate) * up, weights[f"{layer}.mlp.down_proj.weight"])
    logits = F.linear(norm(x, "model.norm.weight"), weights["lm_head.weight"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


optimizer = torch.optim.AdamW(
    [
        {"params": [w for w in weights.values() if w.dim() >= 2], "weight_decay": llama.WEIGHT_DECAY},
        {"params": [w for w in weights.values() if w.dim() < 2], "weight_decay": 0.0},
    ],
    lr=llama.LR,
    betas=llama.BETAS,
    eps=llama.EPS,
    fused=True,
)
batches = [llama.tokens(step) for step in range(llama.COMPARED_STEPS)]
losses: list[float] = []
count = 0


def step() -> None:
    global count
    loss = loss_of(*batches[count % len(batches)])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    count += 1


first = once(step)
while count < llama.COMPARED_STEPS:
    step()
cases = {"step": measure(step, options.seconds)}
report({"torch": torch.__version__}, cases=cases, first=first, losses=losses[: llama.COMPARED_STEPS])
