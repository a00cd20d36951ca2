"""Does a model generate, or remember? Distances to the nearest training frame, beside those of held-out clips.

After the data-copying test of Meehan, Chaudhuri & Dasgupta 2020 (arXiv 2004.05675): a model that copies lies closer to
its training set than clips of the same kind that it never saw.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Shares of 1."""

    remembered: float
    """Generated clips closer to a training clip than every held-out clip is; 1 / (held-out + 1) by chance."""
    closer: float
    """How often a generated clip is closer to training than a held-out one is; 0.5 when they are alike."""


def measure_memory(
    generated: Float[np.ndarray, "n views d"],
    held_out: Float[np.ndarray, "m views d"],
    training: Float[np.ndarray, "k d"],
) -> Memory:
    """``views`` of a clip are frames, mirrored ones too, of which the one nearest to training counts."""
    (ours, _), (theirs, _) = nearest(generated, training), nearest(held_out, training)
    return Memory(
        remembered=float((ours < theirs.min()).mean()),
        closer=float((ours[:, None] < theirs).mean() + 0.5 * (ours[:, None] == theirs).mean()),
    )


def nearest(
    clips: Float[np.ndarray, "n views d"], training: Float[np.ndarray, "k d"]
) -> tuple[Float[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Of each clip the distance to the nearest training frame, by any of its views, and which frame that is."""
    views = torch.from_numpy(clips).flatten(0, 1)
    by_view = torch.cdist(views, torch.from_numpy(training)).view(clips.shape[0], clips.shape[1], -1)
    distances, frames = by_view.amin(1).min(-1)
    return distances.numpy(), frames.numpy()
