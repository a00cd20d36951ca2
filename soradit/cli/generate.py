"""``soradit generate``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import (
    RUN,
    WRITE,
    Device,
    Json,
    Overwrite,
    Precision,
    SkipExisting,
    Weights,
    exit_on_sigterm,
    height_width,
    print_line,
)
from soradit.model.config import MAX_SEED

VIDEO, START, MANY = "The video", "What it begins with", "Many at once"

Negative = Annotated[
    str | None, typer.Option(metavar="PROMPT", help="What the video should not show.", rich_help_panel=VIDEO)
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=MAX_SEED, metavar="N", help="The same seed gives the same video.", rich_help_panel=VIDEO),
]
Steps = Annotated[int | None, typer.Option(min=1, metavar="N", help="Sampling steps.", rich_help_panel=VIDEO)]
Guidance = Annotated[
    float | None,
    typer.Option(metavar="SCALE", help="How much the prompt counts; 1 is no guidance.", rich_help_panel=VIDEO),
]
Frames = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Length, a multiple of 4; longer than the weights' own is made in overlapping windows.",
        rich_help_panel=VIDEO,
    ),
]
VideoSize = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Width and height, multiples of 32.", rich_help_panel=VIDEO),
]
Fps = Annotated[int | None, typer.Option(min=1, metavar="N", help="Frames per second.", rich_help_panel=VIDEO)]
FirstImage = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An image that the first frame shows.", rich_help_panel=START)
]
Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue", metavar="FILE", help="A video, or its folder of frames, to go on from.", rich_help_panel=START
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(metavar="DIR[:STRENGTH]", help="LoRA to add to the weights; may be repeated.", rich_help_panel=RUN),
]
Offload = Annotated[
    bool, typer.Option("--offload", help="Keep on the device only what is at work.", rich_help_panel=RUN)
]
NoMetadata = Annotated[
    bool, typer.Option("--no-metadata", help="Don't say in the video how it was made.", rich_help_panel=WRITE)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Seconds and peak memory of each phase.", rich_help_panel=RUN)
]
Preview = Annotated[
    bool, typer.Option("--preview", help="On a terminal, show the first frame take shape.", rich_help_panel=RUN)
]


def generate(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", help="What the video shows.", show_default=False)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|FOLDER/",
            help="FILE: .mp4, .gif, .webp, or .png for a folder of frames; several are numbered, FILE-000 and so on. "
            "FOLDER/: made if need be, for MP4s named by prompt and seed.  [default: so named, in the current folder]",
            rich_help_panel=WRITE,
        ),
    ] = None,
    negative: Negative = None,
    seed: Seed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    frames: Frames = None,
    size: VideoSize = None,
    fps: Fps = None,
    image: FirstImage = None,
    continued: Continue = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="A prompt a line, with flags of its own (a storm --seed 7 -o storm.mp4), or a JSON object a line; "
            "# starts a comment. A line's -o counts from the current folder, not from the command's -o.",
            rich_help_panel=MANY,
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Videos per prompt, with seeds that count up.", rich_help_panel=MANY),
    ] = 1,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N|auto",
            help="Make only the I-th of N parts; auto: as SLURM or torchrun number this process.",
            rich_help_panel=MANY,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            metavar="N",
            help="Videos that are denoised together.  [default: 1 on a CPU, else what should fit]",
            rich_help_panel=MANY,
        ),
    ] = None,
    skip_existing: SkipExisting = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Contact sheet to write, .png: a row a video, of the first 200.", rich_help_panel=WRITE
        ),
    ] = None,
    no_metadata: NoMetadata = False,
    weights: Weights = None,
    lora: Lora = None,
    device: Device = "auto",
    precision: Precision = "auto",
    offload: Offload = False,
    preview: Preview = False,
    verbose: Verbose = False,
) -> None:
    """Generate videos from prompts.

    Steps, guidance, length, size and rate are the weights' own where they are not given.

    \b
    soradit generate "a red sunset over the sea" -o sunset.mp4
    soradit generate "drifting clouds" --count 4 --size 384x256 --sheet clouds.png
    soradit generate --prompts prompts.txt -o videos/ --skip-existing --json
    soradit generate "a storm comes up" --continue sunset.mp4 -o longer.mp4
    """
    if not prompt and prompts is None:
        raise typer.BadParameter("give a prompt, or a file of them with --prompts")
    if prompt and prompts is not None:
        raise typer.BadParameter("give either a prompt or --prompts, not both")
    if prompt and len(prompt) > 1:
        raise typer.BadParameter(f'quote the prompt: soradit generate "{" ".join(prompt)}"')
    if overwrite and skip_existing:
        raise typer.BadParameter("give either --overwrite or --skip-existing")
    height, width = height_width(size)
    exit_on_sigterm()

    from soradit.console import Terminal
    from soradit.model.folder import parse_lora
    from soradit.tasks.generate import GenerateConfig
    from soradit.tasks.generate import generate as run
    from soradit.tasks.jobs import choose_shard, new_folder_of, plan, read_orders

    new_folder = new_folder_of(output) if output else None
    jobs = plan(
        read_orders(prompts) if prompts is not None else [{"prompt": prompt[0] if prompt else ""}],
        output=Path(output) if output else None,
        new_folder=new_folder,
        common={
            "negative": negative or "",
            "seed": seed or 0,
            "steps": steps,
            "guidance": guidance,
            "num_frames": frames,
            "height": height,
            "width": width,
            "fps": fps,
            "image": image,
            "continued": continued,
        },
        count=count,
        shard=choose_shard(shard) if shard is not None else None,
    )
    config = GenerateConfig(
        weights=weights,
        lora=tuple(map(parse_lora, lora or ())),
        device=device,
        precision=precision,
        offload=offload,
        batch_size=batch_size,
        overwrite=overwrite,
        skip_existing=skip_existing,
        keep_going=prompts is not None or count > 1,
        one_prompt=prompts is None,
        metadata=not no_metadata,
        sheet=sheet,
        new_folder=new_folder,
    )
    for made in run(jobs, config, Terminal(verbose=verbose, preview=preview)):
        print_line(made.to_json() if as_json else str(made.job.output))
