"""Whether a model knows from the prompt how bright a clip is: `python benchmarks/brightness.py WEIGHTS --data CLIPS`.

For each timestep t, clips (held out) are noised and their clean latents predicted with one of their captions, without
guidance. By the hour that is stated: how much brighter the decoded prediction is than the clip, in grey levels of 255.
At t = 0 there is nothing to go by but the caption. The last column is the mean squared error of the latents.
"""

import argparse
import os
from collections import defaultdict
from pathlib import Path
from statistics import mean

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from machine import describe_run, markdown_heading, markdown_table

from soradit.diffusion.process import PROCESSES
from soradit.evaluation.facts import facts_of
from soradit.media.clips import find_clips
from soradit.media.video import read_video
from soradit.model.autoencoder import to_float
from soradit.pipeline import Pipeline

TIMES = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4)
HOURS = ("night", "twilight", "low sun", "day")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40)
    arguments = parser.parse_args()
    pipeline = Pipeline.load(arguments.weights, device="cpu", precision="float32")
    own, process = pipeline.defaults, PROCESSES[pipeline.defaults.process]()
    brighter: defaultdict[tuple[float, str], list[float]] = defaultdict(list)
    errors: defaultdict[float, list[float]] = defaultdict(list)
    for seed, clip in enumerate(find_clips(arguments.data)[: arguments.count]):
        caption = max(clip.captions, key=len)
        hour = facts_of(caption).hour
        frames, _ = read_video(clip.path, fps=own.fps, size=(own.height, own.width), num_frames=own.num_frames)
        latents = pipeline.autoencoder.encode(to_float(torch.from_numpy(frames.copy()))[None]).float()
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
        text, pooled = pipeline.text_encoder([caption])
        for time in TIMES:
            t = torch.tensor([time])
            x = process.add_noise(latents, noise, t)
            clean = process.clean(x, pipeline.transformer(x, t, text, pooled), t)
            errors[time].append((clean - latents).square().mean().item())
            if hour:
                brighter[time, hour].append(brightness(pipeline, clean) - brightness(pipeline, latents))
    print(markdown_heading(describe_run()))
    hours = [hour for hour in HOURS if (0.0, hour) in brighter]
    rows = [
        [f"{time:g}", *(f"{mean(brighter[time, hour]):+.0f}" for hour in hours), f"{mean(errors[time]):.3f}"]
        for time in TIMES
    ]
    print(markdown_table(["t", *hours, "error"], rows))


def brightness(pipeline: Pipeline, latents: torch.Tensor) -> float:
    """Mean grey level of the first latent frame, from 0 to 255."""
    return float((127.5 * pipeline.autoencoder.decode(latents[:, :1]) + 127.5).clamp(0, 255).mean())


if __name__ == "__main__":
    main()
