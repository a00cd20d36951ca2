"""Prompts' embeddings on disk: the same numbers, less to load, and never a reason to fail."""

import os
from pathlib import Path

import pytest
import torch

from soradit.model import embeddings
from soradit.model.embeddings import CachedTextEncoder
from soradit.model.weights import load_text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "soradit" / "prompts" / "some-hash"


def encoder(weights: Path) -> CachedTextEncoder:
    return CachedTextEncoder(weights, "some-hash")


def is_loaded(encoder: CachedTextEncoder) -> bool:
    return "text_encoder" in vars(encoder)


def test_a_prompt_seen_before_needs_no_text_encoder(weights: Path, cache: Path) -> None:
    prompts = ["a red sunset", "空", ""]
    first = encoder(weights)
    text, pooled = first(prompts)
    assert is_loaded(first)
    again = encoder(weights)
    assert all(torch.equal(a, b) for a, b in zip(again(prompts), (text, pooled), strict=True))
    assert again.count_tokens("a red sunset") == load_text(weights).count_tokens("a red sunset")
    assert again.max_tokens == text.shape[1] == 24
    assert not is_loaded(again)
    assert len(os.listdir(cache)) == 3


def test_they_are_the_text_encoder_s_own(weights: Path, cache: Path) -> None:
    prompts = ["a red sunset", "night"]
    for cached, direct in zip(encoder(weights)(prompts), load_text(weights)(prompts), strict=True):
        torch.testing.assert_close(cached, direct)


def test_an_embedding_does_not_depend_on_its_neighbours(weights: Path, cache: Path) -> None:
    together, _ = encoder(weights)(["day", "night"])
    for path in cache.iterdir():
        path.unlink()
    alone, _ = encoder(weights)(["night"])
    assert torch.equal(together[1:], alone)


def test_a_damaged_entry_is_made_again(weights: Path, cache: Path) -> None:
    text, _ = encoder(weights)(["day"])
    (entry,) = cache.iterdir()
    os.truncate(entry, 50)
    assert torch.equal(encoder(weights)(["day"])[0], text)
    assert entry.stat().st_size > 50


def test_a_cache_that_cannot_be_written_is_done_without(weights: Path, cache: Path) -> None:
    cache.parent.parent.parent.write_text("a file in its place")
    text, _ = encoder(weights)(["day"])
    assert text.shape[0] == 1


def test_a_user_without_a_home_has_no_cache(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    for _ in range(2):
        used = encoder(weights)
        assert used(["day"])[0].shape[0] == 1
        assert is_loaded(used)


def test_it_stays_small(weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "MAX_ENTRIES", 3)
    used = encoder(weights)
    for i in range(6):
        used([f"prompt {i}"])
    assert len(os.listdir(cache)) == 3
    again = encoder(weights)
    again(["prompt 5"])
    assert not is_loaded(again), "the newest are kept"
