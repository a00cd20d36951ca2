"""Frames -> video files that appear whole or not at all; the only user of imageio-ffmpeg."""

import math
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import av
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8

from soradit.errors import SoraditError

# RGB (full range, no matrix) to the matrix and range that every player assumes of a tagged file. The tags go
# on the frames too: the encoder believes the frames before the -color options.
_RGB_TO_BT709 = (
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=bicubic+accurate_rnd+full_chroma_int,"
    "format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
_BT709_TAGS = [
    "-colorspace",
    "bt709",
    "-color_primaries",
    "bt709",
    "-color_trc",
    "bt709",
    "-color_range",
    "tv",
]
# One thread: x264's bytes depend on the number of threads. Bitexact: no version or time gets into the file;
# x264's settings, version included, travel in a SEI unit (type 6), which is dropped.
_SAME_BYTES = [
    "-threads",
    "1",
    "-fflags",
    "+bitexact",
    "-flags:v",
    "+bitexact",
    "-bsf:v",
    "filter_units=remove_types=6",
]


def check_output_path(path: Path, *, overwrite: bool) -> None:
    """Raise SoraditError unless an MP4 can be written at ``path``; cheap, and asked before any work."""
    if path.suffix.lower() != ".mp4":
        raise SoraditError(f"{path}: videos are written as .mp4; give a name that ends in .mp4")
    try:
        if not path.parent.exists():
            raise SoraditError(f"{path}: the folder {path.parent} does not exist; make it first")
        if not path.parent.is_dir():
            raise SoraditError(f"{path}: {path.parent} is not a folder")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise SoraditError(f"{path}: the folder {path.parent} may not be written to")
        if path.is_dir():
            raise SoraditError(f"{path}: is a folder; give the name of a file")
        if path.exists() and not overwrite:
            raise SoraditError(f"{path}: exists already; give --overwrite to replace it")
    except OSError as error:
        raise SoraditError(f"{path}: {error.strerror}") from error


def write_video(
    path: Path,
    frames: UInt8[np.ndarray, "T H W 3"],
    *,
    fps: float,
    overwrite: bool = False,
    crf: int = 18,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write frames as an MP4 (H.264, yuv420p, BT.709, tv range) that appears whole or not at all.

    The same frames give the same bytes. ``frames`` are uint8 RGB (T, H, W, 3) with even H and W; ``fps`` is
    in frames per second; ``crf`` is x264's quality (0 best, 51 worst); ``metadata`` may hold the tags
    ``title`` and ``comment``: MP4 drops most others.

    Raises SoraditError when the path cannot be written, a size is odd, there are no frames, or ffmpeg fails.
    """
    check_output_path(path, overwrite=overwrite)
    num_frames, height, width, _ = frames.shape
    if num_frames == 0 or not (math.isfinite(fps) and fps > 0):
        raise SoraditError(f"{path}: needs at least 1 frame and a positive rate, not {num_frames} at {fps} fps")
    if height % 2 or width % 2:
        raise SoraditError(
            f"{path}: H.264 needs an even width and height, not {width}x{height}; "
            f"crop to {width - width % 2}x{height - height % 2}"
        )
    # Beside the target, because a rename is atomic only within a file system.
    temporary = path.parent / f".soradit-{secrets.token_hex(8)}.mp4"
    try:
        with tempfile.TemporaryFile() as log:
            _encode(temporary, frames, fps=fps, crf=crf, metadata=metadata or {}, log=log, target=path)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise SoraditError(f"{path}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _encode(
    temporary: Path,
    frames: UInt8[np.ndarray, "T H W 3"],
    *,
    fps: float,
    crf: int,
    metadata: dict[str, str],
    log: IO[bytes],
    target: Path,
) -> None:
    """Run ffmpeg over the frames and decode what it wrote, since it can fail in silence (a full disk)."""
    num_frames, height, width, _ = frames.shape
    tags = [option for key, value in metadata.items() for option in ("-metadata", f"{key}={value}".replace("\0", ""))]
    writer = imageio_ffmpeg.write_frames(
        f"file:{temporary}",  # so that a colon in the path is no protocol
        (width, height),
        fps=fps,
        codec="libx264",
        quality=None,  # -crf says it
        macro_block_size=1,  # otherwise it resizes to multiples of 16
        ffmpeg_log_level="error",
        output_params=["-crf", str(crf), "-vf", _RGB_TO_BT709, *_BT709_TAGS, *_SAME_BYTES]
        + ["-movflags", "+faststart", *tags],
    )
    failure = ""
    try:
        with closing(writer):
            with _child_stderr(log):
                writer.send(None)
            for frame in frames:
                writer.send(np.ascontiguousarray(frame))
    except (OSError, RuntimeError) as error:  # a broken pipe, or no ffmpeg at all
        failure = str(error).partition("\n")[0]
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()
    written = 0 if failure or not temporary.exists() else _count_frames(temporary)
    if written != num_frames:
        reason = said[-1] if said else failure or "it gave no reason"
        raise SoraditError(f"{target}: ffmpeg wrote {written} of {num_frames} frames: {reason}")


@contextmanager
def _child_stderr(log: IO[bytes]) -> Iterator[None]:
    """Processes started inside write their stderr to ``log``: imageio-ffmpeg has no parameter for it."""
    saved = os.dup(2)
    try:
        os.dup2(log.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _count_frames(path: Path) -> int:
    """Frames that decode; 0 when the file cannot be read."""
    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))
    except (av.FFmpegError, IndexError):
        return 0


def encode_jpeg(frame: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """Return the bytes of a JPEG file."""
    return iio.imwrite("<bytes>", frame, extension=".jpg", plugin="pillow", quality=80)
