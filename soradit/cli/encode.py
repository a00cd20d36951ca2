"""``soradit encode``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import (
    Buckets,
    Device,
    Flip,
    KeepDamaged,
    Size,
    Weights,
    height_width,
    print_line,
    require_inputs,
)


def encode(
    clips: Annotated[Path, typer.Argument(help="Folder of captioned clips.", show_default=False)],
    cache: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="CACHE", help="[default: CLIPS/.soradit-cache]")
    ] = None,
    weights: Weights = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second to read clips at.")] = None,
    flip: Flip = False,
    buckets: Buckets = False,
    keep_damaged: KeepDamaged = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only read the cache again, against its index.")] = False,
    device: Device = "auto",
) -> None:
    """Encode clips and captions into a cache of latents and text embeddings; train does so by itself.

    soradit encode clips
    """
    height, width = height_width(size)
    overrides = {"height": height, "width": width, "fps": fps}
    if not verify:
        require_inputs(clips, weights=weights, **overrides)

    from soradit.console import Terminal
    from soradit.tasks.encode import CACHE_NAME, encode_folder
    from soradit.tasks.encode import verify as verify_cache
    from soradit.text import count

    if verify:
        folder = cache or clips / CACHE_NAME
        number = verify_cache(folder, Terminal())
        Terminal().note(f"{count(number, 'file')}, all as they were written")
        print_line(str(folder))
        return
    print_line(
        str(
            encode_folder(
                clips,
                weights=weights,
                overrides=overrides,
                cache_folder=cache,
                flip=flip,
                buckets=buckets,
                keep_damaged=keep_damaged,
                device=device,
                report=Terminal(),
            )
        )
    )
