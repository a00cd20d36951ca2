"""How well a video joins what it begins with: the seam beside ordinary steps from latent to latent.

    python benchmarks/seams.py [WEIGHTS] [--continuity 0 6 12] [--prompts ...] [--seeds N] [--steps N] [--size WxH]

A video is made of each prompt and seed; ``--image`` then begins with a frame of it, ``--continue`` goes on from all of
it. A step is the mean absolute difference of two neighbouring frames where two latents meet, in levels of 255. A seam
as large as the steps after it can't be seen; one that is smaller means that the picture stands still there.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from machine import describe_run, markdown_heading, markdown_table

from soradit.diffusion import sampler
from soradit.model.config import frames_after
from soradit.pipeline import Pipeline
from soradit.tasks.jobs import parse_size

PROMPTS = ["white clouds drifting across a blue sky", "a red sunset over the sea", "a starry night"]


def latent_steps(frames: np.ndarray, token_frames: int) -> np.ndarray:
    """Mean absolute difference, where two latents meet, of uint8 frames (T, H, W, 3): (T / token_frames - 1,)."""
    first = np.arange(token_frames, len(frames), token_frames)
    return np.abs(frames[first].astype(int) - frames[first - 1]).mean(axis=(1, 2, 3))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean().clip(1e-9)))


def measure(pipeline: Pipeline, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Figures by name, for each prompt and seed; as the samplers stand now."""
    token_frames = pipeline.autoencoder.config.token_size[0]
    height, width = parse_size(options.size) if options.size else (None, None)
    window = pipeline.defaults.window(token_frames)
    settings = pipeline.with_overrides(steps=options.steps, height=height, width=width)
    for prompt in options.prompts:
        for seed in range(options.seeds):
            start = pipeline(prompt, seed=seed, settings=settings).frames
            image = start[len(start) // 2][None]
            begun = pipeline(prompt, seed=seed + 1, settings=settings, start=image).frames
            steps = latent_steps(begun, token_frames)
            yield "image: first frame, PSNR", psnr(begun[0], image[0])
            yield "image: seam", steps[0]
            yield "image: after it", steps[1:].mean()
            longer = replace(settings, num_frames=len(start) + frames_after(len(start), token_frames, window))
            steps = latent_steps(pipeline(prompt, seed=seed + 1, settings=longer, start=start).frames, token_frames)
            seam = len(start) // token_frames - 1
            yield "continue: before the seam", steps[:seam].mean()
            yield "continue: seam", steps[seam]
            yield "continue: after it", steps[seam + 1 :].mean()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?", help="folder of weights; by default the bundled ones")
    parser.add_argument(
        "--continuity", metavar="W", type=float, nargs="+", default=[sampler.CONTINUITY], help="sampler.CONTINUITY"
    )
    parser.add_argument("--prompts", metavar="PROMPT", nargs="+", default=PROMPTS)
    parser.add_argument("--seeds", metavar="N", type=int, default=1, help="of each prompt")
    parser.add_argument("--steps", metavar="N", type=int, help="sampling steps; by default the weights' own")
    parser.add_argument("--size", metavar="WxH", help="by default the weights' own")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    pipeline = Pipeline.load(options.weights)
    columns: list[dict[str, float]] = []
    for sampler.CONTINUITY in options.continuity:
        figures = defaultdict(list)
        for name, figure in measure(pipeline, options):
            figures[name].append(figure)
        means = {name: float(np.mean(each)) for name, each in figures.items()}
        for kind in ("image", "continue"):
            means[f"{kind}: seam / after it"] = means[f"{kind}: seam"] / means[f"{kind}: after it"]
        columns.append(means)
    print(markdown_heading(describe_run()) + "\n")
    print(f"Means over {len(options.prompts)} prompts, {options.seeds} seeds each.\n")
    rows = [[name, *(f"{column[name]:.2f}" for column in columns)] for name in sorted(columns[0])]
    print(markdown_table(["continuity", *(f"{weight:g}" for weight in options.continuity)], rows))


if __name__ == "__main__":
    main()
