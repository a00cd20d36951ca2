"""The pipeline as a library."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from soradit.beginning import go_on
from soradit.errors import SoraditError
from soradit.media.video import read_video
from soradit.model.autoencoder import to_float, to_uint8
from soradit.model.config import MAX_TOKENS, GenerationConfig, latent_grid
from soradit.model.familiar import Familiar
from soradit.model.slices import DECODED_AT_ONCE, slices
from soradit.pipeline import Pipeline
from soradit.video import Request, Video

TOKEN = (4, 32, 32)


@pytest.fixture(scope="module")
def pipeline(weights: Path) -> Pipeline:
    """With weights that have seen more than these few steps: the prompt matters."""
    loaded = Pipeline.load(weights, device="cpu", precision="float32")
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


def test_a_prompt_unlike_all_that_was_learnt_is_far(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pooled = pipeline.text_encoder(["a red sky"])
    monkeypatch.setattr(pipeline, "familiar", Familiar(landmarks=pooled, radius=1e-4))
    assert not pipeline.is_far("a red sky")
    assert not pipeline.is_far(" ")  # said otherwise
    assert pipeline.is_far("a cat playing the piano")
    monkeypatch.setattr(pipeline, "familiar", None)
    assert not pipeline.is_far("a cat playing the piano")


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


def test_a_long_list_is_made_as_it_is_read(pipeline: Pipeline) -> None:
    prompts = (f"sky {i}" for i in itertools.count())
    videos = list(itertools.islice(pipeline.generate(prompts), 3))
    assert [video.request.prompt for video in videos] == ["sky 0", "sky 1", "sky 2"]
    assert next(prompts) == "sky 3", "no further than needed"
    assert (videos[1].frames == pipeline("sky 1").frames).all()


def test_neighbours_in_a_batch_do_not_matter(pipeline: Pipeline) -> None:
    """To rounding: a pixel in a hundred may be off by one."""
    requests = [Request(prompt=prompt, seed=seed) for prompt, seed in (("day", 0), ("night", 0), ("day", 1))]
    alone, together = (list(pipeline.generate(requests, batch_size=size)) for size in (1, 3))
    for one, other in zip(alone, together, strict=True):
        difference = np.abs(one.frames.astype(int) - other.frames)
        assert difference.max() <= 1
        assert difference.mean() < 0.01


def test_public_names() -> None:
    import soradit

    assert {soradit.Pipeline, soradit.Request, soradit.Video} == {Pipeline, Request, Video}
    assert soradit.SoraditError is SoraditError
    with pytest.raises(AttributeError, match="no attribute 'Pipelines'"):
        _ = soradit.Pipelines


@pytest.mark.parametrize("total", [1, 8, 9, 33])
def test_decoding_in_slices_is_decoding(pipeline: Pipeline, total: int) -> None:
    latents = torch.randn(total, 2, 2, pipeline.autoencoder.config.latent_channels)
    with torch.no_grad():
        whole = to_uint8(pipeline.autoencoder.decode(latents[None])[0]).numpy().astype(int)
    sliced = pipeline.decode(latents)
    assert sliced.shape == whole.shape
    assert np.abs(sliced - whole).max() <= 1
    assert (sliced != whole).mean() < 1e-3


def test_decoding_looks_at_a_few_latents_at_a_time(pipeline: Pipeline) -> None:
    lengths = [part.stop - part.start for part in slices(pipeline.autoencoder, 1000)]
    assert max(lengths) <= DECODED_AT_ONCE + 2 * 16


def test_a_batch_that_does_not_fit_is_halved(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = pipeline.transformer.forward

    def small_card(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x) // 2)
        if len(x) > 2 * 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(x, *rest)

    monkeypatch.setattr(pipeline.transformer, "forward", small_card)
    prompts = ["a", "b", "c", "d"]
    videos = list(pipeline.generate(prompts, batch_size=4))
    assert [video.request.prompt for video in videos] == prompts
    assert sizes == [4, 2, 2, 2, 2]


def test_too_little_memory_for_one_is_one_line(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_card(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")

    monkeypatch.setattr(pipeline.transformer, "forward", no_card)
    with pytest.raises(SoraditError, match="cpu has too little memory for it: make a smaller or shorter video"):
        pipeline("sky")


def test_infinities_are_no_video(pipeline: Pipeline) -> None:
    with pytest.raises(SoraditError, match=r"guidance 1e\+38 in float32 leads to infinities"):
        pipeline("sky", settings=replace(pipeline.defaults, guidance=1e38))


def test_an_image_s_latent_is_held(pipeline: Pipeline) -> None:
    image, steps = pipeline("day").frames[5:6], []
    pipeline("night", start=image, seed=1, on_step=steps.append)
    still = to_float(torch.from_numpy(image).expand(12, -1, -1, -1))[None]
    with torch.no_grad():
        known = pipeline.autoencoder.encode(still)[:, :1]
    assert len(steps) == pipeline.defaults.steps
    for step in steps:
        torch.testing.assert_close(step.x0[:, :1], known, atol=1e-4, rtol=1e-4)


def test_a_beginning_is_met_and_kept(pipeline: Pipeline) -> None:
    start = pipeline("day").frames[::-1]  # a view is as good
    settings = replace(pipeline.defaults, num_frames=40)
    frames = pipeline("day", start=start, settings=settings, seed=1).frames
    assert len(frames) == 40
    assert (frames[:8] == start[:8]).all()
    with pytest.raises(SoraditError, match=r"shape \(16, 64, 64, 3\) is none for 32x64"):
        pipeline("day", start=start, settings=replace(settings, width=32))


def test_joining_fades_from_one_to_the_other() -> None:
    black, white = np.zeros((4, 1, 1, 3), np.uint8), np.full((6, 1, 1, 3), 255, np.uint8)
    assert go_on(black, white, overlap=3)[:, 0, 0, 0].tolist() == [0, 64, 128, 191, 255, 255, 255]


def test_offloaded_parts_are_off_the_device(weights: Path) -> None:
    offloading = Pipeline.load(weights, device="cpu", offload=True)
    moves: list[str] = []
    for name in ("transformer", "autoencoder"):
        module = getattr(offloading, name)
        module.to = lambda device, name=name: moves.append(f"{name} to {device}")
    offloading("sky")
    assert moves == [f"{name} to cpu" for name in ("transformer", "transformer", "autoencoder", "autoencoder")]


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
