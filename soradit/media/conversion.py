"""A decoded frame, whatever its pixels are -> the RGB that a player shows: upright, square pixels, SDR, over black."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideData
from einops import rearrange
from jaxtyping import UInt8
from PIL import ExifTags, Image

from soradit.media.hdr import PEAK_NITS, to_sdr

# ITU-T H.273, tables 2 to 4, in ffmpeg's words. What is not here is unspecified or rare.
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 12: "p3"}
TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    18: "hlg",
}
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
HDR_TRANSFERS = ("pq", "hlg")
_PACKED = (("format", "gbrp"), ("format", "rgb24"))  # in two steps: swscale's direct way is less exact


@dataclass(frozen=True)
class Orientation:
    """How stored frames become upright: transposed first, then mirrored."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @property
    def rotation_degrees(self) -> int:
        """The clockwise turn (0, 90, 180, 270), whatever else is mirrored."""
        if self.transposed:
            return 90 if self.mirrored else 270
        return 180 if self.upside_down else 0

    def apply(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        if self.transposed:
            frame = frame.transpose(1, 0, 2)
        step = {False: 1, True: -1}
        return np.ascontiguousarray(frame[:: step[self.upside_down], :: step[self.mirrored]])


_TURNS = {
    0: Orientation(),
    90: Orientation(transposed=True, mirrored=True),
    180: Orientation(upside_down=True, mirrored=True),
    270: Orientation(transposed=True, upside_down=True),
}
# By EXIF's tag (CIPA DC-008, 4.6.5.1.6); 1 is upright.
_EXIF_ORIENTATIONS = {
    2: Orientation(mirrored=True),
    3: _TURNS[180],
    4: Orientation(upside_down=True),
    5: Orientation(transposed=True),
    6: _TURNS[90],
    7: Orientation(transposed=True, upside_down=True, mirrored=True),
    8: _TURNS[270],
}


def exif_orientation(path: Path) -> Orientation:
    """How a still is turned. av gives its angle, but not whether it is mirrored. Garbage counts as upright."""
    try:
        with Image.open(path, formats=["JPEG", "PNG", "TIFF", "WEBP"]) as image:
            return _EXIF_ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1), Orientation())
    except Exception:  # Pillow raises anything
        return Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """From the display matrix (ISO 14496-12, 8.3.2.3), by whatever multiple of 90 degrees comes closest to it.

    A matrix that leaves no picture (zeros) counts as none.
    """
    try:
        matrix = _side_data(frame, SideData.DISPLAYMATRIX)
    except ValueError:  # beside data of a kind that av does not know it tells the angle only, counterclockwise
        return _TURNS[-90 * round(frame.rotation / 90) % 360]
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transposed=True, upside_down=b < 0, mirrored=c < 0)
    return Orientation(upside_down=d < 0, mirrored=a < 0)


def peak_nits_of(frame: av.VideoFrame) -> float | None:
    """The brightest light that a PQ picture was graded for, in cd/m2; None where it does not say, and for others.

    The brightest pixel (CTA-861.3, MaxCLL), or else the peak of the display that it was graded on (SMPTE ST 2086).
    """
    if transfer_of(frame) != "pq":
        return None
    try:
        light, display = (
            _side_data(frame, kind) for kind in (SideData.CONTENT_LIGHT_LEVEL, SideData.MASTERING_DISPLAY_METADATA)
        )
    except ValueError:
        return None
    brightest_pixel = struct.unpack("=2I", light)[0] if light else 0
    if brightest_pixel or not display:
        return brightest_pixel or None
    *_, numerator, denominator, _, has_luminance = struct.unpack("=22i", display)  # AVMasteringDisplayMetadata
    return numerator / denominator if has_luminance and numerator > 0 and denominator > 0 else None


def _side_data(frame: av.VideoFrame, kind: SideData) -> bytes | None:
    """Raises ValueError where a frame also has data of a kind that av does not know."""
    data = frame.side_data.get(kind)  # type: ignore[call-overload]
    return None if data is None else bytes(data)


def transfer_of(frame: av.VideoFrame) -> str | None:
    return TRANSFERS.get(frame.color_trc)


