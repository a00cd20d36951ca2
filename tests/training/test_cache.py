"""Encoded clips on disk: what is saved is read, whatever damage there is is named."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.training.cache import Cache, read_text, save_latents, save_text, segments_of
from soradit.training.randomness import generator
from soradit.training.transformer import Windows


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(folder=tmp_path / "cache", encoder="e", text_encoder="t", height=64, width=64, fps=16)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (tmp_path / "a.mp4").write_bytes(b"any")
    return Clip(path=tmp_path / "a.mp4", captions=("one", "two"))


def test_windows_of_segments(cache: Cache, clip: Clip) -> None:
    latents = [torch.randn(5, 2, 3, 4), torch.randn(2, 2, 3, 4)]
    path = cache.latents_path(clip)
    save_latents(path, latents)
    first, second = segments_of(clip, path)
    assert (first.length, second.length) == (5, 2)
    assert torch.equal(first.window(1, 3), latents[0][1:4].half().float())


def test_a_window_has_one_of_its_clips_captions_or_none(cache: Cache, clip: Clip) -> None:
    save_latents(cache.latents_path(clip), [torch.randn(6, 1, 1, 4), torch.randn(1, 1, 1, 4)])
    tokens = torch.tensor([1.0, 2.0])[:, None, None].expand(2, 3, 4)
    save_text(cache.text_path(clip.captions), tokens, torch.ones(2, 4))
    save_text(cache.text_path(("",)), torch.zeros(1, 3, 4), torch.zeros(1, 4))
    windows = Windows(segments_of(clip, cache.latents_path(clip)), cache, length=2)
    assert len(windows) == 1  # the segment of one frame is too short
    batch = windows.draw([0] * 2000, drop_text=0.25, random=generator(0, "test"))
    assert batch.latents.shape == (2000, 2, 1, 1, 4)
    shares = [(batch.text[:, 0, 0] == value).float().mean().item() for value in (0.0, 1.0, 2.0)]
    assert shares == pytest.approx([0.25, 0.375, 0.375], abs=0.04)
    assert torch.equal(batch.pooled[:, 0] == 0, batch.text[:, 0, 0] == 0)
    assert len(batch.latents.flatten(1).unique(dim=0)) == 5  # every start


def test_caches_of_other_weights_sizes_and_captions_never_meet(cache: Cache, clip: Clip) -> None:
    others = [replace(cache, **change) for change in ({"encoder": "w"}, {"height": 32}, {"width": 32}, {"fps": 8})]
    assert len({c.latents_path(clip) for c in [cache, *others]}) == 5
    texts = [("a", "b"), ("a b",), ("b", "a"), ("",)]
    paths = {cache.text_path(text) for text in texts} | {replace(cache, text_encoder="u").text_path(texts[0])}
    assert len(paths) == 5


def test_damage_is_named(cache: Cache, clip: Clip) -> None:
    save_latents(cache.latents_path(clip), [torch.zeros(1, 1, 1, 4)])
    save_text(cache.text_path(("",)), torch.zeros(1, 3, 4), torch.zeros(1, 4))
    for path in (cache.latents_path(clip), cache.text_path(("",))):
        os.truncate(path, 40)
        with pytest.raises(SoraditError, match=f"{path} is damaged .* delete it and run again"):
            segments_of(clip, path) if "latents" in str(path) else read_text(path)
