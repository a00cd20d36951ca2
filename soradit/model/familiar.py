"""How far a prompt is from what a transformer has learnt, by the pooled embeddings of the captions it learnt from.

TRANSFORMER/prompts.safetensors    landmarks (n, pooled) float16, and the radius within which a prompt is familiar
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from soradit.errors import SoraditError
from soradit.files import write_whole

FILE = "prompts.safetensors"
MAX_LANDMARKS = 1024
SLACK = 2.5
"""How many times as far from the landmarks as captions are a prompt may be. Measured on the bundled weights: nearly all
of evaluate's synonyms are within 2.5 times, a cat that plays the piano is at 3.3."""
SAME = 1e-6
"""Distances up to this are rounding."""


@dataclass(frozen=True, kw_only=True)
class Familiar:
    """Captions that stand for all, and how far from the nearest of them the others are."""

    landmarks: Float[Tensor, "n pooled"]
    radius: float

    def is_far(self, pooled: Float[Tensor, "1 pooled"]) -> bool:
        """Whether the prompt is unlike all captions."""
        return bool(distances(pooled, self.landmarks) > self.radius)


def learn(captions: Float[Tensor, "n pooled"], held_out: Float[Tensor, "m pooled"]) -> Familiar | None:
    """Landmarks of the captions; the radius is such that hardly a held-out one is far.

    None where the held-out ones are landmarks themselves: they can't tell how far a prompt of one's own may be.
    """
    landmarks = farthest_points(captions, MAX_LANDMARKS)
    usual = distances(held_out, landmarks).quantile(0.99).item()
    return Familiar(landmarks=landmarks, radius=SLACK * usual) if usual > SAME else None


def distances(pooled: Float[Tensor, "b pooled"], landmarks: Float[Tensor, "n pooled"]) -> Float[Tensor, " b"]:
    """1 - cosine, of each to the nearest landmark: from 0 to 2."""
    return 1 - (F.normalize(pooled, dim=-1) @ F.normalize(landmarks, dim=-1).T).amax(-1)


def farthest_points(points: Float[Tensor, "n d"], count: int) -> Float[Tensor, "m d"]:
    """Points that lie as far apart as may be: each next one is the furthest from those before (Gonzalez 1985)."""
    directions, chosen = F.normalize(points, dim=-1), [0]
    nearest = 1 - directions @ directions[0]
    while len(chosen) < min(count, len(points)) and nearest.max() > SAME:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, 1 - directions @ directions[chosen[-1]])
    return points[chosen]


def save_familiar(transformer: Path, familiar: Familiar | None) -> None:
    """None: the weights don't say what they learnt from."""
    if familiar is None:
        (transformer / FILE).unlink(missing_ok=True)
        return
    tensors = {"landmarks": familiar.landmarks.half().contiguous(), "radius": torch.tensor(familiar.radius)}
    write_whole(transformer / FILE, save(tensors))


def load_familiar(transformer: Path) -> Familiar | None:
    """None where the weights don't say what they learnt from. Raises SoraditError for a damaged file."""
    path = transformer / FILE
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        return Familiar(landmarks=tensors["landmarks"].float(), radius=tensors["radius"].item())
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise SoraditError(f"{path} is damaged ({error}): copy the weights again, or delete it") from error
