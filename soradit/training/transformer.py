"""What the transformer is trained on: cached latents, noised, with their captions. Steps 4 to 11."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from soradit.device import autocast
from soradit.diffusion.process import PROCESSES, Process
from soradit.errors import SoraditError
from soradit.model.dit import DiT
from soradit.model.weights import GenerationConfig, save_generation_config, save_transformer, write_index
from soradit.training.cache import Cache, Segment, read_text, segments_of
from soradit.training.randomness import draw_indices, generator

MAX_HELD_OUT = 32
"""Held-out clips that are evaluated on, at most."""
TIMESTEP_BINS = 5
"""Held-out loss is reported by fifths of t."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch of training examples, on the CPU."""

    latents: Float[Tensor, "b t h w latent"]
    text: Float[Tensor, "b words text"]
    pooled: Float[Tensor, "b pooled"]


class Windows:
    """Windows of ``length`` latent frames from cached segments, each with one of its clip's captions."""

    def __init__(self, segments: list[Segment], cache: Cache, *, length: int) -> None:
        self.segments = [segment for segment in segments if segment.length >= length]
        self.length = length
        captions = {("",), *(segment.clip.captions for segment in self.segments)}
        self.text = {key: read_text(cache.text_path(key)) for key in captions}

    def __len__(self) -> int:
        return len(self.segments)

    def draw(self, indices: list[int], *, drop_text: float, random: torch.Generator) -> Batch:
        """A random window and caption of each; the caption is emptied with probability ``drop_text``."""
        latents, text, pooled = [], [], []
        for index in indices:
            segment = self.segments[index]
            start = int(torch.randint(segment.length - self.length + 1, (), generator=random))
            latents.append(segment.window(start, self.length))
            dropped = bool(torch.rand((), generator=random) < drop_text)
            tokens, pools = self.text[("",) if dropped else segment.clip.captions]
            choice = int(torch.randint(len(pools), (), generator=random))
            text.append(tokens[choice])
            pooled.append(pools[choice])
        return Batch(latents=torch.stack(latents), text=torch.stack(text), pooled=torch.stack(pooled))


class TransformerObjective:
    """Predicts what the diffusion process asks for, from noised latents."""

    def __init__(
        self,
        model: DiT,
        *,
        training: Windows,
        held_out: Windows,
        generation: GenerationConfig,
        batch_size: int,
        drop_text: float,
        seed: int,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.model = model.to(device)
        self.process: Process = PROCESSES[generation.process]()
        self.training, self.held_out = training, held_out
        self.generation = generation
        self.batch_size, self.drop_text, self.seed = batch_size, drop_text, seed
        self.device, self.precision = device, precision

    def batch(self, step: int) -> Batch:
        indices = draw_indices(self.seed, step, self.batch_size, len(self.training))
        return self.training.draw(indices, drop_text=self.drop_text, random=generator(self.seed, step, "window"))

    def loss(self, batch: Batch, step: int) -> Tensor:
        random = generator(self.seed, step, "noise")
        t = self.process.draw_timesteps(len(batch.latents), random)
        noise = torch.randn(batch.latents.shape, generator=random)
        return self._losses(batch, noise, t).mean()

    def _losses(self, batch: Batch, noise: Tensor, t: Tensor) -> Float[Tensor, " b"]:
        x0, noise, t, text, pooled = (
            x.to(self.device, non_blocking=True) for x in (batch.latents, noise, t, batch.text, batch.pooled)
        )
        with autocast(self.device, self.precision):
            prediction = self.model(self.process.add_noise(x0, noise, t), t, text, pooled)
        return self.process.loss(prediction.float(), x0, noise)

    def evaluate(self) -> dict[str, float]:
        """Loss on fixed windows, noise and timesteps, so that it is smooth from one evaluation to the next.

        Timesteps are spread evenly over [0, 1], unlike in training; their fifths are reported one by one.
        """
        count = max(TIMESTEP_BINS, min(MAX_HELD_OUT, len(self.held_out)) // TIMESTEP_BINS * TIMESTEP_BINS)
        random = generator(0, "held-out")
        batch = self.held_out.draw([i % len(self.held_out) for i in range(count)], drop_text=0.0, random=random)
        t = ((torch.arange(count) + 0.5) / count)[torch.randperm(count, generator=random)]
        noise = torch.randn(batch.latents.shape, generator=random)
        losses = torch.cat([self._losses(_part(batch, i), noise[i], t[i]) for i in _slices(count, self.batch_size)])
        by_bin = losses.cpu()[t.argsort()].view(TIMESTEP_BINS, -1).mean(1)
        figures = {f"held_out_loss_{i}": loss.item() for i, loss in enumerate(by_bin)}
        return {"held_out_loss": by_bin.mean().item(), **figures}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        save_transformer(run, self.model.config, tensors)
        save_generation_config(run, self.generation)
        write_index(run)


def _part(batch: Batch, index: slice) -> Batch:
    return replace(batch, latents=batch.latents[index], text=batch.text[index], pooled=batch.pooled[index])


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def cached_windows(clips: list, cache: Cache, *, length: int, what: str) -> Windows:
    """Windows over the clips' cached latents; raises SoraditError when no clip is long enough."""
    segments = [segment for clip in clips for segment in segments_of(clip, cache.latents_path(clip))]
    windows = Windows(segments, cache, length=length)
    if not len(windows):
        longest = 4 * max((segment.length for segment in segments), default=0)
        raise SoraditError(f"no {what} clip has {4 * length} frames (the longest has {longest}): use fewer --frames")
    return windows
