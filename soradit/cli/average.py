"""``soradit average``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import look_first, print_line


def average(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run that was trained with --snapshots.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the averaged weights go.")],
    length: Annotated[
        float, typer.Option(min=0.01, max=0.25, help="Of the average, relative to the training before it.")
    ] = 0.1,
    step: Annotated[int | None, typer.Option(min=1, help="Snapshot where it ends.  [default: the last]")] = None,
) -> None:
    """Average a run's weights over more or less of its training: a folder for generate --weights.

    soradit average run --length 0.15 -o averaged
    """
    look_first(weights=run)

    from soradit.console import Terminal
    from soradit.tasks.average import average as start

    print_line(str(start(run, output, length=length, step=step, report=Terminal())))
