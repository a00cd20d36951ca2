"""Colours of the clear sky by single scattering in a spherical atmosphere.

Nishita et al. 1993, "Display of the Earth Taking into Account Atmospheric Scattering" (equations 3-8), with
ozone absorption (Bruneton 2017), without which twilight has no blue hour.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np

_EARTH_RADIUS = 6_371e3  # metres
_ATMOSPHERE_TOP = 70e3
_VIEWER_ALTITUDE = 300.0
_RAYLEIGH = np.array([5.8e-6, 13.5e-6, 33.1e-6], dtype=np.float32)  # per metre at sea level: R, G, B
_RAYLEIGH_HEIGHT = 8.0e3
_MIE = 4.0e-6  # at turbidity 1
_MIE_HEIGHT = 1.2e3
_OZONE = np.array([0.65e-6, 1.88e-6, 0.085e-6], dtype=np.float32)
_OZONE_CENTRE, _OZONE_HALF_WIDTH = 25e3, 15e3
MIE_ASYMMETRY = 0.76
# Finer near the ground, where the density changes fastest.
_TABLE_ALTITUDES = np.linspace(0, 1, 48) ** 2 * _ATMOSPHERE_TOP
_TABLE_SINES = np.linspace(-0.3, 1, 261)


def direction(elevation: float, azimuth: float) -> np.ndarray:
    """Unit vector (right, up, forward), float32, of an elevation and azimuth in degrees."""
    e, a = np.radians(elevation), np.radians(azimuth)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], dtype=np.float32)


def rayleigh_phase(cosine: np.ndarray) -> np.ndarray:
    """Rayleigh phase function of the cosine of the scattering angle, integrating to 1 over the sphere."""
    return 3.0 / (16.0 * np.pi) * (1.0 + cosine * cosine)


def henyey_greenstein(cosine: np.ndarray, asymmetry: float) -> np.ndarray:
    """Henyey-Greenstein phase function (1941, equation 2)."""
    g = asymmetry
    return (1 - g * g) / (4 * np.pi * (1 + g * g - 2 * g * cosine) ** 1.5)


def _columns(altitude: np.ndarray) -> np.ndarray:
    """Relative density (3, ...) of air, aerosol and ozone at an altitude in metres."""
    air = np.exp(-altitude / _RAYLEIGH_HEIGHT)
    aerosol = np.exp(-altitude / _MIE_HEIGHT)
    ozone = np.maximum(0, 1 - np.abs(altitude - _OZONE_CENTRE) / _OZONE_HALF_WIDTH)
    return np.stack([air, aerosol, ozone])


def _extinction(columns: np.ndarray, turbidity: float) -> np.ndarray:
    """Optical depth (..., 3 channels) of columns (3, ...) in metres at full density."""
    air, aerosol, ozone = columns[..., None]
    return air * _RAYLEIGH + aerosol * (1.1 * _MIE * turbidity) + ozone * _OZONE


def _distance_to_top(position: np.ndarray, ray: np.ndarray) -> np.ndarray:
    b = (position * ray).sum(-1)
    c = (position * position).sum(-1) - (_EARTH_RADIUS + _ATMOSPHERE_TOP) ** 2
    return -b + np.sqrt(np.maximum(b * b - c, 0))


@lru_cache(maxsize=1)
def _column_table() -> np.ndarray:
    """Columns in metres from an altitude (rows) to the top, by the ray's sine of elevation (columns of the table).

    Tabulated (Bruneton and Neyret 2008, section 4), since long grazing rays need many steps.
    """
    num_steps = 80
    radius = _EARTH_RADIUS + _TABLE_ALTITUDES[:, None]
    sine = np.broadcast_to(_TABLE_SINES[None, :], (len(_TABLE_ALTITUDES), len(_TABLE_SINES)))
    length = -radius * sine + np.sqrt((radius * sine) ** 2 - radius**2 + (_EARTH_RADIUS + _ATMOSPHERE_TOP) ** 2)
    total = np.zeros((3, *sine.shape))
    for step in range(num_steps):
        travelled = (step + 0.5) / num_steps * length
        height = np.sqrt(radius**2 + travelled**2 + 2 * radius * travelled * sine) - _EARTH_RADIUS
        total += _columns(np.maximum(height, 0)) * (length / num_steps)
    return total


def _light_transmittance(position: np.ndarray, sun: np.ndarray, turbidity: float) -> np.ndarray:
    """Share of the sunlight that reaches ``position`` (..., 3), per channel (..., 3), the earth's shadow included."""
    radius = np.sqrt((position * position).sum(-1))
    sine = (position * sun).sum(-1) / radius
    table = _column_table()
    rows = np.sqrt(np.clip((radius - _EARTH_RADIUS) / _ATMOSPHERE_TOP, 0, 1)) * (table.shape[1] - 1)
    columns = np.clip((sine - _TABLE_SINES[0]) / (_TABLE_SINES[1] - _TABLE_SINES[0]), 0, table.shape[2] - 1)
    row, column = np.minimum(rows.astype(int), table.shape[1] - 2), np.minimum(columns.astype(int), table.shape[2] - 2)
    down, right = rows - row, columns - column
    looked_up = (table[:, row, column] * (1 - right) + table[:, row, column + 1] * right) * (1 - down)
    looked_up += (table[:, row + 1, column] * (1 - right) + table[:, row + 1, column + 1] * right) * down
    perigee = radius * np.sqrt(np.maximum(1 - sine * sine, 0)) - _EARTH_RADIUS
    # A soft edge of the earth's shadow, as few steps would otherwise show as bands.
    shadow = np.where(sine < 0, np.clip((perigee + 2e3) / 5e3, 0, 1), 1.0)
    return np.exp(-_extinction(looked_up, turbidity)) * shadow[..., None]


