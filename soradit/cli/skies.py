"""``soradit skies``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import exit_on_sigterm, print_line
from soradit.tasks.jobs import parse_size


def skies(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the clips go.", show_default=False)],
    count: Annotated[int, typer.Option(help="Clips of this seed in all; those that exist are kept.")] = 24,
    seed: Annotated[int, typer.Option(help="The same seed gives the same clips.")] = 0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height, even.")] = "256x256",
    frames: Annotated[int, typer.Option(help="Length in frames.")] = 64,
    fps: Annotated[int, typer.Option(help="Frames per second.")] = 16,
) -> None:
    """Render captioned sky clips: data for a first run, and what the bundled weights learnt from.

    soradit skies clips --count 24
    """
    height, width = parse_size(size)
    exit_on_sigterm()

    from soradit.console import Terminal
    from soradit.tasks.skies import render_skies

    paths = render_skies(
        folder,
        count=count,
        seed=seed,
        height=height,
        width=width,
        num_frames=frames,
        fps=fps,
        report=Terminal(),
    )
    for path in paths:
        print_line(str(path))
