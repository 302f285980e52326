"""PyTorch reads one text of W tokens: the loss of each, by one forward pass."""

from llama import SmallLlama  # noqa: I001  it finds the folder of the modules that all scripts share
import llama_definition as llama
import torch
from case import measure, read_options, report

options = read_options(length=llama.TEXT_OPTIONS["length"])
llama.use_device(options)
length = options.length
model = SmallLlama(1, length)
text = llama.tokens(0, 1, length)
nats = 0.0


def read() -> None:
    global nats
    with torch.inference_mode():
        nats = model.losses(*text, reduction="none").double().mean().item()


cases = {"read": measure(read, options.seconds)}
report({"torch": torch.__version__}, adapter=llama.device_of(options), length=length, cases=cases, losses=[nats])
