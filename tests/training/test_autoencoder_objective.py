"""What the autoencoder learns from: windows that depend on the step alone, and statistics for its latents."""

import itertools
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from soradit.media.clips import Clip, find_clips
from soradit.media.mirror import mirror_clip
from soradit.media.video import probe_video
from soradit.media.writing import write_video
from soradit.model.autoencoder import Autoencoder, AutoencoderConfig, renew_refiner, to_float
from soradit.model.config import GenerationConfig
from soradit.model.weights import load_autoencoder
from soradit.report import Report
from soradit.training import autoencoder
from soradit.training.autoencoder import AutoencoderObjective, RefinerObjective, psnr, reconstruction_loss
from soradit.training.config import LoopConfig
from soradit.training.intact import intact_clips
from soradit.training.state import TrainState

GENERATION = GenerationConfig(height=64, width=64, num_frames=16)
SMALL = AutoencoderConfig(widths=(32, 48, 64), blocks_per_stage=1, latent_channels=16)


def objective(
    clips: list[Clip], seed: int = 0, kind: type[AutoencoderObjective] = AutoencoderObjective
) -> AutoencoderObjective:
    torch.manual_seed(0)
    return kind(
        Autoencoder(SMALL),
        training=clips,
        held_out=clips[:2],
        seconds=intact_clips(clips, Report()),
        generation=GENERATION,
        batch_size=2,
        seed=seed,
        device=torch.device("cpu"),
        precision=torch.float32,
    )


def test_batches_depend_on_nothing_but_the_step(clips: Path) -> None:
    first, second = (objective(find_clips(clips)) for _ in range(2))
    second.batch(0)
    third, again, fourth = first.batch(3), second.batch(3), first.batch(4)
    assert third.video.shape == (2, 16, 64, 64, 3)
    assert torch.equal(third.video, again.video)
    assert torch.equal(third.noise, again.noise)
    assert not torch.equal(third.video, fourth.video)
    assert not torch.equal(third.noise, fourth.noise)
    parts = [first.batch(3, slice(0, 1)), first.batch(3, slice(1, 2))]
    assert torch.equal(torch.cat([part.video for part in parts]), third.video)
    assert torch.equal(torch.cat([part.noise for part in parts]), third.noise)
    assert torch.equal(first.loss(first.batch(3), 3), second.loss(second.batch(3), 3))


def test_a_mirrored_clips_windows_are_the_clips_mirrored(clips: Path) -> None:
    clip, *_ = find_clips(clips)
    both = objective([clip, mirror_clip(clip)])
    window, mirrored = (both._window(clip, torch.Generator().manual_seed(1)) for clip in both.training)
    assert torch.equal(mirrored, window.flip(2))
    assert not torch.equal(mirrored, window)


def test_windows_lie_within_what_a_clip_holds_whatever_its_header_says(tmp_path: Path) -> None:
    """FLV has one duration for all streams; here the sound's, which goes on for four seconds after the picture."""
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=16:d=1")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *picture, "-f", "lavfi", "-i", "sine=d=5", tmp_path / "a.flv"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (probe_video(tmp_path / "a.flv").duration_seconds or 0) > 4
    training = objective([Clip(path=tmp_path / "a.flv", captions=("a test picture",))])
    for step in range(4):
        assert training.batch(step).video.shape == (2, 16, 64, 64, 3)


def test_crops_begin_where_macroblocks_do() -> None:
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(176), indexing="ij")
    video = torch.stack([rows, columns, rows], dim=-1)[None].to(torch.uint8)
    random = torch.Generator().manual_seed(0)
    corners = {tuple(autoencoder._crop(video, 128, random)[0, 0, 0, :2].tolist()) for _ in range(200)}
    assert corners == set(itertools.product(range(0, 73, 16), range(0, 49, 16)))


