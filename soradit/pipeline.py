"""Prompt -> video: all parts of a folder of weights, loaded once. Steps 1, 5, 12, 13 and 14 of generating."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from soradit.beginning import go_on, known_latents
from soradit.device import autocast, choose_device, choose_precision, is_out_of_memory, name_of
from soradit.diffusion.process import PROCESSES, timestep_grid
from soradit.diffusion.sampler import (
    OnStep,
    Predict,
    continuing,
    in_windows,
    overlapping_windows,
    sample,
    with_guidance,
)
from soradit.errors import SoraditError
from soradit.model.autoencoder import Autoencoder, to_uint8
from soradit.model.config import (
    MAX_TOKENS,
    GenerationConfig,
    continued_grid,
    held_latents,
    latent_grid,
    load_generation_config,
)
from soradit.model.dit import DiT
from soradit.model.embeddings import CachedTextEncoder, PromptEncoder
from soradit.model.familiar import Familiar, load_familiar
from soradit.model.folder import TEXT_PARTS, Hashes, find_weights, identity, verify
from soradit.model.slices import decode_in_slices
from soradit.model.weights import load_autoencoder, load_transformer
from soradit.report import Report
from soradit.video import Request, Video

Item = TypeVar("Item")


class Pipeline:
    """``Pipeline.load()("sora is sky", seed=1).save("out.mp4")``"""

    def __init__(
        self,
        *,
        transformer: DiT,
        autoencoder: Autoencoder,
        text_encoder: PromptEncoder,
        defaults: GenerationConfig,
        device: torch.device,
        precision: torch.dtype,
        identity: str = "",
        familiar: Familiar | None = None,
        offload: bool = False,
        report: Report | None = None,
    ) -> None:
        """``identity`` is the hash of the weights; ``offload`` keeps on the device only what is at work."""
        self.transformer, self.autoencoder, self.text_encoder = transformer, autoencoder, text_encoder
        self.defaults = defaults
        self.device, self.precision = device, precision
        self.identity, self.familiar = identity, familiar
        self.offload, self.report = offload, report or Report()

    @classmethod
    def load(
        cls,
        weights: str | Path | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        offload: bool = False,
        hashes: Hashes | None = None,
        report: Report | None = None,
    ) -> "Pipeline":
        """Load a folder of weights (None: the bundled one). Raises SoraditError when it can't be used.

        ``hashes`` are those of ``soradit.model.folder.verify``, where they have been computed already.
        """
        folder = find_weights(weights)
        hashes = hashes or verify(folder)
        chosen = choose_device(device)
        transformer, autoencoder = load_transformer(folder), load_autoencoder(folder)
        made, taken = transformer.config.latent_channels, autoencoder.config.latent_channels
        if made != taken:
            raise SoraditError(
                f"the transformer of {folder} makes latents of {made} numbers, its autoencoder takes {taken}: "
                f"train it with soradit train --weights {folder}"
            )
        return cls(
            transformer=transformer,
            autoencoder=autoencoder,
            text_encoder=CachedTextEncoder(folder, identity(hashes, *TEXT_PARTS)),
            defaults=load_generation_config(folder),
            device=chosen,
            precision=choose_precision(precision, chosen),
            identity=identity(hashes),
            familiar=load_familiar(folder),
            offload=offload,
            report=report,
        )

    def with_overrides(self, **overrides: Any) -> GenerationConfig:
        """The weights' own settings, with every override that is not None; SoraditError for one that can't be."""
        return self.defaults.with_overrides(**overrides)

    def __call__(
        self,
        prompt: str,
        *,
        seed: int = 0,
        negative: str = "",
        start: UInt8[np.ndarray, "T H W 3"] | None = None,
        settings: GenerationConfig | None = None,
        on_step: OnStep = lambda step: None,
    ) -> Video:
        """Generate one video; see ``Request`` for the arguments, and ``with_overrides`` for ``settings``.

        The same arguments give the same frames, on one machine. ``on_step`` is called with a ``Step`` after each
        prediction. Raises SoraditError for a size or length that does not fit the weights.
        """
        request = Request(prompt=prompt, negative=negative, seed=seed, settings=settings, start=start)
        (video,) = self.generate([request], on_step=on_step)
        return video

    def generate(
        self,
        requests: Iterable[Request | str],
        *,
        batch_size: int | None = None,
        on_step: OnStep = lambda step: None,
    ) -> Iterator[Video]:
        """Generate any number of videos, in order, each as soon as it is made; a prompt alone is a request too.

        Neighbours of one size and settings go through the transformer together, at most ``batch_size`` of them; None
        is one on a CPU, where more are no faster, and what should fit elsewhere. What stands beside a video in its
        batch changes it by rounding only.
        """
        whole = (Request(prompt=each) if isinstance(each, str) else each for each in requests)
        for batch in self.batches(whole, of=lambda request: request, batch_size=batch_size):
            yield from self.together(batch, on_step=on_step)

    def batches(
        self, items: Iterable[Item], *, of: Callable[[Item], Request], batch_size: int | None = None
    ) -> Iterator[list[Item]]:
        """Neighbours whose requests (``of`` an item) may go through the transformer together."""
        for (*_, fitting), alike in groupby(items, key=lambda item: self._kind(of(item))):
            while batch := list(islice(alike, batch_size or fitting)):
                yield batch

    @torch.no_grad()  # not inference_mode: ``continuing`` needs gradients
    def together(self, requests: list[Request], *, on_step: OnStep = lambda step: None) -> list[Video]:
        """The whole way from noise to video, for requests of one kind."""
        try:
            noise, known, settings = self._noise(requests), self._known(requests), self.settings_of(requests[0])
            process = PROCESSES[settings.process]()
            predict = self._predictor(requests, settings)
            first = continuing(predict, known, process) if known is not None else predict
            with self.report.phase("denoising"), self._at_work(self.transformer):
                latents = sample(
                    in_windows(predict, length=self._window, first=first),
                    noise,
                    process=process,
                    sampler=settings.sampler,
                    times=timestep_grid(settings.steps, settings.shift, settings.spread),
                    on_step=on_step,
                )
            if not latents.isfinite().all():
                how = f"guidance {settings.guidance:g} in {name_of(self.precision)}"
                raise SoraditError(f"{how} leads to infinities, not a video: lower it, or use --precision float32")
            return [self._video(*each) for each in zip(requests, latents, strict=True)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if len(requests) == 1:
            raise SoraditError(f"{self.device} has too little memory for it: make a smaller or shorter video")
        half = len(requests) // 2
        return self.together(requests[:half], on_step=on_step) + self.together(requests[half:], on_step=on_step)

    def is_far(self, prompt: str) -> bool:
        """Whether a prompt is unlike all that the weights learnt from, by ``Familiar``; False where they don't say."""
        return (
            bool(prompt.strip()) and self.familiar is not None and self.familiar.is_far(self.text_encoder([prompt])[1])
        )

    def grid(self, request: Request) -> tuple[int, int, int]:
        """Latent frames, height and width to denoise for a request; SoraditError for a size that does not fit."""
        settings, start = self.settings_of(request), request.start
        if start is not None and start.shape[1:] != (settings.height, settings.width, 3):
            raise SoraditError(f"a beginning of shape {start.shape} is none for {settings.width}x{settings.height}")
        token_size = self.autoencoder.config.token_size
        if start is None or len(start) < self._token_frames:
            return latent_grid(settings, token_size, window=self._window)
        return continued_grid(settings, token_size, window=self._window, before=len(start))

    def settings_of(self, request: Request) -> GenerationConfig:
        """The request's, or else the weights' own."""
        return request.settings or self.defaults

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "t h w c"]) -> UInt8[np.ndarray, "frames height width 3"]:
        """Latents -> frames, in the memory of a slice of them."""
        with self._at_work(self.autoencoder):  # in float32: bfloat16 would cost its pictures 0.7 dB
            return decode_in_slices(self.autoencoder, latents)

    @torch.no_grad()
    def preview(self, latents: Float[Tensor, "t h w c"]) -> UInt8[np.ndarray, "height width 3"]:
        """Latents -> the first frame, not refined: quick enough to be made at each step."""
        with self._at_work(self.autoencoder):
            return to_uint8(self.autoencoder.preview(latents[None, :1])[0, 0]).cpu().numpy()

    def windows(self, total: int) -> list[slice]:
        """The latent frames that each prediction looks at."""
        return overlapping_windows(total, self._window)

    def _predictor(self, requests: list[Request], settings: GenerationConfig) -> Predict:
        """The transformer's prediction for the prompts, guided away from the negative prompts."""
        prompts = [request.prompt for request in requests]
        if settings.guidance != 1:
            prompts += [request.negative for request in requests]
        text, pooled = (each.to(self.device) for each in self.text_encoder(prompts))

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                return self.transformer(x, t, text[: len(x)], pooled[: len(x)]).float()

        if settings.guidance == 1:
            return predict
        return with_guidance(predict, settings.guidance, since=settings.guidance_from, until=settings.guidance_until)

    def _noise(self, requests: list[Request]) -> Float[Tensor, "b t h w c"]:
        """Each from its own seed, on the CPU, so that neither neighbours nor the device matter."""
        shape = (*self.grid(requests[0]), self.transformer.config.latent_channels)
        seeded = (torch.Generator().manual_seed(request.seed) for request in requests)
        return torch.stack([torch.randn(shape, generator=generator) for generator in seeded]).to(self.device)

    def _known(self, requests: list[Request]) -> Float[Tensor, "b t h w c"] | None:
        """Latents of the frames that the videos begin with: of their last half window, or of an image."""
        if requests[0].start is None:
            return None
        with self._at_work(self.autoencoder):
            starts = [request.start for request in requests if request.start is not None]
            return torch.cat([known_latents(self.autoencoder, start, window=self._window) for start in starts])

    def _video(self, request: Request, latents: Float[Tensor, "t h w c"]) -> Video:
        settings, start = self.settings_of(request), request.start
        with self.report.phase("decoding"):
            frames = self.decode(latents)
        if start is not None and len(start) >= self._token_frames:
            held = held_latents(len(start), self._token_frames, self._window)
            frames = go_on(start, frames, overlap=held * self._token_frames)
        precision = name_of(self.precision)
        return Video(frames=frames, request=request, settings=settings, weights=self.identity, precision=precision)

    @contextmanager
    def _at_work(self, module: nn.Module) -> Iterator[None]:
        module.to(self.device)
        try:
            yield
        finally:
            if self.offload:
                module.to("cpu")

    @property
    def _token_frames(self) -> int:
        return self.autoencoder.config.token_size[0]

    @property
    def _window(self) -> int:
        return self.defaults.window(self._token_frames)

    def _kind(self, request: Request) -> tuple[GenerationConfig, int | None, int]:
        """What requests must have in common to be denoised together, and how many of them may be."""
        t, h, w = self.grid(request)
        fitting = 1 if self.device.type == "cpu" else max(1, MAX_TOKENS // (min(t, self._window) * h * w))
        return self.settings_of(request), None if request.start is None else len(request.start), fitting
