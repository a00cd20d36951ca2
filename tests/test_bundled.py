"""What the bundled weights promise: a sky that moves, and follows the prompt."""

import itertools

import numpy as np
import pytest

from soradit.model.folder import bundled_weights
from soradit.pipeline import Pipeline, Video

MAX_BYTES = 60 * 2**20
SEEDS = (0, 1)
CLOUDS = "clouds drifting to the right at noon"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.load()


@pytest.fixture(scope="module")
def videos(pipeline) -> dict[str, list[Video]]:
    settings = pipeline.with_overrides(steps=10, num_frames=16)
    prompts = ("a clear blue sky at noon", "a red sunset over the sea", "a starry night sky", CLOUDS)
    return {prompt: [pipeline(prompt, seed=seed, settings=settings) for seed in SEEDS] for prompt in prompts}


def mean_colour(videos: list[Video]) -> np.ndarray:
    """Mean red, green and blue in [0, 255]."""
    return np.mean([video.frames.mean((0, 1, 2)) for video in videos], axis=0)


def test_they_are_small():
    assert sum(path.stat().st_size for path in bundled_weights().rglob("*")) <= MAX_BYTES


def test_night_is_darker_than_day(videos):
    noon, sunset, night, _ = map(mean_colour, videos.values())
    assert night.mean() < 0.6 * noon.mean()
    assert night.mean() < 0.8 * sunset.mean()


def test_sunset_is_redder_than_noon(videos):
    noon, sunset, *_ = map(mean_colour, videos.values())
    assert sunset[0] / sunset[2] > 1.3 * noon[0] / noon[2]
    assert noon[2] > noon[0], "a clear sky at noon is blue"


def test_it_moves(videos):
    """But for a sky at noon without a cloud: four of five rendered ones change by less than 0.3 in the same second."""
    _, *moving = videos.values()
    for video in itertools.chain(*moving):
        frames = video.frames.astype(np.float32)
        assert np.abs(frames[-1] - frames[0]).mean() > (4 if video.request.prompt == CLOUDS else 0.5)


def test_seeds_differ(videos):
    for first, second in videos.values():
        assert np.abs(first.frames.astype(int) - second.frames.astype(int)).mean() > 1


@pytest.mark.parametrize(("prompt", "is_far"), [("a cat playing piano", True), ("a red sunset over the sea", False)])
def test_a_prompt_for_what_they_do_not_know_is_far(pipeline: Pipeline, prompt: str, is_far: bool) -> None:
    assert pipeline.familiar is not None
    assert pipeline.familiar.is_far(pipeline.text_encoder([prompt])[1]) == is_far