def test_a_refiner_learns_from_tokens_that_have_all_their_neighbours(clips: Path) -> None:
    training = objective(find_clips(clips), kind=RefinerObjective)
    renew_refiner(training.autoencoder.requires_grad_(False))
    video = torch.rand(1, 16, 96, 64, 3) * 2 - 1
    whole = training.autoencoder.decode(training.autoencoder.encode(video))
    refined, original = training._reconstruct(video, torch.ones(1, 4, 3, 2, 16))
    assert torch.equal(original, video[:, 4:12, 32:64])
    torch.testing.assert_close(refined.clamp(-1, 1), whole[:, 4:12, 32:64], atol=1e-5, rtol=0)
    batch = training.batch(0)
    assert not batch.noise.any()
    training.autoencoder.decoder.refiner.requires_grad_(True)
    training.loss(batch, 0).backward()
    learning = {name for name, parameter in training.autoencoder.named_parameters() if parameter.grad is not None}
    assert learning == {
        f"decoder.refiner.{name}" for name, _ in training.autoencoder.decoder.refiner.named_parameters()
    }


def test_published_latents_have_unit_variance(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "NUM_FITTING_WINDOWS", 8)
    training = objective(find_clips(clips))
    training.fit(Report(), encoder=True)
    training.publish(tmp_path, training.model.state_dict())
    published = load_autoencoder(tmp_path)
    windows = [training._window(clip, torch.Generator()) for clip in training.training]
    latents = published.encode(to_float(torch.stack(windows))).flatten(0, -2)
    torch.testing.assert_close(latents.mean(0), torch.zeros(16), atol=0.15, rtol=0)
    torch.testing.assert_close(latents.var(0).mean(), torch.ones(()), atol=0.15, rtol=0)


def test_training_starts_as_a_compression_and_improves(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "NUM_FITTING_WINDOWS", 8)
    training = objective(find_clips(clips))
    with torch.no_grad():
        before = training.evaluate()
        training.fit(Report(), encoder=True)
        fitted = training.evaluate()
    assert fitted["held_out_psnr"] > before["held_out_psnr"] + 6
    optimizer = torch.optim.AdamW(training.model.parameters(), lr=2e-4)
    batch = training.batch(0)
    losses = []
    for step in range(40):
        loss = training.loss(batch, step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert max(losses[-5:]) < losses[0]


def test_still_clips_are_normalised_without_dividing_by_nothing(tmp_path: Path) -> None:
    write_video(tmp_path / "black.mp4", np.zeros((16, 64, 64, 3), np.uint8), fps=16)
    training = objective([Clip(path=tmp_path / "black.mp4", captions=("night",))])
    training.publish(tmp_path, training.model.state_dict())
    assert load_autoencoder(tmp_path).encode(torch.zeros(1, 16, 64, 64, 3)).isfinite().all()


def test_short_clips_are_extended(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "short.mp4", frames, fps=16, crf=1)
    training = objective([Clip(path=tmp_path / "short.mp4", captions=("short",))])
    window = training.batch(0).video[0]
    assert len(window) == 16
    assert torch.equal(window[6:], window[5:6].expand(10, -1, -1, -1))


def test_loss_and_psnr_by_hand() -> None:
    video = torch.zeros(1, 4, 8, 8, 3)
    assert reconstruction_loss(video + 0.2, video).item() == pytest.approx(0.2)
    flicker = torch.tensor([0.2, -0.2, 0.2, -0.2])[None, :, None, None, None].expand_as(video)
    assert reconstruction_loss(flicker, video).item() == pytest.approx(0.2 + 0.5 * 0.4)
    assert psnr(video + 0.2, video) == pytest.approx(20)
    assert reconstruction_loss(video, video).item() == 0


def test_a_layer_that_adds_up_more_inputs_is_trained_at_a_smaller_rate() -> None:
    model, config = Autoencoder(SMALL), LoopConfig(steps=100, batch_size=1, warmup_steps=1)
    state = TrainState.begin(model, config)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.apply_gradients(torch.tensor(1.0), config)
    moved = {name: (parameter - before[name]).abs().max().item() for name, parameter in model.named_parameters()}
    assert moved["decoder.to_pixels.weight"] == pytest.approx(config.learning_rate, rel=0.02)
    assert moved["decoder.project.weight"] == pytest.approx(config.learning_rate * 32 / (27 * 16), rel=0.02)
