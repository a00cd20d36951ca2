"""Where a transformer errs: its loss at a row of timesteps, for clips of each hour apart.

    python benchmarks/loss_by_hour.py WEIGHTS [WEIGHTS ...] --data CLIPS [--count 12]

Of clips that were not trained on: ``count`` of each hour that their captions tell, the same windows and noise for all
weights, which must share an autoencoder and a text encoder. "power" is the mean square of what differs from the mean
of a clip's latents, "motion" half the mean squared difference of neighbouring latent frames.
"""

import argparse
import os
from collections import defaultdict
from pathlib import Path
from statistics import mean

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from machine import describe_run, markdown_heading, markdown_table
from torch import Tensor

from soradit.diffusion.process import PROCESSES, Process
from soradit.evaluation.facts import facts_of
from soradit.media.clips import Clip, find_clips
from soradit.model.config import load_generation_config
from soradit.model.dit import DiT
from soradit.model.folder import find_weights
from soradit.model.weights import load_transformer
from soradit.tasks.encode import CACHE_NAME, encode
from soradit.training.randomness import generator
from soradit.training.transformer import Batch, Windows, cached_windows

TIMESTEPS = (0.1, 0.3, 0.5, 0.7, 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    arguments = parser.parse_args()
    weights = [find_weights(each) for each in arguments.weights]
    by_hour: dict[str, list[Clip]] = defaultdict(list)
    for clip in find_clips(arguments.data):
        hours = (facts_of(caption).hour for caption in clip.captions)
        by_hour[next(filter(None, hours), "not told")].append(clip)
    chosen = {hour: clips[: arguments.count] for hour, clips in sorted(by_hour.items())}
    batches = {hour: windows_of(clips, weights[0], arguments.data) for hour, clips in chosen.items()}
    print(markdown_heading(describe_run()))
    print()
    sizes = {hour: (len(batch.latents), *sizes_of(batch.latents)) for hour, batch in batches.items()}
    rows = [[hour, f"{clips}", f"{power:.3f}", f"{motion:.3f}"] for hour, (clips, power, motion) in sizes.items()]
    print(markdown_table(["hour", "clips", "power", "motion"], rows))
    print()
    rows = []
    for folder in weights:
        process, model = PROCESSES[load_generation_config(folder).process](), load_transformer(folder)
        for hour, batch in batches.items():
            losses = [loss_of(model, batch, t, process) for t in TIMESTEPS]
            rows.append([f"{folder.name}: {hour}", *map("{:.3f}".format, losses)])
    print(markdown_table(["loss at t =", *map(str, TIMESTEPS)], rows))


def windows_of(clips: list[Clip], weights: Path, folder: Path) -> Batch:
    """A window and a caption of each, always the same."""
    config = load_generation_config(weights)
    encoded = encode(clips, weights=weights, config=config, cache_folder=folder / CACHE_NAME)
    token_frames = encoded.cache.reading.token_size[0]
    windows: Windows = cached_windows(clips, encoded.cache, length=config.window(token_frames), what="given")
    return windows.draw(list(range(len(windows))), drop_text=0.0, random=generator(0))


def sizes_of(latents: Tensor) -> tuple[float, float]:
    """The latents' power and motion."""
    about_mean = latents - latents.mean((1, 2, 3), keepdim=True)
    return about_mean.square().mean().item(), latents.diff(dim=1).square().mean().item() / 2


@torch.inference_mode()
def loss_of(model: DiT, batch: Batch, t: float, process: Process) -> float:
    """The mean over the batch's clips."""
    random = generator(0, "loss by hour", str(t))
    losses = []
    for x0, text, pooled in zip(batch.latents.split(4), batch.text.split(4), batch.pooled.split(4), strict=True):
        times, noise = torch.full((len(x0),), t), torch.randn(x0.shape, generator=random)
        prediction = model(process.add_noise(x0, noise, times), times, text, pooled)
        losses += process.loss(prediction, x0, noise).tolist()
    return mean(losses)


if __name__ == "__main__":
    main()
