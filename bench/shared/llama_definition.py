"""The numbers of llama.mjs for PyTorch: the same hash, the same weights, the same tokens."""

import math

import torch

VOCABULARY, WIDTH, FEED_FORWARD, LAYERS, HEADS, HEAD_DIM = 256, 128, 352, 4, 4, 32
NORM_EPS, ROPE_THETA, INITIALIZER_RANGE = 1e-5, 10000.0, 0.02
BATCH, LENGTH = 16, 128
LR, BETAS, EPS, WEIGHT_DECAY = 1e-3, (0.9, 0.95), 1e-8, 0.1
COMPARED_STEPS = 5
MATMUL_SIDES = (512, 1024)


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


def tokens(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of one step, [B, T] both."""
    row = torch.arange(BATCH)[:, None]
    bits = _hash(0x40000000 + (step * BATCH + row) * 0x1000 + torch.arange(LENGTH + 1))
    text = ((bits & 0xFF) * ((bits >> 8) & 0xFF)) >> 8
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


def rope_angles() -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, [T, D/2] both."""
    half = HEAD_DIM // 2
    frequencies = ROPE_THETA ** (-torch.arange(half).double() / half)
    angles = torch.arange(LENGTH).double()[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def square_matrix(seed: int, side: int) -> torch.Tensor:
    return _centred(_hash(torch.arange(side * side) + seed * 0x1000000)).float().reshape(side, side)
