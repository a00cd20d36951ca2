"""RUN/generated/: latents that a transformer makes of captions, for a decoder to learn from.

What a decoder is given in the end is a little different from what an encoder makes of clips, and there is no original
that its pictures could be compared with: they are judged by a discriminator alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from soradit.pipeline import Pipeline
from soradit.report import Report
from soradit.training.shards import Shards
from soradit.video import Request

FOLDER = "generated"


def generate_latents(
    run: Path, weights: str | None, captions: Sequence[str], report: Report, *, device: str = "auto"
) -> Float[Tensor, "n t h w latent"]:
    """One video's latents a caption, normalised, in float16; the caption's number is the seed.

    What ``weights`` have made in this run before is kept. Raises SoraditError for weights that can't be used.
    """
    names = [f"{seed:06d}" for seed in range(len(captions))]
    with Shards(run / FOLDER) as shards:
        missing = [seed for seed, name in enumerate(names) if shards.find(name) is None]
        if missing:
            pipeline = Pipeline.load(weights, device=device)
            with report.progress("generating", len(captions)) as progress:
                for seed in missing:
                    request = Request(prompt=captions[seed], seed=seed)
                    latents = _denoised(pipeline, request, poll=partial(progress.update, seed))
                    shards.write(names[seed], {"latents": latents})
                    progress.update(seed + 1)
        return torch.stack([load_file(shards.path(name))["latents"] for name in names])


def _denoised(pipeline: Pipeline, request: Request, poll: Callable[[], None]) -> Float[Tensor, "t h w latent"]:
    """``poll`` is called after each sampling step, and may raise."""
    (latents,) = pipeline.denoise([request], on_step=lambda step: poll())
    return latents
