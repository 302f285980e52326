"""The head of a language model and its loss in PyTorch, with the gradients of both operands."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "shared"))

import llama_definition as llama  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from case import measure, read_options, report  # noqa: E402

options = read_options()
llama.use_device(options)
x = llama.numbers(1, llama.HEAD_TOKENS, llama.HEAD_WIDTH).requires_grad_()
weight = llama.numbers(2, llama.HEAD_VOCABULARY, llama.HEAD_WIDTH).requires_grad_()
targets = llama.head_targets()
losses = [0.0]


def run() -> None:
    loss = F.cross_entropy(F.linear(x, weight), targets)
    torch.autograd.grad(loss, (x, weight))
    losses[0] = loss.item()


cases = {"head": measure(run, options.seconds)}
report({"torch": torch.__version__}, adapter=llama.device_of(options), cases=cases, losses=losses)
