"""Clouds: a plane of periodic noise above the viewer that drifts, evolves and is lit by the sun."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from soradit.skies import noise
from soradit.skies.camera import Camera
from soradit.skies.scene import Clouds, Scene

# The plane bends down to the horizon as the real cloud deck does: its farthest point is 1 / _CURVATURE away.
_CURVATURE = 0.06


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a kind of cloud is built."""

    tile: float
    """Length of the main textures' tile, in cloud heights."""
    detail: float
    """Weight of the finer texture."""
    sharpness: float
    """Optical density for each standard deviation of noise above the threshold."""
    opacity: float
    """Greatest opacity, 0 to 1."""
    relief: float
    """How strongly neighbours towards the sun throw shadow."""
    darkness: float
    """How much light the thickest parts lose, 0 to 1."""
    shade: float = 1.0
    """Share of the sunlight that the cloud above lets through to what the viewer sees."""


LOOKS: dict[Clouds, Look] = {
    "scattered": Look(tile=5.0, detail=0.22, sharpness=2.4, opacity=0.98, relief=0.9, darkness=0.42),
    "broken": Look(tile=6.0, detail=0.24, sharpness=2.2, opacity=0.98, relief=0.9, darkness=0.5),
    "overcast": Look(tile=6.5, detail=0.35, sharpness=0.9, opacity=1.0, relief=0.55, darkness=0.5, shade=0.75),
    "cirrus": Look(tile=5.0, detail=0.40, sharpness=0.55, opacity=0.8, relief=0.2, darkness=0.0),
    "storm": Look(tile=6.0, detail=0.42, sharpness=1.2, opacity=1.0, relief=1.1, darkness=0.76, shade=0.34),
    "clear": Look(tile=5.0, detail=0.0, sharpness=0.0, opacity=0.0, relief=0.0, darkness=0.0),
}


def _billows(generator: np.random.Generator) -> np.ndarray:
    """Puffs with creases between them: octaves of |noise| (Musgrave's billow), domain-warped."""
    total = noise.spectral(generator, slope=2.6, low=2)
    for octave, weight in ((5, 0.42), (11, 0.26), (24, 0.15), (52, 0.08)):
        puffs = noise.spectral(generator, slope=3.0, low=octave)
        total = total + weight * (np.abs(puffs) - 0.8)
    bend = 0.006 * noise.spectral(generator, slope=1.9, low=4)
    return noise.standardise(noise.warp(total, bend, np.roll(bend, 97, axis=0)))


def _wisps(generator: np.random.Generator) -> np.ndarray:
    """Fibres: noise stretched along one axis, combed by a slow warp and ridged."""
    long = noise.spectral(generator, slope=1.55, low=2, stretch=5.0)
    bend = 0.05 * noise.spectral(generator, slope=2.4)
    patches = noise.spectral(generator, slope=2.2)
    fibres = 1.3 - np.abs(noise.warp(long, bend, np.roll(bend, 131, axis=1)))
    return noise.standardise(fibres + 0.9 * patches)


def _sheet(generator: np.random.Generator) -> np.ndarray:
    """A deck with rolls and rags: smooth noise warped by itself."""
    base = noise.spectral(generator, slope=1.75, low=1)
    bend = 0.03 * noise.spectral(generator, slope=2.2)
    rolled = noise.warp(base, bend, np.roll(bend, 77, axis=0))
    return noise.standardise(rolled - 0.45 * np.abs(noise.spectral(generator, slope=1.8, low=5)))


