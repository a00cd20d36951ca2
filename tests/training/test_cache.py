"""Encoded clips on disk: what is saved is read, whatever damage there is is named."""

import json
import os
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.media.reading import Reading
from soradit.training.cache import (
    Cache,
    Segment,
    latents_name,
    read_pooled,
    read_tokens,
    save_latents,
    save_text,
    segments_of,
)
from soradit.training.contents import CONTENTS, content_hash, keep_contents
from soradit.training.randomness import draw_indices, generator
from soradit.training.tensor_store import TensorStore
from soradit.training.transformer import Windows


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    reading = Reading(height=64, width=64, fps=16, token_size=(4, 32, 32), max_segment_frames=128)
    return Cache(folder=tmp_path / "cache", encoder="e", text_encoder="t", reading=reading)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    (tmp_path / "a.mp4").write_bytes(b"any")
    return Clip(path=tmp_path / "a.mp4", captions=("one", "two"))


def test_windows_of_segments(cache: Cache, clip: Clip) -> None:
    latents = [torch.randn(5, 2, 3, 4), torch.randn(2, 2, 3, 4)]
    path = cache.latents_path(clip)
    save_latents(TensorStore(cache.latents_folder), content_hash(clip.path), latents)
    first, second = segments_of(clip, path)
    assert (first.length, second.length) == (5, 2)
    assert torch.equal(first.window(1, 3), latents[0][1:4].half().float())


def test_a_window_has_one_of_its_clips_captions_or_none(cache: Cache, clip: Clip) -> None:
    save_latents(
        TensorStore(cache.latents_folder), content_hash(clip.path), [torch.randn(6, 1, 1, 4), torch.randn(1, 1, 1, 4)]
    )
    tokens = torch.tensor([1.0, 2.0])[:, None, None].expand(2, 3, 4)
    save_text(TensorStore(cache.text_folder), clip.captions, tokens, torch.ones(2, 4))
    save_text(TensorStore(cache.text_folder), ("",), torch.zeros(1, 3, 4), torch.zeros(1, 4))
    windows = Windows(segments_of(clip, cache.latents_path(clip)), cache, length=2)
    assert len(windows) == 1  # the segment of one frame is too short
    batch = windows.draw([0] * 2000, drop_text=0.25, random=generator(0, "test"))
    assert batch.latents.shape == (2000, 2, 1, 1, 4)
    shares = [(batch.text[:, 0, 0] == value).float().mean().item() for value in (0.0, 1.0, 2.0)]
    assert shares == pytest.approx([0.25, 0.375, 0.375], abs=0.04)
    assert torch.equal(batch.pooled[:, 0] == 0, batch.text[:, 0, 0] == 0)
    assert len(batch.latents.flatten(1).unique(dim=0)) == 5  # every start


def test_every_clip_comes_before_any_comes_again(cache: Cache, clip: Clip) -> None:
    """So that a few are of many clips."""
    other = replace(clip, mirrored=True)
    with TensorStore(cache.latents_folder) as store:
        for each, count in ((clip, 3), (other, 2)):
            save_latents(store, latents_name(each), [torch.zeros(2, 1, 1, 4)] * count)
    found = [(segment.clip.mirrored, segment.name) for segment in cache.segments([clip, other])]
    first, second, third = (f"segment-{i}" for i in range(3))
    assert found == [(False, first), (True, first), (False, second), (True, second), (False, third)]


def test_captions_come_in_the_order_of_their_clips(cache: Cache, tmp_path: Path) -> None:
    """Not in a set's, which is another in each process: a folder of weights is the same whenever it is written."""
    segments = []
    for i in range(12):
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(b"%d" % i)
        clip = Clip(path=path, captions=(f"caption {i}",))
        save_latents(TensorStore(cache.latents_folder), content_hash(path), [torch.zeros(2, 1, 1, 4)])
        save_text(TensorStore(cache.text_folder), clip.captions, torch.zeros(1, 3, 4), torch.full((1, 4), float(i)))
        segments += segments_of(clip, cache.latents_path(clip))
    save_text(TensorStore(cache.text_folder), ("",), torch.zeros(1, 3, 4), torch.zeros(1, 4))
    windows = Windows(segments, cache, length=2)
    assert windows.captions()[:, 0].tolist() == [float(i) for i in range(12)]


