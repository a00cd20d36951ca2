"""RUN/snapshots/step-00000500/: averages of the weights, from which one of any length is made after training.

Karras et al. 2024 (EDM2, arXiv 2312.02696), section 3. Two averages are tracked, whose weight for the training's step s
grows as a power of s. A mixture of their snapshots comes close to the average of another length.
A length is the standard deviation of those weights over s, relative to the training so far (sigma_rel in the paper).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from soradit.errors import SoraditError, first_line
from soradit.files import appearing
from soradit.training.steps import step_folder, step_folders, step_of

FOLDER = "snapshots"
LENGTHS = (0.05, 0.10)
"""Relative lengths of the tracked averages, as in the paper."""
SHORTEST, LONGEST = 0.01, 0.25
"""That can be asked for; the longest that there could be, an average of all steps alike, is 0.289."""


def exponent(length: float) -> float:
    """Equation 3, solved for gamma: length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))."""
    squared = length**-2
    return float(np.roots([1, 7, 16 - squared, 12 - squared]).real.max())


def decay(step: int, length: float) -> float:
    """Equation 2: what is kept of the average in step number ``step``, from 1."""
    return (1 - 1 / step) ** (exponent(length) + 1)


def profile(step: int, length: float, steps: int) -> np.ndarray:
    """How much the weights after each of ``steps`` count in the average after ``step``; in all, 1."""
    reached = np.arange(steps + 1).clip(max=step) / step
    return np.diff(reached ** (exponent(length) + 1))


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An average that was saved."""

    path: Path
    step: int
    length: float


def save_snapshots(run: Path, step: int, averages: dict[float, dict[str, Tensor]]) -> None:
    """Save a step's averages, by length, in float16. The folder appears whole, and is on the disk then."""
    with appearing(step_folder(run / FOLDER, step)) as folder:
        for length, tensors in averages.items():
            halves = {name: tensor.detach().half().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(halves, folder / f"{length}.safetensors")


def list_snapshots(run: Path) -> list[Snapshot]:
    """Oldest first."""
    return [
        Snapshot(path=path, step=step_of(folder), length=float(path.stem))
        for folder in step_folders(run / FOLDER)
        for path in sorted(folder.glob("*.safetensors"))
    ]


def mixture(snapshots: list[Snapshot], length: float) -> tuple[np.ndarray, float]:
    """How much of each snapshot makes up the average of ``length`` at the last one, and what it lacks of it.

    By least squares (the paper's appendix C), on the exact weights of every step; shares add up to 1, so that what did
    not change in training is met exactly. What lacks is relative: the norm of the difference of weights by that of the
    weights. Raises SoraditError for a length out of reach.
    """
    if not SHORTEST <= length <= LONGEST:
        raise SoraditError(f"length {length:g} is out of reach: use one from {SHORTEST} to {LONGEST}")
    steps = snapshots[-1].step
    *others, last = (profile(snapshot.step, snapshot.length, steps) for snapshot in snapshots)
    wanted = profile(steps, length, steps)
    have = np.stack([other - last for other in others], axis=1)
    shares = np.linalg.lstsq(have, wanted - last, rcond=None)[0]
    lacking = np.linalg.norm(have @ shares - (wanted - last)) / np.linalg.norm(wanted)
    return np.append(shares, 1 - shares.sum()), float(lacking)


def mixed(snapshots: list[Snapshot], shares: np.ndarray) -> dict[str, Tensor]:
    """The sum of snapshots, each times its share, in float32. Raises SoraditError for a file that is damaged."""
    total: dict[str, Tensor] = {}
    for snapshot, share in zip(snapshots, shares.tolist(), strict=True):
        try:
            tensors = load_file(snapshot.path)
        except (SafetensorError, OSError) as error:
            raise SoraditError(f"{snapshot.path} is damaged: {first_line(error)}") from error
        for name, tensor in tensors.items():
            total[name] = total.get(name, torch.zeros(())) + share * tensor.float()
    return total
