"""Encoding: once, found again by content, and clips that can't be read are named."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from soradit.errors import SoraditError, StateSaved
from soradit.files import sha256_of
from soradit.media import workers
from soradit.media.clips import Clip, find_clips
from soradit.media.mirror import mirror_clip
from soradit.media.video import read_video
from soradit.media.writing import write_video
from soradit.model.autoencoder import to_float
from soradit.model.config import load_generation_config
from soradit.model.weights import load_autoencoder, load_text
from soradit.report import Progress, Report
from soradit.tasks.encode import EncodeSummary, encode, encode_folder
from soradit.tasks.train import train
from soradit.training import contents
from soradit.training import reading as training_reading
from soradit.training.cache import read_pooled, read_tokens, segments_of
from soradit.training.config import TrainConfig
from soradit.training.loop import LoopConfig
from soradit.training.metrics import read_metrics
from soradit.training.transformer import Noised, TransformerObjective


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
        path = cache.text_path(captions)
        tokens = torch.stack([read_tokens(path, i) for i in range(len(captions))])
        torch.testing.assert_close((tokens, read_pooled(path)), expected_text, atol=2e-3, rtol=2e-3)


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
    assert len(run(max_bad=1.0).clips) == 10  # as a process's share of them, which may be the worst


def test_short_clips_are_left_out_however_many(run: Callable[..., EncodeSummary], folder: Path) -> None:
    for name in ("02.mp4", "03.mp4", "04.mp4"):
        shorten(folder / name)
    assert len(run().clips) == 9


def test_clips_too_short_for_training_are_counted(soradit: Callable, weights: Path, folder: Path) -> None:
    write_video(folder / "00.mp4", np.zeros((8, 32, 32, 3), np.uint8), fps=16, overwrite=True)
    ended = soradit("encode", folder, "--weights", weights)
    assert ended.exit_code == 0
    assert (
        "1 of 12 clips are shorter than 16 frames at 16 fps: train with fewer --frames (the longest has 20)"
        in ended.err
    )
    for path in folder.glob("*.mp4"):
        shorten(path)
    ended = soradit("encode", folder, "--weights", weights)
    assert (ended.exit_code, ended.out) == (1, "")
    assert ended.error == "soradit: none of 12 clips could be encoded, for the reasons above"


def test_size_that_does_not_fit_is_refused_before_any_work(
    run: Callable[..., EncodeSummary], folder: Path, weights: Path
) -> None:
    with pytest.raises(SoraditError, match="height 72 is not a multiple of 32: use 64"):
        run(config=replace(load_generation_config(weights), height=72))
    assert not (folder / "cache").exists()


def test_cache_that_cannot_be_written_is_named(run: Callable[..., EncodeSummary], folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(SoraditError, match=r"can't write the cache .*file.* choose another .encode -o, train --cache"):
        run(cache_folder=folder / "file" / "cache")


def test_long_clips_are_encoded_in_segments(
    run: Callable[..., EncodeSummary], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_reading, "SEGMENT_FRAMES", 8)
    cache = run(captions=False).cache
    clip: Clip = find_clips(folder)[0]
    assert [segment.length for segment in segments_of(clip, cache.latents_path(clip))] == [2, 2, 1]
    assert not (folder / "cache" / "text").exists()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def forked(run: Callable[..., EncodeSummary], cache: Path) -> int:
    """Encode in a process of its own, which has torch loaded already."""
    if pid := os.fork():
        return pid
    try:
        workers._idle.clear()  # the parent's
        run(cache_folder=cache)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_encoding_is_finished_by_the_next(run: Callable[..., EncodeSummary], folder: Path) -> None:
    began = time.monotonic()
    run()
    seconds = time.monotonic() - began
    for share in (0.3, 0.6, 0.9):
        cache = folder / f"cut-{share}"
        pid = forked(run, cache)
        time.sleep(share * seconds)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        run(cache_folder=cache)
        assert everything(cache) == everything(folder / "cache")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_share_the_work(run: Callable[..., EncodeSummary], folder: Path) -> None:
    run()
    both = [forked(run, folder / "shared") for _ in range(2)]
    assert [os.waitpid(pid, 0)[1] for pid in both] == [0, 0]
    assert everything(folder / "shared") == everything(folder / "cache")


@pytest.mark.slow
def test_twenty_killed_commands_are_finished(
    weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed at random moments of its time, from its start on; the next run puts it right, to the byte."""
    caches = tmp_path_factory.mktemp("caches")
    command = [sys.executable, "-m", "soradit", "encode", str(folder), "--weights", str(weights), "-o"]
    began = time.monotonic()
    subprocess.run([*command, str(caches / "whole")], check=True, timeout=300, capture_output=True)
    seconds = time.monotonic() - began
    random = Random(0)
    for moment in range(20):
        cache = caches / f"cut-{moment}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, str(cache)], timeout=random.uniform(0, seconds), capture_output=True)
        subprocess.run([*command, str(cache)], check=True, timeout=300, capture_output=True)
        assert everything(cache) == everything(caches / "whole")


