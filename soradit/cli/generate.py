"""``soradit generate``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import (
    MAX_SEED,
    Device,
    Json,
    Overwrite,
    Precision,
    Size,
    SkipExisting,
    Weights,
    height_width,
    print_line,
)
from soradit.errors import SoraditError


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the video shows.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="MP4, or a folder.  [default: named by prompt and seed]"),
    ] = None,
    weights: Weights = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same video.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps.  [default: the weights' own]")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 is none.  [default: the weights' own]")
    ] = None,
    negative: Annotated[str, typer.Option(metavar="PROMPT", help="What the video should not show.")] = "",
    frames: Annotated[
        int | None, typer.Option(min=1, help="Length in frames, a multiple of 4.  [default: the weights' own]")
    ] = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Videos per prompt, with seeds that count up.")] = 1,
    prompts: Annotated[str | None, typer.Option(metavar="FILE|-", help="A prompt a line; # starts a comment.")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    as_json: Json = False,
) -> None:
    """Generate videos from prompts.

    soradit generate "a red sunset over the sea" -o sunset.mp4
    """
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give either a prompt or --prompts")
    if overwrite and skip_existing:
        raise typer.BadParameter("give either --overwrite or --skip-existing")
    height, width = height_width(size)
    lines = [prompt] if prompt is not None else _read_prompts(prompts or "-")

    from soradit.console import Terminal
    from soradit.tasks.generate import generate as run
    from soradit.tasks.generate import plan

    jobs = plan(lines, output=output, negative=negative, seed=seed, count=count)
    overrides = {
        "steps": steps,
        "guidance": guidance,
        "num_frames": frames,
        "height": height,
        "width": width,
        "fps": fps,
    }
    for made in run(
        jobs,
        weights=weights,
        overrides=overrides,
        device=device,
        precision=precision,
        overwrite=overwrite,
        skip_existing=skip_existing,
        report=Terminal(),
    ):
        print_line(made.to_json() if as_json else str(made.job.output))


def _read_prompts(source: str) -> list[str]:
    """A prompt a line, from a file or (``-``) from stdin; blank lines and # comments are left out."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SoraditError(f"can't read prompts from {source}: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
