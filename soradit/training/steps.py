"""Folders of a run that are named by the step they are of: ``step-00000500``."""

import shutil
from pathlib import Path

PREFIX = "step-"


def step_folder(parent: Path, step: int) -> Path:
    return parent / f"{PREFIX}{step:08d}"


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(PREFIX))


def step_folders(parent: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder for folder in parent.glob(f"{PREFIX}*") if folder.name.removeprefix(PREFIX).isdecimal())


def drop_later(parent: Path, step: int) -> None:
    """Remove what is of later steps than the one that a run goes on from."""
    for folder in step_folders(parent):
        if step_of(folder) > step:
            shutil.rmtree(folder)
