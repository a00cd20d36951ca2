"""What several commands share: options, sizes, and how data reaches stdout."""

import os
import re
import sys
from typing import Annotated

import typer

MAX_SEED = 2**63 - 1

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16. auto: what the device is fast at.")]
Weights = Annotated[str | None, typer.Option(help="Folder of weights.  [default: the bundled ones]")]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="Width and height, multiples of 32.  [default: the weights' own]")
]
Buckets = Annotated[
    bool, typer.Option("--buckets", help="Each clip in a shape and length of its own, of about --size's area.")
]
KeepDamaged = Annotated[bool, typer.Option("--keep-damaged", help="Use damaged clips up to their damage.")]
Json = Annotated[bool, typer.Option("--json", help="A JSON line per result on stdout, instead of its path.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave files that exist, and go on.")]


def print_line(line: str) -> None:
    """Data goes to stdout, whole lines at once, and paths as the file system has them."""
    sys.stdout.buffer.write(os.fsencode(line) + b"\n")
    sys.stdout.flush()


def height_width(size: str | None) -> tuple[int | None, int | None]:
    """``WIDTHxHEIGHT``, or nothing -> height, width."""
    return (None, None) if size is None else parse_size(size)


def parse_size(size: str) -> tuple[int, int]:
    """``WIDTHxHEIGHT`` -> height, width."""
    if not (match := re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", size)):
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT, such as 256x256", param_hint="--size")
    return int(match[2]), int(match[1])
