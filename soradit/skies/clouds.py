"""Clouds: a drifting, evolving height field above the viewer, marched through and lit by the sun."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from soradit.skies import noise
from soradit.skies.camera import camera_of
from soradit.skies.scene import Clouds, Scene

# The plane bends down to the horizon as the real cloud deck does: its farthest point is 1 / _CURVATURE away.
_CURVATURE = 0.06


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a kind of cloud is built. Its local height is noise in standard deviations above a threshold."""

    tile: float
    """Length of the main textures' tile, in heights of the cloud base."""
    detail: float
    """Weight of the finer texture."""
    steps: int
    """Slices that the march takes through the cloud."""
    thickness: float
    """From base to top, in heights of the base."""
    dome: float
    """Local height that reaches the top; the outline between is a parabola, which rounds the cloud."""
    softness: float
    """Depth below the outline, in local height, at which the cloud is at its densest."""
    extinction: float
    """Optical depth of the whole thickness at its densest."""
    shadow: float
    """Optical depth for the sunlight, for each unit of local height in its way."""
    relief: float
    """How strongly neighbours towards the sun throw shadow."""
    shade: float = 1.0
    """Share of all light that decks above let through."""


LOOKS: dict[Clouds, Look] = {
    "scattered": Look(
        tile=5.0, detail=0.24, steps=10, thickness=0.25, dome=2.2, softness=0.35, extinction=12.0, shadow=1.7,
        relief=1.6,
    ),
    "broken": Look(
        tile=6.0, detail=0.24, steps=10, thickness=0.28, dome=2.6, softness=0.40, extinction=11.0, shadow=1.4,
        relief=1.6,
    ),
    "overcast": Look(
        tile=8.0, detail=0.16, steps=3, thickness=0.12, dome=6.0, softness=1.2, extinction=6.0, shadow=0.5, relief=1.2,
        shade=0.75,
    ),
    "cirrus": Look(
        tile=5.0, detail=0.20, steps=1, thickness=0.0, dome=1.0, softness=4.0, extinction=3.0, shadow=0.1, relief=0.4
    ),
    "storm": Look(
        tile=7.0, detail=0.22, steps=8, thickness=0.4, dome=5.0, softness=0.7, extinction=9.0, shadow=0.75, relief=2.0,
        shade=0.36,
    ),
}  # fmt: skip


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
    "storm": _billows,
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
    lean: float
    """How far the texture shifts to the right from base to top, in heights of the base."""


def _rise_towards_sun(texture: np.ndarray, sun_right: float, sun_away: float) -> np.ndarray:
    """Noise here less noise a little towards the sun, over several distances: > 0 faces the sun."""
    rise = np.zeros_like(texture)
    for distance, weight in ((5, 0.4), (12, 0.35), (26, 0.25)):
        shift = (-round(sun_away * distance), -round(sun_right * distance))
        rise += weight * (texture - np.roll(texture, shift, axis=(0, 1)))
    return rise


def _layer(
    texture: np.ndarray, *, tile: float, turn: float, velocity: np.ndarray, weight: float, lean: float, sun: np.ndarray
) -> Layer:
    flat = sun[[0, 2]] / max(float(np.hypot(sun[0], sun[2])), 1e-3)
    right = np.cos(turn) * flat[0] - np.sin(turn) * flat[1]
    away = np.sin(turn) * flat[0] + np.cos(turn) * flat[1]
    levels = noise.pyramid(np.stack([texture, _rise_towards_sun(texture, right, away)]))
    return Layer(levels=levels, tile=tile, turn=turn, velocity=velocity, weight=weight, lean=lean)


