"""One training step of the small Llama in PyTorch: fused attention, fused AdamW, no compiler."""

from llama import SmallLlama  # noqa: I001  it finds the folder of the modules that all scripts share
import llama_definition as llama
import torch
from case import measure_steps, read_options, report

options = read_options(
    **llama.TEXT_OPTIONS,
    compared={"type": int, "default": llama.COMPARED_STEPS},
    checkpoint={"action": "store_true"},
)
llama.use_device(options)
length, compared = options.length, options.compared
batch = llama.batch_of(length, options.tokens)
model = SmallLlama(batch, length, options.checkpoint)
weights = model.weights.values()
optimizer = torch.optim.AdamW(
    [
        {"params": [w for w in weights if w.dim() >= 2], "weight_decay": llama.WEIGHT_DECAY},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ],
    lr=llama.LR,
    betas=llama.BETAS,
    eps=llama.EPS,
    fused=True,
)
batches = [llama.tokens(step, batch, length) for step in range(compared)]
losses: list[float] = []
count = 0


def step() -> None:
    global count
    loss = model.losses(*batches[count % len(batches)])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    count += 1


first, milliseconds = measure_steps(step, options.seconds, compared)
cases = {"step": milliseconds}
report({"torch": torch.__version__}, adapter=llama.device_of(options), batch=batch, length=length, cases=cases, first=first, losses=losses[:compared])
