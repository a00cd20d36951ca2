"""Render captioned sky clips into a folder: data for a first run. torch is imported by the processes that render."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np

from soradit.errors import SoraditError, UsageError
from soradit.files import check_fps, write_whole
from soradit.locks import held
from soradit.report import Report
from soradit.signals import held_back, leave_signals_to_the_first
from soradit.skies.captions import captions
from soradit.skies.scene import draw_scene

CAPTIONS_PER_CLIP = 8
"""Wordings, from which training picks one at a time."""
_CRF = 12  # Training data: the encoder should learn skies, not the blocks of a codec.
METADATA = "metadata.jsonl"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One clip to render, as sent to a worker process."""

    path: Path
    scene_seed: int
    num_frames: int
    height: int
    width: int
    fps: int


def scene_seed(seed: int, index: int) -> int:
    """The seed of clip ``index`` of a folder; it does not depend on how many clips the folder has."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def render_skies(
    folder: Path,
    *,
    count: int,
    seed: int = 0,
    height: int = 256,
    width: int = 256,
    num_frames: int = 64,
    fps: int = 16,
    report: Report | None = None,
) -> list[Path]:
    """Renders ``count`` clips and ``metadata.jsonl`` (the videofolder form) into ``folder``.

    Clip i depends on (seed, i) alone, so a longer run adds to a shorter one, and a run that was interrupted goes
    on where it stopped: a clip that exists is kept.

    Returns:
        The clips' paths, by index.

    Raises:
        SoraditError: a value that cannot be rendered, or a folder that clips can't be added to.
    """
    if height < 16 or width < 16 or height % 2 or width % 2:
        raise UsageError(f"size {width}x{height} can't be rendered: give even numbers from 16 on, such as 256x256")
    for name, value, least in (("count", count, 1), ("frames", num_frames, 1), ("fps", fps, 1), ("seed", seed, 0)):
        if value < least:
            raise UsageError(f"{name} must be {least} or more, not {value}")
    paths = [folder / f"sky-{seed}-{index:06d}.mp4" for index in range(count)]
    check_fps(paths[0], fps)
    _read_metadata(folder / METADATA)  # refused before the work, not after it
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(f"{folder}: can't be a folder of clips ({error.strerror}): give another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SoraditError(f"{folder}: may not be written to; give another folder")
    shape = {"num_frames": num_frames, "height": height, "width": width, "fps": fps}
    jobs = [
        _Job(path=path, scene_seed=scene_seed(seed, index), **shape)
        for index, path in enumerate(paths)
        if not path.exists()  # write_video renames when the file is complete
    ]
    report, there = report or Report(), count - len(jobs)
    if there:
        report.note(f"{folder}: {there} of {count} clips are there, and are kept as they are")
    try:
        with report.progress("rendering", count) as progress:
            progress.update(there)
            for done, _ in enumerate(_run(jobs), there + 1):
                progress.update(done)
    finally:
        _write_metadata(folder, paths, seed)
    return paths


def _run(jobs: list[_Job]) -> Iterator[Path]:
    """The clips' paths as they become complete, in no fixed order."""
    if not jobs:
        return
    # Spawned, because a forked child of a process that has used torch's threads may hang.
    workers, others = min(os.cpu_count() or 1, len(jobs)), active_children()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin)
    try:
        with held_back():
            futures = [pool.submit(_render_one, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise SoraditError("a process that rendered was killed; clips that are done are kept: run again") from error
    except BaseException:  # nobody waits for the clips at work
        for process in active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    leave_signals_to_the_first()
    import torch

    torch.set_num_threads(1)


def _render_one(job: _Job) -> Path:
    from soradit.media.writing import write_video
    from soradit.skies.render import render

    scene = draw_scene(job.scene_seed)
    frames = render(scene, num_frames=job.num_frames, height=job.height, width=job.width, fps=job.fps)
    # Overwrite: should two runs share the folder, both write the same clip.
    write_video(job.path, frames, fps=job.fps, crf=_CRF, overwrite=True)
    return job.path


def _write_metadata(folder: Path, paths: list[Path], seed: int) -> None:
    """Describe the clips that are there: these, and those that the folder described before."""
    target = folder / METADATA
    with held(target):  # several runs may share the folder
        rows = _read_metadata(target)
        for index, path in enumerate(paths):
            clip_seed = scene_seed(seed, index)
            scene = draw_scene(clip_seed)
            text = captions(scene, clip_seed, CAPTIONS_PER_CLIP)
            rows[path.name] = {"file_name": path.name, "text": text, "scene": asdict(scene)}
        write_whole(target, "".join(json.dumps(row) + "\n" for name, row in rows.items() if (folder / name).exists()))


def _read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by their file names, none where there is no such file. Raises SoraditError for what is no such row."""
    rows: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                    raise SoraditError(f"{path}:{number}: has no file_name: mend it, or render into another folder")
                rows[row["file_name"]] = row
    except (OSError, ValueError) as error:
        raise SoraditError(f"{path}: can't be read ({error}): mend it, or render into another folder") from error
    return rows
