"""Encoding: once, found again by content, and clips that can't be read are named."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from soradit.errors import SoraditError
from soradit.media.clips import Clip, find_clips
from soradit.media.video import read_video
from soradit.media.writing import write_video
from soradit.model.autoencoder import to_float
from soradit.model.weights import load_autoencoder, load_generation_config, load_text
from soradit.report import Report
from soradit.tasks import encode as encode_module
from soradit.tasks.encode import EncodeSummary, encode
from soradit.training.cache import read_text, segments_of


class Notes(Report):
    """A report that is kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Twelve captioned clips of one's own, five of them alike."""
    for index in range(12):
        shutil.copy(clips / f"{min(index, 7)}.mp4", tmp_path / f"{index:02d}.mp4")
        (tmp_path / f"{index:02d}.txt").write_text(f"clip number {index}")
    return tmp_path


@pytest.fixture
def run(weights: Path, folder: Path) -> Callable[..., EncodeSummary]:
    def encode_folder(**options: object) -> EncodeSummary:
        given = {"config": load_generation_config(weights), "cache_folder": folder / "cache"} | options
        return encode(find_clips(folder), weights=weights, **given)

    return encode_folder


def files(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}


def test_latents_and_text_are_the_models(run: Callable[..., EncodeSummary], weights: Path, folder: Path) -> None:
    cache = run().cache
    clip = find_clips(folder)[3]
    frames, _ = read_video(clip.path, fps=16, size=(64, 64))
    expected = load_autoencoder(weights).encode(to_float(torch.from_numpy(frames))[None])[0]
    (segment,) = segments_of(clip, cache.latents_path(clip))
    torch.testing.assert_close(segment.window(0, 5), expected, atol=2e-3, rtol=2e-3)
    for captions in (clip.captions, ("",)):
        expected_text = load_text(weights)(captions)
        torch.testing.assert_close(read_text(cache.text_path(captions)), expected_text, atol=2e-3, rtol=2e-3)


def test_what_is_cached_is_not_encoded_again(run: Callable[..., EncodeSummary], folder: Path) -> None:
    summary = run()
    before = files(folder / "cache")
    assert len(summary.clips) == 12
    assert len(before) == 8 + 12 + 1  # clips by content, captions, the empty prompt
    run()
    assert files(folder / "cache") == before


def test_renamed_clip_is_found_again_and_edited_one_encoded_again(
    run: Callable[..., EncodeSummary], folder: Path
) -> None:
    run()
    before = files(folder / "cache" / "latents")
    for suffix in (".mp4", ".txt"):
        (folder / f"00{suffix}").rename(folder / f"renamed{suffix}")
    run()
    assert files(folder / "cache" / "latents") == before
    frames, fps = read_video(folder / "01.mp4")
    write_video(folder / "01.mp4", frames[::-1].copy(), fps=fps, overwrite=True)
    run()
    after = files(folder / "cache" / "latents")
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_another_caption_is_embedded_and_no_clip_encoded(run: Callable[..., EncodeSummary], folder: Path) -> None:
    run()
    before = files(folder / "cache")
    (folder / "05.txt").write_text("something else")
    run()
    new = files(folder / "cache").keys() - before.keys()
    assert [path.parent.parent.name for path in new] == ["text"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shorten(path: Path) -> None:
    frames, fps = read_video(path)
    write_video(path, frames[:3], fps=fps, overwrite=True)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.mp4")


def scribble(path: Path) -> None:
    path.write_text("not a video")


@pytest.mark.parametrize("damage", [truncate, shorten, dangle, scribble])
def test_one_bad_clip_among_many_is_left_out_and_named(
    run: Callable[..., EncodeSummary], folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder / "02.mp4")
    for _ in range(2):  # not cached as if it were good
        notes = Notes()
        summary = run(report=notes)
        assert folder / "02.mp4" not in [clip.path for clip in summary.clips]
        assert len(summary.clips) == 11
        (line,) = notes.lines
        assert str(folder / "02.mp4") in line


def test_more_than_a_tenth_bad_stops(run: Callable[..., EncodeSummary], folder: Path) -> None:
    scribble(folder / "02.mp4")
    scribble(folder / "03.mp4")
    with pytest.raises(SoraditError, match=r"2 of 12 clips can't be used; the first: .*02\.mp4"):
        run()


def test_short_clips_are_left_out_however_many(run: Callable[..., EncodeSummary], folder: Path) -> None:
    for name in ("02.mp4", "03.mp4", "04.mp4"):
        shorten(folder / name)
    assert len(run().clips) == 9


def test_size_that_does_not_fit_is_refused_before_any_work(
    run: Callable[..., EncodeSummary], folder: Path, weights: Path
) -> None:
    with pytest.raises(SoraditError, match="height 72 is not a multiple of 32: use 64"):
        run(config=replace(load_generation_config(weights), height=72))
    assert not (folder / "cache").exists()


def test_cache_that_cannot_be_written_is_named(run: Callable[..., EncodeSummary], folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(SoraditError, match=r"can't write the cache .*file.* choose another with --cache"):
        run(cache_folder=folder / "file" / "cache")


def test_long_clips_are_encoded_in_segments(
    run: Callable[..., EncodeSummary], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode_module, "SEGMENT_FRAMES", 8)
    cache = run(captions=False).cache
    clip: Clip = find_clips(folder)[0]
    assert [segment.length for segment in segments_of(clip, cache.latents_path(clip))] == [2, 2, 1]
    assert not (folder / "cache" / "text").exists()
