"""``soradit average``: a run's snapshots -> weights averaged over as much of the training as is asked for."""

from pathlib import Path

from soradit.errors import SoraditError
from soradit.model.config import read_config
from soradit.model.dit import DiTConfig
from soradit.model.familiar import load_familiar
from soradit.model.folder import find_weights
from soradit.model.weights import require_new, save_with_transformer
from soradit.report import Report
from soradit.training.snapshots import list_snapshots, mixed, mixture

WELL_MET = 0.05
"""Of what an average lacks of the one that was asked for."""


def average(run: Path, output: Path, *, length: float, step: int | None = None, report: Report | None = None) -> Path:
    """Write the run's weights, averaged with ``length`` (see ``soradit.training.snapshots``), to ``output``.

    ``step`` is that of the snapshot where the average ends; None is the last. The folder appears whole.

    Raises SoraditError when it is there already or can't be written, and for a run without snapshots, or a length out
    of their reach.
    """
    require_new(output)
    find_weights(run)
    snapshots = list_snapshots(run)
    if not snapshots:
        raise SoraditError(f"{run} has no snapshots: train with --snapshots 8")
    steps = sorted({snapshot.step for snapshot in snapshots})
    if step is not None and step not in steps:
        raise SoraditError(f"{run} has no snapshot of step {step}: use {', '.join(map(str, steps))}")
    end = step or steps[-1]
    snapshots = [snapshot for snapshot in snapshots if snapshot.step <= end]
    shares, lacking = mixture(snapshots, length)
    made_of = f"length {length:g} at step {end}, of {len(snapshots)} snapshots"
    if report and lacking > WELL_MET:
        report.note(f"{made_of}: {lacking:.0%} off; more --snapshots, or a length from 0.05 to 0.1, would be closer")
    card = f"# Averaged weights\n\nOf run {run.resolve().name}: {made_of}.\n"
    config = read_config(DiTConfig, run / "transformer" / "config.json")
    familiar = load_familiar(run / "transformer")
    save_with_transformer(output, run, config, mixed(snapshots, shares), familiar=familiar, card=card)
    return output
