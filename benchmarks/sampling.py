"""Which settings to sample with: what single frames show of their prompts, and how far they are from real ones.

    python benchmarks/sampling.py WEIGHTS --data HELD_OUT [--count 100]

Each row makes a still for a caption of each held-out clip, from the same noise. Hour and cover are judged by the
detectors of soradit evaluate, the Frechet distance by its network; drift needs videos, and is left to it.
"""

import argparse
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from machine import describe_run, markdown_heading, markdown_table

from soradit.evaluation.detectors import detect
from soradit.evaluation.facts import facts_of
from soradit.evaluation.features import DEFAULT, load_network
from soradit.evaluation.frechet import frechet_distance
from soradit.media.clips import Clip, find_clips
from soradit.media.video import read_video
from soradit.pipeline import Pipeline
from soradit.video import Request

VARIANTS: list[dict[str, Any]] = [
    {},
    *({"guidance": guidance} for guidance in (1.0, 1.5, 3.0, 4.5)),
    *({"guidance_until": until} for until in (0.4, 0.7)),
    *({"guidance": 3.0, "guidance_until": until} for until in (0.4, 0.7)),
    *({"steps": steps} for steps in (8, 12, 32)),
    *({"shift": shift} for shift in (0.6, 1.7, 3.0)),
    {"sampler": "euler"},
]
"""What differs from the weights' own settings."""
FRAMES = 4
MIDDLE = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    clips = find_clips(arguments.data)[: arguments.count]
    pipeline = Pipeline.load(arguments.weights)
    network = load_network(DEFAULT, pipeline.device)
    own = pipeline.with_overrides(num_frames=FRAMES)
    real = network(np.stack([still(clip, own.height, own.width) for clip in clips]))
    print(markdown_heading(describe_run()))
    rows = []
    for variant in VARIANTS:
        settings = replace(own, **variant)
        started = time.perf_counter()
        requests = (Request(prompt=caption(clip), seed=seed, settings=settings) for seed, clip in enumerate(clips))
        made = [video.frames for video in pipeline.generate(requests)]
        seconds = (time.perf_counter() - started) / len(clips)
        far = frechet_distance(network(np.stack([frames[MIDDLE] for frames in made])), real)
        rows.append([described(variant, asdict(own)), *judged(made, own.fps, clips), f"{far:.3g}", f"{seconds:.2f}"])
        print(markdown_table([""] * len(rows[-1]), rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown_table(["settings", "hour, %", "cover, %", "Frechet, frames", "seconds a still"], rows))


def caption(clip: Clip) -> str:
    """The longest, which states most."""
    return max(clip.captions, key=len)


def still(clip: Clip, height: int, width: int) -> np.ndarray:
    return read_video(clip.path, size=(height, width), num_frames=FRAMES)[0][MIDDLE]


def judged(made: list[np.ndarray], fps: float, clips: list[Clip]) -> list[str]:
    """Percent of stills that show the hour, and the cover, that their captions state."""
    stated, seen = [facts_of(caption(clip)) for clip in clips], [detect(frames, fps) for frames in made]
    shares = []
    for fact in ("hour", "cover"):
        asked = [(getattr(a, fact), getattr(b, fact)) for a, b in zip(stated, seen, strict=True) if getattr(a, fact)]
        shares.append(f"{100 * sum(a == b for a, b in asked) / len(asked):.0f}")
    return shares


def described(variant: dict, own: dict) -> str:
    if variant:
        return ", ".join(f"{name} {value}" for name, value in variant.items())
    return "own: " + ", ".join(f"{name} {own[name]}" for name in ("guidance", "guidance_until", "steps", "shift"))


if __name__ == "__main__":
    main()
