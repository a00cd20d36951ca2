"""``soradit replay``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.generate import (
    Continue,
    FirstImage,
    Fps,
    Frames,
    Guidance,
    Lora,
    Negative,
    NoMetadata,
    Offload,
    Preview,
    Seed,
    Steps,
    Verbose,
    VideoSize,
)
from soradit.cli.options import (
    RUN,
    WRITE,
    Device,
    Json,
    Overwrite,
    Precision,
    Weights,
    exit_on_sigterm,
    height_width,
    print_line,
)


def replay(
    video: Annotated[Path, typer.Argument(metavar="FILE", help="A video that soradit made.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="[default: the name with -replay]", rich_help_panel=WRITE),
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="PROMPT", help="Another prompt.")] = None,
    negative: Negative = None,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    frames: Frames = None,
    size: VideoSize = None,
    fps: Fps = None,
    image: FirstImage = None,
    continued: Continue = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    no_metadata: NoMetadata = False,
    weights: Weights = None,
    lora: Lora = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also with other weights than it was made with.", rich_help_panel=RUN)
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    offload: Offload = False,
    preview: Preview = False,
    verbose: Verbose = False,
) -> None:
    """Make a video again from what it says of itself, with changes where asked.

    What is not given is as in that video.

    \b
    soradit replay sunset.mp4 -o again.mp4
    soradit replay sunset.mp4 --steps 50 -o finer.mp4
    """
    height, width = height_width(size)
    exit_on_sigterm()

    from soradit.console import Terminal
    from soradit.model.folder import parse_lora
    from soradit.tasks.generate import GenerateConfig
    from soradit.tasks.replay import replay as run

    made = run(
        video,
        output=output,
        changes={
            "prompt": prompt,
            "negative": negative,
            "seed": seed,
            "steps": steps,
            "guidance": guidance,
            "num_frames": frames,
            "height": height,
            "width": width,
            "fps": fps,
            "image": image,
            "continued": continued,
        },
        force=force,
        config=GenerateConfig(
            weights=weights,
            lora=tuple(map(parse_lora, lora or ())),
            device=device,
            precision=precision,
            offload=offload,
            overwrite=overwrite,
            keep_going=False,
            one_prompt=True,
            metadata=not no_metadata,
        ),
        report=Terminal(verbose=verbose, preview=preview),
    )
    print_line(made.to_json() if as_json else str(made.job.output))
