"""What the transformer is trained on: cached latents, noised, with their captions. Steps 4 to 11."""

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soradit.device import autocast, pinned
from soradit.diffusion.process import PROCESSES, Process, min_snr_weight, move_timesteps
from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.model.config import GenerationConfig
from soradit.model.dit import DiT
from soradit.model.familiar import Familiar, learn, save_familiar
from soradit.model.folder import LORA_FOLDER, fingerprint
from soradit.model.lora import save_lora
from soradit.model.weights import save_transformer, write_index
from soradit.training.cache import Cache, Segment, read_pooled, read_tokens
from soradit.training.estimate import ExampleShape
from soradit.training.randomness import draw_indices, generator

DROP_TEXT = 0.1
"""Share of captions replaced by the empty prompt, so that guidance works (Ho & Salimans 2022, algorithm 1)."""
MAX_HELD_OUT = 32
"""Held-out segments that are evaluated on, at most."""
EVALUATED_AT_ONCE = 8
TIMESTEP_BINS = 5
"""Held-out loss is reported by fifths of t."""


class Batch(NamedTuple):
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
        captions = dict.fromkeys([("",), *(segment.clip.captions for segment in self.segments)])
        self.text_paths = {each: cache.text_path(each) for each in captions}
        self.pooled = {each: read_pooled(path) for each, path in self.text_paths.items()}

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def largest(self) -> int:
        """A segment whose windows have the most tokens."""
        sizes = [length * each.height * each.width for each, length in zip(self.segments, self.lengths, strict=True)]
        return sizes.index(max(sizes))

    def captions(self) -> Float[Tensor, "n pooled"]:
        """The pooled embeddings of all captions."""
        return torch.cat([pooled for captions, pooled in self.pooled.items() if captions != ("",)])

    @property
    def clips(self) -> list[Clip]:
        """Those that windows are drawn from."""
        return list(dict.fromkeys(segment.clip for segment in self.segments))

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
            captions = ("",) if dropped else segment.clip.captions
            choice = int(torch.randint(len(self.pooled[captions]), (), generator=random))
            text.append(read_tokens(self.text_paths[captions], choice))
            pooled.append(self.pooled[captions][choice])
        return Batch(latents=torch.stack(latents), text=torch.stack(text), pooled=torch.stack(pooled))


