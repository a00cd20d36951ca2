"""A page of pictures: a row of frames a video, with its name and prompt beneath, in one PNG."""

from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from soradit.files import check_output_path, place, scratch_for

COLUMNS = 8
THUMBNAIL_WIDTH = 160
"""In pixels, of each picture and the gap after it."""
GAP = 4
CAPTION_HEIGHT = 20
"""Beneath each row."""
CAPTION_LENGTH = 180
"""In characters, the most that fit."""
MAX_ROWS = 200
"""The most of a sheet; nobody looks at a longer page, and nothing shows it."""


def film_strip(frames: UInt8[np.ndarray, "T H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Frames from the first to the last, evenly spaced, side by side."""
    height, width = frames.shape[1:3]
    shown_width = THUMBNAIL_WIDTH - GAP
    size = (shown_width, max(1, round(height * shown_width / width)))
    chosen = frames[np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)]
    thumbnails = np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in chosen])
    apart = np.pad(thumbnails, ((0, 0), (0, 0), (0, GAP), (0, 0)))
    return rearrange(apart, "t h w c -> h (t w) c")


def write_contact_sheet(path: Path, strips: list[tuple[str, UInt8[np.ndarray, "h w 3"]]], *, overwrite: bool) -> None:
    """Write film strips with their captions beneath, from the top down; whole or not at all.

    Raises SoraditError when it can't be written.
    """
    check_output_path(path, overwrite=overwrite, suffixes=(".png",))
    page = Image.new("RGB", (COLUMNS * THUMBNAIL_WIDTH, sum(CAPTION_HEIGHT + len(strip) for _, strip in strips)))
    draw, top = ImageDraw.Draw(page), 0
    for caption, strip in strips:
        page.paste(Image.fromarray(strip), (0, top))
        top += len(strip)
        draw.text((4, top + 3), _drawable(caption), fill="white")
        top += CAPTION_HEIGHT
    with scratch_for(path) as scratch:
        made = scratch / "sheet.png"
        page.save(made)
        place(made, path, overwrite=overwrite)


def _drawable(caption: str) -> str:
    """One line of what Pillow's own font has characters for."""
    line = " ".join(caption.split())
    line = line if len(line) <= CAPTION_LENGTH else f"{line[: CAPTION_LENGTH - 4]} ..."
    known = line.encode("latin-1", "replace").decode("latin-1")
    return "".join(character if character.isprintable() else "?" for character in known)
