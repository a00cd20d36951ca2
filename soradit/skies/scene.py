"""The facts of one rendered sky clip, and how they are drawn from a seed."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Hour = Literal["night", "dawn", "sunrise", "morning", "noon", "afternoon", "sunset", "dusk"]
Clouds = Literal["clear", "scattered", "broken", "overcast", "cirrus", "storm"]
Drift = Literal["left", "right", "towards", "away", "towards-left", "towards-right", "away-left", "away-right"]
Speed = Literal["slow", "moderate", "fast"]
Phase = Literal["none", "crescent", "half", "full"]
Horizon = Literal["none", "hills", "sea"]

HOURS: tuple[Hour, ...] = get_args(Hour)
DRIFTS: tuple[Drift, ...] = get_args(Drift)

# Share of clips, and the range of sun elevations in degrees at the clip's first frame.
_HOUR_SHARES = (0.18, 0.10, 0.12, 0.11, 0.15, 0.11, 0.13, 0.10)
_SUN_ELEVATION_DEGREES: dict[Hour, tuple[float, float]] = {
    "night": (-40.0, -19.0),
    "dawn": (-8.0, -4.5),
    "sunrise": (-1.0, 3.0),
    "morning": (12.0, 26.0),
    "noon": (42.0, 66.0),
    "afternoon": (20.0, 38.0),
    "sunset": (0.0, 4.5),
    "dusk": (-8.0, -4.5),
}
_RISING: tuple[Hour, ...] = ("dawn", "sunrise", "morning")
_SETTING: tuple[Hour, ...] = ("afternoon", "sunset", "dusk")
_COVER: dict[Clouds, tuple[float, float]] = {
    "clear": (0.0, 0.0),
    "scattered": (0.22, 0.36),
    "broken": (0.48, 0.66),
    "overcast": (0.975, 0.995),
    "cirrus": (0.45, 0.75),
    "storm": (0.965, 0.995),
}
_CLOUD_SHARES: dict[Clouds, float] = {
    "clear": 0.12,
    "scattered": 0.24,
    "broken": 0.22,
    "overcast": 0.14,
    "cirrus": 0.15,
    "storm": 0.13,
}
# Fractions of the picture's width that mid-picture clouds travel in a second.
_DRIFT_RATE: dict[Speed, tuple[float, float]] = {
    "slow": (0.035, 0.050),
    "moderate": (0.065, 0.085),
    "fast": (0.110, 0.150),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that decides a clip. Angles are degrees; azimuths count from mid-picture, right positive."""

    seed: int
    """Seeds the textures and everything else that has no name of its own."""
    hour: Hour
    sun_elevation: float
    """At the first frame; negative below the horizon."""
    sun_elevation_rate: float
    """Degrees per second of the clip (it is a time-lapse)."""
    sun_azimuth: float
    turbidity: float
    """Haze: 1 is clear mountain air, 4 a hazy day. Scales Mie scattering."""
    moon: Phase
    moon_elevation: float
    moon_azimuth: float
    clouds: Clouds
    cloud_cover: float
    """Fraction of the cloud plane that holds cloud."""
    drift: Drift
    drift_speed: Speed
    drift_rate: float
    """Picture widths per second at mid-sky."""
    stars: bool
    mist: bool
    horizon: Horizon
    horizon_row: float
    """Where eye level stands, as a fraction of the height from the top; above 1 it is out of the picture."""
    field_of_view: float
    """Horizontal, degrees."""
    growth: float = 0.0
    """How fast the clouds gain height, in standard deviations of the cloud plane a second; negative: they decay."""
    aurora: bool = False
    shooting_star: bool = False
    rain: bool = False
    lightning: bool = False

    @property
    def daylight(self) -> bool:
        """Whether the sun lights the scene from well above the horizon."""
        return self.hour in ("morning", "noon", "afternoon")

    @property
    def drift_vector(self) -> tuple[float, float]:
        """Unit vector of the clouds' motion over the ground: (to the right, away from the viewer)."""
        right = ("right" in self.drift) * 1.0 - ("left" in self.drift) * 1.0
        away = ("away" in self.drift) * 1.0 - ("towards" in self.drift) * 1.0
        length = float(np.hypot(right, away))
        return right / length, away / length


