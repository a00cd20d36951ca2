"""Estimates from shapes equal what real tensors take."""

import time
from dataclasses import replace
from statistics import median

import pytest
import torch

from soradit.device import autocast
from soradit.model.cost import PeakBytes
from soradit.model.dit import DiT, DiTConfig
from soradit.training.config import LoopConfig
from soradit.training.estimate import ExampleShape, _loss, flops_per_clip, peak_bytes, step_seconds
from soradit.training.state import TrainState

CONFIG = DiTConfig(depth=2, width=96, heads=2, latent_channels=16, text_dim=32, pooled_dim=32)
SHAPE = ExampleShape(latents=(2, 4, 4, 16), text=(8, 32), pooled=32)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_bytes_from_shapes_are_those_of_real_tensors(checkpointed: bool, precision: torch.dtype) -> None:
    def build() -> DiT:
        model = DiT(CONFIG)
        model.checkpoint_activations = checkpointed
        return model

    model = build().train()
    with PeakBytes() as live:
        with autocast(torch.device("cpu"), precision):
            loss = _loss(model, SHAPE, 4)
        loss.backward()
    weights = sum(p.numel() * 4 for p in model.parameters())
    assert peak_bytes(build(), SHAPE, 4, precision) == pytest.approx(live.peak + 4 * weights, rel=0.02)
    plain = peak_bytes(DiT(CONFIG), SHAPE, 4, precision)
    assert (peak_bytes(build(), SHAPE, 4, precision) < plain) == checkpointed


def test_memory_grows_with_the_batch_and_not_with_what_is_frozen() -> None:
    def last_layer_alone() -> DiT:
        model = DiT(CONFIG).requires_grad_(False)
        model.out.requires_grad_(True)
        return model

    whole = peak_bytes(DiT(CONFIG), SHAPE, 4)
    assert peak_bytes(DiT(CONFIG), SHAPE, 8) > 1.2 * whole
    assert peak_bytes(last_layer_alone(), SHAPE, 4) < whole / 2


def test_operations_are_those_of_the_matrix_products() -> None:
    """Of the blocks: 3 times (forward, and twice backward) 2 operations a weight and token, and attention's."""
    deeper, tokens, width = DiTConfig(**{**vars(CONFIG), "depth": 3}), SHAPE.num_tokens, CONFIG.width
    a_block = flops_per_clip(deeper, SHAPE) - flops_per_clip(CONFIG, SHAPE)
    linear = tokens * (4 + 8) * width**2
    attention = 2 * tokens * (tokens + 8) * width
    conditions = 6 * width**2 + 8 * 32 * 2 * width
    assert a_block == pytest.approx(3 * 2 * (linear + attention + conditions), rel=0.02)
    with_lora = flops_per_clip(deeper, SHAPE, lora=1) - flops_per_clip(CONFIG, SHAPE, lora=1)
    assert with_lora == pytest.approx(2 * 2 * linear + 3 * 2 * attention + 2 * conditions, rel=0.05)


@pytest.mark.parametrize(
    ("optimizer", "precision"), [("adamw", torch.float32), ("adamw", torch.bfloat16), ("muon", torch.bfloat16)]
)
@pytest.mark.slow
def test_seconds_are_those_of_a_step(monkeypatch: pytest.MonkeyPatch, optimizer: str, precision: torch.dtype) -> None:
    """In seconds of this process, in turns: a machine whose speed changes is as fast for both of one turn."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    config, shape = replace(CONFIG, depth=4, width=192), replace(SHAPE, latents=(4, 4, 4, 16))
    loop, cpu = LoopConfig(steps=9, batch_size=8, accumulate=2, optimizer=optimizer), torch.device("cpu")
    state = TrainState.begin(DiT(config), loop)

    def step() -> float:
        started = time.process_time()
        for _ in range(2):
            with autocast(cpu, precision):
                loss = _loss(state.model, shape, 4)
            loss.backward()
        state.apply_gradients(loss.detach(), loop)
        return time.process_time() - started

    ratios = []
    for _ in range(15):
        estimated = step_seconds(config, shape, loop, device=cpu, precision=precision)
        ratios.append(estimated / min(step() for _ in range(3)))
    assert median(ratios) == pytest.approx(1, rel=0.25), ratios
