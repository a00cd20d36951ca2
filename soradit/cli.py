"""The command line: each command parses its options, makes one call, and reports. No torch at module level."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

import soradit
from soradit.errors import SoraditError

app = typer.Typer(
    name="soradit",
    help="Train text-to-video diffusion transformers, and generate videos with them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MAX_SEED = 2**63 - 1

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16. auto: what the device is fast at.")]
Weights = Annotated[str | None, typer.Option(help="Folder of weights.  [default: the bundled ones]")]
Size = Annotated[
    str | None, typer.Option(metavar="WxH", help="Width and height, multiples of 32.  [default: the weights' own]")
]
Json = Annotated[bool, typer.Option("--json", help="A JSON line per result on stdout, instead of its path.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave files that exist, and go on.")]


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"soradit {soradit.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
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
    height, width = _height_width(size)
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
        _print(made.to_json() if as_json else str(made.job.output))


@app.command()
def train(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of captioned clips.", show_default=False)],
    run: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")] = Path("run"),
    component: Annotated[str, typer.Option(help="transformer, vae, decoder or text_encoder.")] = "transformer",
    weights: Annotated[
        str | None, typer.Option(metavar="BASE", help="Weights to start from.  [default: the bundled ones]")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the component anew, not from BASE's.")] = False,
    preset: Annotated[str | None, typer.Option(help="Size of a fresh transformer: tiny, skies, S, B, L, XL.")] = None,
    text_encoder: Annotated[
        str | None, typer.Option(metavar="CLIP", help="Another CLIP, by folder or hub name; starts anew.")
    ] = None,
    process: Annotated[str | None, typer.Option(help="flow or noise.")] = None,
    steps: Annotated[int, typer.Option(help="Updates of the weights, in all.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Clips per step.")] = 8,
    lr: Annotated[float, typer.Option(help="Learning rate, at its highest.")] = 1e-3,
    warmup: Annotated[int, typer.Option(help="Steps until the learning rate is at its highest.")] = 100,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights.")] = 0.999,
    frames: Annotated[int | None, typer.Option(min=4, help="Length of a training video.")] = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second to train at.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of every random draw.")] = 0,
    max_hours: Annotated[float | None, typer.Option(help="Save the state and stop (exit 75) after this.")] = None,
    resume: Annotated[str, typer.Option(metavar="auto|never|PATH", help="Go on from a checkpoint.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of encoded clips.  [default: DATA/.soradit-cache]")
    ] = None,
    evaluate_every: Annotated[int, typer.Option(help="Steps between held-out evaluations.")] = 100,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    keep: Annotated[int, typer.Option(min=2, help="Checkpoints to keep.")] = 2,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train on a folder of captioned clips.

    soradit train --data clips -o run --steps 2000
    """
    height, width = _height_width(size)

    from soradit.console import Terminal
    from soradit.tasks.train import TrainConfig
    from soradit.tasks.train import train as start
    from soradit.training.loop import LoopConfig

    config = TrainConfig(
        data=data,
        run=run,
        component=component,
        weights=weights,
        fresh=fresh,
        preset=preset,
        text_encoder=text_encoder,
        process=process,
        height=height,
        width=width,
        num_frames=frames,
        fps=fps,
        cache=cache,
        resume=resume,
        device=device,
        precision=precision,
    )
    loop = LoopConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=lr,
        warmup_steps=warmup,
        ema_decay=ema,
        seed=seed,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep,
        max_hours=max_hours,
    )
    _print(str(start(config, loop, Terminal())))


