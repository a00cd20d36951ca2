"""What a step of the transformer costs, from shapes alone: no weight is loaded, no memory taken."""

import time
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from soradit.device import autocast, synchronize
from soradit.model.cost import PeakBytes
from soradit.model.dit import DiT, DiTConfig
from soradit.model.lora import add_lora


@dataclass(frozen=True, kw_only=True)
class ExampleShape:
    """Of one training example."""

    latents: tuple[int, ...]
    """t, h, w, channels."""
    text: tuple[int, ...]
    """Words, width."""
    pooled: int

    @property
    def num_tokens(self) -> int:
        t, h, w, _ = self.latents
        return t * h * w


def flops_per_clip(config: DiTConfig, shape: ExampleShape, *, lora: int | None = None) -> float:
    """Floating-point operations, forward and backward, that a clip's matrix products take; counted on meta tensors.

    With ``lora``, a rank, the transformer's own matrices need no gradients. As is usual, what activation checkpointing
    computes twice counts once.
    """
    with torch.device("meta"):
        model = DiT(config)  # on meta tensors attention is written out, and so is counted
        if lora is not None:
            add_lora(model, lora)
        counter = FlopCounterMode(display=False)
        with counter:
            _loss(model, shape, 1).backward()
    return counter.get_total_flops()


def peak_bytes(model: DiT, shape: ExampleShape, batch_size: int) -> int:
    """The most memory that tensors take in a step: weights, average, optimizer, gradients, and what is in between.

    ``model`` is as it will be trained; the step is one of its shapes alone.
    """
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        model = deepcopy(model).train()
    with mode, PeakBytes() as live:
        _loss(model, shape, batch_size).backward()
    of_weights = sum(p.numel() * p.element_size() for p in model.parameters())
    of_trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return live.peak + of_weights + 3 * of_trained  # the average, and AdamW's two


def step_seconds(
    config: DiTConfig, shape: ExampleShape, batch_size: int, *, device: torch.device, precision: torch.dtype
) -> float:
    """Forward and backward of ``batch_size`` clips, from how long it takes with a single block, as measured here."""
    single = replace(config, depth=1)
    with device:
        model = DiT(single)
        seconds = []
        for _ in range(3):
            synchronize(device)
            started = time.perf_counter()
            with autocast(device, precision):
                loss = _loss(model, shape, batch_size)
            loss.backward()
            synchronize(device)
            seconds.append(time.perf_counter() - started)
    return min(seconds) * flops_per_clip(config, shape) / flops_per_clip(single, shape)


def _loss(model: nn.Module, shape: ExampleShape, batch_size: int) -> Tensor:
    latents, text = torch.randn(batch_size, *shape.latents), torch.randn(batch_size, *shape.text)
    prediction = model(latents, torch.rand(batch_size), text, torch.randn(batch_size, shape.pooled))
    return (prediction - latents).square().mean()
