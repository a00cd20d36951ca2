"""Encoded clips on disk: latents and text embeddings, found again by content.

    CACHE/latents/ENCODER-256x256-16fps/CLIP.safetensors     segment-0, segment-1, ...: (t, h, w, c) float16
    CACHE/text/TEXT_ENCODER/CAPTIONS.safetensors         tokens (n, words, text) and pooled (n, pooled), float16

ENCODER and TEXT_ENCODER are hashes of the weights, CLIP of the file's bytes, CAPTIONS of the captions: a renamed clip
is found again, an edited one is not, and other weights never meet these latents. The decoder is not in it: training it
on leaves latents as they are. Each file appears whole.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from soradit.errors import SoraditError
from soradit.media.clips import Clip


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Where the encodings of one transform, by one autoencoder and one text encoder, lie."""

    folder: Path
    encoder: str
    text_encoder: str
    height: int
    width: int
    fps: int

    def latents_path(self, clip: Clip) -> Path:
        """Raises SoraditError when the clip can't be opened."""
        transform = f"{self.encoder}-{self.width}x{self.height}-{self.fps}fps"
        return self.folder / "latents" / transform / f"{content_hash(clip.path)}.safetensors"

    def text_path(self, captions: tuple[str, ...]) -> Path:
        key = hashlib.sha256("\0".join(captions).encode()).hexdigest()[:24]
        return self.folder / "text" / self.text_encoder / f"{key}.safetensors"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of latents without a cut, from one clip."""

    clip: Clip
    path: Path
    name: str
    length: int
    """In latent frames."""

    def window(self, start: int, length: int) -> Tensor:
        """Latents (length, h, w, c) in float32 from latent frame ``start``."""
        with safe_open(self.path, framework="pt") as file:
            return file.get_slice(self.name)[start : start + length].float()


def save_latents(path: Path, segments: list[Tensor]) -> None:
    """Segments are (t, h, w, c)."""
    _save(path, {f"segment-{i}": segment for i, segment in enumerate(segments)})


def save_text(path: Path, tokens: Tensor, pooled: Tensor) -> None:
    """``tokens`` (captions, words, text), ``pooled`` (captions, pooled)."""
    _save(path, {"tokens": tokens, "pooled": pooled})


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
            return [
                Segment(clip=clip, path=path, name=name, length=file.get_slice(name).get_shape()[0])
                for name in sorted(file.keys())
            ]
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SoraditError:
    return SoraditError(f"cache file {path} is damaged ({error}): delete it and run again")


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.to(torch.float16).cpu().contiguous() for name, t in tensors.items()}, path)


def content_hash(path: Path) -> str:
    """24 hexadecimal digits of the SHA-256 of a file's bytes. Raises SoraditError when it can't be opened."""
    try:
        status = path.stat()
        return _hash_of_version(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise SoraditError(f"{path}: cannot be opened: {error.strerror}") from error


@cache
def _hash_of_version(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """Reads the file once, unless it was edited since."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:24]
