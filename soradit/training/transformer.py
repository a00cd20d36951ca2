"""What the transformer is trained on: cached latents, noised, with their captions. Steps 4 to 11."""

import math
from dataclasses import dataclass
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
    """Windows of cached segments, each with one of its clip's captions, in buckets that can share a batch.

    A window is ``length`` latent frames long; with ``shorter``, segments that have fewer give windows of half of that,
    or of a quarter, and so on.
    """

    def __init__(self, segments: list[Segment], cache: Cache, *, length: int, shorter: bool = False) -> None:
        self.segments: list[Segment] = []
        self.lengths: list[int] = []
        """In latent frames, a segment's windows."""
        by_size: dict[tuple[int, int, int], list[int]] = {}
        for segment in segments:
            window = length
            while shorter and window > segment.length:
                window //= 2
            if 0 < window <= segment.length:
                by_size.setdefault((window, segment.height, segment.width), []).append(len(self.segments))
                self.segments.append(segment)
                self.lengths.append(window)
        self.buckets = [by_size[size] for size in sorted(by_size)]
        """Indices of the segments whose windows are of one size."""
        captions = {("",), *(segment.clip.captions for segment in self.segments)}
        self.text = {key: read_text(cache.text_path(key)) for key in captions}

    def __len__(self) -> int:
        return len(self.segments)

    def choose(self, seed: int, step: int, batch_size: int) -> list[int]:
        """The segments of a step, all of one bucket: buckets take turns, each as often as it fills a batch.

        Within its bucket, every segment comes once an epoch.
        """
        turns = [bucket for bucket in self.buckets for _ in range(math.ceil(len(bucket) / batch_size))]
        rounds, turn = divmod(step, len(turns))
        order = torch.randperm(len(turns), generator=generator(seed, "buckets", rounds)).tolist()
        bucket = turns[order[turn]]
        earlier = sum(turns[other] is bucket for other in order[:turn])
        ours = sum(other is bucket for other in turns)
        return [bucket[i] for i in draw_indices(seed, rounds * ours + earlier, batch_size, len(bucket))]

    def draw(self, indices: list[int], *, drop_text: float, random: torch.Generator) -> Batch:
        """A random window and caption of each, of one bucket; captions are emptied with probability ``drop_text``."""
        latents, text, pooled = [], [], []
        for index in indices:
            segment, length = self.segments[index], self.lengths[index]
            start = int(torch.randint(segment.length - length + 1, (), generator=random))
            latents.append(segment.window(start, length))
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
        indices = self.training.choose(self.seed, step, self.batch_size)
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
        t = ((torch.arange(count) + 0.5) / count)[torch.randperm(count, generator=random)]
        losses = torch.empty(count)
        for bucket in self.held_out.buckets:
            places = torch.tensor([i for i in range(count) if i % len(self.held_out) in bucket], dtype=torch.long)
            for few in places.split(self.batch_size):
                batch = self.held_out.draw((few % len(self.held_out)).tolist(), drop_text=0.0, random=random)
                noise = torch.randn(batch.latents.shape, generator=random)
                losses[few] = self._losses(batch, noise, t[few]).float().cpu()
        by_bin = losses[t.argsort()].view(TIMESTEP_BINS, -1).mean(1)
        figures = {f"held_out_loss_{i}": loss.item() for i, loss in enumerate(by_bin)}
        return {"held_out_loss": by_bin.mean().item(), **figures}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        save_transformer(run, self.model.config, tensors)
        save_generation_config(run, self.generation)
        write_index(run)


def cached_windows(clips: list, cache: Cache, *, length: int, what: str) -> Windows:
    """Windows over the clips' cached latents; raises SoraditError when no clip is long enough."""
    segments = [segment for clip in clips for segment in segments_of(clip, cache.latents_path(clip))]
    windows = Windows(segments, cache, length=length, shorter=cache.reading.buckets)
    if not len(windows):
        longest = 4 * max((segment.length for segment in segments), default=0)
        raise SoraditError(f"no {what} clip has {4 * length} frames (the longest has {longest}): use fewer --frames")
    return windows