def test_verify(soradit: Callable, run: Callable[..., EncodeSummary], folder: Path) -> None:
    run()
    given = ("encode", folder, "-o", folder / "cache", "--verify")
    assert soradit(*given).err == "21 files, all as they were written\n"
    victim = next((folder / "cache").rglob("latents/*/*.safetensors"))
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ended = soradit(*given)
    assert ended.exit_code == 1
    assert f"damaged or missing: {victim}" in ended.err
    assert "1 of 21 files" in ended.error
    run()
    assert victim.read_bytes() == content
    assert soradit("encode", folder, "-o", folder / "none", "--verify").error.endswith(
        "none: holds no cache; encode without --verify first"
    )


def test_buckets_keep_each_clips_shape(run: Callable[..., EncodeSummary], folder: Path, weights: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (20, 36, 64, 3), dtype=np.uint8)
    write_video(folder / "wide.mp4", wide, fps=16)
    write_video(folder / "still.mp4", wide[:1], fps=16)
    for name in ("wide", "still"):
        (folder / f"{name}.txt").write_text(name)
    config = replace(load_generation_config(weights), height=128, width=128)
    summary = run(config=config, buckets=True)
    shapes = {}
    for clip in summary.clips:
        (segment,) = segments_of(clip, summary.cache.latents_path(clip))
        shapes[clip.path.stem] = (segment.length, segment.height, segment.width)
    assert (shapes["00"], shapes["wide"], shapes["still"]) == ((5, 4, 4), (5, 3, 5), (1, 3, 5))


def test_training_takes_mixed_sizes(weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 36, 64, 3), dtype=np.uint8)
    for index in range(4):
        write_video(folder / f"{index:02d}.mp4", noise + np.uint8(index), fps=16, overwrite=True)
    run = tmp_path_factory.mktemp("run") / "run"
    given = {"data": folder, "run": run, "weights": str(weights), "height": 128, "width": 128, "num_frames": 16}
    loop = LoopConfig(steps=6, batch_size=3, warmup_steps=1, evaluate_every=3)
    assert train(TrainConfig(**given, buckets=True), loop) == run
    rows = read_metrics(run / "metrics.csv")
    assert len(rows) == 6
    assert all(float(row["loss"]) < 10 for row in rows)
    with pytest.raises(SoraditError, match="--buckets is for --component transformer, not text_encoder"):
        TrainConfig(**given, buckets=True, component="text_encoder")


def test_stills_and_clips_are_trained_on_together(weights: Path, clips: Path, tmp_path: Path) -> None:
    """Each batch is of stills or of clips; held-out figures are of both. Without --buckets stills are named."""
    data = shutil.copytree(clips, tmp_path / "mixed", ignore=shutil.ignore_patterns(".soradit-cache", "*.jsonl"))
    for index in range(12):
        iio.imwrite(data / f"still-{index}.png", np.full((64, 64, 3), 20 * index, np.uint8))
    for path in list(data.iterdir()):
        path.with_suffix(".txt").write_text(path.stem)
    given = {"data": data, "weights": str(weights), "height": 64, "width": 64, "num_frames": 16}
    loop = LoopConfig(steps=4, batch_size=3, warmup_steps=1, evaluate_every=2)
    seen: set[tuple[int, ...]] = set()

    loss = TransformerObjective.loss

    def watched(self: TransformerObjective, batch: Noised, step: int) -> torch.Tensor:
        seen.add(tuple(batch.latents.shape))
        return loss(self, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransformerObjective, "loss", watched)
        train(TrainConfig(**given, run=tmp_path / "run", buckets=True), loop)
    assert seen == {(3, 1, 2, 2, 16), (3, 4, 2, 2, 16)}
    notes = Notes()
    train(TrainConfig(**given, run=tmp_path / "clips"), loop, notes)
    assert sum("stills are taken with --buckets" in line for line in notes.lines) == 12


