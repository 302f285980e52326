"""Causal attention by itself in PyTorch, fused: forward, and forward with the gradients of q, k and v."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "shared"))

import llama_definition as llama  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from case import measure_in_turn, read_options, report  # noqa: E402

options = read_options(length={"type": int, "default": llama.ATTENTION_LENGTH})
llama.use_device(options)
shape = (1, llama.ATTENTION_HEADS, options.length, llama.ATTENTION_HEAD_DIM)
q, k, v = (llama.numbers(seed, *shape).requires_grad_() for seed in (1, 2, 3))
cotangent = llama.numbers(4, *shape)


def forward() -> None:
    with torch.inference_mode():
        F.scaled_dot_product_attention(q, k, v, is_causal=True)


def both() -> None:
    o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.autograd.grad(o, (q, k, v), cotangent)


cases = measure_in_turn({"forward": forward, "both": both}, options.seconds)
report({"torch": torch.__version__}, adapter=llama.device_of(options), length=options.length, cases=cases)
