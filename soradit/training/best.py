"""RUN/best/: the weights that had the lowest held-out loss so far, a folder of weights like the run's own."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from soradit.files import appearing
from soradit.model.folder import IDENTITY
from soradit.model.weights import copy_component

FOLDER = "best"
ABOUT = "best.json"


class Best(NamedTuple):
    """Which weights ``RUN/best`` holds."""

    step: int
    held_out_loss: float


def best_of(run: Path) -> Best:
    """What the run's ``best/`` holds; step 0 and an infinite loss where there is none."""
    path = run / FOLDER / ABOUT
    return Best(**json.loads(path.read_text())) if path.is_file() else Best(step=0, held_out_loss=math.inf)


def save_best(
    run: Path, best: Best, tensors: dict[str, Tensor], publish: Callable[[Path, dict[str, Tensor]], None]
) -> None:
    """``publish`` writes what is trained; the other parts are the run's. The folder appears whole."""
    with appearing(run / FOLDER) as folder:
        for component in (*IDENTITY, "scheduler"):
            copy_component(run, folder, component)
        publish(folder, tensors)
        (folder / ABOUT).write_text(json.dumps(best._asdict()))


def drop_later_best(run: Path, step: int) -> None:
    """Remove it where it is of a later step than the one that a run goes on from."""
    if best_of(run).step > step:
        shutil.rmtree(run / FOLDER, ignore_errors=True)
