"""The numbers of llama.mjs for PyTorch: the same hash, the same weights, the same tokens."""

import argparse
import math

import case
import torch

VOCABULARY, WIDTH, FEED_FORWARD, LAYERS, HEADS, HEAD_DIM = 256, 128, 352, 4, 4, 32
NORM_EPS, ROPE_THETA, INITIALIZER_RANGE = 1e-5, 10000.0, 0.02
STEP_TOKENS, SHORT_LENGTH = 2048, 128
LR, BETAS, EPS, WEIGHT_DECAY = 1e-3, (0.9, 0.95), 1e-8, 0.1
COMPARED_STEPS = 5
MATMUL_SIDES = (512, 1024)
LONGEST_TEXT = 0x20000
ATTENTION_HEADS, ATTENTION_LENGTH, ATTENTION_HEAD_DIM = 8, 2048, 64
HEAD_TOKENS, HEAD_WIDTH, HEAD_VOCABULARY = 2048, 576, 49152

TEXT_OPTIONS = {
    "length": {"type": int, "default": SHORT_LENGTH},
    "tokens": {"type": int, "default": STEP_TOKENS},
}


def use_device(options: argparse.Namespace) -> None:
    """Everything that is made from now on lies on the device of --device, and is computed there or by so many threads."""
    torch.set_num_threads(options.threads)
    torch.set_default_device(options.device)
    if options.device == "cuda":
        case.synchronize = torch.cuda.synchronize


def device_of(options: argparse.Namespace) -> str:
    return torch.cuda.get_device_name() if options.device == "cuda" else ""


def _hash(x: torch.Tensor) -> torch.Tensor:
    """32 well-mixed bits of each integer (int64 in, int64 out)."""
    mask = 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
    x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
    return x ^ (x >> 16)


def _centred(bits: torch.Tensor) -> torch.Tensor:
    return (bits >> 8).double() / 2**24 - 0.5


def weight_shapes() -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of each weight, in the order of llama.mjs."""
    shapes: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (VOCABULARY, WIDTH))]
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        shapes.append((f"{layer}.input_layernorm.weight", (WIDTH,)))
        shapes += [(f"{layer}.self_attn.{name}_proj.weight", (WIDTH, WIDTH)) for name in "qkvo"]
        shapes.append((f"{layer}.post_attention_layernorm.weight", (WIDTH,)))
        shapes += [(f"{layer}.mlp.{name}_proj.weight", (FEED_FORWARD, WIDTH)) for name in ("gate", "up")]
        shapes.append((f"{layer}.mlp.down_proj.weight", (WIDTH, FEED_FORWARD)))
    return [*shapes, ("model.norm.weight", (WIDTH,)), ("lm_head.weight", (VOCABULARY, WIDTH))]


def initial_weights() -> dict[str, torch.Tensor]:
    weights = {}
    for which, (name, shape) in enumerate(weight_shapes()):
        index = torch.arange(math.prod(shape)) + which * 0x100000
        matrix = _centred(_hash(index)) * (INITIALIZER_RANGE * math.sqrt(12))
        weights[name] = torch.ones(shape) if len(shape) == 1 else matrix.float().reshape(shape)
    return weights


def batch_of(length: int, tokens_of_step: int) -> int:
    """B: as many texts of T tokens as make up the tokens of a step, and one where T is more than those."""
    return max(1, tokens_of_step // length)


def tokens(step: int, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of one step, [B, T] both."""
    row = torch.arange(batch)[:, None]
    bits = _hash(0x40000000 + (step * batch + row) * LONGEST_TEXT + torch.arange(length + 1))
    text = ((bits & 0xFF) * ((bits >> 8) & 0xFF)) >> 8
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


def rope_angles(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, [T, D/2] both."""
    half = HEAD_DIM // 2
    frequencies = ROPE_THETA ** (-torch.arange(half).double() / half)
    angles = torch.arange(length).double()[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def numbers(seed: int, *shape: int) -> torch.Tensor:
    """Numbers in [-0.5, 0.5)."""
    index = torch.arange(math.prod(shape)) + seed * 0x4000000
    return _centred(_hash(index & 0xFFFFFFFF)).float().reshape(shape)


def square_matrix(seed: int, side: int) -> torch.Tensor:
    return numbers(seed, side, side)


def head_targets() -> torch.Tensor:
    """Classes [N] that the head is to predict."""
    return _hash(0x50000000 + torch.arange(HEAD_TOKENS)) % HEAD_VOCABULARY
