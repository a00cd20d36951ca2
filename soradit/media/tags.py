"""What a video says of itself beside its pictures."""

import json
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import Base

from soradit.errors import SoraditError
from soradit.files import FIRST_FRAME
from soradit.media.decoding import open_video

NEEDED = {"soradit": str, "weights": str, "prompt": str, "negative": str, "seed": int}
IMAGES = (".gif", ".webp", ".png")


def read_about(path: Path) -> dict[str, Any]:
    """How soradit made it, from the JSON in its comment; of a folder of frames, in that of the first.

    Raises SoraditError when it doesn't say, or is not a readable video.
    """
    first = path / FIRST_FRAME if path.is_dir() else path
    try:
        about = json.loads(_image_comment(first) if first.suffix.lower() in IMAGES else _video_comment(first))
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or any(not isinstance(about.get(name), kind) for name, kind in NEEDED.items()):
        raise SoraditError(f"{path} doesn't say how it was made: videos by generate do, unless with --no-metadata")
    return about


def _video_comment(path: Path) -> str:
    with open_video(path) as video:
        return video.header.tags.get("comment", "")


def _image_comment(path: Path) -> str:
    """A GIF's comment, a PNG's, or the image description in a WebP's EXIF."""
    try:
        with Image.open(path, formats=("GIF", "WEBP", "PNG")) as image:
            said = image.info.get("comment") or image.info.get("Comment") or image.getexif().get(Base.ImageDescription)
    except Exception as error:  # Pillow raises anything
        raise SoraditError(f"{path}: not a readable image: {getattr(error, 'strerror', None) or error}") from error
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said or "")
