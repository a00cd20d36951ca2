"""Where each pixel looks, and where it meets the cloud plane."""

from dataclasses import dataclass

import numpy as np

from soradit.skies.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera that looks level, its picture shifted upwards, so that the horizon stays straight.

    Rays are (x, y, 1): right, up, forward. All arrays float32.
    """

    x: np.ndarray
    """(W,)"""
    y: np.ndarray
    """(H,), negative below the horizon"""
    pixel: float
    """Side of a pixel in the same units"""

    @property
    def above(self) -> np.ndarray:
        """``y`` clamped to what is above the horizon, (H,)."""
        return np.maximum(self.y, 0.0)

    def rays(self) -> np.ndarray:
        """Unit view rays (H, W, 3); below the horizon those of the horizon."""
        rays = np.ones((len(self.y), len(self.x), 3), dtype=np.float32)
        rays[..., 0] = self.x
        rays[..., 1] = self.above[:, None]
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def project(self, elevation: float, azimuth: float) -> tuple[float, float]:
        """Picture coordinates (x, y) of a direction in degrees in front of the viewer."""
        e, a = np.radians(elevation), np.radians(azimuth)
        return float(np.tan(a)), float(np.tan(e) / np.cos(a))


def camera_of(scene: Scene, height: int, width: int) -> Camera:
    """The camera of a scene for pictures of ``height`` x ``width``."""
    pixel = 2 * np.tan(np.radians(scene.field_of_view) / 2) / width
    columns = np.arange(width, dtype=np.float32) + 0.5 - width / 2
    rows = scene.horizon_row * height - np.arange(height, dtype=np.float32) - 0.5
    return Camera(x=columns * np.float32(pixel), y=rows * np.float32(pixel), pixel=float(pixel))