def has_alpha(frame: av.VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def matrix_of(frame: av.VideoFrame) -> str:
    """What turns luma and chroma into RGB; where a file doesn't say, what players assume by the picture's size."""
    if frame.colorspace in MATRICES:
        return MATRICES[frame.colorspace]
    if transfer_of(frame) in HDR_TRANSFERS:
        return "bt2020"
    return "bt709" if frame.width >= 1280 or frame.height > 576 else "bt601"


class Converter:
    """Turns frames into RGB of one size: upright, scaled to cover it, cropped at the centre, never distorted."""

    def __init__(
        self, *, height: int, width: int, pixel_aspect: Fraction, orientation: Orientation, peak_nits: float | None
    ) -> None:
        """``height`` and ``width`` are the result's; ``pixel_aspect`` is a stored pixel's width over its height.

        ``peak_nits`` is the brightest light of HDR, in cd/m2; where it is None, 1000 are assumed.
        """
        self.size = (width, height) if orientation.transposed else (height, width)
        self.pixel_aspect = pixel_aspect
        self.orientation = orientation
        self.peak_nits = peak_nits or PEAK_NITS
        self._kind: tuple = ()
        self._graph: Graph | None = None

    def __call__(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, frame.color_trc)
        if self._graph is None or kind != self._kind:  # also where a stream changes halfway
            self._kind, self._graph = kind, self._new_graph(frame)
        self._graph.vpush(frame)
        return self.orientation.apply(_to_rgb(self._graph.vpull(), transfer_of(frame), self.peak_nits))

    def _new_graph(self, frame: av.VideoFrame) -> Graph:
        crop = self._crop(frame)
        height, width = self.size
        to_full_range = ("scale", _colour_options(frame))
        resize = ("scale", f"w={width}:h={height}:flags=bicubic+full_chroma_int:{_colour_options(frame)}")
        if has_alpha(frame):
            over_black = [to_full_range, ("format", "gbrap"), ("premultiply", "inplace=1")]
            filters = [*over_black, crop, ("scale", f"w={width}:h={height}:flags=bicubic"), *_PACKED]
        elif transfer_of(frame) in HDR_TRANSFERS:
            filters = [crop, resize, ("format", "gbrpf32le")]
        else:
            filters = [crop, resize, *_PACKED]
        return filter_graph(frame, filters)

    def _crop(self, frame: av.VideoFrame) -> tuple[str, str]:
        """The centre of the stored picture that has the result's shape."""
        height, width = self.size
        scale = max(Fraction(height, frame.height), width / (frame.width * self.pixel_aspect))
        crop_height = min(frame.height, max(1, round(height / scale)))
        crop_width = min(frame.width, max(1, round(width / scale / self.pixel_aspect)))
        # Even offsets, so that subsampled chroma stays where it belongs.
        y, x = ((whole - part) // 4 * 2 for whole, part in ((frame.height, crop_height), (frame.width, crop_width)))
        return ("crop", f"w={crop_width}:h={crop_height}:x={x}:y={y}:exact=1")


def filter_graph(frame: av.VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    """A chain of ffmpeg's filters for frames like this one."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, *(graph.add(*each) for each in filters), graph.add("buffersink")).configure()
    return graph


def _colour_options(frame: av.VideoFrame) -> str:
    if frame.format.is_rgb or frame.format.has_palette:
        return "out_range=pc"
    full_range = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    return f"in_range={'pc' if full_range else 'tv'}:out_range=pc:in_color_matrix={matrix_of(frame)}"


def _to_rgb(frame: av.VideoFrame, transfer: str | None, peak_nits: float) -> UInt8[np.ndarray, "h w 3"]:
    if frame.format.name == "rgb24":
        return rearrange(_plane(frame, 0, np.uint8, channels=3), "h (w c) -> h w c", c=3).copy()
    assert transfer is not None
    rgb = to_sdr(np.stack([_plane(frame, index, np.float32) for index in (2, 0, 1)]), transfer, peak_nits)
    return np.rint(255 * rgb).astype(np.uint8).transpose(1, 2, 0)


def _plane(frame: av.VideoFrame, index: int, kind: type, channels: int = 1) -> np.ndarray:
    plane = frame.planes[index]
    return np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[:, : plane.width * channels]
