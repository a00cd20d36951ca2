"""How much contrast a sampler's strides leave, by what latents hold: for the choice of steps and shift.

    python benchmarks/strides.py WEIGHTS --data CLIPS [steps=12 steps=10,shift=3 ...]

Latents of the clips are taken apart into waves in time, height and width; each varies by some standard deviation. If
that were all (a Gaussian), the best prediction would be known in closed form, and a sampler with exact predictions
should make each wave vary as much: 1. What is below is left too faint by the strides alone.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from machine import describe_run, markdown_heading, markdown_table
from sampling import read, variant_of
from torch import Tensor

from soradit.diffusion.process import Flow, timestep_grid
from soradit.diffusion.sampler import sample
from soradit.media.clips import find_clips
from soradit.model.autoencoder import to_float
from soradit.model.config import GenerationConfig
from soradit.pipeline import Pipeline

POWER = (0.1, 0.25, 0.5, 0.75, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("variants", nargs="*", type=variant_of, metavar="NAME=VALUE,...")
    arguments = parser.parse_intermixed_args()
    pipeline = Pipeline.load(arguments.weights)
    own = pipeline.defaults
    clips = find_clips(arguments.data)[: arguments.count]
    stds = stds_of_waves(torch.stack([encode(pipeline, read(clip, own)) for clip in clips]))
    shown = torch.stack([std_at(stds, power) for power in POWER])
    print(markdown_heading(describe_run()))
    rows = [["standard deviation", *(f"{std:.2f}" for std in shown.tolist())]]
    for variant in [{}, *arguments.variants]:
        settings = replace(own, **variant)
        name = f"{settings.steps} steps of {settings.sampler}, shift {settings.shift:g}"
        rows.append([name, *(f"{contrast:.2f}" for contrast in contrasts(shown, settings).tolist())])
    print(markdown_table(["share of the power that varies more", *(f"{power:.0%}" for power in POWER)], rows))


@torch.no_grad()
def encode(pipeline: Pipeline, frames: np.ndarray) -> Tensor:
    return pipeline.autoencoder.encode(to_float(torch.from_numpy(frames))[None])[0].float()


def stds_of_waves(latents: Tensor) -> Tensor:
    """(clips, t, h, w, c) -> standard deviations of all waves of all channels, the largest first."""
    waves = torch.fft.fftn(latents - latents.mean(0), dim=(1, 2, 3), norm="ortho")
    return waves.abs().square().mean(0).sqrt().flatten().sort(descending=True).values


def std_at(stds: Tensor, share: float) -> Tensor:
    """Of all power, ``share`` is in waves with a standard deviation above this."""
    power = stds.square().cumsum(0)
    return stds[int((power < share * power[-1]).sum())]


def contrasts(stds: Tensor, settings: GenerationConfig) -> Tensor:
    """What a sampler makes of Gaussians with these standard deviations, over what it should."""
    process, variances = Flow(), stds.square()

    def predict(x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = process.signal(t)[:, None], process.sigma(t)[:, None]
        whole = signal**2 * variances + sigma**2
        return process.target(signal * variances / whole * x, sigma / whole * x)

    times = timestep_grid(settings.steps, settings.shift)
    noise = torch.ones(1, len(stds))
    return sample(predict, noise, process=process, sampler=settings.sampler, times=times)[0] / stds


if __name__ == "__main__":
    main()
