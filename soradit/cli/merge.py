"""``soradit merge``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Weights, print_line, require_inputs


def merge(
    lora: Annotated[
        list[str],
        typer.Argument(metavar="DIR[:STRENGTH]...", help="LoRA to merge, one or several.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the merged weights go.")],
    weights: Weights = None,
) -> None:
    """Merge LoRA into the weights that it was trained on: a folder for generate --weights.

    soradit merge run/lora -o merged
    """
    from soradit.console import Terminal
    from soradit.model.folder import parse_lora, require_new

    require_inputs(weights=weights)
    require_new(output)
    loras = [parse_lora(spec) for spec in lora]

    from soradit.tasks.merge import merge as run

    print_line(str(run(loras, output, weights=weights, report=Terminal())))
