"""Renders a scene: sky, lights, clouds, ground, weather, then film. Linear light (3, H, W) float32 throughout."""

import numpy as np

from soradit.skies import atmosphere, night, noise
from soradit.skies.camera import Camera, camera_of
from soradit.skies.clouds import CloudField
from soradit.skies.ground import Hills, Sea
from soradit.skies.scene import Scene

_SUN_ELEVATIONS = (-18, -8, -5, -2, 0, 4, 12, 30, 60)  # degrees: knots of the three curves below
_SKY_LEVEL = (0.012, 0.06, 0.10, 0.16, 0.21, 0.24, 0.26, 0.25, 0.24)  # mean linear light of the clear sky
_MULTIPLE_SHARE = (4.0, 2.2, 1.2, 0.6, 0.36, 0.24, 0.14, 0.12, 0.12)  # of single scattering's mean
_SUN_LEVEL = (0.0, 0.0, 0.06, 0.35, 0.75, 1.05, 1.4, 1.7, 1.85)  # sunlight on a cloud that faces the sun
_EXPOSURE = 1.35
_NIGHT_EXPOSURE = 3.0  # a time-lapse of the night keeps its shutter open until clouds and stars show
_SATURATION = 1.3  # photographs of skies are developed so
_LUMINANCE = np.array([0.25, 0.6, 0.15])


def _level(curve: tuple[float, ...], sun_elevation: float) -> float:
    return float(np.interp(sun_elevation, _SUN_ELEVATIONS, curve))


