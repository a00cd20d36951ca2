"""How far a prompt is from what a transformer has learnt, by the pooled embeddings of the captions it learnt from.

transformer/prompts.safetensors      landmarks (n, pooled) float16, and the radius within which a prompt is familiar
text_encoder/everyday.safetensors    everyday prompts (m, pooled) float16, about anything but skies; not always there
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

FILE = Path("transformer", "prompts.safetensors")
EVERYDAY_FILE = Path("text_encoder", "everyday.safetensors")
MAX_LANDMARKS = 2048
SLACK = 2.5
"""How many times as far from the landmarks as captions are a prompt may be."""
OWN = 0.2
"""Everyday prompts within this share of the radius are about what the captions are about. With the bundled weights
31 of 40 prompts about other things are far (`benchmarks/no_skies.txt`), and none of evaluate's 64 synonyms."""
SAME = 1e-6
"""Distances up to this are rounding."""


@dataclass(frozen=True, kw_only=True)
class Familiar:
    """Captions that stand for all, and how far from the nearest of them the others are."""

    landmarks: Float[Tensor, "n pooled"]
    radius: float
    everyday: Float[Tensor, "m pooled"] | None = None
    """Prompts about anything else."""

    def is_far(self, pooled: Float[Tensor, "1 pooled"]) -> bool:
        """Whether the prompt is unlike all captions, or more like a prompt about something else."""
        distance = distances(pooled, self.landmarks)
        like_others = self.everyday is not None and distance > distances(pooled, self.everyday)
        return bool(distance > self.radius or like_others)


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


def save_familiar(weights: Path, familiar: Familiar | None) -> None:
    """None: the weights don't say what they learnt from. Everyday prompts are the text encoder's."""
    if familiar is None:
        (weights / FILE).unlink(missing_ok=True)
        return
    tensors = {"landmarks": familiar.landmarks.half().contiguous(), "radius": torch.tensor(familiar.radius)}
    write_whole(weights / FILE, save(tensors))


def save_everyday(weights: Path, prompts: Float[Tensor, "m pooled"]) -> None:
    write_whole(weights / EVERYDAY_FILE, save({"prompts": prompts.half().contiguous()}))


def load_familiar(weights: Path) -> Familiar | None:
    """None where the weights don't say what they learnt from. Raises SoraditError for a damaged file."""
    if not (weights / FILE).is_file():
        return None
    tensors = _read(weights / FILE, "landmarks", "radius")
    landmarks, radius = tensors["landmarks"].float(), tensors["radius"].item()
    if not (weights / EVERYDAY_FILE).is_file():
        return Familiar(landmarks=landmarks, radius=radius)
    everyday = _read(weights / EVERYDAY_FILE, "prompts")["prompts"].float()
    others = everyday[distances(everyday, landmarks) > OWN * radius]
    return Familiar(landmarks=landmarks, radius=radius, everyday=others if len(others) else None)


def _read(path: Path, *names: str) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
        return {name: tensors[name] for name in names}
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise SoraditError(f"{path} is damaged ({error}): copy the weights again, or delete it") from error