def sunlight(elevation: float, turbidity: float, altitude: float = 2e3) -> np.ndarray:
    """Transmittance (3,) of the sunlight that reaches ``altitude`` metres, per channel, 0 to 1."""
    position = np.array([0.0, _EARTH_RADIUS + altitude, 0.0])
    return _light_transmittance(position, direction(elevation, 0).astype(np.float64), turbidity)


def in_scattering(rays: np.ndarray, sun: np.ndarray, turbidity: float) -> tuple[np.ndarray, np.ndarray]:
    """Rayleigh and Mie light along unit view rays (..., 3), each (..., 3), phase functions left out.

    Without the phase functions both are smooth, so that few rays suffice and the rest is interpolated.
    """
    num_steps = 20
    sun = sun.astype(np.float64)
    rays = rays.astype(np.float64)
    origin = np.array([0.0, _EARTH_RADIUS + _VIEWER_ALTITUDE, 0.0])
    total = _distance_to_top(np.broadcast_to(origin, rays.shape), rays)
    edges = (np.arange(num_steps + 1) / num_steps) ** 2
    depth = np.zeros(rays.shape)
    rayleigh, mie = np.zeros(rays.shape), np.zeros(rays.shape)
    for near, far in pairwise(edges):
        length = (far - near) * total
        point = origin + ((near + far) / 2 * total)[..., None] * rays
        altitude = np.sqrt((point * point).sum(-1)) - _EARTH_RADIUS
        step_depth = _extinction(_columns(np.maximum(altitude, 0)) * length, turbidity)
        arriving = _light_transmittance(point, sun, turbidity) * np.exp(-depth - step_depth / 2)
        rayleigh += arriving * (np.exp(-altitude / _RAYLEIGH_HEIGHT) * length)[..., None]
        mie += arriving * (np.exp(-altitude / _MIE_HEIGHT) * length)[..., None]
        depth += step_depth
    return rayleigh * _RAYLEIGH, mie * (_MIE * turbidity)