def _upsample(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear from (h, w, 3) with corners aligned to (height, width, 3)."""
    rows = np.linspace(0, grid.shape[0] - 1, height)
    columns = np.linspace(0, grid.shape[1] - 1, width)
    r0 = np.minimum(rows.astype(int), grid.shape[0] - 2)
    c0 = np.minimum(columns.astype(int), grid.shape[1] - 2)
    fr, fc = (rows - r0)[:, None, None], (columns - c0)[None, :, None]
    tall = grid[r0] * (1 - fr) + grid[r0 + 1] * fr
    return tall[:, c0] * (1 - fc) + tall[:, c0 + 1] * fc


def _multiple_scattering(single: np.ndarray, camera: Camera, sun_elevation: float) -> np.ndarray:
    """Light scattered more than once, (H, 1, 3): blue, even, and all that is left once the sun is down.

    An approximation to what full solutions (Hillaire 2020) give, relative to single scattering's mean.
    """
    share = _level(_MULTIPLE_SHARE, sun_elevation)
    blue = np.array([0.55, 0.85, 1.75])
    lift = 1.0 + 0.5 * np.exp(-camera.above / 0.35)
    return share * float((single @ _LUMINANCE).mean()) * lift[:, None, None] * blue


def _clear_sky(scene: Scene, camera: Camera, sun_elevation: float) -> np.ndarray:
    """The clear sky, (3, H, W), exposed so that its mean is that of ``_SKY_LEVEL``."""
    height, width = len(camera.y), len(camera.x)
    rays = camera.rays()
    if scene.hour == "night":
        return _night_sky(scene, camera)
    sun = atmosphere.direction(sun_elevation, scene.sun_azimuth)
    coarse = rays[np.linspace(0, height - 1, 41).astype(int)][:, np.linspace(0, width - 1, 17).astype(int)]
    rayleigh, mie = atmosphere.in_scattering(coarse, sun, scene.turbidity)
    cosine = (rays @ sun)[..., None]
    sky = _upsample(rayleigh, height, width) * atmosphere.rayleigh_phase(cosine)
    sky += _upsample(mie, height, width) * atmosphere.henyey_greenstein(cosine, atmosphere.MIE_ASYMMETRY)
    sky += _multiple_scattering(sky[camera.y > 0], camera, sun_elevation)
    grey = sky @ _LUMINANCE
    sky = np.maximum(grey[..., None] + _SATURATION * (sky - grey[..., None]), 0)
    seen = grey[camera.y > 0]
    mean = float(np.minimum(seen, np.quantile(seen, 0.97)).mean())
    sky *= _level(_SKY_LEVEL, sun_elevation) / mean
    return np.ascontiguousarray(sky.transpose(2, 0, 1), dtype=np.float32)


def _night_sky(scene: Scene, camera: Camera) -> np.ndarray:
    """Airglow and the far light of towns near the horizon, blue-black above; moonlight brightens it."""
    generator = np.random.default_rng((scene.seed, 9))
    zenith = np.array([0.0035, 0.0065, 0.019]) * generator.uniform(0.7, 1.7)
    horizon = np.array([0.016, 0.026, 0.044]) * generator.uniform(0.6, 1.6)
    if generator.random() < 0.35:
        horizon = horizon + np.array([0.045, 0.022, 0.004]) * generator.uniform(0.4, 1.2)
    moonlight = {"none": 0.0, "crescent": 0.15, "half": 0.5, "full": 1.0}[scene.moon]
    zenith = zenith + moonlight * np.array([0.004, 0.011, 0.028])
    weight = np.exp(-camera.above / 0.28)[None, :, None]
    sky = zenith[:, None, None] * (1 - weight) + horizon[:, None, None] * weight
    return np.broadcast_to(sky, (3, len(camera.y), len(camera.x))).astype(np.float32)


def _add_sun(lights: np.ndarray, scene: Scene, rays: np.ndarray, sun_elevation: float) -> None:
    """Adds the sun's disc with the glow of lens and eye to (3, H, W)."""
    strength = np.clip((sun_elevation + 1.5) / 2, 0, 1)
    if strength == 0:
        return
    colour = atmosphere.sunlight(sun_elevation, scene.turbidity, altitude=300.0)
    colour = (strength * colour / max(float(colour.max()), 1e-4)).astype(np.float32)
    away = rays - atmosphere.direction(sun_elevation, scene.sun_azimuth)
    angle = np.degrees(np.sqrt((away * away).sum(axis=-1)))  # the chord, which is the angle where it matters
    # Wider than its true half-degree and without an edge: what a camera's bloom makes of it.
    light = 6.0 * np.exp(-((angle / 0.9) ** 2)) + 0.9 * np.exp(-angle / 2.2) + 0.16 * np.exp(-angle / 7.0)
    lights += colour[:, None, None] * light


class _Weather:
    """Rain and lightning."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        generator = np.random.default_rng((scene.seed, 10))
        self._shape = height, width = len(camera.y), len(camera.x)
        shafts = noise.spectral(generator, slope=2.2, low=1, stretch=6.0)
        streaks = noise.spectral(generator, slope=1.6, low=9, stretch=9.0)
        self._curtains = [noise.wrap_border(texture[None]) for texture in (shafts, streaks)]
        slant = generator.uniform(-0.25, 0.25)
        rows = np.arange(height, dtype=np.float32)[:, None] / height
        columns = np.arange(width, dtype=np.float32)[None, :] / width
        self._u, self._v = 0.5 * (columns + slant * rows), np.broadcast_to(0.5 * rows, self._shape)
        # Thin under the clouds, dense where the view runs far through it.
        self._depth = (0.12 + 0.45 * np.exp(-camera.above / 0.3)).astype(np.float32)[:, None]
        self._flashes = np.cumsum(generator.uniform(0.35, 1.3, 40))
        self._places = generator.uniform(0.1, 0.9, 40)

    def rain(self, picture: np.ndarray, seconds: float, light: np.ndarray) -> None:
        """Hangs curtains as bright as ``light`` (3,) over the picture: broad shafts, and soft falling streaks."""
        time = np.float32(seconds)
        shafts = noise.lookup(self._curtains[0], self._u + 0.03 * time, self._v - 0.15 * time)[0]
        streaks = noise.lookup(self._curtains[1], self._u, self._v - 0.4 * time)[0]
        veil = np.clip(self._depth * (1 + 0.4 * shafts) + 0.012 * streaks, 0, 0.8)
        grey = (0.5 * light + 0.5 * light.mean()).astype(np.float32)[:, None, None] * (1 + 0.05 * streaks)
        picture += veil * (grey - picture)

    def flash(self, seconds: float) -> np.ndarray:
        """How much lightning brightens the clouds at a time, (1, W)."""
        since = seconds - self._flashes
        columns = np.arange(self._shape[1])[None, :] / self._shape[1]
        total = np.zeros_like(columns)
        for place, age in zip(self._places, since, strict=True):
            if 0 <= age < 0.4:
                total += np.exp(-age / 0.1) * np.exp(-(((columns - place) / 0.3) ** 2))
        return total.astype(np.float32)


class _Stage:
    """All that does not change from frame to frame, and how a frame is put together from it."""

    def __init__(self, scene: Scene, height: int, width: int, seconds: float) -> None:
        self.scene, self.seconds, self.shape = scene, seconds, (height, width)
        self.camera = camera = camera_of(scene, height, width)
        ends = (scene.sun_elevation, scene.sun_elevation + scene.sun_elevation_rate * seconds)
        self.skies = [_clear_sky(scene, camera, elevation) for elevation in ends]
        self.rays = camera.rays()
        self.lights = [self._light(sky, elevation) for sky, elevation in zip(self.skies, ends, strict=True)]
        night_sun = atmosphere.direction(scene.moon_elevation, scene.moon_azimuth)
        self.sun = night_sun if scene.hour == "night" else atmosphere.direction(ends[0], scene.sun_azimuth)
        self.field = CloudField(scene, self.shape, self.sun, middle=seconds / 2) if scene.clouds != "clear" else None
        self.forward = (2.2 * atmosphere.henyey_greenstein(camera.rays() @ self.sun, 0.72)).astype(np.float32)
        self._prepare_night()
        ambient, direct = self.lights[0]
        horizon = self.skies[0][:, np.argmin(np.abs(camera.y - 0.05))].mean(axis=1)
        haze = 0.5 * (horizon + horizon.mean())
        # Air between here and the hills is less bright than the glow behind them.
        dim = min(1.0, 0.3 / float(haze.max()))
        self.ground: Hills | Sea | None = None
        if scene.horizon == "hills":
            sun_height = max(float(self.sun[1]), 0.0)
            self.ground = Hills(scene, camera, dim * haze, 2.2 * ambient + 1.2 * sun_height * direct)
        elif scene.horizon == "sea":
            self.ground = Sea(scene, camera, ambient * 2 + direct * 0.4)
        self.mist_colour = (0.9 * min(1.0, 2 * dim) * haze + 0.03 * direct).astype(np.float32)
        self.mist = (0.8 * np.exp(-np.abs(camera.y) / 0.07)).astype(np.float32)[:, None]
        self.weather = _Weather(scene, camera)
        # Half a grey level of noise hides the steps that 8 bits leave in smooth skies.
        self.dither = np.random.default_rng((scene.seed, 11)).uniform(0, 1, self.shape).astype(np.float32)

    def _light(self, sky: np.ndarray, sun_elevation: float) -> tuple[np.ndarray, np.ndarray]:
        """Ambient and direct light on the clouds, (3,) each."""
        scene = self.scene
        mean = sky[:, self.camera.y > 0].mean(axis=(1, 2))
        if scene.hour == "night":
            moonlight = {"none": 0.0, "crescent": 0.2, "half": 0.5, "full": 1.0}[scene.moon]
            return 0.85 * mean, moonlight * np.array([0.16, 0.18, 0.21])
        colour = atmosphere.sunlight(sun_elevation, scene.turbidity)
        colour = colour / max(float(colour.max()), 1e-4)
        ambient = 0.75 * mean + 0.45 * mean.mean()
        return ambient, _level(_SUN_LEVEL, sun_elevation) * colour

    def _prepare_night(self) -> None:
        scene = self.scene
        self.stars = night.Stars(scene, self.shape) if scene.stars else None
        self.moon = night.moon_light(scene, self.camera) if scene.moon != "none" else None
        self.aurora = night.Aurora(scene, self.camera) if scene.aurora else None
        self.meteors = night.ShootingStars(scene, self.shape) if scene.shooting_star else None
        if scene.stars and scene.moon == "none" and not scene.aurora:
            self.skies = [sky + night.milky_way(scene, self.shape) for sky in self.skies]

    def _lit_sky(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """The sky behind the clouds, and the bright discs that clouds hide more than they hide the sky."""
        share = np.float32(time / self.seconds)
        picture = self.skies[0] + share * (self.skies[1] - self.skies[0])
        lights = np.zeros_like(picture)
        if self.scene.hour != "night":
            elevation = self.scene.sun_elevation + self.scene.sun_elevation_rate * time
            _add_sun(lights, self.scene, self.rays, elevation)
        if self.stars is not None:
            self.stars.add(lights, time)
        if self.meteors is not None:
            self.meteors.add(lights, time)
        if self.moon is not None:
            lights += self.moon[0]
            picture += self.moon[1]
        if self.aurora is not None:
            picture += self.aurora.light(time)
        return picture, lights

    def _add_clouds(self, picture: np.ndarray, lights: np.ndarray, time: float) -> None:
        if self.field is None:
            picture += lights
            return
        share = np.float32(time / self.seconds)
        ambient, direct = (self.field.look.shade * (a + share * (b - a)) for a, b in zip(*self.lights, strict=True))
        through, sunlit, skylit = self.field.march(time)
        # Thin edges scatter sunlight forwards: the silver lining.
        sunlit = 0.5 * sunlit + 1.5 * self.forward * through * (1 - through)
        if self.scene.lightning:
            skylit = skylit * (1 + 4.0 * self.weather.flash(time))
        picture *= through
        picture += lights * through**3
        for channel in range(3):
            picture[channel] += np.float32(ambient[channel]) * skylit + np.float32(direct[channel]) * sunlit

    def frame(self, time: float) -> np.ndarray:
        """One frame, (H, W, 3) uint8."""
        picture, lights = self._lit_sky(time)
        self._add_clouds(picture, lights, time)
        if self.ground is not None:
            self.ground.cover_ground(picture, time)
        if self.scene.mist:
            picture += self.mist * (self.mist_colour[:, None, None] - picture)
        if self.scene.rain:
            self.weather.rain(picture, time, 0.6 * self.lights[0][0])
        # Film: 1 - exp(-light) rolls the highlights off, the root is a gamma of 2.
        exposure = _NIGHT_EXPOSURE if self.scene.hour == "night" else _EXPOSURE
        film = np.sqrt(1 - np.exp(-exposure * np.maximum(picture, 0)))
        return np.minimum(film * 255 + self.dither, 255).astype(np.uint8).transpose(1, 2, 0)


def render(scene: Scene, *, num_frames: int, height: int, width: int, fps: float) -> np.ndarray:
    """Renders a clip; the same scene and sizes always give the same pixels.

    Returns:
        uint8 (T, H, W, 3), RGB.
    """
    frames = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    stage = _Stage(scene, height, width, seconds=num_frames / fps)
    for index in range(num_frames):
        frames[index] = stage.frame(index / fps)
    return frames
