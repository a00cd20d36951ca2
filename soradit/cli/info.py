"""``soradit info``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Size, height_width, print_line


def info(
    what: Annotated[
        Path | None,
        typer.Argument(metavar="FILE|WEIGHTS", help="A video, or a folder of weights.  [default: the bundled ones]"),
    ] = None,
    size: Size = None,
    frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Length of a video.  [default: the weights' own]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Tell how a video was made, or what weights are and what generating with them takes.

    \b
    soradit info sunset.mp4
    soradit info weights/skies --size 512x512 --frames 64
    """
    height, width = height_width(size)

    import json

    from soradit.console import visible
    from soradit.tasks.info import info as run

    facts = run(what, height=height, width=width, num_frames=frames)
    if as_json:
        print_line(json.dumps(facts, ensure_ascii=False))
    else:
        for name, value in facts.items():
            shown = f"{value:,}" if isinstance(value, int) and name != "seed" else visible(str(value))
            print_line(f"{name.replace('_', ' '):<24} {shown}")
