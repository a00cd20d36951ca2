"""``soradit evaluate``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Device, Overwrite, Precision, exit_on_sigterm, print_line, require_inputs


def evaluate(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of captioned clips.", show_default=False)],
    weights: Annotated[
        str | None,
        typer.Argument(help="Folder of weights, or of a run.  [default: the bundled ones]", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of figures, report and generated clips.")
    ] = Path("evaluation"),
    training: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Clips that were trained on, when all of DATA is held out."),
    ] = None,
    all_held_out: Annotated[
        bool, typer.Option("--all", help="All of DATA is held out, instead of training's own split.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, help="Held-out clips to use, at most.")] = 200,
    features: Annotated[
        str,
        typer.Option(
            metavar="NETWORK",
            help="Network that compares frames: efficientnet-lite0, another by folder or hub name, or none.",
        ),
    ] = "efficientnet-lite0",
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps.  [default: the weights' own]")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 is none.  [default: the weights' own]")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, instead of a table.")] = False,
) -> None:
    """Compare generated with held-out clips, by a pinned protocol.

    soradit evaluate run --data clips
    """
    exit_on_sigterm()
    require_inputs(*filter(None, (data, training)), weights=weights, steps=steps, guidance=guidance)

    from soradit.evaluation.config import EvaluateConfig

    config = EvaluateConfig(
        weights=weights,
        data=data,
        output=output,
        training=training,
        all_held_out=all_held_out,
        count=count,
        features=features,
        steps=steps,
        guidance=guidance,
        overwrite=overwrite,
        device=device,
        precision=precision,
    )

    from soradit.console import Terminal
    from soradit.tasks.evaluate import evaluate as run
    from soradit.text import visible

    found = run(config, Terminal())
    for line in [json.dumps(found.to_dict())] if as_json else found.to_lines():
        print_line(visible(line))
