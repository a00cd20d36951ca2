"""What stands below the sky: ridges of hills, or the sea that mirrors it. Pictures are (3, H, W) linear light."""

import numpy as np

from soradit.skies import noise
from soradit.skies.camera import Camera
from soradit.skies.scene import Scene


class Hills:
    """Two or three ridges, each farther one paler with air."""

    def __init__(self, scene: Scene, camera: Camera, haze: np.ndarray, light: np.ndarray) -> None:
        generator = np.random.default_rng((scene.seed, 7))
        shape = (len(camera.y), len(camera.x))
        self.cover = np.zeros(shape, dtype=np.float32)
        self.picture = np.zeros((3, *shape), dtype=np.float32)
        num_ridges = int(generator.integers(1, 4))
        columns, rows = np.broadcast_arrays(0.6 * camera.x[None, :], 2.5 * camera.y[:, None])
        soil = np.array([0.030, 0.036, 0.020]) * generator.uniform(0.6, 1.6)
        for index in range(num_ridges):
            nearness = (index + 1) / num_ridges
            profile = self._profile(generator, camera, roughness=1.5 + 0.5 * (1 - nearness))
            crest = 0.02 + (0.09 - 0.06 * nearness) * (1.4 + profile)
            mask = np.clip((crest[None, :] - camera.y[:, None]) / camera.pixel + 0.5, 0, 1).astype(np.float32)
            air = 0.06 + 0.4 * (1 - nearness)
            texture = noise.spectral(generator, slope=1.7, low=4)
            texture = noise.lookup(noise.wrap_border(texture[None]), columns, rows)[0]
            ground = soil * light
            for channel in range(3):
                colour = ground[channel] * (1 + 0.2 * texture) * (1 - air) + 0.5 * haze[channel] * air
                self.picture[channel] += mask * (np.maximum(colour, 0) - self.picture[channel])
            self.cover = np.maximum(self.cover, mask)

    @staticmethod
    def _profile(generator: np.random.Generator, camera: Camera, roughness: float) -> np.ndarray:
        row = noise.spectral(generator, slope=roughness + 0.5)[0]
        position = (camera.x * 0.25 + 0.5) * (noise.SIZE - 1)
        return np.interp(position, np.arange(noise.SIZE), row)

    def cover_ground(self, picture: np.ndarray, seconds: float) -> None:
        """Draws the hills over the sky."""
        picture += self.cover * (self.picture - picture)


class Sea:
    """Water that mirrors the rows above the horizon, shaken by waves and darker where it is looked into."""

    def __init__(self, scene: Scene, camera: Camera, light: np.ndarray) -> None:
        generator = np.random.default_rng((scene.seed, 8))
        self._first = int(np.argmax(camera.y < 0))
        depth = np.maximum(-camera.y[self._first :], camera.pixel / 2)
        self._waves = noise.pyramid(noise.spectral(generator, slope=2.0, low=3)[None])
        distance = (0.35 / depth).astype(np.float32)
        self._u = (distance[:, None] * camera.x * 0.5).astype(np.float32)
        self._v = np.broadcast_to(distance[:, None], self._u.shape).astype(np.float32)
        self._texels = np.maximum(distance * camera.pixel * noise.SIZE, distance**2 * camera.pixel * 1500)[::-1]
        rows = np.arange(len(depth), dtype=np.float32)
        self._mirror = self._first - 1 - rows
        self._shake = (generator.uniform(0.6, 1.2) * (1.0 + 0.22 * rows)).astype(np.float32)[:, None]
        # Schlick's Fresnel for the mean slope of a ruffled sea: still bright far out, dark underfoot.
        sine = depth / np.sqrt(1 + depth * depth)
        self._fresnel = (0.03 + 0.9 * (1 - np.minimum(sine * 1.6, 1)) ** 3).astype(np.float32)[:, None]
        self._deep = (np.array([0.02, 0.06, 0.085]) * light).astype(np.float32)
        self._columns = np.arange(len(camera.x))[None, :]

    def cover_ground(self, picture: np.ndarray, seconds: float) -> None:
        """Draws the sea below the horizon from the sky above it."""
        time = np.float32(seconds)
        # ``lookup_rows`` wants rows sorted towards the far, so the near ones come last here: flip.
        u, v = self._u[::-1], self._v[::-1]
        slope = 0.6 * noise.lookup_rows(self._waves, u + 0.02 * time, v - 0.11 * time, self._texels)[0]
        slope += 0.6 * noise.lookup_rows(self._waves, 0.7 * u - 0.03 * time, 0.8 * v + 0.05 * time, self._texels)[0]
        slope = slope[::-1]
        source = self._mirror[:, None] - np.abs(slope) * self._shake * 2 + slope * self._shake
        source = np.clip(source, 0, self._first - 1.001)
        row = source.astype(np.int64)
        between = source - row
        facing = np.clip(self._fresnel * (1 + 0.22 * slope), 0, 1)
        for channel in range(3):
            above = picture[channel]
            mirrored = above[row, self._columns] * (1 - between) + above[row + 1, self._columns] * between
            picture[channel, self._first :] = mirrored * facing + self._deep[channel] * (1 - facing)
