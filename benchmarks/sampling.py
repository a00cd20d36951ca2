"""Which settings to sample with: what soradit evaluate would find, of a row of settings.

    python benchmarks/sampling.py WEIGHTS --data HELD_OUT [--count 40] [guidance=4 guidance_until=0.5,shift=2 ...]

Each row makes an MP4 for the longest caption of each held-out clip, from the same noise, with the weights' own settings
or what is named otherwise, and measures it as evaluate does; the last row is the held-out clips themselves. "drift,
cosine" is the mean cosine of the angle between the drift asked for and the one seen: 0 by chance, 1 at best. It tells
more of few clips than the share that is right.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from machine import describe_run, markdown_heading, markdown_table

from soradit.evaluation.detectors import DIRECTIONS, drift
from soradit.evaluation.facts import Facts, facts_of
from soradit.evaluation.features import DEFAULT, load_network
from soradit.evaluation.look import Look, look
from soradit.evaluation.scores import agreement_scores, frechet_scores, measure_scores
from soradit.media.clips import Clip, find_clips
from soradit.media.video import read_video
from soradit.model.config import GenerationConfig
from soradit.pipeline import Pipeline
from soradit.video import Request, Video

FIELDS: dict[str, Any] = {field.name: field.type for field in fields(GenerationConfig)}
SHOWN = ("guidance", "guidance_from", "guidance_until", "steps", "shift")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("variants", nargs="*", type=variant_of, metavar="NAME=VALUE,...")
    arguments = parser.parse_intermixed_args()
    clips = find_clips(arguments.data)[: arguments.count]
    pipeline = Pipeline.load(arguments.weights)
    network = load_network(DEFAULT, pipeline.device)
    own = pipeline.defaults
    stated = [facts_of(caption(clip)) for clip in clips]
    originals = [read(clip, own) for clip in clips]
    real = [look(frames, own.fps, network) for frames in originals]
    print(markdown_heading(describe_run()))
    rows = []
    for variant in [{}, *arguments.variants]:
        settings = replace(own, **variant)
        started = time.perf_counter()
        requests = (Request(prompt=caption(clip), seed=seed, settings=settings) for seed, clip in enumerate(clips))
        made = [as_users_get_it(video) for video in pipeline.generate(requests)]
        seconds = (time.perf_counter() - started) / len(clips)
        looks = [look(frames, settings.fps, network) for frames in made]
        figures = measured(stated, made, looks, real, own.fps)
        rows.append([described(variant, asdict(own)), *figures.values(), f"{seconds:.2f}"])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    figures = measured(stated, originals, real, real, own.fps)
    rows.append(["held-out clips", *figures.values(), ""])
    print(markdown_table(["settings", *figures, "seconds a video"], rows))


def variant_of(text: str) -> dict[str, Any]:
    """``guidance=4,shift=2`` -> what differs from the weights' own settings."""
    pairs = dict(pair.split("=", 1) for pair in text.split(","))
    return {name: FIELDS[name](value) for name, value in pairs.items()}


def caption(clip: Clip) -> str:
    """The longest, which states most."""
    return max(clip.captions, key=len)


def read(clip: Clip, settings: GenerationConfig) -> np.ndarray:
    size = (settings.height, settings.width)
    return read_video(clip.path, fps=settings.fps, size=size, num_frames=settings.num_frames)[0]


def as_users_get_it(video: Video) -> np.ndarray:
    """Frames after compression, which takes much of what differs from real ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        video.save(path)
        return read_video(path)[0]


def measured(
    stated: list[Facts], frames: list[np.ndarray], looks: list[Look], real: list[Look], fps: float
) -> dict[str, str]:
    """Evaluate's figures by name, as text."""
    scores = [
        *agreement_scores("agreement", "prompted", stated, looks, []),
        *(score for score in frechet_scores(looks, real, None) if score.generated is not None),
        *measure_scores(looks, real),
    ]
    cosines = [alike(facts.drift, drift(clip, fps)) for facts, clip in zip(stated, frames, strict=True) if facts.drift]
    return {score.name: score.to_row()[1] for score in scores} | {"drift, cosine": f"{np.mean(cosines):.2f}"}


def alike(direction: str, motion: tuple[float, float]) -> float:
    """Cosine of the angle between a stated direction and the motion (to the right, down)."""
    angle = DIRECTIONS.index(direction) * math.pi / 4 - math.atan2(motion[1], motion[0])
    return math.cos(angle) if any(motion) else 0.0


def described(variant: dict, own: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in variant.items()) or "own: " + ", ".join(
        f"{name} {own[name]}" for name in SHOWN
    )


if __name__ == "__main__":
    main()
