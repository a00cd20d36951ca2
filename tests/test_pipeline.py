"""The pipeline as a library."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soradit.errors import SoraditError
from soradit.media.video import read_video
from soradit.model.weights import MAX_TOKENS, GenerationConfig, latent_grid
from soradit.pipeline import Pipeline

TOKEN = (4, 32, 32)


@pytest.fixture(scope="module")
def pipeline(weights: Path) -> Pipeline:
    """With weights that have seen more than these few steps: the prompt matters."""
    loaded = Pipeline.load(weights, device="cpu")
    torch.manual_seed(0)
    for parameter in loaded.transformer.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return loaded


def test_frames_are_as_the_weights_say(pipeline: Pipeline) -> None:
    video = pipeline("sora is sky")
    assert (video.frames.shape, video.frames.dtype, video.fps) == ((16, 64, 64, 3), np.uint8, 16)


def test_same_arguments_same_frames(pipeline: Pipeline) -> None:
    torch.manual_seed(1)
    first = pipeline("sky", seed=3).frames
    torch.manual_seed(2)
    assert (pipeline("sky", seed=3).frames == first).all()
    assert (pipeline("sky", seed=4).frames != first).any()


def test_prompt_and_negative_prompt_matter(pipeline: Pipeline) -> None:
    frames = [pipeline(*args, negative=n).frames for args, n in ((("day",), ""), (("night",), ""), (("day",), "night"))]
    assert (frames[0] != frames[1]).any()
    assert (frames[0] != frames[2]).any()


def test_no_guidance_asks_the_model_once_and_guidance_at_one_batch(pipeline: Pipeline) -> None:
    batches: list[int] = []
    hook = pipeline.transformer.register_forward_hook(lambda module, given, result: batches.append(len(result)))
    for guidance in (1.0, 3.0):
        pipeline("sky", settings=replace(pipeline.defaults, guidance=guidance, steps=2))
    hook.remove()
    assert batches == [1, 1, 2, 2]


def test_steps_are_reported(pipeline: Pipeline) -> None:
    steps: list[tuple[int, int]] = []
    pipeline(
        "sky", settings=replace(pipeline.defaults, steps=3), on_step=lambda step: steps.append((step.done, step.of))
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("process", [{"sampler": "euler"}, {"process": "noise", "sampler": "ddim"}])
def test_every_sampler_serves(pipeline: Pipeline, process: dict[str, str]) -> None:
    assert pipeline("sky", settings=replace(pipeline.defaults, **process)).frames.shape == (16, 64, 64, 3)


def test_bfloat16_is_close_to_float32(pipeline: Pipeline, weights: Path) -> None:
    exact = Pipeline.load(weights, precision="float32")("sky").frames.astype(int)
    rough = Pipeline.load(weights, precision="bfloat16")("sky").frames.astype(int)
    assert np.abs(exact - rough).mean() < 4


def test_overrides_of_none_keep_the_weights_settings(pipeline: Pipeline) -> None:
    settings = pipeline.with_overrides(steps=None, guidance=1.5)
    assert settings == replace(pipeline.defaults, guidance=1.5)


def test_saved_video_is_read(pipeline: Pipeline, tmp_path: Path) -> None:
    video = pipeline("sky")
    video.save(tmp_path / "a.mp4")
    frames, fps = read_video(tmp_path / "a.mp4")
    assert (frames.shape, fps) == (video.frames.shape, video.fps)
    with pytest.raises(SoraditError, match="exists already"):
        video.save(tmp_path / "a.mp4")


def test_grid_of_tokens() -> None:
    assert latent_grid(GenerationConfig(num_frames=8, height=64, width=96), TOKEN) == (2, 2, 3)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"num_frames": 2}, "frames 2 is not a multiple of 4: use 4"),
        ({"height": 100}, "height 100 is not a multiple of 32: use 96"),
        ({"width": 120}, "width 120 is not a multiple of 32: use 128"),
        ({"width": 32 * MAX_TOKENS}, f"tokens, {MAX_TOKENS} are the most"),
    ],
)
def test_grid_that_does_not_fit_is_named(size: dict[str, int], message: str) -> None:
    with pytest.raises(SoraditError, match=message):
        latent_grid(GenerationConfig(**size), TOKEN)
