"""The folder that `soradit skies` leaves."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path

import pytest

from soradit.errors import SoraditError
from soradit.report import Progress, Report
from soradit.tasks.skies import CAPTIONS_PER_CLIP, _write_metadata, render_skies

_SMALL = {"height": 32, "width": 32, "num_frames": 4}


class Listening(Report, Progress):
    """Keeps notes, and how many clips there were at each update, which it passes on."""

    def __init__(self, on_update: Callable[[int], None] = lambda done: None) -> None:
        self.done: list[int] = []
        self.notes: list[str] = []
        self.on_update = on_update

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        yield self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, done: int, text: str = "") -> None:
        self.done.append(done)
        self.on_update(done)


def test_a_longer_run_extends_a_shorter_one(tmp_path: Path) -> None:
    first = render_skies(tmp_path, count=1, seed=5, **_SMALL)
    before = first[0].read_bytes(), first[0].stat().st_mtime_ns
    report = Listening()
    paths = render_skies(tmp_path, count=2, seed=5, report=report, **_SMALL)
    assert paths[0] == first[0]
    assert (first[0].read_bytes(), first[0].stat().st_mtime_ns) == before
    assert report.done == [1, 2]
    assert report.notes == [f"{tmp_path}: 1 of 2 clips are there, and are kept as they are"]
    lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == ["sky-5-000000.mp4", "sky-5-000001.mp4"]
    assert all(len(line["text"]) == CAPTIONS_PER_CLIP and line["scene"]["hour"] for line in lines)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*(p.name for p in paths), "metadata.jsonl"])


def test_runs_into_one_folder_at_once_keep_each_others_captions(tmp_path: Path) -> None:
    paths = [tmp_path / f"sky-1-{index:06d}.mp4" for index in range(8)]
    for path in paths:
        path.touch()
    fork = multiprocessing.get_context("fork")
    runs = [fork.Process(target=_write_metadata, args=(tmp_path, [path], seed)) for seed, path in enumerate(paths)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert sorted(row["file_name"] for row in rows) == [path.name for path in paths]
    assert sorted(tmp_path.iterdir()) == sorted([*paths, tmp_path / "metadata.jsonl"])


def test_a_process_that_is_killed_is_told_in_a_line_and_what_it_made_is_kept(tmp_path: Path) -> None:
    others = active_children()  # of other tests

    def kill_all(done: int) -> None:
        for process in active_children() if done else ():
            if process not in others:
                process.kill()

    with pytest.raises(SoraditError, match="was killed; clips that are done are kept: run again"):
        render_skies(tmp_path, count=20, report=Listening(kill_all), **_SMALL)
    made = [json.loads(line)["file_name"] for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert made
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == made


@pytest.mark.parametrize(
    "bad",
    [
        {"count": 0},
        {"height": 33},
        {"width": 0},
        {"num_frames": 0},
        {"fps": 0},
        {"fps": 2000},
    ],
)
def test_bad_values_give_one_line(tmp_path: Path, bad: dict[str, int]) -> None:
    with pytest.raises(SoraditError) as error:
        render_skies(tmp_path, **{"count": 1, **bad})
    assert "\n" not in str(error.value)
    assert str(next(iter(bad.values()))) in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["no JSON\n", '{"text": "a sky"}\n', "[1]\n", '{"file_name": 1, "text": "a sky"}\n', "\udcff\n"]
)
def test_another_ones_metadata_is_refused_before_anything_is_rendered(tmp_path: Path, text: str) -> None:
    metadata = tmp_path / "metadata.jsonl"
    metadata.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SoraditError, match=r"metadata\.jsonl") as error:
        render_skies(tmp_path, count=1, **_SMALL)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [metadata]
    with pytest.raises(SoraditError, match="can't be a folder of clips"):
        render_skies(metadata, count=1, **_SMALL)
