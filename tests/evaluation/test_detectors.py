"""Detectors on pictures whose motion and colour are known."""

from pathlib import Path

import numpy as np
import pytest

from soradit.evaluation.detectors import appearance, detect, drift
from soradit.evaluation.facts import facts_of
from soradit.media.clips import find_clips
from soradit.media.video import read_video
from soradit.skies.noise import SIZE, spectral

FPS, NUM_FRAMES = 16, 24


def moving_clouds(right: float, down: float, height: int = 96, width: int = 128, ground: int = 0) -> np.ndarray:
    """Clouds that move by so many pixels a frame, over a ground that stands still."""
    texture = spectral(np.random.default_rng(0), slope=1.5, low=4)
    frequency = np.fft.fftfreq(SIZE)
    spectrum = np.fft.fft2(texture)
    frames = []
    for t in range(NUM_FRAMES):
        phase = frequency[:, None] * down * t + frequency * right * t
        moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * phase)).real[:height, :width]
        frames.append(np.clip(128 + 35 * moved, 0, 255))
    video = np.repeat(np.array(frames)[..., None], 3, axis=-1).astype(np.uint8)
    video[:, height - ground :] = np.random.default_rng(1).integers(0, 255, (ground, width, 3), dtype=np.uint8)
    return video


@pytest.mark.parametrize(
    ("right", "down", "direction"),
    [
        (0.8, 0, "right"),
        (-0.8, 0, "left"),
        (0, -0.8, "towards"),
        (0, 0.8, "away"),
        (-0.6, -0.6, "left towards"),
        (0.6, 0.6, "right away"),
    ],
)
def test_known_shifts_are_measured(right: float, down: float, direction: str) -> None:
    frames = moving_clouds(right, down)
    expected = right * FPS / 96, down * FPS / 96
    assert drift(frames, FPS) == pytest.approx(expected, abs=0.01)
    assert detect(frames, FPS).drift == direction


def test_drift_does_not_depend_on_the_size() -> None:
    large = moving_clouds(2, -1, height=256, width=256)
    small = large.reshape(NUM_FRAMES, 64, 4, 64, 4, 3).mean(axis=(2, 4)).astype(np.uint8)
    assert drift(large, FPS) == pytest.approx((2 * FPS / 256, -FPS / 256), abs=0.01)
    assert drift(small, FPS) == pytest.approx(drift(large, FPS), abs=0.02)


def test_still_ground_does_not_hold_the_clouds() -> None:
    assert drift(moving_clouds(0.8, 0, ground=30), FPS) == pytest.approx((0.8 * FPS / 96, 0), abs=0.01)


def test_a_still_or_a_single_frame_does_not_drift() -> None:
    frames = moving_clouds(0, 0)
    assert detect(frames, FPS).drift is None
    assert detect(frames[:1], FPS).drift is None


def gradient(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> np.ndarray:
    column = np.linspace(top, bottom, 64)[:, None]
    return np.broadcast_to(column.round().astype(np.uint8), (NUM_FRAMES, 64, 64, 3)).copy()


@pytest.mark.parametrize(
    ("top", "bottom", "hour"),
    [
        ((10, 14, 30), (25, 30, 48), "night"),
        ((70, 120, 200), (170, 200, 230), "day"),
        ((90, 100, 140), (250, 150, 70), "low sun"),
    ],
)
def test_clear_skies_of_known_colours(top: tuple, bottom: tuple, hour: str) -> None:
    seen = detect(gradient(top, bottom), FPS)
    assert (seen.hour, seen.cover) == (hour, "clear")


def test_appearance_of_a_plain_picture() -> None:
    numbers = appearance(gradient((51, 102, 153), (51, 102, 153)), FPS)
    assert numbers["coldest warmth"] == pytest.approx(-0.4 / 1.22)
    assert numbers["warmest warmth"] == pytest.approx(-0.4 / 1.22)
    assert numbers["greenness"] == pytest.approx(0, abs=1e-6)
    assert numbers["log change of warmth in half a second"] == pytest.approx(np.log(0.002))


def test_rendered_skies_are_recognised(clips: Path) -> None:
    """Of few clips, small and short, most."""
    right = total = 0
    for clip in find_clips(clips):
        stated, seen = facts_of(", ".join(clip.captions)), detect(read_video(clip.path)[0], FPS)
        facts = [fact for fact in ("hour", "cover", "drift") if getattr(stated, fact)]
        total += len(facts)
        right += sum(getattr(seen, fact) == getattr(stated, fact) for fact in facts)
    assert total >= 10
    assert right >= 0.8 * total
