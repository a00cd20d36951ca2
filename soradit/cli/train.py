"""``soradit train``."""

from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import MAX_SEED, Buckets, Device, KeepDamaged, Precision, Size, height_width, print_line


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
    buckets: Buckets = False,
    keep_damaged: KeepDamaged = False,
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
    height, width = height_width(size)

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
        buckets=buckets,
        keep_damaged=keep_damaged,
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
    print_line(str(start(config, loop, Terminal())))