class Noised(NamedTuple):
    """A batch with the noise and timesteps drawn for it: all that its loss depends on."""

    latents: Float[Tensor, "b t h w latent"]
    text: Float[Tensor, "b words text"]
    pooled: Float[Tensor, "b pooled"]
    noise: Float[Tensor, "b t h w latent"]
    t: Float[Tensor, " b"]


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
        seed: int,
        device: torch.device,
        precision: torch.dtype,
        shift: float = 1.0,
        spread: float = 1.0,
        min_snr: float | None = None,
        lora_rank: int | None = None,
    ) -> None:
        """``shift`` and ``spread`` are of the timesteps drawn; ``min_snr`` is the gamma of the loss's weights, or None.

        With a ``lora_rank`` the model is one that ``add_lora`` has prepared: that alone is published, in ``lora/``.
        """
        self.model = model.to(device)
        self.network: nn.Module = self.model
        """What is called in training: the model, or a wrapper that lets several processes train it."""
        self.process: Process = PROCESSES[generation.process]()
        self.training, self.held_out = training, held_out
        self.generation = generation
        self.batch_size, self.seed = batch_size, seed
        self.device, self.precision = device, precision
        self.shift, self.spread = shift, spread
        self.min_snr, self.lora_rank = min_snr, lora_rank

    @cached_property
    def familiar(self) -> Familiar | None:
        """By which generating tells a prompt that is unlike all that was learnt."""
        return learn(self.training.captions(), self.held_out.captions())

    @property
    def shape(self) -> ExampleShape:
        """Shapes of the largest examples, which memory must suffice for."""
        windows = self.training
        latents, text, pooled = windows.draw([windows.largest], drop_text=0.0, random=generator(0))
        return ExampleShape(latents=tuple(latents.shape[1:]), text=tuple(text.shape[1:]), pooled=pooled.shape[-1])

    def batch(self, step: int, part: slice) -> Noised:
        """Each example's draws are its own, so that a batch is the same however it is shared out."""
        indices = self.training.choose(self.seed, step, self.batch_size)
        examples = [self._example(indices[i], generator(self.seed, step, i)) for i in range(self.batch_size)[part]]
        return _mapped(_joined(examples), lambda x: pinned(x, self.device))

    def _example(self, index: int, random: torch.Generator) -> Noised:
        batch = self.training.draw([index], drop_text=DROP_TEXT, random=random)
        t = move_timesteps(self.process.draw_timesteps(1, random), self.shift, self.spread)
        return Noised(*batch, noise=torch.randn(batch.latents.shape, generator=random), t=t)

    def held_out_power(self) -> float:
        """Mean square of latents held out; of training clips like those that the autoencoder is of, about 1."""
        count = min(MAX_HELD_OUT, len(self.held_out))
        each = (self.held_out.draw([i], drop_text=0.0, random=generator(0)) for i in range(count))
        return sum(batch.latents.square().mean().item() for batch in each) / count

    def examples(self, step: int) -> list[str]:
        indices = self.training.choose(self.seed, step, self.batch_size)
        return [str(self.training.segments[index].clip) for index in indices]

    def loss(self, batch: Noised, step: int) -> Tensor:
        losses = self._losses(self.network, batch)
        if self.min_snr is not None:
            losses = losses * min_snr_weight(self.process, batch.t.to(self.device, non_blocking=True), self.min_snr)
        return losses.mean()

    def _losses(self, network: nn.Module, noised: Noised) -> Float[Tensor, " b"]:
        x0, text, pooled, noise, t = _mapped(noised, lambda x: x.to(self.device, non_blocking=True))
        with autocast(self.device, self.precision):
            prediction = network(self.process.add_noise(x0, noise, t), t, text, pooled)
        return self.process.loss(prediction.float(), x0, noise)

    def evaluate(self, poll: Callable[[], None]) -> dict[str, float]:
        """Loss on fixed windows, noise and timesteps, so that it is smooth from one evaluation to the next.

        Timesteps are spread evenly over [0, 1], unlike in training; their fifths are reported one by one, and so is a
        batch of pure noise, where all that can be known is what the prompt says.
        """
        count = max(TIMESTEP_BINS, min(MAX_HELD_OUT, len(self.held_out)) // TIMESTEP_BINS * TIMESTEP_BINS)
        random = generator(0, "held-out")
        spread = ((torch.arange(count) + 0.5) / count)[torch.randperm(count, generator=random)]
        t = torch.cat([spread, torch.zeros(EVALUATED_AT_ONCE)])
        losses = torch.empty(len(t))
        for bucket in self.held_out.buckets:
            places = torch.tensor([i for i in range(len(t)) if i % len(self.held_out) in bucket], dtype=torch.long)
            for few in places.split(EVALUATED_AT_ONCE):
                poll()
                batch = self.held_out.draw((few % len(self.held_out)).tolist(), drop_text=0.0, random=random)
                noised = Noised(*batch, noise=torch.randn(batch.latents.shape, generator=random), t=t[few])
                losses[few] = self._losses(self.model, noised).float().cpu()
        by_bin = losses[:count][spread.argsort()].view(TIMESTEP_BINS, -1).mean(1)
        figures = {f"held_out_loss_{i}": loss.item() for i, loss in enumerate(by_bin)}
        return {"held_out_loss": by_bin.mean().item(), **figures, "held_out_loss_at_0": losses[count:].mean().item()}

    def publish(self, run: Path, tensors: dict[str, Tensor]) -> None:
        if self.lora_rank is not None:
            save_lora(run / LORA_FOLDER, self.lora_rank, tensors, base=fingerprint(run, "transformer"))
        else:
            save_transformer(run, self.model.config, tensors)
            save_familiar(run, self.familiar)
        write_index(run)


def trivial_losses(process: Process, power: float) -> list[float]:
    """By fifths of t, the loss of a model that knows nothing of latents but their ``power``, the mean of their squares.

    Of a target a * x0 + b * noise it predicts what a multiple of x_t can tell.
    """
    t = (torch.arange(100 * TIMESTEP_BINS) + 0.5) / (100 * TIMESTEP_BINS)
    zero, one = torch.zeros(1), torch.ones(1)
    a, b = process.target(one, zero), process.target(zero, one)
    signal, sigma = process.signal(t), process.sigma(t)
    shared = a * signal * power + b * sigma
    left = a.square() * power + b.square() - shared.square() / (signal.square() * power + sigma.square())
    return left.view(TIMESTEP_BINS, -1).mean(1).tolist()


def _mapped(noised: Noised, function: Callable[[Tensor], Tensor]) -> Noised:
    return Noised(*map(function, noised))


def _joined(examples: list[Noised]) -> Noised:
    return Noised(*map(torch.cat, zip(*examples, strict=True)))


def cached_windows(clips: list[Clip], cache: Cache, *, length: int, what: str) -> Windows:
    """Windows over the clips' cached latents; raises SoraditError when no clip is long enough."""
    segments = cache.segments(clips)
    windows = Windows(segments, cache, length=length, shorter=cache.reading.buckets)
    if not len(windows):
        token_frames = cache.reading.token_size[0]
        wanted, longest = (token_frames * n for n in (length, max((s.length for s in segments), default=0)))
        raise SoraditError(f"no {what} clip has {wanted} frames (the longest has {longest}): use fewer --frames")
    return windows
