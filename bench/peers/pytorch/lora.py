"""One step of LoRA on a model of the shape of SmolLM2-135M with Hugging Face's transformers and PEFT."""

import llama  # noqa: F401, I001  it finds the folder of the modules that all scripts share
import time

import llama_definition as definition
import peft
import torch
import transformers
from case import measure_steps, read_options, report

options = read_options(
    length={"type": int, "default": 256},
    compared={"type": int, "default": 2},
    checkpoint={"action": "store_true"},
)
definition.use_device(options)
config = transformers.LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    head_dim=64,
    rms_norm_eps=1e-5,
    rope_theta=100000.0,
    tie_word_embeddings=True,
    max_position_embeddings=8192,
)
with torch.device("meta"):
    base = transformers.LlamaForCausalLM(config)
base = base.to_empty(device=options.device)
base.model.rotary_emb = type(base.model.rotary_emb)(config)
base.tie_weights()
model = peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
if options.checkpoint:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()

# In the order in which dawngrad's tree has them: weight, A and B of each matrix.
place = 0


def fill(parameter: torch.Tensor, is_a: bool = False) -> None:
    global place
    with torch.no_grad():
        if parameter.dim() == 1:
            parameter.fill_(1)
        else:
            parameter.copy_(definition.numbers(place % 32, *parameter.shape) * (12**0.5 * (0.04 if is_a else 0.02)))
            place += 1


def fill_linear(linear: torch.nn.Module) -> None:
    fill(linear.base_layer.weight)
    fill(linear.lora_A["default"].weight, True)


decoder = base.model
fill(decoder.embed_tokens.weight)
for layer in decoder.layers:
    fill(layer.input_layernorm.weight)
    for name in "qkvo":
        fill_linear(getattr(layer.self_attn, f"{name}_proj"))
    fill(layer.post_attention_layernorm.weight)
    for name in ("gate", "up", "down"):
        fill_linear(getattr(layer.mlp, f"{name}_proj"))
fill(decoder.norm.weight)
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
batches = [definition.tokens(step, 1, options.length) for step in range(options.compared)]
losses: list[float] = []
processor: list[float] = []
model.train()


def step() -> None:
    before = time.process_time()
    inputs, targets = batches[len(losses) % len(batches)]
    hidden = decoder(inputs, use_cache=False).last_hidden_state
    loss = torch.nn.functional.cross_entropy(base.lm_head(hidden)[0], targets[0])
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    losses.append(loss.item())
    processor.append((time.process_time() - before) * 1e3)


first, milliseconds = measure_steps(step, options.seconds, options.compared)
cases = {"step": milliseconds, "processor": processor[-len(milliseconds) :]}
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
report(versions, adapter=definition.device_of(options), length=options.length, cases=cases, first=first, losses=losses[: options.compared])
