"""Lights of the night: stars, the moon, shooting stars, aurora. Each adds linear light to a (3, H, W) picture."""

import numpy as np

from soradit.skies import noise
from soradit.skies.camera import Camera
from soradit.skies.scene import Scene

_PHASE_ANGLE = {"crescent": 0.72, "half": 0.0, "full": -1.0}  # where the terminator crosses the equator, -1 to 1


class Stars:
    """A field of stars that turns slowly about a pole, drawn with bilinear weights."""

    def __init__(self, scene: Scene, shape: tuple[int, int]) -> None:
        generator = np.random.default_rng((scene.seed, 2))
        height, width = shape
        count = int(generator.uniform(300, 900))
        # The field is larger than the picture, so that stars turn in from outside.
        self._position = generator.uniform(-1.0, 1.0, (count, 2)) * max(shape)
        self._pole = generator.uniform((0.2, 0.1), (0.8, 0.5)) * (width, height)
        self._rate = np.radians(generator.uniform(0.4, 1.2)) * generator.choice((-1, 1))
        # Counts grow by 10**0.5 a magnitude: brightness has a Pareto tail of exponent about 1.2.
        self._brightness = np.minimum(0.035 * (generator.pareto(1.25, count) + 1), 1.6) * (height / 256) ** 0.5
        warmth = generator.normal(0, 0.16, count)
        self._colour = np.stack([1 + warmth, np.ones(count), 1 - warmth], axis=1)
        self._shape = shape

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Adds the stars at a time."""
        height, width = self._shape
        angle = self._rate * seconds
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        x, y = (self._position @ turn.T + self._pole).T
        inside = (x >= 0) & (y >= 0) & (x < width - 1) & (y < height - 1)
        x, y = x[inside], y[inside]
        column, row = x.astype(int), y.astype(int)
        right, down = x - column, y - row
        light = self._brightness[inside, None] * self._colour[inside]
        for dy, wy in ((0, 1 - down), (1, down)):
            for dx, wx in ((0, 1 - right), (1, right)):
                weighted = (wy * wx)[:, None] * light
                for channel in range(3):
                    np.add.at(picture[channel], (row + dy, column + dx), weighted[:, channel])


def milky_way(scene: Scene, shape: tuple[int, int]) -> np.ndarray:
    """A faint mottled band across the picture, (3, H, W) linear light."""
    generator = np.random.default_rng((scene.seed, 3))
    height, width = shape
    x, y = np.meshgrid((np.arange(width) - width / 2) / width, (np.arange(height) - height / 2) / height)
    angle, offset = generator.uniform(0.5, 2.6), generator.uniform(-0.2, 0.2)
    across = x * np.sin(angle) - y * np.cos(angle) + offset
    wrapped = noise.wrap_border(noise.spectral(generator, slope=1.5, low=2)[None])
    mottle = noise.lookup(wrapped, (x * 0.7).astype(np.float32), (y * 0.7).astype(np.float32))[0]
    band = np.exp(-((across / 0.13) ** 2)) * np.clip(0.55 + 0.4 * mottle, 0, 2)
    return (np.array([0.034, 0.033, 0.042])[:, None, None] * band * generator.uniform(0.0, 1.4)).astype(np.float32)


def moon_light(scene: Scene, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The moon's disc and its glow, each (3, H, W) linear light, so that clouds can hide the disc alone."""
    x0, y0 = camera.project(scene.moon_elevation, scene.moon_azimuth)
    # Thrice its true size, as a long lens or a memory shows it.
    radius = 0.022 + 0.006 * (scene.seed % 7) / 7
    x, y = (camera.x - x0)[None, :] / radius, (camera.y - y0)[:, None] / radius
    distance = np.hypot(x, y)
    edge = camera.pixel / radius
    disc = np.clip((1 - distance) / edge + 0.5, 0, 1)
    terminator = _PHASE_ANGLE[scene.moon] * np.sqrt(np.maximum(1 - y * y, 0))
    lit = np.clip((x - terminator) / max(edge, 0.12) + 0.5, 0, 1)
    generator = np.random.default_rng((scene.seed, 4))
    seas = noise.lookup(
        noise.wrap_border(noise.spectral(generator, slope=2.0, low=2)[None]),
        (x * 0.12 + 0 * y).astype(np.float32),
        (y * 0.12 + 0 * x).astype(np.float32),
    )[0]
    face = disc * lit * np.clip(1 - 0.16 * seas, 0.55, 1.2)
    share = {"crescent": 0.3, "half": 0.6, "full": 1.0}[scene.moon]
    glow = share * (0.09 * np.exp(-distance / 2.2) + 0.035 / (1 + (distance / 5) ** 2))
    white = np.array([1.0, 0.96, 0.86])[:, None, None]
    return (2.4 * white * face).astype(np.float32), (np.array([0.9, 0.95, 1.0])[:, None, None] * glow).astype(
        np.float32
    )


