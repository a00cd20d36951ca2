"""Contrastive training of the text encoder."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from soradit.media.clips import Clip
from soradit.model.text import TextEncoderConfig, new_text_encoder
from soradit.training.cache import Segment
from soradit.training.text_encoder import TextEncoderObjective, TwoTowers, VideoTower, contrastive_loss

SIDES = ("left", "right", "up", "down")


class EmptySegment(Segment):
    """Of a clip in which nothing is to be seen."""

    def window(self, start: int, length: int) -> Tensor:
        return torch.zeros(length, self.height, self.width, 4)


def objective(clips: list[tuple[str, ...]]) -> TextEncoderObjective:
    """On clips of these captions."""
    captions = [caption for captions in clips for caption in captions]
    sizes = TextEncoderConfig(vocab_size=600, max_tokens=16, width=32, depth=1, heads=2, pooled_dim=16)
    torch.manual_seed(0)
    towers = TwoTowers(new_text_encoder(captions, sizes, seed=0), latent_channels=4, length=1)
    path = Path("clip.mp4")
    segments: list[Segment] = [
        EmptySegment(clip=Clip(path=path, captions=captions), path=path, name="", length=1, height=1, width=1)
        for captions in clips
    ]
    settings: Any = {"length": 1, "token_frames": 4, "batch_size": 4, "seed": 0, "device": torch.device("cpu")}
    return TextEncoderObjective(towers, training=segments, held_out=segments, **settings)


def test_loss_of_no_preference_is_chance() -> None:
    assert contrastive_loss(torch.zeros(5, 5)).item() == pytest.approx(math.log(5))


def test_loss_of_right_pairs_is_nothing() -> None:
    right = 100 * torch.eye(4)
    assert contrastive_loss(right).item() == pytest.approx(0, abs=1e-6)
    assert contrastive_loss(right.roll(1, 0)).item() == pytest.approx(100)


def test_loss_is_symmetric_in_captions_and_clips() -> None:
    logits = torch.randn(6, 6)
    torch.testing.assert_close(contrastive_loss(logits), contrastive_loss(logits.T))


def test_video_tower_sees_order_in_time() -> None:
    torch.manual_seed(0)
    tower = VideoTower(latent_channels=4, length=3, width=16, depth=1, heads=2, out=8).eval()
    latents = torch.randn(2, 3, 2, 2, 4)
    assert tower(latents).shape == (2, 8)
    assert not torch.allclose(tower(latents), tower(latents.flip(1)), atol=1e-4)


def test_wordings_are_two_different_captions_of_each_of_some_clips() -> None:
    clips = [(f"{side} one", f"{side} two", f"{side} three") for side in SIDES]
    one, other = objective(clips).batch(0).wordings
    assert len(one) == len(other) == len(clips)
    assert [caption.split()[0] for caption in one] == [caption.split()[0] for caption in other]
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_clips_of_one_caption_have_no_other_wording() -> None:
    lonely = objective([(f"drifting {side}",) for side in SIDES])
    batch = lonely.batch(0)
    assert batch.wordings == ([], [])
    assert lonely.loss(batch, 0).isfinite()


def test_what_has_the_same_captions_is_not_told_apart() -> None:
    """As a clip that comes twice, its segments, and its mirror image where no caption says left or right."""
    twice = objective([("a red sky",), ("a blue sky",), ("a red sky",)])
    assert twice.batch(0).pairs.alike.any(0).sum() >= 3  # of four that are drawn from three
    pairs = twice._pairs(twice.training, torch.Generator(), longest=True)
    assert pairs.alike.tolist() == [[False, False, True], [False, False, False], [True, False, False]]
    assert twice.evaluate()["held_out_top1"] >= 1 / 3
    assert twice.loss(twice.batch(0), 0).isfinite()


def test_a_word_that_no_picture_tells_is_learnt_from_other_wordings() -> None:
    """All clips look alike, so that only captions say which belong together."""
    clips = [(f"clouds drifting {side}", f"the sky, moving {side}") for side in SIDES]
    learner = objective(clips)
    optimizer = torch.optim.AdamW(learner.network.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        learner.loss(learner.batch(step), step).backward()
        optimizer.step()
    with torch.no_grad():
        one, other = (learner.model.embed([captions[i] for captions in clips]) for i in (0, 1))
    assert (one @ other.T).argmax(1).tolist() == list(range(len(SIDES)))