@app.command()
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
    height, width = _height_width(size)

    from soradit.console import Terminal
    from soradit.tasks.encode import encode_folder

    _print(
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


@app.command()
def check(
    clips: Annotated[Path, typer.Argument(help="Folder of captioned clips.", show_default=False)],
    weights: Weights = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second to train at.")] = None,
    frames: Annotated[int | None, typer.Option(min=4, help="Length of a training video.")] = None,
    max_bad: Annotated[float, typer.Option(min=0, max=1, help="Exit 1 when a larger share is dropped.")] = 0.1,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON line per file on stdout, instead of a table.")
    ] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML page to write, with thumbnails and captions.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell what each clip is, what training will use of it, and why not more.

    soradit check clips
    """
    height, width = _height_width(size)

    from soradit.console import TerminalOfRows, visible
    from soradit.tasks.check import HEADER
    from soradit.tasks.check import check as run

    rows = run(
        clips,
        weights=weights,
        overrides={"height": height, "width": width, "num_frames": frames, "fps": fps},
        max_bad=max_bad,
        sheet=sheet,
        overwrite=overwrite,
        report=TerminalOfRows(),
    )
    for number, row in enumerate(rows):
        lines = (row.to_json(),) if as_json else (HEADER if number == 0 else ()) + row.to_lines()
        for line in lines:
            _print(visible(line))


@app.command()
def skies(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the clips go.", show_default=False)],
    count: Annotated[int, typer.Option(help="Clips in all; those that exist are kept.")] = 24,
    seed: Annotated[int, typer.Option(help="The same seed gives the same clips.")] = 0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Width and height, even.")] = "256x256",
    frames: Annotated[int, typer.Option(help="Length in frames.")] = 64,
    fps: Annotated[int, typer.Option(help="Frames per second.")] = 16,
) -> None:
    """Render captioned sky clips: data for a first run, and what the bundled weights learnt from.

    soradit skies clips --count 24
    """
    height, width = _parse_size(size)

    from soradit.console import Terminal
    from soradit.tasks.skies import render_skies

    with Terminal().progress("rendering", count) as progress:
        done = 0

        def on_clip(path: Path) -> None:
            nonlocal done
            done += 1
            progress.update(done)

        paths = render_skies(
            folder,
            count=count,
            seed=seed,
            height=height,
            width=width,
            num_frames=frames,
            fps=fps,
            on_clip=on_clip,
        )
    for path in paths:
        _print(str(path))


@app.command()
def byhand(
    step: Annotated[str | None, typer.Option(metavar="N|N-M", help="Only these of the 14 steps.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No colour, and ASCII only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every value, as a JSON line per step.")] = False,
    worksheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a sheet with blanks, and its answers: .html or .md.")
    ] = None,
    quiz: Annotated[bool, typer.Option("--quiz", help="Ask, and say right or wrong.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Work the diffusion transformer's 14 steps in small numbers, by the code that trains and generates.

    soradit byhand --step 7
    """
    from soradit.byhand.steps import BadUsage, parse_selection

    selection = parse_selection(step)
    if sum((as_json, worksheet is not None, quiz)) > 1:
        raise BadUsage("--json, --worksheet and --quiz exclude one another")

    from soradit.byhand.exercise import work
    from soradit.byhand.lesson import tell
    from soradit.byhand.terminal import ask_steps, show_json, show_steps
    from soradit.byhand.worksheet import write_worksheet

    steps = [one for one in tell(work()) if one.number in selection]
    if worksheet is not None:
        write_worksheet(worksheet, steps, overwrite=overwrite)
        _print(str(worksheet))
    elif as_json:
        show_json(steps)
    elif quiz:
        ask_steps(steps, plain=plain)
    else:
        show_steps(steps, plain=plain)


def _print(line: str) -> None:
    """Data goes to stdout, whole lines at once, and paths as the file system has them."""
    sys.stdout.buffer.write(os.fsencode(line) + b"\n")
    sys.stdout.flush()


def _height_width(size: str | None) -> tuple[int | None, int | None]:
    """``WIDTHxHEIGHT``, or nothing -> height, width."""
    return (None, None) if size is None else _parse_size(size)


def _parse_size(size: str) -> tuple[int, int]:
    """``WIDTHxHEIGHT`` -> height, width."""
    if not (match := re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", size)):
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT, such as 256x256", param_hint="--size")
    return int(match[2]), int(match[1])


def _read_prompts(source: str) -> list[str]:
    """A prompt a line, from a file or (``-``) from stdin; blank lines and # comments are left out."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SoraditError(f"can't read prompts from {source}: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