def latents_of(cache: Cache, folder: Path, shapes: list[tuple[int, int, int]]) -> list[Segment]:
    """A clip a segment of that many latent frames, rows and columns."""
    save_text(TensorStore(cache.text_folder), ("",), torch.zeros(1, 3, 4), torch.zeros(1, 4))
    segments = []
    for index, shape in enumerate(shapes):
        (folder / f"{index}.mp4").write_text(str(index))
        clip = Clip(path=folder / f"{index}.mp4", captions=("",))
        save_latents(
            TensorStore(cache.latents_folder), content_hash(clip.path), [torch.full((*shape, 4), float(index))]
        )
        segments += segments_of(clip, cache.latents_path(clip))
    return segments


def test_a_batch_is_of_one_bucket_and_every_segment_comes_once_a_round(cache: Cache, tmp_path: Path) -> None:
    shapes = [(8, 2, 3)] * 6 + [(9, 3, 2)] * 4 + [(3, 2, 3)] * 2 + [(1, 2, 3)]
    windows = Windows(latents_of(cache, tmp_path, shapes), cache, length=8, shorter=True)
    assert sorted(map(len, windows.buckets)) == [1, 2, 4, 6]
    rounds = [[windows.choose(0, step, 2) for step in range(7 * r, 7 * r + 7)] for r in range(2)]
    for chosen in rounds:
        drawn = sorted(index for indices in chosen for index in indices)
        assert sorted(set(drawn)) == list(range(13))
        assert len(drawn) == 14  # the bucket of one fills its batch by itself
    assert rounds[0] != rounds[1]
    sizes = set()
    for indices in rounds[0]:
        batch = windows.draw(indices, drop_text=0.0, random=generator(0, "test"))
        sizes.add(tuple(batch.latents.shape[1:4]))
        assert batch.latents[:, 0, 0, 0, 0].tolist() == indices
    assert sizes == {(8, 2, 3), (8, 3, 2), (2, 2, 3), (1, 2, 3)}


def test_the_largest_window_has_the_most_tokens(cache: Cache, tmp_path: Path) -> None:
    """Which a wide one that is low has not."""
    windows = Windows(latents_of(cache, tmp_path, [(4, 4, 13), (4, 8, 8), (2, 9, 9)]), cache, length=4, shorter=True)
    assert windows.largest == 1


def test_one_bucket_is_drawn_as_if_there_were_none(cache: Cache, tmp_path: Path) -> None:
    windows = Windows(latents_of(cache, tmp_path, [(4, 2, 2)] * 5), cache, length=4)
    assert [windows.choose(7, step, 3) for step in range(9)] == [draw_indices(7, step, 3, 5) for step in range(9)]


def test_caches_of_other_weights_sizes_and_captions_never_meet(cache: Cache, clip: Clip) -> None:
    readings = [
        replace(cache.reading, **change) for change in ({"height": 32}, {"width": 32}, {"fps": 8}, {"buckets": True})
    ]
    others = [replace(cache, encoder="w"), *(replace(cache, reading=reading) for reading in readings)]
    assert len({c.latents_path(clip) for c in [cache, *others]}) == 6
    texts = [("a", "b"), ("a b",), ("b", "a"), ("",)]
    paths = {cache.text_path(text) for text in texts} | {replace(cache, text_encoder="u").text_path(texts[0])}
    assert len(paths) == 5


def test_damage_is_named(cache: Cache, clip: Clip) -> None:
    save_latents(TensorStore(cache.latents_folder), content_hash(clip.path), [torch.zeros(1, 1, 1, 4)])
    save_text(TensorStore(cache.text_folder), ("",), torch.zeros(1, 3, 4), torch.zeros(1, 4))
    (segment,) = segments_of(clip, cache.latents_path(clip))
    latents, text = cache.latents_path(clip), cache.text_path(("",))
    for path in (latents, text):
        os.truncate(path, 40)
    for path, read in (
        (latents, lambda: segments_of(clip, latents)),
        (text, lambda: read_pooled(text)),
        (text, lambda: read_tokens(text, 0)),
    ):
        with pytest.raises(SoraditError, match=f"{path} is damaged .* delete it and run again"):
            read()
    with pytest.raises(SoraditError, match=r"is damaged .* delete it and run again"):
        segment.window(0, 1)


def test_what_two_processes_know_of_contents_is_kept(tmp_path: Path) -> None:
    context = get_context("fork")
    paths = [tmp_path / f"{i}.mp4" for i in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode())
    processes = [context.Process(target=know, args=(tmp_path / "cache", path)) for path in paths]
    (tmp_path / "cache").mkdir()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    kept = json.loads((tmp_path / "cache" / CONTENTS).read_text())
    assert {name: found[2] for name, found in kept.items()} == {f"../{p.name}": content_hash(p) for p in paths}


def know(folder: Path, path: Path) -> None:
    content_hash(path)
    for _ in range(20):
        keep_contents(folder, [path])
