"""Writes test/golden/modules.safetensors: layers of PyTorch with inputs, outputs and gradients, under the names of their state dicts.

    python3 -m pip install torch safetensors
    python3 test/golden/make_modules.py test/golden/modules.safetensors

For a case: `case.params.NAME`, `case.x` (and others), `case.y`, and `case.grads.NAME` of Σ y·w with the weights w = `case.w`.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
tensors = {}


def case(name, module, forward, **inputs):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((parameter * 64 + torch.randn_like(parameter) * 8).round() / 64)
    x = {key: value for key, value in inputs.items()}
    before = {key: value.clone() for key, value in module.state_dict().items()}
    y = forward(module, **x)
    w = (torch.randn_like(y) * 16).round() / 16
    (y * w).sum().backward()
    found = {"y": y, "w": w, **x}
    found.update({f"params.{key}": value for key, value in before.items()})
    found.update({f"grads.{key}": value.grad for key, value in module.named_parameters()})
    found.update({f"after.{key}": value for key, value in module.state_dict().items() if key not in dict(module.named_parameters())})
    for key, value in found.items():
        tensors[f"{name}.{key}"] = value.detach().float().contiguous() if value.is_floating_point() else value.contiguous()


def random(*shape):
    return (torch.randn(shape) * 16).round() / 16


plain = lambda module, x: module(x)
case("mlp", nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2, bias=False)), plain, x=random(4, 3))
case("embedding", nn.Embedding(7, 3), plain, x=torch.tensor([[1, 6, 1], [0, 6, 2]]))
case("rmsnorm", nn.RMSNorm(6, eps=1e-5), plain, x=random(3, 6))
case("groupnorm", nn.GroupNorm(2, 6), plain, x=random(2, 6, 3, 2))
case("batchnorm", nn.BatchNorm1d(3, momentum=0.25), plain, x=random(4, 3, 2))
used = nn.BatchNorm2d(3)
with torch.no_grad():
    used.running_mean.copy_(random(3))
    used.running_var.copy_(random(3) ** 2 + 1)
case("batchnorm-used", used.eval(), plain, x=random(2, 3, 2, 1))
causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
case("attention", nn.MultiheadAttention(8, 2, batch_first=True), lambda m, x: m(x, x, x, attn_mask=causal, need_weights=False)[0], x=random(2, 4, 8))
case("cross", nn.MultiheadAttention(8, 4, bias=False, batch_first=True), lambda m, x, context: m(x, context, context, need_weights=False)[0], x=random(2, 3, 8), context=random(2, 5, 8))
case("rnn", nn.RNN(3, 4, num_layers=2, batch_first=True), lambda m, x: m(x)[0], x=random(2, 5, 3))
case("gru", nn.GRU(3, 4, num_layers=2, batch_first=True), lambda m, x: m(x)[0], x=random(2, 5, 3))
case("lstm", nn.LSTM(3, 4, num_layers=2, batch_first=True), lambda m, x: m(x)[0], x=random(2, 5, 3))
both = {"num_layers": 2, "batch_first": True, "bidirectional": True}
case("rnn-both", nn.RNN(2, 3, **both), lambda m, x: m(x)[0], x=random(2, 4, 2))
case("gru-both", nn.GRU(2, 3, **both), lambda m, x: m(x)[0], x=random(2, 4, 2))
case("lstm-both", nn.LSTM(2, 3, **both), lambda m, x, h, c: torch.cat([m(x, (h, c))[0].flatten(), *(t.flatten() for t in m(x, (h, c))[1])]), x=random(2, 4, 2), h=random(4, 2, 3), c=random(4, 2, 3))
case("lstm-state", nn.LSTM(3, 4, bias=False, batch_first=True), lambda m, x, h, c: torch.cat([m(x, (h, c))[0][:, -1], m(x, (h, c))[1][1][0]]), x=random(2, 5, 3), h=random(1, 2, 4), c=random(1, 2, 4))
case("cell", nn.GRUCell(3, 4), lambda m, x, h: m(x, h), x=random(2, 3), h=random(2, 4))
case("conv1d", nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), plain, x=random(2, 4, 7))
case("conv2d", nn.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=(1, 2), dilation=(2, 1), bias=False), plain, x=random(2, 2, 5, 4))
save_file(tensors, Path(sys.argv[1]), metadata={"torch": torch.__version__})
