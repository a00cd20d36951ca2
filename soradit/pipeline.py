"""Prompt -> video: all parts of a folder of weights, loaded once. Steps 1, 5, 12, 13 and 14 of generating."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from soradit.device import autocast, choose_device, choose_precision
from soradit.diffusion.process import PROCESSES, timestep_grid
from soradit.diffusion.sampler import OnStep, Predict, sample, with_guidance
from soradit.media.writing import write_video
from soradit.model.autoencoder import Autoencoder, to_uint8
from soradit.model.dit import DiT
from soradit.model.text import TextEncoder
from soradit.model.weights import (
    GenerationConfig,
    find_weights,
    latent_grid,
    load_autoencoder,
    load_generation_config,
    load_text,
    load_transformer,
)


@dataclass(frozen=True, kw_only=True)
class Video:
    """Frames, uint8 RGB (T, H, W, 3), and how many of them are shown a second."""

    frames: np.ndarray
    fps: float

    def save(self, path: str | Path, *, overwrite: bool = False, metadata: dict[str, str] | None = None) -> None:
        """Write an MP4 that appears whole or not at all; raises SoraditError when it can't."""
        write_video(Path(path), self.frames, fps=self.fps, overwrite=overwrite, metadata=metadata)


class Pipeline:
    """``Pipeline.load()("sora is sky", seed=1).save("out.mp4")``"""

    def __init__(
        self,
        *,
        transformer: DiT,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        defaults: GenerationConfig,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.transformer = transformer.to(device)
        self.autoencoder = autoencoder.to(device)
        self.text_encoder = text_encoder.to(device)
        self.defaults = defaults
        self.device, self.precision = device, precision

    @classmethod
    def load(cls, weights: str | Path | None = None, *, device: str = "auto", precision: str = "auto") -> "Pipeline":
        """Load a folder of weights (None: the bundled one). Raises SoraditError when it can't be used."""
        folder = find_weights(weights)
        chosen = choose_device(device)
        return cls(
            transformer=load_transformer(folder),
            autoencoder=load_autoencoder(folder),
            text_encoder=load_text(folder),
            defaults=load_generation_config(folder),
            device=chosen,
            precision=choose_precision(precision, chosen),
        )

    def with_overrides(self, **overrides: Any) -> GenerationConfig:
        """The weights' own settings, with every override that is not None; SoraditError for one that can't be."""
        return replace(self.defaults, **{name: value for name, value in overrides.items() if value is not None})

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        *,
        seed: int = 0,
        negative: str = "",
        settings: GenerationConfig | None = None,
        on_step: OnStep = lambda done, of: None,
    ) -> Video:
        """Generate one video; ``settings`` default to the weights' own.

        The same arguments give the same frames, on one machine. Raises SoraditError for a size or length that
        does not fit the weights.
        """
        settings = settings or self.defaults
        grid = latent_grid(settings, self.autoencoder.config.token_size)
        noise = torch.randn(
            (1, *grid, self.transformer.config.latent_channels), generator=torch.Generator().manual_seed(seed)
        )
        predict = self._predictor(prompt, negative, settings.guidance)
        with autocast(self.device, self.precision):
            latents = sample(
                predict,
                noise.to(self.device),
                process=PROCESSES[settings.process](),
                sampler=settings.sampler,
                times=timestep_grid(settings.steps, settings.shift),
                on_step=on_step,
            )
            video = self.autoencoder.decode(latents)
        frames = rearrange(to_uint8(video.float()), "1 t h w c -> t h w c").cpu().numpy()
        return Video(frames=frames, fps=settings.fps)

    def _predictor(self, prompt: str, negative: str, guidance: float) -> Predict:
        """The transformer's prediction for the prompt, guided away from the negative prompt."""
        prompts = [prompt] if guidance == 1 else [prompt, negative]
        text, pooled = self.text_encoder(prompts)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return self.transformer(x, t, text, pooled).float()

        return predict if guidance == 1 else with_guidance(predict, guidance)
