"""A folder of captioned clips: find them, pair them with captions, split them."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from soradit.errors import SoraditError
from soradit.media.animation import is_still_webp
from soradit.media.metadata import METADATA_NAMES, Problem, read_metadata, text_beside

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
    *(".m2v", ".vob", ".flv", ".f4v", ".wmv", ".asf", ".ogv", ".mxf", ".nut", ".ivf", ".dv", ".gif", ".apng", ".webp"),
)
WEIGHTS_INDEX = "model_index.json"
"""In folders of weights, and of runs: samples in those are no clips."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Clips of one frame, as WebPs that don't move are, where they have captions: others are somebody's thumbnails."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video file and what it shows; one of several captions is as good as another."""

    path: Path
    captions: tuple[str, ...]  # at least one, once find_clips has accepted it
    caption_place: str = field(default="", compare=False)  # ".txt", "metadata.csv:2", or of several rows "...:2,5"
    mirrored: bool = False  # to be read as its mirror image, which the captions then tell of

    def __str__(self) -> str:
        return f"{self.path} (mirrored)" if self.mirrored else str(self.path)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All that a folder holds, right or wrong."""

    clips: list[Clip]  # sorted by name, also those without captions, and files named by metadata that are no videos
    problems: list[Problem]  # the first is the one that find_clips raises
    stray_texts: list[Path]  # .txt files without a clip beside them
    remarks: list[str]  # what is odd, and no reason to refuse


def find_clips(folder: Path) -> list[Clip]:
    """Find every video in ``folder`` and below, and every captioned image, sorted by name, with its captions.

    Captions come from ``metadata.jsonl``, ``metadata.csv`` or ``metadata.parquet`` in ``folder`` (``file_name`` and
    ``text``, the Hugging Face videofolder form; several rows for a file, or a list, are several captions), else from
    ``clip.txt`` beside ``clip.mp4``. Names that start with "." are ignored, and so are folders of weights or runs.

    Raises SoraditError when there is no clip, a clip has no caption, a metadata file is malformed (named with
    its line), or a row names a file that is missing or outside ``folder``.
    """
    survey = survey_clips(folder)
    if survey.problems:
        raise SoraditError(survey.problems[0].message)
    return survey.clips


def require_folder(folder: Path) -> None:
    """Raises SoraditError when there is no such folder."""
    if not folder.is_dir():
        raise SoraditError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")


def require_clips(folder: Path) -> None:
    """Raises SoraditError for a folder that isn't there, or without anything that may be a clip; looks at names alone.

    What ``find_clips`` refuses besides takes longer to find: it reads all captions.
    """
    require_folder(folder)
    has_metadata = any((folder / name).is_file() for name in METADATA_NAMES)
    if not has_metadata and next(_files(folder, VIDEO_SUFFIXES + IMAGE_SUFFIXES), None) is None:
        raise SoraditError(_no_clips(folder))


def survey_clips(folder: Path) -> Survey:
    """Look through ``folder`` as ``find_clips`` does, and go on where that stops.

    Raises SoraditError when there is no such folder.
    """
    require_folder(folder)
    problems: list[Problem] = []
    videos = _find_files(folder, VIDEO_SUFFIXES, problems)
    still = {path for path in videos if is_still_webp(path)}
    videos = [path for path in videos if path not in still]
    images = [*still, *_find_files(folder, IMAGE_SUFFIXES, [])]
    remarks: list[str] = []
    captions = read_metadata(folder, {*videos, *images}, problems, remarks)
    taken = {video.with_suffix("") for video in videos}  # an image beside a video is its thumbnail, and not captioned
    videos += [path for path in images if path.with_suffix("") not in taken and path.with_suffix(".txt").is_file()]
    if not {*videos, *captions}:
        problems.append(Problem(path=folder, message=_no_clips(folder)))
    clips = []
    for path in sorted({*videos, *captions}, key=lambda path: path.relative_to(folder).as_posix()):
        texts, place = captions.get(path, ((), ""))
        if not texts:
            texts, place = text_beside(path, problems), ".txt"
        clips.append(Clip(path=path, captions=texts, caption_place=place if texts else ""))
    problems += _without_caption(clips)
    claimed = {clip.path.with_suffix(".txt") for clip in clips}
    texts_found = _find_files(folder, (".txt",), [])
    stray_texts = [path for path in texts_found if path not in claimed]
    return Survey(clips=clips, problems=problems, stray_texts=stray_texts, remarks=remarks)


def split_clips(clips: list[Clip], *, held_out_fraction: float = 0.05) -> tuple[list[Clip], list[Clip]]:
    """Return the clips to train on and the held-out ones, each in the given order.

    A clip's side depends on its file name alone, so clips added later move none. Two exceptions for small
    folders: of 2 clips or more at least one is held out, and at least one is always left to train on.
    """

    def position(clip: Clip) -> tuple[float, str]:
        digest = hashlib.sha256(clip.path.name.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64, str(clip.path)

    held_out = {clip.path for clip in clips if position(clip)[0] < held_out_fraction}
    if not held_out and len(clips) >= 2:
        held_out = {min(clips, key=position).path}
    if clips and all(clip.path in held_out for clip in clips):
        held_out.remove(max(clips, key=position).path)
    return (
        [clip for clip in clips if clip.path not in held_out],
        [clip for clip in clips if clip.path in held_out],
    )


def _find_files(folder: Path, suffixes: tuple[str, ...], problems: list[Problem]) -> list[Path]:
    """Every file of these kinds that is not hidden, sorted by its path below ``folder``."""

    def unreadable(error: OSError) -> None:
        message = f"{error.filename}: cannot be listed: {error.strerror}"
        problems.append(Problem(path=Path(error.filename), message=message))

    return sorted(_files(folder, suffixes, unreadable), key=lambda path: path.relative_to(folder).as_posix())


def _files(
    folder: Path, suffixes: tuple[str, ...], on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Every file of these kinds that is not hidden, in no order."""
    for parent, folders, names in os.walk(folder, onerror=on_error):
        if WEIGHTS_INDEX in names and Path(parent) != folder:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield Path(parent, name)


def _no_clips(folder: Path) -> str:
    return f"{folder}: holds no clips; looked for {' '.join(VIDEO_SUFFIXES)}, in subfolders too"


def _without_caption(clips: list[Clip]) -> list[Problem]:
    bare = [clip.path for clip in clips if not clip.captions]
    return [
        Problem(
            path=path,
            message=f"{path}: has no caption ({len(bare)} of {len(clips)} have none); write it into "
            f"{path.with_suffix('.txt').name} or {METADATA_NAMES[0]}",
        )
        for path in bare
    ]
