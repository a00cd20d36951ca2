"""How well an autoencoder gives held-out clips back, beside a PCA of the same size.

    python benchmarks/reconstruction.py WEIGHTS --data CLIPS [--sheet FILE.png]

The PCA keeps as many numbers of a token (4 x 32 x 32 pixels) as the autoencoder's latent has, and is fitted on
training clips. Sharpness and seams are relative to the original: 1 is as sharp, and without a seam. Clips are
windows from each clip's start, of the size, length and rate that the weights are for.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import imageio.v3 as iio
import torch
from einops import rearrange
from machine import describe_run, markdown_heading, markdown_table
from torch import Tensor

from soradit.media.clips import Clip, split_clips, survey_clips
from soradit.media.patches import PatchSize, patchify, unpatchify
from soradit.media.video import read_video
from soradit.model.autoencoder import Autoencoder, to_float, to_uint8
from soradit.model.config import GenerationConfig, load_generation_config
from soradit.model.folder import find_weights
from soradit.model.weights import load_autoencoder
from soradit.training.autoencoder import psnr

Reconstruct = Callable[[Tensor], Tensor]
SEAMS = {
    "seams between tokens, height and width": ((2, 3), 32),
    "seams between patches, height and width": ((2, 3), 8),
    "seams between tokens, time": ((1,), 4),
}
"""Axes of (batch, frames, height, width, 3), and the period of the borders along them."""
SHEET_COLUMNS = 8
POWER_ITERATIONS = 4
OVERSAMPLING = 16


def read_windows(clips: Iterable[Clip], config: GenerationConfig, token_size: PatchSize) -> Iterator[Tensor]:
    """Videos (1, T, H, W, 3), one at a time; a clip that is shorter gives whole tokens of what it has."""
    for clip in clips:
        size = (config.height, config.width)
        frames, _ = read_video(clip.path, fps=config.fps, size=size, num_frames=config.num_frames)
        whole = len(frames) // token_size[0] * token_size[0]
        if whole:
            yield to_float(torch.from_numpy(frames[None, :whole]))


@dataclass(frozen=True, kw_only=True)
class PCA:
    """The best linear compression of tokens to ``components.shape[1]`` numbers."""

    mean: Tensor
    components: Tensor
    token_size: PatchSize

    def __call__(self, video: Tensor) -> Tensor:
        centred = patchify(video, self.token_size) - self.mean
        return unpatchify(centred @ self.components @ self.components.T + self.mean, self.token_size).clamp(-1, 1)


def fit_pca(videos: list[Tensor], token_size: PatchSize, num_components: int) -> PCA:
    """By a randomised range finder with power iterations (Halko et al. 2011, arXiv 0909.4061, algorithm 4.4).

    Videos are uint8, so that many fit in memory.
    """

    def tokens(video: Tensor) -> Tensor:
        return patchify(to_float(video), token_size).flatten(0, -2)

    def covariance_times(directions: Tensor) -> Tensor:
        return sum((x.T @ (x @ directions) for x in (tokens(v) - mean for v in videos)), torch.zeros(()))

    mean = torch.cat([tokens(video).mean(0, keepdim=True) for video in videos]).mean(0)
    random = torch.randn(len(mean), num_components + OVERSAMPLING, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(random).Q
    for _ in range(POWER_ITERATIONS):
        basis = torch.linalg.qr(covariance_times(basis)).Q
    _, rotation = torch.linalg.eigh(basis.T @ covariance_times(basis))
    return PCA(mean=mean, components=basis @ rotation[:, -num_components:], token_size=token_size)


def mean_gradient(video: Tensor) -> float:
    """Mean absolute difference between neighbours in height and width."""
    return statistics.mean(video.diff(dim=axis).abs().mean().item() for axis in (2, 3))


def sharpness(reconstruction: Tensor, video: Tensor) -> float:
    return mean_gradient(reconstruction) / mean_gradient(video)


def border_contrast(video: Tensor, axes: tuple[int, ...], period: int) -> float:
    """Mean absolute difference across the borders, over that elsewhere."""
    ratios = []
    for axis in axes:
        steps = video.diff(dim=axis).abs().transpose(0, axis).flatten(1).mean(1)
        is_border = torch.arange(1, len(steps) + 1) % period == 0
        ratios.append((steps[is_border].mean() / steps[~is_border].mean()).item())
    return statistics.mean(ratios)


def seam(reconstruction: Tensor, video: Tensor, axes: tuple[int, ...], period: int) -> float:
    return border_contrast(reconstruction, axes, period) / border_contrast(video, axes, period)


def measure(reconstruct: Reconstruct, videos: list[Tensor]) -> dict[str, float]:
    """Means over the videos."""
    rows = []
    for video in map(to_float, videos):
        again = reconstruct(video)
        seams = {name: seam(again, video, *where) for name, where in SEAMS.items()}
        rows.append({"PSNR, dB": psnr(again, video), "sharpness": sharpness(again, video), **seams})
    return {name: statistics.mean(row[name] for row in rows) for name in rows[0]}


def decode_seconds(autoencoder: Autoencoder, rounds: int = 5) -> float:
    """Of 32 frames of 256 x 256: the median, after a round that is not counted."""
    frames, height, width = autoencoder.config.token_size
    latents = torch.randn(1, 32 // frames, 256 // height, 256 // width, autoencoder.config.latent_channels)
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        autoencoder.decode(latents)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def contact_sheet(reconstruct: Reconstruct, videos: list[Tensor]) -> Tensor:
    """The middle frame of each video, originals above reconstructions: uint8 (H, W, 3)."""
    rows = [[], []]
    for video in videos[:SHEET_COLUMNS]:
        middle = video.shape[1] // 2
        for row, shown in zip(rows, (video, to_uint8(reconstruct(to_float(video)))), strict=True):
            row.append(shown[0, middle])
    return rearrange(torch.stack([torch.stack(row) for row in rows]), "row column h w c -> (row h) (column w) c")


def load_clips(
    options: argparse.Namespace, config: GenerationConfig, token_size: PatchSize
) -> tuple[list[Tensor], list[Tensor]]:
    """Training and held-out videos, uint8."""
    sides = split_clips(survey_clips(options.data).clips)
    limits = (options.training_clips, options.held_out_clips)
    training, held_out = (
        [to_uint8(video) for video in read_windows(side[:limit], config, token_size)]
        for side, limit in zip(sides, limits, strict=True)
    )
    if not training or not held_out:
        raise SystemExit(f"{options.data}: needs a clip to train on and one held out, each of {token_size[0]} frames")
    return training, held_out


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("weights", metavar="WEIGHTS", help="folder of weights, or a run's")
    parser.add_argument(
        "--data", metavar="CLIPS", type=Path, required=True, help="folder of clips, split as in training"
    )
    parser.add_argument("--training-clips", metavar="N", type=int, default=128, help="to fit the PCA on, at most")
    parser.add_argument("--held-out-clips", metavar="N", type=int, default=32, help="to measure on, at most")
    parser.add_argument("--sheet", metavar="FILE.png", type=Path, help="write originals above reconstructions")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    options = parse_options()
    folder = find_weights(options.weights)
    config, autoencoder = load_generation_config(folder), load_autoencoder(folder)
    channels, token_size = autoencoder.config.latent_channels, autoencoder.config.token_size
    training, held_out = load_clips(options, config, token_size)
    pca = fit_pca(training, token_size, channels)

    def reconstruct(video: Tensor) -> Tensor:
        return autoencoder.decode(autoencoder.encode(video))

    ours, linear = measure(reconstruct, held_out), measure(pca, held_out)
    print(markdown_heading(describe_run()) + "\n")
    print(
        f"{channels} numbers a token; {len(held_out)} held-out clips, PCA fitted on {len(training)} training clips.\n"
    )
    rows = [[name, f"{ours[name]:.3f}", f"{linear[name]:.3f}"] for name in ours]
    rows.append(["decoding 32 frames of 256x256, seconds", f"{decode_seconds(autoencoder):.3f}", ""])
    print(markdown_table(["", "autoencoder", "PCA"], rows))
    if options.sheet:
        iio.imwrite(options.sheet, contact_sheet(reconstruct, held_out).numpy())


if __name__ == "__main__":
    main()