class ShootingStars:
    """A meteor about every 1.2 seconds, each 0.35 seconds long, at its own place."""

    _every, _lasts = 1.2, 0.35

    def __init__(self, scene: Scene, shape: tuple[int, int]) -> None:
        self._seed = scene.seed
        self._shape = shape

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Adds the meteor's trail at a time, if one is falling."""
        index, since = divmod(seconds + 0.7, self._every)
        progress = since / self._lasts
        if progress > 1.25:
            return
        generator = np.random.default_rng((self._seed, 5, int(index)))
        height, width = self._shape
        start = generator.uniform((0.2, 0.05), (0.8, 0.35)) * (width, height)
        way = generator.uniform((0.25, 0.12), (0.5, 0.3)) * (width, height) * (generator.choice((-1, 1)), 1)
        for along in np.linspace(max(progress - 0.4, 0), min(progress, 1), 60):
            x, y = start + along * way
            column, row = int(x), int(y)
            if 0 <= column < width - 1 and 0 <= row < height - 1:
                light = 0.5 * max(1 - (progress - along) / 0.4, 0)
                right, down = x - column, y - row
                picture[:, row, column] += light * (1 - right) * (1 - down)
                picture[:, row, column + 1] += light * right * (1 - down)
                picture[:, row + 1, column] += light * (1 - right) * down
                picture[:, row + 1, column + 1] += light * right * down


class Aurora:
    """Curtains: rays that flicker along a folded, wandering foot, green below and violet above."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        generator = np.random.default_rng((scene.seed, 6))
        self._rays = noise.wrap_border(noise.spectral(generator, slope=1.5, low=1)[None])
        self._folds = noise.wrap_border(noise.spectral(generator, slope=2.6, low=1)[None])
        self._x = camera.x.astype(np.float32)
        self._y = camera.y.astype(np.float32)
        top, bottom = float(camera.y[0]), max(float(camera.y[-1]), 0.0)
        self._feet = [bottom + (top - bottom) * share for share in generator.uniform((0.12, 0.3), (0.28, 0.5))]
        self._length = (top - bottom) * 0.32
        self._tint = np.array([0.45, 0.10, 0.42]) if generator.random() < 0.6 else np.array([0.12, 0.35, 0.40])

    def light(self, seconds: float) -> np.ndarray:
        """(3, H, W) linear light at a time."""
        total = np.zeros((3, len(self._y), len(self._x)), dtype=np.float32)
        green = np.array([0.06, 0.62, 0.24])
        for index, base in enumerate(self._feet):
            drift = np.full((1, len(self._x)), 0.021 * seconds + 0.37 * index, dtype=np.float32)
            foot = base + 0.13 * noise.lookup(self._folds, self._x[None] * 0.35 + drift, drift)[0]
            up = (self._y[:, None] - foot) / self._length
            lean = self._x[None, :] + 0.10 * up * self._length
            rays = noise.lookup(self._rays, lean * 0.5, np.broadcast_to(drift * 1.5, lean.shape))[0]
            body = np.where(up > 0, np.exp(-up * 1.9), np.exp(np.minimum(up, 0) * 16)) * np.clip(
                0.55 + 0.5 * rays, 0, 2
            )
            height = np.clip(up * 0.8, 0, 1)
            for channel in range(3):
                total[channel] += 0.5 * body * (green[channel] * (1 - height) + self._tint[channel] * height)
        return total
