"""Frames -> video files that appear whole or not at all; the only user of imageio-ffmpeg."""

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import av
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from soradit.errors import SoraditError
from soradit.files import check_fps, check_output_path, frame_name, place, scratch_for

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
# One palette for all frames, so that colours don't flicker. Ordered dithering stands still where the picture does, and
# at scale 5 it is faint: half the error of scale 3, without the flicker of error diffusion.
_GIF_PALETTE = (
    "split[frames][all];[all]palettegen=reserve_transparent=0[palette];"
    "[frames][palette]paletteuse=dither=bayer:bayer_scale=5"
)
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


def write_video(
    path: Path,
    frames: UInt8[np.ndarray, "T H W 3"],
    *,
    fps: float,
    overwrite: bool = False,
    crf: int = 18,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write frames as what ``path``'s suffix says: a file, or a folder of PNGs, that appears whole or not at all.

    The same frames give the same bytes. ``frames`` are uint8 RGB (T, H, W, 3); ``fps`` is in frames per second.

    - .mp4: H.264, yuv420p, BT.709, tv range; H and W must be even. ``crf`` is x264's quality (0 best, 51 worst);
      ``metadata`` may hold the tags ``title`` and ``comment``: MP4 drops most others.
    - .gif: 256 colours chosen for these frames. .webp: animated. .png: a folder of 0000.png, 0001.png, ...
      Of ``metadata`` they keep ``comment``, which must be ASCII.

    Raises SoraditError when the path cannot be written, a size is odd, there are no frames, or ffmpeg fails.
    """
    check_output_path(path, overwrite=overwrite)
    check_fps(path, fps)
    num_frames, comment = len(frames), (metadata or {}).get("comment", "")
    if num_frames == 0 or not (math.isfinite(fps) and fps > 0):
        raise SoraditError(f"{path}: needs at least 1 frame and a positive rate, not {num_frames} at {fps} fps")
    with scratch_for(path) as scratch:
        made = scratch / f"video{path.suffix.lower()}"
        if made.suffix == ".mp4":
            _write_mp4(made, frames, fps=fps, crf=crf, metadata=metadata or {}, target=path)
        elif made.suffix == ".gif":
            _write_gif(made, frames, fps=fps, comment=comment, target=path)
        elif made.suffix == ".webp":
            _write_webp(made, frames, fps=fps, comment=comment)
        else:
            _write_pngs(made, frames, comment=comment)
        place(made, path, overwrite=overwrite)


def _write_mp4(
    made: Path, frames: UInt8[np.ndarray, "T H W 3"], *, fps: float, crf: int, metadata: dict[str, str], target: Path
) -> None:
    _, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise SoraditError(
            f"{target}: H.264 needs an even width and height, not {width}x{height}; "
            f"crop to {width - width % 2}x{height - height % 2}"
        )
    tags = [option for key, value in metadata.items() for option in ("-metadata", f"{key}={value}".replace("\0", ""))]
    options = ["-crf", str(crf), "-vf", _RGB_TO_BT709, *_BT709_TAGS, *_SAME_BYTES, "-movflags", "+faststart", *tags]
    _encode(made, frames, fps=fps, codec="libx264", pixels="yuv420p", options=options, target=target)


def _write_gif(made: Path, frames: UInt8[np.ndarray, "T H W 3"], *, fps: float, comment: str, target: Path) -> None:
    _encode(
        made, frames, fps=fps, codec="gif", pixels="pal8", options=["-vf", _GIF_PALETTE, "-loop", "0"], target=target
    )
    if comment:  # which ffmpeg does not write
        image = made.read_bytes()
        table = 13 + 3 * 2 ** ((image[10] & 7) + 1)  # where the header and the palette end
        made.write_bytes(image[:table] + _gif_comment(comment.encode("ascii")) + image[table:])


def _gif_comment(text: bytes) -> bytes:
    """A comment extension: sub-blocks of at most 255 bytes (GIF89a, section 24)."""
    blocks = (text[start : start + 255] for start in range(0, len(text), 255))
    return b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def _write_webp(made: Path, frames: UInt8[np.ndarray, "T H W 3"], *, fps: float, comment: str) -> None:
    shown_at = [round(1000 * i / fps) for i in range(len(frames) + 1)]  # milliseconds
    durations = [end - start for start, end in pairwise(shown_at)]
    exif = Image.Exif()
    if comment:
        exif[Base.ImageDescription] = comment
    options: dict[str, Any] = {"duration": durations, "loop": 0, "quality": 90, "method": 4, "exif": exif}
    # By way of bytes: where imageio can't write a file, it tries again when it is deleted, and prints a traceback.
    made.write_bytes(iio.imwrite("<bytes>", frames, plugin="pillow", extension=".webp", **options))


def _write_pngs(made: Path, frames: UInt8[np.ndarray, "T H W 3"], *, comment: str) -> None:
    made.mkdir()
    text = PngInfo()
    if comment:
        text.add_text("Comment", comment)
    for index, frame in enumerate(frames):
        iio.imwrite(made / frame_name(index), frame, plugin="pillow", pnginfo=text)


def _encode(
    made: Path,
    frames: UInt8[np.ndarray, "T H W 3"],
    *,
    fps: float,
    codec: str,
    pixels: str,
    options: list[str],
    target: Path,
) -> None:
    """Run ffmpeg over the frames and decode what it wrote, since it can fail in silence (a full disk)."""
    num_frames, height, width, _ = frames.shape
    writer = imageio_ffmpeg.write_frames(
        f"file:{made}",  # so that a colon in the path is no protocol
        (width, height),
        fps=fps,
        codec=codec,
        pix_fmt_out=pixels,
        quality=None,  # the options say it
        macro_block_size=1,  # otherwise it resizes to multiples of 16
        ffmpeg_log_level="error",
        output_params=options,
    )
    failure = ""
    with tempfile.TemporaryFile() as log:
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
    written = 0 if failure or not made.exists() else _count_frames(made)
    if written != num_frames:
        if not said and not shutil.disk_usage(made.parent).free:  # its log is there, too
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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
