"""All that is measured of one clip, so that its frames need not be kept."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from soradit.evaluation import measures
from soradit.evaluation.detectors import detect
from soradit.evaluation.facts import Facts
from soradit.evaluation.features import FeatureNetwork

FRAMES_FOR_FEATURES = 8
"""Frames of a clip that are looked at, evenly spaced; all of a shorter one."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One clip, measured. Features are None without a network."""

    seen: Facts
    motion: float
    flicker: float
    detail: float
    features: Float[np.ndarray, "k d"] | None
    views: Float[np.ndarray, "2 d"] | None
    """Features of the middle frame and of its mirror image: training may have mirrored its clips."""


def look(frames: UInt8[np.ndarray, "t h w 3"], fps: float, network: FeatureNetwork | None) -> Look:
    """Measure RGB frames."""
    grey, middle = measures.luma(frames), frames[len(frames) // 2]
    return Look(
        seen=detect(frames, fps),
        motion=measures.motion(grey, fps),
        flicker=measures.flicker(grey),
        detail=measures.detail(grey),
        features=window_features(frames, network) if network else None,
        views=network(np.stack([middle, middle[:, ::-1]])) if network else None,
    )


def window_features(frames: UInt8[np.ndarray, "t h w 3"], network: FeatureNetwork) -> Float[np.ndarray, "k d"]:
    """Features of evenly spaced frames, in their order."""
    count = min(len(frames), FRAMES_FOR_FEATURES)
    return network(frames[np.arange(count) * len(frames) // count])
