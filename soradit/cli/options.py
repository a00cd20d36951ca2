"""What several commands share: options, sizes, and how data reaches stdout."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from soradit.errors import SoraditError, UsageError
from soradit.tasks.jobs import parse_size

WRITE, RUN = "What is written", "How it runs"
"""Panels of the help."""

DEVICE = re.compile(r"auto|(cpu|cuda|mps)(:\d+)?")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def _device(name: str) -> str:
    if not DEVICE.fullmatch(name):
        raise UsageError(f"device {name} is not known: use auto, cpu, cuda, cuda:1 or mps")
    return name


def _precision(name: str) -> str:
    if name not in PRECISIONS:
        raise UsageError(f"precision {name} is not known: use {', '.join(PRECISIONS)}")
    return name


Device = Annotated[str, typer.Option(callback=_device, help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=RUN)]
Precision = Annotated[
    str,
    typer.Option(
        callback=_precision,
        help="auto, float32, bfloat16, float16. auto: what the device is fast at.",
        rich_help_panel=RUN,
    ),
]
Weights = Annotated[
    str | None, typer.Option(help="Folder of weights.  [default: the bundled ones]", rich_help_panel=RUN)
]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="Width and height, multiples of 32.  [default: the weights' own]")
]
Flip = Annotated[
    bool, typer.Option("--flip", help="Each clip in a mirror, too; left and right change places in its captions.")
]
Buckets = Annotated[
    bool, typer.Option("--buckets", help="Each clip in a shape and length of its own, of about --size's area.")
]
KeepDamaged = Annotated[bool, typer.Option("--keep-damaged", help="Use damaged clips up to their damage.")]
Json = Annotated[
    bool, typer.Option("--json", help="A JSON line per result on stdout, instead of its path.", rich_help_panel=WRITE)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=WRITE)]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave files that exist, and go on.", rich_help_panel=WRITE)
]


def print_line(line: str) -> None:
    """Data goes to stdout, whole lines at once, and paths as the file system has them."""
    try:
        sys.stdout.buffer.write(os.fsencode(line) + b"\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SoraditError(f"can't write to stdout: {error.strerror}") from error


def height_width(size: str | None) -> tuple[int | None, int | None]:
    """``WIDTHxHEIGHT``, or nothing -> height, width."""
    return (None, None) if size is None else parse_size(size)


def require_inputs(*folders: Path, weights: str | Path | None, **overrides: float | None) -> None:
    """Raise SoraditError for clips and weights that aren't there, or settings that can't be; imports no torch."""
    from soradit.media.clips import require_clips
    from soradit.model.config import settings_of
    from soradit.model.folder import find_weights

    for folder in folders:
        require_clips(folder)
    settings_of(find_weights(weights), **overrides)


class Grouped(TyperCommand):
    """A command whose help lists its options under the panel that each names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or default, []).append(record)
        for name, records in panels.items():
            with formatter.section(name):
                formatter.write_dl(records)


def exit_on_sigterm() -> None:
    """Let a terminated process end as an interrupted one does: nothing half-made stays, then exit code 143."""

    def end(number: int, frame: object) -> None:
        from soradit.console import write_line

        write_line("soradit: terminated")
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
