"""Encoded clips on disk: latents and text embeddings, found again by content.

    CACHE/latents/ENCODER-256x256-16fps/CLIP.safetensors     segment-0, segment-1, ...: (t, h, w, c) float16
    CACHE/text/TEXT_ENCODER/CAPTIONS.safetensors         tokens (n, words, text) and pooled (n, pooled), float16
    CACHE/contents.json                                  which file, of what size and time, has which content

ENCODER and TEXT_ENCODER are hashes of the weights, CLIP of the file's bytes, CAPTIONS of the captions: a renamed clip
is found again, an edited one is not, and other weights never meet these latents. The decoder is not in it: training it
on leaves latents as they are. A clip's mirror image is ``CLIP-mirrored``. Clips read in buckets lie apart,
in ``ENCODER-256x256-buckets-16fps``. ``shards`` tells how files appear whole and who writes which.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from soradit.errors import SoraditError
from soradit.files import sha256_of, write_whole
from soradit.media.clips import Clip
from soradit.media.reading import Reading
from soradit.training.shards import Shards, locked

CONTENTS = "contents.json"


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where the encodings of one transform, by one autoencoder and one text encoder, lie."""

    folder: Path
    encoder: str
    text_encoder: str
    reading: Reading

    @property
    def latents_folder(self) -> Path:
        reading = self.reading
        shape = f"{reading.width}x{reading.height}" + ("-buckets" if reading.buckets else "")
        return self.folder / "latents" / f"{self.encoder}-{shape}-{reading.fps}fps"

    @property
    def text_folder(self) -> Path:
        return self.folder / "text" / self.text_encoder

    def latents_path(self, clip: Clip) -> Path:
        """Raises SoraditError when the clip can't be opened."""
        return self.latents_folder / f"{latents_name(clip)}.safetensors"

    def text_path(self, captions: tuple[str, ...]) -> Path:
        return self.text_folder / f"{text_name(captions)}.safetensors"


def latents_name(clip: Clip) -> str:
    """Raises SoraditError when the clip can't be opened."""
    return content_hash(clip.path) + ("-mirrored" if clip.mirrored else "")


def text_name(captions: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(captions).encode()).hexdigest()[:24]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of latents without a cut, from one clip."""

    clip: Clip
    path: Path
    name: str
    length: int
    """In latent frames."""
    height: int
    """In latents, as the width."""
    width: int

    def window(self, start: int, length: int) -> Tensor:
        """Latents (length, h, w, c) in float32 from latent frame ``start``; SoraditError when the file is damaged."""
        try:
            with safe_open(self.path, framework="pt") as file:
                return file.get_slice(self.name)[start : start + length].float()
        except (SafetensorError, OSError) as error:
            raise _damaged(self.path, error) from error


def save_latents(shards: Shards, name: str, segments: list[Tensor], *, damage: str | None = None) -> None:
    """Segments are (t, h, w, c)."""
    shards.write(name, {f"segment-{i}": segment for i, segment in enumerate(segments)}, damage=damage)


def save_text(shards: Shards, captions: tuple[str, ...], tokens: Tensor, pooled: Tensor) -> None:
    """``tokens`` (captions, words, text), ``pooled`` (captions, pooled)."""
    shards.write(text_name(captions), {"tokens": tokens, "pooled": pooled})


def read_text(path: Path) -> tuple[Tensor, Tensor]:
    """Token embeddings (captions, words, text) and pooled embeddings (captions, pooled), in float32.

    Raises SoraditError when the file is damaged.
    """
    try:
        tensors = load_file(path)
        return tensors["tokens"].float(), tensors["pooled"].float()
    except (SafetensorError, OSError, KeyError) as error:
        raise _damaged(path, error) from error


def segments_of(clip: Clip, path: Path) -> list[Segment]:
    """The segments that a clip's cache file holds; raises SoraditError when it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
            return [
                Segment(clip=clip, path=path, name=name, length=t, height=h, width=w)
                for name, (t, h, w, _) in shapes.items()
            ]
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SoraditError:
    return SoraditError(f"cache file {path} is damaged ({error}): delete it and run again")


_contents: dict[tuple[str, int, int], str] = {}
"""Hashes by path, size in bytes and time of the last change in nanoseconds."""


def content_hash(path: Path) -> str:
    """24 hexadecimal digits of the SHA-256 of a file's bytes, which are read once unless the file is edited.

    Raises SoraditError when it can't be opened.
    """
    try:
        key = _version(path)
        if key not in _contents:
            _contents[key] = sha256_of(path)[:24]
        return _contents[key]
    except OSError as error:
        raise SoraditError(f"{path}: cannot be opened: {error.strerror}") from error


def is_content_known(path: Path) -> bool:
    """Whether ``content_hash`` need not read the file."""
    try:
        return _version(path) in _contents
    except OSError:
        return False


def recall_contents(folder: Path) -> None:
    """Know again the hashes that ``keep_contents`` kept, so that gigabytes of clips are not read at each start."""
    for name, (size, time, content) in _kept_contents(folder).items():
        _contents[os.path.abspath(folder / name), size, time] = content


def keep_contents(folder: Path, paths: Iterable[Path]) -> None:
    """Keep the hashes of these files in the cache, by their paths from there."""
    known = {}
    for path in paths:
        with suppress(OSError, KeyError, ValueError):  # gone or edited since, or on another drive
            version = _version(path)
            known[os.path.relpath(path, folder)] = [*version[1:], _contents[version]]
    # A cache that can't be written says so elsewhere.
    with suppress(OSError), open(folder / "lock", "ab") as lock, locked(lock):
        for leftover in folder.glob(f".{CONTENTS}.*.tmp"):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        kept = _kept_contents(folder) | known
        write_whole(folder / CONTENTS, json.dumps(kept, indent=0, sort_keys=True) + "\n")


def _kept_contents(folder: Path) -> dict[str, list]:
    try:
        kept = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        return {name: version for name, version in kept.items() if len(version) == 3}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _version(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe is to wait for whoever writes into it
        raise OSError(errno.EINVAL, "is no file")
    return os.path.abspath(path), status.st_size, status.st_mtime_ns
