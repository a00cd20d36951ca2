"""``soradit average``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import print_line, require_inputs
from soradit.errors import UsageError
from soradit.model.folder import require_new


def average(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="One that was trained with --snapshots, or several.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the averaged weights go.")],
    length: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=0.25, help="Of one run's average, relative to the training before it.  [default: 0.1]"
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(min=1, help="Snapshot where it ends.  [default: the last]")] = None,
) -> None:
    """Average a run's weights over more or less of its training, or those of several runs: a folder for generate.

    \b
    soradit average run --length 0.15 -o averaged
    soradit average run-1 run-2 -o averaged
    """
    if len(runs) > 1 and (length or step):
        raise UsageError("--length and --step are for the average of one run, not of several")
    for run in runs:
        require_inputs(weights=run)
    require_new(output)

    from soradit.console import Terminal
    from soradit.tasks.average import average_run, average_several

    if len(runs) > 1:
        print_line(str(average_several(runs, output, report=Terminal())))
    else:
        print_line(str(average_run(runs[0], output, length=length or 0.1, step=step, report=Terminal())))
