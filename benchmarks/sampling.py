"""Which settings to sample with: evaluate's measures, of a row of settings each.

    python benchmarks/sampling.py WEIGHTS --data CLIPS [--count 100] [guidance=4 guidance_until=0.5,shift=2 ...]

Of clips that were not trained on, and that evaluate will not use. Each row makes an MP4 for the longest caption of each
clip, from the same noise, with the weights' own settings or what is named otherwise; the last row is the clips
themselves. "drift, cosine" is the mean cosine of the angle between the drift asked for and the one seen: 0 by chance,
1 at best. It tells more of few clips than the share that is right.
"""

import argparse
import math
import os
import sys
import tempfile
from dataclasses import asdict, fields, replace
from pathlib import Path
from statistics import mean
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from machine import describe_run, markdown_heading, markdown_table

from soradit.evaluation.detectors import DIRECTIONS, drift
from soradit.evaluation.facts import Facts, facts_of
from soradit.evaluation.features import DEFAULT, FeatureNetwork, load_network
from soradit.evaluation.look import Look, look
from soradit.evaluation.scores import agreement_scores, frechet_scores, measure_scores
from soradit.media.clips import Clip, find_clips
from soradit.media.video import read_video
from soradit.model.config import GenerationConfig
from soradit.pipeline import Pipeline
from soradit.video import Request, Video

FIELDS: dict[str, Any] = {field.name: field.type for field in fields(GenerationConfig)}
Seen = tuple[Look, tuple[float, float]]
"""What evaluate measures of a clip, and how it drifts: (to the right, down)."""
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
    size = (own.height, own.width)
    real = [
        seen(*read_video(clip.path, fps=own.fps, size=size, num_frames=own.num_frames), network=network)
        for clip in clips
    ]
    print(markdown_heading(describe_run()))
    rows = []
    for variant in [{}, *arguments.variants]:
        settings = replace(own, **variant)
        requests = (Request(prompt=caption(clip), seed=seed, settings=settings) for seed, clip in enumerate(clips))
        made = [seen(*as_users_get_it(video), network=network) for video in pipeline.generate(requests)]
        figures = measured(stated, made, real)
        rows.append([described(variant, asdict(own)), *(made for made, _ in figures.values())])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    rows.append(["the clips themselves", *(real for _, real in figures.values())])
    print(markdown_table(["settings", *figures], rows))


def variant_of(text: str) -> dict[str, Any]:
    """``guidance=4,shift=2`` -> what differs from the weights' own settings."""
    pairs = dict(pair.split("=", 1) for pair in text.split(","))
    return {name: FIELDS[name](value) for name, value in pairs.items()}


def caption(clip: Clip) -> str:
    """The longest, which states most."""
    return max(clip.captions, key=len)


def as_users_get_it(video: Video) -> tuple[np.ndarray, float]:
    """Frames after compression, which takes much of what differs from real ones, and their rate."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        video.save(path)
        return read_video(path)


def seen(frames: np.ndarray, fps: float, *, network: FeatureNetwork) -> Seen:
    return look(frames, fps, network), drift(frames, fps)


def measured(stated: list[Facts], made: list[Seen], real: list[Seen]) -> dict[str, tuple[str, str]]:
    """Figures by name, of videos and of real clips, as text."""
    looks, real_looks = [look for look, _ in made], [look for look, _ in real]
    scores = [
        *agreement_scores("agreement", "prompted", stated, looks, real_looks),
        *(score for score in frechet_scores(looks, real_looks, None) if score.generated is not None),
        *measure_scores(looks, real_looks),
    ]
    return {score.name: score.to_row()[1:3] for score in scores} | {
        "drift, cosine": (cosine(stated, made), cosine(stated, real))
    }


def cosine(stated: list[Facts], clips: list[Seen]) -> str:
    each = [alike(facts.drift, motion) for facts, (_, motion) in zip(stated, clips, strict=True) if facts.drift]
    return f"{mean(each):.2f}" if each else "-"


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
