"""``soradit check``."""

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from soradit.cli.options import (
    Buckets,
    KeepDamaged,
    Overwrite,
    Size,
    Weights,
    exit_on_sigterm,
    height_width,
    print_line,
    require_inputs,
)


def check(
    clips: Annotated[Path, typer.Argument(help="Folder of captioned clips.", show_default=False)],
    weights: Weights = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second to train at.")] = None,
    frames: Annotated[int | None, typer.Option(min=4, help="Length of a training video.")] = None,
    max_bad: Annotated[float, typer.Option(min=0, max=1, help="Exit 1 when a larger share can't be read.")] = 0.1,
    buckets: Buckets = False,
    keep_damaged: KeepDamaged = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON line per file on stdout, instead of a table.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page to write, .html, with thumbnails and captions.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell what each clip is, what training will use of it, and why not more.

    soradit check clips
    """
    height, width = height_width(size)
    exit_on_sigterm()

    overrides = {"height": height, "width": width, "num_frames": frames, "fps": fps}
    require_inputs(clips, weights=weights, **overrides)

    from soradit.console import TerminalOfRows
    from soradit.tasks.check import check as run
    from soradit.tasks.checked import HEADER
    from soradit.text import visible

    rows = run(
        clips,
        weights=weights,
        overrides=overrides,
        max_bad=max_bad,
        buckets=buckets,
        keep_damaged=keep_damaged,
        sheet=sheet,
        overwrite=overwrite,
        report=TerminalOfRows(),
    )
    is_table = not as_json and not (sys.stdout.isatty() and get_terminal_size().columns < len(HEADER))
    for number, row in enumerate(rows):
        if number == 0 and is_table:
            print_line(HEADER)
        for line in [row.to_json()] if as_json else [row.to_line()] if is_table else row.to_two_lines():
            print_line(visible(line))
