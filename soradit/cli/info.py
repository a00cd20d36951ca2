"""``soradit info``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Size, height_width, print_line

LABELS = {
    "soradit": "soradit's version",
    "weights": "hash of the weights",
    "lora": "hash of the LoRA",
    "trained_on": "trained on transformer",
    "negative": "negative prompt",
    "start": "hash of its beginning",
    "process": "diffusion process",
    "guidance_from": "guidance begins at",
    "guidance_until": "guidance ends at",
    "shift": "spacing of steps",
    "spread": "their spread",
    "num_frames": "frames",
    "fps": "frames a second",
    "vae_parameters": "autoencoder parameters",
    "tflop_denoising": "TFLOP to denoise",
    "tflop_decoding": "TFLOP to decode",
    "megabytes": "memory",
}
"""What a person calls a fact; the others are called as they are."""


def info(
    what: Annotated[
        Path | None,
        typer.Argument(metavar="FILE|DIR", help="A video, weights or LoRA.  [default: the bundled weights]"),
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
    soradit info --size 512x512 --frames 64
    """
    height, width = height_width(size)

    import json

    from soradit.tasks.info import info as run
    from soradit.text import visible

    facts = run(what, height=height, width=width, num_frames=frames)
    if as_json:
        print_line(json.dumps(facts))
    else:
        for name, value in facts.items():
            if value not in ("", None):
                label = LABELS.get(name, name.replace("_", " "))
                print_line(visible(f"{label:<24} {_in_words(name, value)}"))


def _in_words(name: str, value: object) -> str:
    match name, value:
        case "guidance_from" | "guidance_until", float():
            return f"{value:.0%} of the way from noise to video"
        case "shift", float():
            return "even" if value == 1 else f"shifted by {value:g} towards the noise"
        case "spread", float():
            return "none" if value == 1 else f"by {value:g} towards both ends"
        case "megabytes", int():
            return f"{value:,} MB"
        case "seed", _:
            return str(value)
        case _, int():
            return f"{value:,}"
    return str(value)