_BUILDERS: dict[Clouds, Callable[[np.random.Generator], np.ndarray]] = {
    "scattered": _billows,
    "broken": _billows,
    "overcast": _sheet,
    "cirrus": _wisps,
    "storm": _sheet,
    "clear": _sheet,
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One texture of the cloud plane: the noise, and how much higher it stands than its neighbour sunwards."""

    levels: list[torch.Tensor]
    """Mip levels (1, 2, N+1, N+1)"""
    tile: float
    turn: float
    """Rotation of the texture against the ground, radians."""
    velocity: np.ndarray
    """(2,) cloud heights per second: right, away."""
    weight: float


def _rise_towards_sun(texture: np.ndarray, sun_right: float, sun_away: float) -> np.ndarray:
    """Noise here less noise a little towards the sun, over several distances: > 0 faces the sun."""
    rise = np.zeros_like(texture)
    for distance, weight in ((3, 0.5), (8, 0.35), (18, 0.15)):
        shift = (-round(sun_away * distance), -round(sun_right * distance))
        rise += weight * (texture - np.roll(texture, shift, axis=(0, 1)))
    return rise


def _layer(
    texture: np.ndarray, *, tile: float, turn: float, velocity: np.ndarray, weight: float, sun: np.ndarray
) -> Layer:
    flat = sun[[0, 2]] / max(float(np.hypot(sun[0], sun[2])), 1e-3)
    right = np.cos(turn) * flat[0] - np.sin(turn) * flat[1]
    away = np.sin(turn) * flat[0] + np.cos(turn) * flat[1]
    levels = noise.pyramid(np.stack([texture, _rise_towards_sun(texture, right, away)]))
    return Layer(levels=levels, tile=tile, turn=turn, velocity=velocity, weight=weight)


class CloudField:
    """The cloud plane of one scene as its camera sees it."""

    def __init__(self, scene: Scene, camera: Camera, sun: np.ndarray, middle: float) -> None:
        self.look = LOOKS[scene.clouds]
        generator = np.random.default_rng((scene.seed, 1))
        distance = 1.0 / (camera.above + _CURVATURE)
        self.ground_x = (distance[:, None] * camera.x).astype(np.float32)
        self.ground_z = np.broadcast_to(distance[:, None], self.ground_x.shape).astype(np.float32)
        self._distance = distance
        self._pixel = camera.pixel
        self.layers = self._build(scene, generator, sun, self._ground_speed(scene, camera))
        # Texture coordinates wander far from 0: start at a random place of the tile.
        self._origin = generator.uniform(0, 1, (len(self.layers), 2)).astype(np.float32)
        # The cover is measured where and when the camera looks, so that what a caption says of it holds.
        seen = self._noise(middle)[0][camera.y > 0]
        self.scale = 1.0 / float(seen.std())
        self.threshold = float(np.quantile(seen, 1 - scene.cloud_cover))

    @staticmethod
    def _ground_speed(scene: Scene, camera: Camera) -> float:
        """Cloud heights per second that give ``drift_rate`` widths per second in mid-sky."""
        middle = float(np.median(camera.above[camera.y > 0])) + _CURVATURE
        speed = scene.drift_rate * len(camera.x) * camera.pixel / middle
        # Motion along the view is foreshortened.
        return speed * 1.5 if scene.drift in ("towards", "away") else speed

    def _build(self, scene: Scene, generator: np.random.Generator, sun: np.ndarray, speed: float) -> list[Layer]:
        build = _BUILDERS[scene.clouds]
        velocity = np.array(scene.drift_vector, dtype=np.float32) * speed
        layers = []
        turn = float(generator.uniform(0, 2 * np.pi))
        # Layers of unlike tile and speed slide over one another, which makes the clouds change shape.
        for tile, weight, wander in ((1.0, 0.75, 0.05), (1.37, 0.75, 0.08), (0.31, self.look.detail, 0.10)):
            if weight == 0:
                continue
            stray = generator.normal(0, wander * speed, 2).astype(np.float32)
            spin = (
                float(generator.uniform(-0.15, 0.15)) if scene.clouds == "cirrus" else float(generator.uniform(0, 6.28))
            )
            layers.append(
                _layer(
                    build(generator),
                    tile=tile * self.look.tile,
                    turn=turn + spin,
                    velocity=velocity + stray,
                    weight=weight,
                    sun=sun,
                )
            )
        return layers

    def _sample(self, layer: Layer, origin: np.ndarray, seconds: float) -> np.ndarray:
        """(2, H, W): the layer's noise and rise at a time, each row from the mip level that suits its distance."""
        x = self.ground_x - layer.velocity[0] * np.float32(seconds)
        z = self.ground_z - layer.velocity[1] * np.float32(seconds)
        cos, sin = np.float32(np.cos(layer.turn) / layer.tile), np.float32(np.sin(layer.turn) / layer.tile)
        u = cos * x - sin * z + origin[0]
        v = sin * x + cos * z + origin[1]
        texels = self._distance**1.6 * self._pixel * noise.SIZE / layer.tile
        return noise.lookup_rows(layer.levels, u, v, texels)

    def density(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Optical density (H, W), 0 where clear, and the slope towards the sun (H, W), > 0 where it faces it."""
        total = self._noise(seconds)
        height = (total[0] - self.threshold) * np.float32(self.scale)
        return np.maximum(height, 0.0) * np.float32(self.look.sharpness), total[1] * np.float32(self.scale)

    def _noise(self, seconds: float) -> np.ndarray:
        """(2, H, W): the weighted sum of the layers' noise and rise."""
        total = np.zeros((2, *self.ground_x.shape), dtype=np.float32)
        for layer, origin in zip(self.layers, self._origin, strict=True):
            total += np.float32(layer.weight) * self._sample(layer, origin, seconds)
        return total
