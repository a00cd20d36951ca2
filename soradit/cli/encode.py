"""``soradit encode``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Device, Precision, Size, Weights, height_width, print_line


def encode(
    clips: Annotated[Path, typer.Argument(help="Folder of captioned clips.", show_default=False)],
    cache: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="CACHE", help="[default: CLIPS/.soradit-cache]")
    ] = None,
    weights: Weights = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second to read clips at.")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Encode clips and captions into a cache of latents and text embeddings; train does so by itself.

    soradit encode clips
    """
    height, width = height_width(size)

    from soradit.console import Terminal
    from soradit.tasks.encode import encode_folder

    print_line(
        str(
            encode_folder(
                clips,
                weights=weights,
                overrides={"height": height, "width": width, "fps": fps},
                cache_folder=cache,
                device=device,
                precision=precision,
                report=Terminal(),
            )
        )
    )
