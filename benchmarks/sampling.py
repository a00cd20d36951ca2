"""Which settings to sample with: what videos show of their prompts, and how far their frames are from real ones.

    python benchmarks/sampling.py WEIGHTS --data HELD_OUT [--frames 32] [guidance=4 guidance_until=0.5,shift=2 ...]

Each row makes a video for a caption of each held-out clip, from the same noise, with the weights' own settings or what
is named otherwise. Hour, cover and drift are judged by the detectors of soradit evaluate, the Frechet distance of a
frame each by its network. Four frames are cheap, but show no drift; of 32, "drift, cosine" is the mean cosine of the
angle between the drift asked for and the one seen: 0 by chance, 1 at best.
"""

import argparse
import math
import os
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from machine import describe_run, markdown_heading, markdown_table

from soradit.evaluation.detectors import DIRECTIONS, detect, drift
from soradit.evaluation.facts import facts_of
from soradit.evaluation.features import DEFAULT, load_network
from soradit.evaluation.frechet import frechet_distance
from soradit.media.clips import Clip, find_clips
from soradit.media.video import read_video
from soradit.model.config import GenerationConfig
from soradit.pipeline import Pipeline
from soradit.video import Request

FIELDS: dict[str, Any] = {field.name: field.type for field in fields(GenerationConfig)}
HEADINGS = ["settings", "hour, %", "cover, %", "drift, %", "drift, cosine", "Frechet, frames", "seconds a video"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("variants", nargs="*", type=variant_of, metavar="NAME=VALUE,...")
    arguments = parser.parse_intermixed_args()
    clips = find_clips(arguments.data)[: arguments.count]
    pipeline = Pipeline.load(arguments.weights)
    network = load_network(DEFAULT, pipeline.device)
    own = pipeline.with_overrides(num_frames=arguments.frames)
    real = network(np.stack([middle_of(read(clip, own)) for clip in clips]))
    print(markdown_heading(describe_run()))
    rows = []
    for variant in [{}, *arguments.variants]:
        settings = replace(own, **variant)
        started = time.perf_counter()
        requests = (Request(prompt=caption(clip), seed=seed, settings=settings) for seed, clip in enumerate(clips))
        made = [video.frames for video in pipeline.generate(requests)]
        seconds = (time.perf_counter() - started) / len(clips)
        far = frechet_distance(network(np.stack([middle_of(frames) for frames in made])), real)
        rows.append([described(variant, asdict(own)), *judged(made, own.fps, clips), f"{far:.3g}", f"{seconds:.2f}"])
        print(markdown_table([""] * len(rows[-1]), rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown_table(HEADINGS, rows))


def variant_of(text: str) -> dict[str, Any]:
    """``guidance=4,shift=2`` -> what differs from the weights' own settings."""
    pairs = dict(pair.split("=", 1) for pair in text.split(","))
    return {name: FIELDS[name](value) for name, value in pairs.items()}


def caption(clip: Clip) -> str:
    """The longest, which states most."""
    return max(clip.captions, key=len)


def read(clip: Clip, settings: GenerationConfig) -> np.ndarray:
    size = (settings.height, settings.width)
    return read_video(clip.path, size=size, num_frames=settings.num_frames)[0]


def middle_of(frames: np.ndarray) -> np.ndarray:
    return frames[(len(frames) - 1) // 2]


def judged(made: list[np.ndarray], fps: float, clips: list[Clip]) -> list[str]:
    """Percent of videos that show the hour, the cover and the drift that their captions state, and drift's cosine."""
    stated, seen = [facts_of(caption(clip)) for clip in clips], [detect(frames, fps) for frames in made]
    judged = []
    for fact in ("hour", "cover", "drift"):
        asked = [(getattr(a, fact), getattr(b, fact)) for a, b in zip(stated, seen, strict=True) if getattr(a, fact)]
        judged.append(f"{100 * sum(a == b for a, b in asked) / len(asked):.0f}")
    drifting = [(facts.drift, frames) for facts, frames in zip(stated, made, strict=True) if facts.drift]
    cosines = [alike(direction, drift(frames, fps)) for direction, frames in drifting]
    return [*judged, f"{sum(cosines) / len(cosines):.2f}"]


def alike(direction: str, motion: tuple[float, float]) -> float:
    """Cosine of the angle between a stated direction and the motion (to the right, down)."""
    angle = DIRECTIONS.index(direction) * math.pi / 4 - math.atan2(motion[1], motion[0])
    return math.cos(angle) if any(motion) else 0.0


def described(variant: dict, own: dict) -> str:
    if variant:
        return ", ".join(f"{name} {value}" for name, value in variant.items())
    return "own: " + ", ".join(
        f"{name} {own[name]}" for name in ("guidance", "guidance_from", "guidance_until", "steps", "shift")
    )


if __name__ == "__main__":
    main()
