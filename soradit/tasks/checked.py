"""A row of ``soradit check``: what a file is, and what training takes of it; for people, and as JSON."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from soradit.media.clips import Clip
from soradit.media.hdr import PEAK_NITS
from soradit.media.inspection import Colour, Inspection
from soradit.media.reading import Reading
from soradit.text import count

_COLUMNS = "{:<7}  {:<12} {:<7} {:<8} {:<7} {:<19} {:<11} {:<24} {}"
HEADER = _COLUMNS.format(
    *("verdict", "picture", "frames", "fps", "seconds", "format", "caption", "colour", "file: what training takes")
)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A file, what it is, and what training takes of it."""

    name: str
    """Below the folder that was checked."""
    clip: Clip
    content: str | None = None
    """The SHA-256 of its bytes, shortened: equal for equal files. None when the file can't be opened."""
    inspection: Inspection | None = None
    """None when nothing in it can be read."""
    windows: tuple[int, ...] = ()
    """Frames of each piece that training draws from, at its fps."""
    trimmed_seconds: float = 0.0
    reason: str | None = None
    """Why the file is dropped; None when it is not."""
    is_short: bool = False
    """Dropped for no other reason than its length: no sign of trouble."""
    reading: Reading = field(repr=False)
    """How training reads it."""
    pictures: list[bytes] = field(default_factory=list, repr=False)
    """JPEGs, for the sheet."""

    @property
    def verdict(self) -> str:
        return "dropped" if self.reason else "trimmed" if self.trimmed_seconds else "used"

    @property
    def is_bad(self) -> bool:
        return self.verdict == "dropped" and not self.is_short

    @property
    def kept_share(self) -> float:
        """The share of the picture's area that is left after the crop to training's shape."""
        if self.inspection is None:
            return 0.0
        info = self.inspection.info
        height, width = self.reading.size(info)
        across, down = width * info.height, height * info.width
        return min(across, down) / max(across, down)

    @property
    def scale(self) -> float:
        """How many times as wide the picture becomes; above 1 it is enlarged, and gains no detail."""
        if self.inspection is None:
            return 1.0
        info = self.inspection.info
        height, width = self.reading.size(info)
        return max(width / info.width, height / info.height)

    @property
    def use(self) -> str:
        """What training takes, or why it takes nothing, in words."""
        if self.reason:
            return self.reason
        lengths = "+".join(map(str, self.windows))
        parts = [f"{count(len(self.windows), 'window')} of {lengths} frames", f"{self.kept_share:.0%} of the picture"]
        if self.inspection is not None and self.reading.buckets:
            height, width = self.reading.size(self.inspection.info)
            parts.append(f"as {width}x{height}")
        if self.inspection is not None and (colour := self.inspection.colour).is_hdr:
            peak = f"{colour.peak_nits:.0f}" if colour.peak_nits else f"an assumed {PEAK_NITS:.0f}"
            parts.append(f"tone-mapped from {peak} nits")
        if self.inspection is not None and self.inspection.damage:
            parts.append("up to its damage")
        if self.scale >= 1.5:
            parts.append(f"enlarged {self.scale:.2g} times")
        if self.trimmed_seconds:
            parts.append(f"{self.trimmed_seconds:.2f} s trimmed")
        return ", ".join(parts)

    @property
    def _facts(self) -> list[str]:
        """Under the header's names from "picture" to "colour"."""
        caption = self.clip.caption_place.removeprefix("metadata.") or "none"
        if self.inspection is None:
            return [*"-----", caption, "-"]
        found, info = self.inspection, self.inspection.info
        header_differs = info.num_frames_header not in (None, found.num_frames)
        return [
            f"{info.width}x{info.height}" + (f"@{info.rotation_degrees}" if info.rotation_degrees else ""),
            f"{found.num_frames}/{info.num_frames_header}" if header_differs else f"{found.num_frames}",
            "variable" if found.fps is None else f"{found.fps:.4g}",
            f"{found.seconds:.2f}",
            f"{_container(self.clip.path, info.container)} {info.codec}",
            caption,
            _in_words(found.colour) + (" interlaced" if found.is_interlaced else ""),
        ]

    def to_line(self) -> str:
        """A row of the table below HEADER; names may hold characters that a terminal would obey."""
        return _COLUMNS.format(self.verdict, *self._facts, f"{self.name}: {self.use}")

    def to_two_lines(self) -> list[str]:
        """The same for a terminal too narrow for the table: the second line has what the file is."""
        lines = [f"{self.verdict:<7}  {self.name}: {self.use}"]
        if self.inspection is not None:
            picture, frames, fps, seconds, format_, caption, colour = self._facts
            times = f"{seconds} s, {fps} fps, frames: {frames}"
            lines.append(f"    {picture}, {times}, {format_}, caption: {caption}, {colour}")
        return lines

    def to_json(self) -> str:
        facts: dict[str, Any] = {}
        if self.inspection is not None:
            found = asdict(self.inspection)
            facts = {**found.pop("info"), **found, "fps": self.inspection.fps}
            facts["colour"]["hdr"] = self.inspection.colour.is_hdr
        return json.dumps(
            {
                "file": self.name,
                "path": str(self.clip.path),
                "verdict": self.verdict,
                "reason": self.reason,
                "windows": self.windows,
                "kept_share": round(self.kept_share, 4),
                "scale": round(self.scale, 4),
                "trimmed_seconds": round(self.trimmed_seconds, 4),
                "captions": self.clip.captions,
                "caption_place": self.clip.caption_place or None,
                "content": self.content,
                **facts,
            }
        )


def _in_words(colour: Colour) -> str:
    """``bt709 tv 8-bit``, ``HDR hlg bt2020 tv 10-bit``: transfer and primaries are named once where they are alike."""
    tags = dict.fromkeys(filter(None, (colour.transfer, colour.primaries, colour.range)))
    return " ".join([*(["HDR"] if colour.is_hdr else []), *(tags or ["untagged"]), f"{colour.bit_depth}-bit"])


def _container(path: Path, names: str) -> str:
    """The one of ffmpeg's names for a format ("mov,mp4,m4a,...") that the file goes by."""
    suffix = path.suffix.lower().removeprefix(".")
    return suffix if suffix in names.split(",") else names.partition(",")[0]