def test_latents_of_a_mirrored_clip_are_those_of_its_mirrored_file(weights: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    for name, shown in (("a", frames), ("b", frames[:, :, ::-1])):
        iio.imwrite(tmp_path / f"{name}.png", shown, plugin="pillow", duration=62.5)  # APNG, which loses nothing
        (tmp_path / f"{name}.png").rename(tmp_path / f"{name}.apng")
    clips = [Clip(path=tmp_path / f"{name}.apng", captions=("a sky",)) for name in "ab"]
    config = load_generation_config(weights)
    cache = encode([*clips, *map(mirror_clip, clips)], weights=weights, config=config, cache_folder=tmp_path).cache

    def latents(clip: Clip) -> torch.Tensor:
        (segment,) = segments_of(clip, cache.latents_path(clip))
        return segment.window(0, 2)

    a, b = clips
    assert torch.equal(latents(mirror_clip(a)), latents(b))
    assert torch.equal(latents(mirror_clip(b)), latents(a))
    assert not torch.allclose(latents(a).flip(2), latents(b), atol=0.1)  # so mirroring latents would not do


def test_mirror_images_are_added_to_a_cache_and_found_by_training(
    soradit: Callable, weights: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "03.txt").write_text("clouds to the left")
    given = (folder, "--weights", weights)
    assert soradit("encode", *given).exit_code == 0
    before = files(folder)
    shorten(folder / "00.mp4")
    ended = soradit("encode", *given, "--flip")
    (named,) = [line for line in ended.err.splitlines() if line.startswith("left out: ")]
    assert str(folder / "00.mp4") in named
    after = files(folder)
    assert before.items() <= after.items()
    added = after.keys() - before.keys()
    assert len([path for path in added if path.stem.endswith("-mirrored")]) == 7
    assert len([path for path in added if path.parent.parent.name == "text"]) == 1  # to the right
    assert len(added) == 8
    run = tmp_path_factory.mktemp("run") / "run"
    config = TrainConfig(data=folder, run=run, weights=str(weights), flip=True)
    train(config, LoopConfig(steps=1, batch_size=3, warmup_steps=1))
    assert files(folder) == after


def test_a_bad_file_counts_once_with_its_mirror_image(
    run: Callable[..., EncodeSummary], folder: Path, weights: Path
) -> None:
    scribble(folder / "02.mp4")
    clips, given = find_clips(folder), {"weights": weights, "config": load_generation_config(weights)}
    flipped, notes = [*clips, *map(mirror_clip, clips)], Notes()
    assert len(encode(flipped, cache_folder=folder / "cache", report=notes, **given).clips) == 22
    assert len(notes.lines) == 1
    scribble(folder / "03.mp4")
    with pytest.raises(SoraditError, match=r"2 of 12 clips can't be used; the first: .*02\.mp4"):
        encode(flipped, cache_folder=folder / "cache", **given)


def test_damaged_clips_are_used_up_to_their_damage_where_asked(run: Callable[..., EncodeSummary], folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    write_video(folder / "00.mp4", noise, fps=16, overwrite=True)
    truncate(folder / "00.mp4")
    notes = Notes()
    assert len(run(report=notes, keep_damaged=True).clips) == 12
    assert [line.startswith(f"used up to its damage: {folder / '00.mp4'}") for line in notes.lines] == [True]
    for _ in range(2):
        notes = Notes()
        assert len(run(report=notes).clips) == 11
        assert [line.startswith(f"left out: {folder / '00.mp4'}: ") for line in notes.lines] == [True]


def test_hashes_of_clips_are_kept(
    run: Callable[..., EncodeSummary], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(contents, "_contents", {})
    hashed = []
    monkeypatch.setattr(contents, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    (folder / "01.mp4").write_bytes((folder / "02.mp4").read_bytes())
    run()
    assert hashed == [folder / "01.mp4"]


class TerminatedAtThree(Progress):
    def update(self, done: int, text: str = "") -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)


class Terminator(Report):
    """Ends the process politely as soon as there is progress."""

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        yield TerminatedAtThree()


def test_terminated_encoding_keeps_what_is_done(folder: Path, weights: Path) -> None:
    options = {"weights": str(weights), "overrides": {}, "cache_folder": None, "flip": False, "buckets": False}
    options |= {"keep_damaged": False, "device": "cpu"}
    with pytest.raises(StateSaved, match=r"SIGTERM: what was encoded is kept in .*; run again"):
        encode_folder(folder, **options, report=Terminator())
    cache = encode_folder(folder, **options, report=Report())
    undisturbed = encode_folder(folder, **options | {"cache_folder": folder / "cache"}, report=Report())
    assert everything(cache) == everything(undisturbed)
