"""HDR pictures (PQ, HLG) -> SDR: tone mapping and gamut conversion by the ITU's equations.

ITU-R BT.2100-2: the signals and what light they mean. BT.2408-7: 203 cd/m2 is the white of paper, and so what becomes
SDR's white. BT.2390-11, section 5.4.1: how brighter light is rolled off. BT.2087-0: BT.2020 -> BT.709. BT.1886: SDR.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

WHITE_NITS = 203.0
"""Reference white, in cd/m2 (BT.2408, table 1)."""
PEAK_NITS = 1000.0
"""HLG's nominal peak, and what most PQ is mastered to, and so is taken for mastered to where it does not say."""

Planes = Float[np.ndarray, "3 height width"]

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """PQ's EOTF (BT.2100, table 4): a signal in [0, 1] -> light in cd/m2."""
    power = np.clip(signal, 0, 1) ** (1 / _M2)
    return 10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    """Its inverse."""
    power = (np.maximum(nits, 0) / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def hlg_to_nits(signal: Planes) -> Planes:
    """HLG's EOTF for a display of 1000 cd/m2 (BT.2100, table 5: inverse OETF, then OOTF with gamma 1.2)."""
    signal = np.clip(signal, 0, 1)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    luminance = np.tensordot(_LUMINANCE_2020, scene, 1)
    return PEAK_NITS * luminance**0.2 * scene


EOTFS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pq": pq_to_nits, "hlg": hlg_to_nits}


def roll_off(nits: np.ndarray, peak_nits: float) -> np.ndarray:
    """Light up to ``peak_nits`` -> light up to WHITE_NITS: a Hermite spline above a knee, in PQ (BT.2390, 5.4.1)."""
    if peak_nits <= WHITE_NITS:
        return nits
    peak, white = nits_to_pq(np.array([peak_nits, WHITE_NITS]))
    e1 = np.minimum(nits_to_pq(nits) / peak, 1)
    max_lum = white / peak
    knee = 1.5 * max_lum - 0.5
    t = np.maximum(e1 - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * max_lum
    return pq_to_nits(np.where(e1 < knee, e1, spline) * peak)


def to_sdr(signal: Planes, transfer: str, peak_nits: float) -> Planes:
    """Full-range BT.2020 RGB in [0, 1], by ``transfer`` ("pq" or "hlg") -> BT.709 RGB in [0, 1] for an SDR display.

    Light of ``peak_nits``, in cd/m2, and more becomes white. The brightest of the three primaries is rolled off and
    takes the others along, so that hues stay.
    """
    nits = EOTFS[transfer](signal)
    brightest = np.maximum(nits.max(0), 1e-6)
    light = nits * (roll_off(brightest, peak_nits) / brightest) / WHITE_NITS
    light = np.tensordot(_BT2020_TO_BT709, light, 1)
    return np.clip(light, 0, 1) ** (1 / 2.4)
