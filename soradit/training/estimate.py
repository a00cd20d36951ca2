"""What a step of the transformer costs: operations and memory from shapes alone, seconds by taking steps."""

import time
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from soradit.device import autocast, synchronize
from soradit.model.cost import PeakBytes, num_bytes
from soradit.model.dit import DiT, DiTConfig
from soradit.model.lora import add_lora
from soradit.training.config import LoopConfig
from soradit.training.state import TrainState, trained_parameters


@dataclass(frozen=True, kw_only=True)
class ExampleShape:
    """Shapes of one training example, without a batch."""

    latents: tuple[int, ...]
    """t, h, w, channels."""
    text: tuple[int, ...]
    """Words, width."""
    pooled: int

    @property
    def num_tokens(self) -> int:
        t, h, w, _ = self.latents
        return t * h * w


@cache
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


def peak_bytes(model: DiT, shape: ExampleShape, batch_size: int, precision: torch.dtype = torch.float32) -> int:
    """The most memory that tensors take in a step: weights, average, optimizer, gradients, and what is in between.

    ``model`` is as it will be trained; the step is one of its shapes alone, as a CPU takes it.
    """
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        model = deepcopy(model).train()
    with mode, PeakBytes() as live:
        with autocast(torch.device("cpu"), precision):
            loss = _loss(model, shape, batch_size)
        loss.backward()
    of_weights, of_trained = num_bytes(model.parameters()), num_bytes(trained_parameters(model).values())
    return live.peak + of_weights + 3 * of_trained  # the average, and AdamW's two


def step_seconds(
    config: DiTConfig,
    shape: ExampleShape,
    loop: LoopConfig,
    *,
    device: torch.device,
    precision: torch.dtype,
    lora: int | None = None,
) -> float:
    """A step, from how long one takes with two blocks, as measured here: forward and backward, and the update."""
    shallow = replace(config, depth=min(2, config.depth))
    model = DiT(shallow) if lora is None else add_lora(DiT(shallow), lora)
    state = TrainState.begin(model.to(device).train(), loop)
    passes, updates = [], []
    for _ in range(3):
        begun = _clock(device)
        with device, autocast(device, precision):
            loss = _loss(model, shape, loop.batch_size // loop.accumulate)
        loss.backward()
        there_and_back = _clock(device)
        state.apply_gradients(loss.detach(), loop)
        passes.append(there_and_back - begun)
        updates.append(_clock(device) - there_and_back)
    deeper = flops_per_clip(config, shape, lora=lora) / flops_per_clip(shallow, shape, lora=lora)
    update = min(updates) * config.depth / shallow.depth  # nearly all weights are the blocks'
    return min(passes) * deeper * loop.accumulate + update


@dataclass(frozen=True, kw_only=True)
class PeakFlops:
    """Floating-point operations of a square matrix product."""

    per_second: float
    per_processor_second: float | None
    """The CPU's cores together, as if other programs took nothing of them; None on other devices."""


@cache
def peak_flops(device: torch.device, precision: torch.dtype) -> PeakFlops:
    """The best of a few, measured once a process: a second's fraction of work."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=precision)
    seconds, processor_seconds = [], []
    for _ in range(6):
        synchronize(device)
        started, of_processor = time.perf_counter(), time.process_time()
        a @ a
        synchronize(device)
        seconds.append(time.perf_counter() - started)
        processor_seconds.append(time.process_time() - of_processor)
    flops, best = 2 * size**3, min(processor_seconds)  # 0 where that clock is coarse
    return PeakFlops(
        per_second=flops / min(seconds), per_processor_second=flops / best if device.type == "cpu" and best else None
    )


def _clock(device: torch.device) -> float:
    """In seconds, when all that was asked of the device is done."""
    synchronize(device)
    return time.perf_counter()


def _loss(model: nn.Module, shape: ExampleShape, batch_size: int) -> Tensor:
    latents, text = torch.randn(batch_size, *shape.latents), torch.randn(batch_size, *shape.text)
    prediction = model(latents, torch.rand(batch_size), text, torch.randn(batch_size, shape.pooled))
    return (prediction - latents).square().mean()
