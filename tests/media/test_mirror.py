"""A clip in a mirror: its own inverse, in frames and in words."""

from pathlib import Path

import numpy as np
import pytest

from soradit.media.clips import Clip
from soradit.media.mirror import mirror_caption, mirror_clip, mirror_frames


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("clouds from left to right", "clouds from right to left"),
        ("Leftwards, a bright sky", "Rightwards, a bright sky"),
        ("RIGHT and leftmost", "LEFT and rightmost"),
        ("bright upright clouds, some light left over", "bright upright clouds, some light right over"),
        ("a left-handed copyright lawyer", "a right-handed copyright lawyer"),
    ],
)
def test_mirroring_exchanges_whole_words_and_is_its_own_inverse(text: str, mirrored: str) -> None:
    assert mirror_caption(text) == mirrored
    assert mirror_caption(mirrored) == text


def test_a_mirrored_clip_is_another_one_of_the_same_file() -> None:
    clip = Clip(path=Path("a.mp4"), captions=("to the left", "a sky"), caption_place=".txt")
    mirrored = mirror_clip(clip)
    assert (mirrored.path, mirrored.captions) == (clip.path, ("to the right", "a sky"))
    assert mirrored != clip
    assert mirror_clip(Clip(path=Path("a.mp4"), captions=("a sky",))) != Clip(path=Path("a.mp4"), captions=("a sky",))
    assert mirror_clip(mirrored) == clip
    assert (str(clip), str(mirrored)) == ("a.mp4", "a.mp4 (mirrored)")


def test_mirrored_frames_have_their_columns_in_reverse() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    mirrored = mirror_frames(frames)
    for column in range(6):
        assert (mirrored[:, :, column] == frames[:, :, 5 - column]).all()
    assert (mirror_frames(mirrored) == frames).all()