class CloudField:
    """The clouds of one scene as its camera sees them, marched at half the picture's resolution.

    They are smooth enough for that, and their edges come out as soft as a lens draws them.
    """

    def __init__(self, scene: Scene, shape: tuple[int, int], sun: np.ndarray, middle: float) -> None:
        self.look = LOOKS[scene.clouds]
        self._shape, self._sun_height = shape, float(sun[1])
        # A low sun shines through the clouds lengthwise.
        self._shadow = np.float32(self.look.shadow * (1.5 - 0.5 * self._sun_height))
        self._growth, self._middle = scene.growth, middle
        height, width = (-(-side // 2) for side in shape)
        camera = camera_of(scene, height, width)
        above = camera.above[camera.y > -camera.pixel]
        self._below = height - len(above)
        self._width, self._pixel = width, camera.pixel
        self._distance = 1.0 / (above + _CURVATURE)
        self._slices = (np.arange(self.look.steps, dtype=np.float32) + 0.5) / self.look.steps
        generator = np.random.default_rng((scene.seed, 1))
        speed = scene.drift_rate * width * camera.pixel * float(np.median(self._distance))
        self.layers = self._build(scene, generator, sun, speed)
        # Texture coordinates wander far from 0: start at a random place of the tile.
        self._origin = generator.uniform(0, 1, (len(self.layers), 2)).astype(np.float32)
        far = self._distance[:, None, None] * (1 + self.look.thickness * self._slices[:, None])
        self._ground_x, self._ground_z = np.broadcast_arrays(far * camera.x, far)
        self._reach = np.exp(-((self._distance / (24 if scene.clouds in ("overcast", "storm") else 12)) ** 2))[:, None]
        # The cover is measured where and when the camera looks, so that what a caption says of it holds.
        seen = self._noise(middle)[0][:, 0]
        self.scale = np.float32(1.0 / seen.std())
        self.threshold = np.float32(np.quantile(seen, 1 - scene.cloud_cover))

    def _build(self, scene: Scene, generator: np.random.Generator, sun: np.ndarray, speed: float) -> list[Layer]:
        build = _BUILDERS[scene.clouds]
        # Motion along the view is foreshortened: it needs more speed to be seen as well.
        velocity = np.array(scene.drift_vector, dtype=np.float32) * (speed, 1.5 * speed)
        layers = []
        turn = float(generator.uniform(0, 2 * np.pi))
        # Layers of unlike tile and speed slide over one another, which makes the clouds change shape.
        for tile, weight, wander in ((1.0, 0.75, 0.05), (1.37, 0.75, 0.08), (0.31, self.look.detail, 0.10)):
            stray = generator.normal(0, wander * speed, 2)
            spin = generator.uniform(-0.15, 0.15) if scene.clouds == "cirrus" else generator.uniform(0, 2 * np.pi)
            layers.append(
                _layer(
                    build(generator),
                    tile=tile * self.look.tile,
                    turn=turn + float(spin),
                    velocity=(velocity + stray).astype(np.float32),
                    weight=weight,
                    lean=float(generator.uniform(-0.12, 0.12)),
                    sun=sun,
                )
            )
        return layers

    def _sample(self, layer: Layer, origin: np.ndarray, seconds: float) -> np.ndarray:
        """The layer's noise and rise at a time, (2, H, K, W), each row from the mip level that suits its distance."""
        # Slices look their texture up at places that wander with height, or the sides of clouds would be extruded.
        x = self._ground_x - layer.velocity[0] * np.float32(seconds) + layer.lean * self._slices[:, None]
        z = self._ground_z - layer.velocity[1] * np.float32(seconds)
        cos, sin = np.float32(np.cos(layer.turn) / layer.tile), np.float32(np.sin(layer.turn) / layer.tile)
        u = cos * x - sin * z + origin[0]
        v = sin * x + cos * z + origin[1]
        texels = self._distance**1.6 * self._pixel * noise.SIZE / layer.tile
        flat = noise.lookup_rows(layer.levels, u.reshape(len(u), -1), v.reshape(len(v), -1), texels)
        return flat.reshape(2, *u.shape)

    def _noise(self, seconds: float) -> np.ndarray:
        """The weighted sum of the layers' noise and rise, (2, H, K, W)."""
        total = np.zeros((2, *self._ground_x.shape), dtype=np.float32)
        for layer, origin in zip(self.layers, self._origin, strict=True):
            total += np.float32(layer.weight) * self._sample(layer, origin, seconds)
        return total

    def march(self, seconds: float) -> np.ndarray:
        """What the clouds let through, and the sunlight and skylight that they scatter to the viewer: (3, H, W).

        Front to back through slices (Max 1995, "Optical Models for Direct Volume Rendering", equation 9); the
        sunlight fades by what the height field puts in its way, with a second, slower term for light scattered
        many times (Wrenninge et al. 2013, "Oz: The Great and Volumetric").
        """
        look = self.look
        height, rise = self._noise(seconds)
        height -= self.threshold - np.float32(self._growth * (seconds - self._middle)) / self.scale
        height *= self.scale
        slices = self._slices[:, None]
        inside = height - look.dome * slices * slices
        density = np.clip(inside / np.float32(look.softness), 0, 1)
        density *= density * (3 - 2 * density)
        step = np.exp(-np.float32(look.extinction / look.steps) * density)
        through = np.cumprod(step, axis=1)
        weight = np.concatenate([np.ones_like(through[:, :1]), through[:, :-1]], axis=1) * (1 - step)
        blocked = np.maximum(inside - np.float32(look.relief) * self.scale * rise - 0.4 * self._sun_height, 0)
        slow = np.exp(np.float32(-0.25) * self._shadow * blocked)
        sunlit = 0.75 * slow**4 + 0.25 * slow
        skylit = slow * (0.7 + 0.3 * slices)
        maps = np.stack([1 - through[:, -1], (weight * sunlit).sum(1), (weight * skylit).sum(1)]) * self._reach
        maps[0] = 1 - maps[0]
        whole = np.pad(maps, ((0, 0), (0, self._below), (0, 0)), mode="edge").astype(np.float32)
        return interpolate(torch.from_numpy(whole)[None], size=self._shape, mode="bilinear")[0].numpy()
