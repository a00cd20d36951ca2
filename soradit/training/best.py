"""RUN/best/: the weights that had the lowest held-out loss so far, a folder of weights like the run's own."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from soradit.files import appearing
from soradit.model.folder import IDENTITY
from soradit.model.weights import copy_component
from soradit.training.metrics import Row, read_rows

FOLDER = "best"


def lowest(rows: list[Row]) -> tuple[int, float]:
    """The step whose held-out loss was lowest, and how low; infinite before there was any."""
    measured = [(row["held_out_loss"], row["step"]) for row in rows if "held_out_loss" in row]
    loss, step = min(measured, default=(math.inf, 0))
    return int(step), loss


def save_best(run: Path, publish: Callable[[Path, dict[str, Tensor]], None], tensors: dict[str, Tensor]) -> None:
    """``publish`` writes what is trained; the other parts are the run's. The folder appears whole."""
    with appearing(run / FOLDER) as folder:
        for component in IDENTITY:
            copy_component(run, folder, component)
        publish(folder, tensors)


def drop_later_best(run: Path, step: int) -> None:
    """Remove it where it is of a later step than the one that a run goes on from."""
    if lowest(read_rows(run / "metrics.csv"))[0] > step:
        shutil.rmtree(run / FOLDER, ignore_errors=True)
