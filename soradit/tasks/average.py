"""``soradit average``: weights averaged over as much of a run's training as is asked for, or over several runs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from soradit.errors import SoraditError
from soradit.model.config import read_config
from soradit.model.dit import DiTConfig
from soradit.model.familiar import load_familiar
from soradit.model.folder import find_weights, identity, require_new, require_no_lora, verify
from soradit.model.weights import encoder_fingerprint, load_transformer, save_with_transformer
from soradit.report import Report
from soradit.text import count
from soradit.training.snapshots import list_snapshots, mixed, mixture

WELL_MET = 0.05
"""The most that an average may lack of the one that was asked for, without a word about it."""
UNRELATED = 0.5
"""Cosine below which weights can't have one origin."""


def average_run(
    run: Path, output: Path, *, length: float, step: int | None = None, report: Report | None = None
) -> Path:
    """Write the run's weights, averaged with ``length`` (see ``soradit.training.snapshots``), to ``output``.

    ``step`` is that of the snapshot where the average ends; None is the last. The folder appears whole.

    Raises SoraditError when it is there already or can't be written, and for a run without snapshots, or a length out
    of their reach.
    """
    require_new(output)
    require_no_lora(find_weights(run))
    verify(run)
    snapshots = list_snapshots(run)
    if not snapshots:
        raise SoraditError(f"{run} has no snapshots: train with --snapshots 8")
    steps = sorted({snapshot.step for snapshot in snapshots})
    if step is not None and step not in steps:
        raise SoraditError(f"{run} has no snapshot of step {step}: use {', '.join(map(str, steps))}")
    end = step or steps[-1]
    snapshots = [snapshot for snapshot in snapshots if snapshot.step <= end]
    shares, lacking = mixture(snapshots, length)
    made_of = f"length {length:g} at step {end}, of {count(steps.index(end) + 1, 'snapshot')}"
    if report and lacking > WELL_MET:
        report.note(f"{made_of}: {lacking:.0%} off; more --snapshots, or a length from 0.05 to 0.1, would be closer")
    card = f"# Averaged weights\n\nOf run {run.resolve().name}: {made_of}.\n"
    return _save(output, run, mixed(snapshots, shares), card)


def average_several(runs: Sequence[Path], output: Path, *, report: Report | None = None) -> Path:
    """Write the mean of several transformers' weights to ``output``; all that is not the transformer is the first's.

    Weights that were trained from the same ones are often better than each of them in their mean (Wortsman et al. 2022,
    model soups, arXiv 2203.05482). The report hears of those that seem to have nothing in common, and of other parts
    that differ. The folder appears whole.

    Raises SoraditError when it is there already or can't be written, for a folder that is no weights, is damaged, or
    has a transformer of another shape or of other latents.
    """
    require_new(output)
    report = report or Report()
    for run in runs:
        require_no_lora(run)
    hashes = [verify(find_weights(run)) for run in runs]
    first = load_transformer(runs[0])
    total = {name: tensor / len(runs) for name, tensor in first.state_dict().items()}
    for run, found in zip(runs[1:], hashes[1:], strict=True):
        _require_alike(runs[0], run)
        other = load_transformer(run)
        if likeness(first, other) < UNRELATED:
            report.note(f"{run} and {runs[0]} have hardly anything in common: only weights of one origin have a mean")
        for part in ("text_encoder", "vae"):
            if identity(found, part) != identity(hashes[0], part):
                report.note(f"{run} has another {part.replace('_', ' ')} than {runs[0]}, whose own is taken")
        for name, tensor in other.state_dict().items():
            total[name] += tensor / len(runs)
    names = (f"- {run.resolve().name} ({identity(found)})" for run, found in zip(runs, hashes, strict=True))
    card = "\n".join(
        ["# Averaged weights", "", "The mean of these transformers, the rest as in the first:", "", *names, ""]
    )
    return _save(output, runs[0], total, card)


def likeness(one: nn.Module, other: nn.Module) -> float:
    """Cosine between all weights of two models of one shape."""
    a, b = (nn.utils.parameters_to_vector(model.parameters()) for model in (one, other))
    return F.cosine_similarity(a, b, dim=0).item()


def _require_alike(first: Path, other: Path) -> None:
    ours, theirs = asdict(_config(first)), asdict(_config(other))
    for name, value in ours.items():
        if theirs[name] != value:
            raise SoraditError(
                f"{other} has another transformer than {first}: {name} {theirs[name]}, not {value}: average weights "
                "that were trained from the same ones"
            )
    if encoder_fingerprint(first) != encoder_fingerprint(other):
        raise SoraditError(
            f"{other} has other latents than {first}: average weights that were trained from the same ones"
        )


def _save(output: Path, base: Path, tensors: dict[str, Tensor], card: str) -> Path:
    familiar = load_familiar(base)
    save_with_transformer(output, base, _config(base), tensors, familiar=familiar, card=card)
    return output


def _config(weights: Path) -> DiTConfig:
    return read_config(DiTConfig, weights / "transformer" / "config.json")