def _choose(generator: np.random.Generator, shares: dict[Clouds, float]) -> Clouds:
    kinds = list(shares)
    weights = np.array([shares[kind] for kind in kinds])
    return kinds[generator.choice(len(kinds), p=weights / weights.sum())]


def _draw_sun(generator: np.random.Generator, hour: Hour) -> dict[str, float]:
    low, high = _SUN_ELEVATION_DEGREES[hour]
    sign = 1.0 if hour in _RISING else -1.0 if hour in _SETTING else 0.0
    low_sun = hour in ("dawn", "sunrise", "sunset", "dusk")
    # Low suns stand in the picture or near it, as their glow does; high suns anywhere around the viewer.
    azimuth = generator.normal(0.0, 18.0) if low_sun else generator.uniform(-180, 180)
    return {
        "sun_elevation": float(generator.uniform(low, high)),
        "sun_elevation_rate": float(sign * generator.uniform(0.2, 0.7)),
        "sun_azimuth": float(azimuth),
        "turbidity": float(generator.uniform(1.0, 4.5)),
    }


def _draw_clouds(generator: np.random.Generator, hour: Hour) -> dict[str, object]:
    shares = dict(_CLOUD_SHARES)
    if hour == "night":
        shares |= {"clear": 0.26, "overcast": 0.07, "storm": 0.08}
    elif hour not in ("morning", "noon", "afternoon"):
        shares |= {"overcast": 0.08, "storm": 0.09}
    kind = _choose(generator, shares)
    speed: Speed = ("slow", "moderate", "fast")[generator.choice(3, p=(0.3, 0.35, 0.35))]
    drift = DRIFTS[generator.choice(len(DRIFTS))]
    return {
        "clouds": kind,
        "cloud_cover": float(generator.uniform(*_COVER[kind])),
        "drift": drift,
        "drift_speed": speed,
        "drift_rate": float(generator.uniform(*_DRIFT_RATE[speed])),
        "growth": float(generator.uniform(0.08, 0.16) * generator.choice((-1, 0, 0, 0, 1))),
    }


def _draw_view(generator: np.random.Generator) -> dict[str, object]:
    horizon: Horizon = ("none", "hills", "sea")[generator.choice(3, p=(0.4, 0.38, 0.22))]
    rows = {"none": (1.0, 1.12), "hills": (0.88, 0.97), "sea": (0.72, 0.86)}[horizon]
    return {
        "horizon": horizon,
        "horizon_row": float(generator.uniform(*rows)),
        "field_of_view": float(generator.uniform(50.0, 74.0)),
        "mist": bool(horizon != "none" and generator.random() < 0.25),
    }


def draw_scene(seed: int) -> Scene:
    """Draws the facts of a clip; the same seed always gives the same scene."""
    generator = np.random.default_rng(seed)
    hour = HOURS[generator.choice(len(HOURS), p=_HOUR_SHARES)]
    sun = _draw_sun(generator, hour)
    clouds = _draw_clouds(generator, hour)
    view = _draw_view(generator)
    kind = clouds["clouds"]
    open_sky = kind in ("clear", "scattered", "cirrus")
    night = hour == "night"
    aurora = bool(night and open_sky and generator.random() < 0.30)
    moonlit = night and not aurora and kind not in ("overcast", "storm") and generator.random() < 0.5
    phase: Phase = ("crescent", "half", "full")[generator.choice(3, p=(0.3, 0.3, 0.4))] if moonlit else "none"
    half_view = float(view["field_of_view"]) / 2  # type: ignore[arg-type]
    return Scene(
        seed=seed,
        hour=hour,
        moon=phase,
        moon_elevation=float(generator.uniform(22.0, 36.0)),
        moon_azimuth=float(generator.uniform(-0.65, 0.65) * half_view),
        stars=bool(night and kind not in ("overcast", "storm")),
        aurora=aurora,
        shooting_star=bool(night and open_sky and not aurora and generator.random() < 0.15),
        rain=bool(kind in ("overcast", "storm") and not night and generator.random() < 0.45),
        lightning=bool(kind == "storm" and generator.random() < 0.4),
        **sun,  # type: ignore[arg-type]
        **clouds,  # type: ignore[arg-type]
        **view,  # type: ignore[arg-type]
    )
