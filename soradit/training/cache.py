"""Encoded clips on disk: latents and text embeddings, found again by content.

    CACHE/latents/ENCODER-256x256-16fps/CLIP.safetensors     segment-0, segment-1, ...: (t, h, w, c) float16
    CACHE/text/TEXT_ENCODER/CAPTIONS.safetensors         tokens (n, words, text) and pooled (n, pooled), float16
    CACHE/contents.json                                  which file, of what size and time, has which content

ENCODER and TEXT_ENCODER are hashes of the weights, CLIP of the file's bytes, CAPTIONS of the captions: a renamed clip
is found again, an edited one is not, and other weights never meet these latents. The decoder is not in it: training it
on leaves latents as they are. A clip's mirror image is ``CLIP-mirrored``. Clips read in buckets lie apart, in
``ENCODER-256x256-buckets-16fps``. ``tensor_store`` tells how files appear whole and who writes which.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.media.reading import Reading
from soradit.training.contents import content_hash
from soradit.training.tensor_store import TensorStore


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

    def segments(self, clips: Iterable[Clip]) -> "list[Segment]":
        """The first of every clip, then the second of those that have one, and so on: the first few are of many clips.

        Raises SoraditError when one can't be read.
        """
        each = [segments_of(clip, self.latents_path(clip)) for clip in clips]
        return [segment for nth in zip_longest(*each) for segment in nth if segment is not None]

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


def save_latents(store: TensorStore, name: str, segments: list[Tensor], *, damage: str | None = None) -> None:
    """Segments are (t, h, w, c)."""
    store.write(name, {f"segment-{i}": segment for i, segment in enumerate(segments)}, damage=damage)


def save_text(store: TensorStore, captions: tuple[str, ...], tokens: Tensor, pooled: Tensor) -> None:
    """``tokens`` (captions, words, text), ``pooled`` (captions, pooled)."""
    store.write(text_name(captions), {"tokens": tokens, "pooled": pooled})


def read_pooled(path: Path) -> Tensor:
    """The pooled embeddings of a clip's captions, (captions, pooled), float32. SoraditError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("pooled").float()
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_tokens(path: Path, index: int) -> Tensor:
    """The token embeddings of one of them, (words, text), float32. SoraditError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_slice("tokens")[index].float()
    except (SafetensorError, OSError) as error:
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
