"""Whether a WebP moves, by its header alone. Needs no decoder."""

from pathlib import Path
from typing import BinaryIO


def animation_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of an animated WebP's canvas, or None where the file is something else.

    The container's extended header (RFC 9649, section 2.7): a flag says that there is more than one frame.
    """
    header = file.read(30)
    file.seek(0)
    if header[:4] != b"RIFF" or header[8:16] != b"WEBPVP8X" or len(header) < 30 or not header[20] & 2:
        return None
    return 1 + int.from_bytes(header[24:27], "little"), 1 + int.from_bytes(header[27:30], "little")


def is_still_webp(path: Path) -> bool:
    """Whether it is a picture by its name, and doesn't move; not where it can't be read, as whoever reads it says."""
    if path.suffix.lower() != ".webp" or not path.is_file():  # nobody may ever write into a pipe
        return False
    try:
        with path.open("rb") as file:
            return animation_size(file) is None
    except OSError:
        return False
