"""``soradit train``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from soradit.cli.options import Buckets, Device, Flip, KeepDamaged, Precision, Size, height_width, print_line
from soradit.model.config import MAX_SEED


def train(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of captioned clips.", show_default=False)],
    run: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")] = Path("run"),
    held_out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Clips to measure on.  [default: a few of DATA]")
    ] = None,
    component: Annotated[str, typer.Option(help="transformer, vae, decoder, refiner or text_encoder.")] = "transformer",
    weights: Annotated[
        str | None, typer.Option(metavar="BASE", help="Weights to start from.  [default: the bundled ones]")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the component anew, not from BASE's.")] = False,
    preset: Annotated[str | None, typer.Option(help="Size of a fresh transformer: tiny, skies, S, B, L, XL.")] = None,
    text_encoder: Annotated[
        str | None, typer.Option(metavar="CLIP", help="Another CLIP, by folder or hub name; starts anew.")
    ] = None,
    perceptual: Annotated[
        float, typer.Option(metavar="WEIGHT", help="For vae, decoder, refiner: weight of a perceptual loss.")
    ] = 0.0,
    adversarial: Annotated[
        float, typer.Option(metavar="WEIGHT", help="For vae, decoder, refiner: weight of a discriminator's loss.")
    ] = 0.0,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="For text_encoder: a sentence-embedding network to learn from.")
    ] = None,
    sentences: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --teacher: everyday sentences, one a line.")
    ] = None,
    paraphrases: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For text_encoder: on each line a text, a tab, and what it means."),
    ] = None,
    process: Annotated[str | None, typer.Option(help="flow or noise.")] = None,
    lora: Annotated[
        int | None, typer.Option(metavar="RANK", help="Train small matrices beside BASE's own: RUN/lora.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Updates of the weights, in all.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Clips per step.")] = 8,
    accumulate: Annotated[int, typer.Option(help="Take a step's clips in so many parts, to save memory.")] = 1,
    optimizer: Annotated[
        str, typer.Option(metavar="adamw|muon", help="muon learns more a step, and a step takes longer.")
    ] = "adamw",
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate, at its highest.  "
            "[default: 5e-4 for a transformer that goes on, vae 4e-5, decoder 2e-4, else 1e-3]"
        ),
    ] = None,
    warmup: Annotated[
        int, typer.Option(help="Steps until the learning rate is at its highest, at most a tenth of all.")
    ] = 100,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights.")] = 0.999,
    snapshots: Annotated[
        int, typer.Option(min=0, metavar="N", help="Save N times what averages of any length are made of afterwards.")
    ] = 0,
    frames: Annotated[int | None, typer.Option(min=4, help="Length of a training video.")] = None,
    size: Size = None,
    fps: Annotated[int | None, typer.Option(min=1, help="Frames per second to train at.")] = None,
    flip: Flip = False,
    buckets: Buckets = False,
    keep_damaged: KeepDamaged = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of every random draw.")] = 0,
    max_hours: Annotated[float | None, typer.Option(help="Save the state and stop (exit 75) after this.")] = None,
    resume: Annotated[str, typer.Option(metavar="auto|never|PATH", help="Go on from a checkpoint.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of encoded clips.  [default: DATA/.soradit-cache]")
    ] = None,
    timestep_shift: Annotated[float, typer.Option(help="Above 1: train more near the noise.")] = 1.0,
    timestep_spread: Annotated[float, typer.Option(help="Above 1: train more near both ends.")] = 1.0,
    min_snr: Annotated[
        float | None, typer.Option(metavar="GAMMA", help="Min-SNR loss weights, for process noise; 5 is usual.")
    ] = None,
    evaluate_every: Annotated[int, typer.Option(help="Steps between held-out evaluations.")] = 100,
    sample_every: Annotated[int, typer.Option(help="Steps between samples.")] = 500,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Of a sample; repeat for up to 4.  [default: captions held out]")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    keep: Annotated[int, typer.Option(min=2, help="Checkpoints to keep.")] = 2,
    checkpoint_activations: Annotated[
        bool, typer.Option("--checkpoint-activations", help="Save memory: compute the transformer's blocks twice.")
    ] = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile the transformer.")] = False,
    shard: Annotated[
        bool, typer.Option("--shard", help="Under torchrun: each process keeps a part of weights and optimizer.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check everything, and print what the training will take.")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Train on a folder of captioned clips.

    soradit train --data clips -o run --steps 2000
    """
    height, width = height_width(size)

    from soradit.console import Terminal
    from soradit.training.base import look_first, usual_learning_rate
    from soradit.training.config import LoopConfig, TrainConfig

    config = TrainConfig(
        data=data,
        run=run,
        held_out=held_out,
        component=component,
        weights=weights,
        fresh=fresh,
        preset=preset,
        text_encoder=text_encoder,
        perceptual=perceptual,
        adversarial=adversarial,
        teacher=teacher,
        sentences=sentences,
        paraphrases=paraphrases,
        process=process,
        height=height,
        width=width,
        num_frames=frames,
        fps=fps,
        timestep_shift=timestep_shift,
        timestep_spread=timestep_spread,
        min_snr=min_snr,
        prompts=tuple(prompt or ()),
        compile=compile,
        checkpoint_activations=checkpoint_activations,
        lora=lora,
        shard=shard,
        flip=flip,
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
        accumulate=accumulate,
        optimizer=optimizer,
        learning_rate=usual_learning_rate(config) if lr is None else lr,
        warmup_steps=warmup,
        ema_decay=ema,
        snapshots=snapshots,
        seed=seed,
        evaluate_every=evaluate_every,
        sample_every=sample_every,
        checkpoint_every=checkpoint_every,
        keep_checkpoints=keep,
        max_hours=max_hours,
    )
    look_first(config, loop)
    if dry_run:
        from soradit.tasks.dry_run import dry_run as estimate

        for line in estimate(config, loop, Terminal()).lines():
            print_line(line)
        return
    from soradit.tasks.train import train as start

    folder = start(config, loop, Terminal())
    if os.environ.get("RANK", "0") == "0":  # of several processes under torchrun, one says where the run is
        print_line(str(folder))
