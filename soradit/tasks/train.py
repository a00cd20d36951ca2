"""``soradit train``: a folder of captioned clips -> a run, which is a folder of weights too.

RUN/model_index.json, transformer/, vae/, text_encoder/, tokenizer/, scheduler/    generate --weights RUN
RUN/config.json                                                                    what was asked for
RUN/metrics.csv                                                                    a row a step
RUN/checkpoints/                                                                   what resume needs
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from soradit.device import choose_device, choose_precision
from soradit.diffusion.sampler import SAMPLERS
from soradit.errors import SoraditError
from soradit.files import write_whole
from soradit.media.clips import Clip, find_clips, split_clips
from soradit.model.autoencoder import Autoencoder, AutoencoderConfig
from soradit.model.dit import PRESETS, DiT, DiTConfig
from soradit.model.weights import (
    GenerationConfig,
    copy_component,
    find_weights,
    has_component,
    latent_grid,
    load_autoencoder,
    load_generation_config,
    load_text,
    load_transformer,
    save_generation_config,
    save_text,
    write_index,
)
from soradit.report import Report
from soradit.tasks.encode import CACHE_NAME, EncodeSummary, encode
from soradit.training.autoencoder import AutoencoderObjective
from soradit.training.cache import segments_of
from soradit.training.checkpoint import list_checkpoints, read_state
from soradit.training.loop import LoopConfig, Objective, run_loop
from soradit.training.transformer import TransformerObjective, cached_windows

COMPONENTS = ("transformer", "vae", "text_encoder")
MAY_CHANGE = {"data", "run", "cache", "resume", "device", "precision"} | {
    "steps",
    "evaluate_every",
    "checkpoint_every",
    "keep_checkpoints",
    "max_hours",
    "betas",
}
"""What a resumed run may set otherwise than it was started with."""
TEXT_ENCODER_WINDOW = 4
"""Latent frames of a clip that the text encoder's video tower sees: a second at 16 fps."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, from what, on what."""

    data: Path
    run: Path
    component: str = "transformer"
    weights: str | None = None
    """The folder of weights to start from; None is the bundled one."""
    fresh: bool = False
    """Start the component anew instead of from the weights' own."""
    preset: str | None = None
    """Size of a fresh transformer, one of PRESETS."""
    text_encoder: str | None = None
    """Another CLIP by folder or hub name; implies a fresh transformer."""
    process: str | None = None
    """``flow`` or ``noise``; None keeps the weights' own. Another than theirs implies a fresh transformer."""
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    fps: int | None = None
    """Of the training videos; None keeps the weights' own."""
    drop_text: float = 0.1
    """Share of captions replaced by the empty prompt, so that guidance works (Ho & Salimans 2022, algorithm 1)."""
    cache: Path | None = None
    """None is ``data``'s own, ``.soradit-cache`` in it."""
    resume: str = "auto"
    """``auto``, ``never``, or the path of a checkpoint."""
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise SoraditError(f"component {self.component} is not known: use {', '.join(COMPONENTS)}")
        if self.preset is not None and self.preset not in PRESETS:
            raise SoraditError(f"preset {self.preset} is not known: use {', '.join(PRESETS)}")
        if not 0 <= self.drop_text <= 1:
            raise SoraditError(f"drop-text must be from 0 to 1, not {self.drop_text}")


def train(config: TrainConfig, loop: LoopConfig, report: Report | None = None) -> Path:
    """Train one component and return the run's folder.

    Raises SoraditError for what can't be trained, StateSaved when stopped early with everything saved.
    """
    report = report or Report()
    clips = find_clips(config.data)
    training, held_out = split_clips(clips)
    report.note(f"{len(clips)} clips in {config.data}: {len(training)} to train on, {len(held_out)} held out")
    described = {"train": _described(config), "loop": asdict(loop)}
    checkpoint = _checkpoint_to_resume(config, described)
    if checkpoint is None:
        _prepare_run(config)
    write_whole(config.run / "config.json", json.dumps(described, indent=2) + "\n")
    torch.manual_seed(loop.seed)
    build = {"transformer": _transformer, "vae": _autoencoder, "text_encoder": _text_encoder}[config.component]
    objective = build(config, loop, Split(training=training, held_out=held_out or training), report)
    num_parameters = sum(p.numel() for p in objective.model.parameters() if p.requires_grad)
    report.note(f"{config.component}: {num_parameters / 1e6:.1f} M parameters, {loop.steps} steps of {loop.batch_size}")
    run_loop(objective, loop, config.run, resume_from=checkpoint, report=report, describe=described)
    return config.run


@dataclass(frozen=True, kw_only=True)
class Split:
    training: list[Clip]
    held_out: list[Clip]


def _transformer(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    generation = load_generation_config(config.run)
    encoded = _encode(config, generation, clips, report)
    autoencoder = load_autoencoder(config.run).config
    length = generation.num_frames // autoencoder.token_size[0]
    usable = set(encoded.clips)
    windows = {
        name: cached_windows([c for c in part if c in usable], encoded.cache, length=length, what=name)
        for name, part in (("training", clips.training), ("held-out", clips.held_out))
    }
    device = choose_device(config.device)
    return TransformerObjective(
        _saved_or_fresh_transformer(config, autoencoder),
        training=windows["training"],
        held_out=windows["held-out"],
        generation=generation,
        batch_size=loop.batch_size,
        drop_text=config.drop_text,
        seed=loop.seed,
        device=device,
        precision=choose_precision(config.precision, device),
    )


def _saved_or_fresh_transformer(config: TrainConfig, autoencoder: AutoencoderConfig) -> DiT:
    if has_component(config.run, "transformer"):
        return load_transformer(config.run).requires_grad_(True)
    text = load_text(config.run)
    given = {"latent_channels": autoencoder.latent_channels, "text_dim": text.text_dim, "pooled_dim": text.pooled_dim}
    return DiT(DiTConfig(**PRESETS[config.preset or "skies"], **given))


def _autoencoder(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    saved = has_component(config.run, "vae")
    generation, device = load_generation_config(config.run), choose_device(config.device)
    model = load_autoencoder(config.run).requires_grad_(True) if saved else Autoencoder(AutoencoderConfig())
    latent_grid(generation, model.config.token_size)
    objective = AutoencoderObjective(
        model,
        training=clips.training,
        held_out=clips.held_out,
        generation=generation,
        batch_size=loop.batch_size,
        seed=loop.seed,
        device=device,
        precision=choose_precision(config.precision, device),
    )
    if not saved:
        report.note("fitting principal components")
        objective.fit()
    return objective


def _text_encoder(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    from soradit.model.text import TextEncoderConfig, new_text_encoder
    from soradit.training.text_encoder import TextEncoderObjective, TwoTowers

    if not has_component(config.run, "text_encoder"):
        captions = [caption for clip in clips.training for caption in clip.captions]
        save_text(config.run, new_text_encoder(captions, TextEncoderConfig(), loop.seed))
    encoded = _encode(config, load_generation_config(config.run), clips, report, captions=False)
    usable = set(encoded.clips)
    training, held_out = (
        [segment for clip in part if clip in usable for segment in segments_of(clip, encoded.cache.latents_path(clip))]
        for part in (clips.training, clips.held_out)
    )
    latent_channels = load_autoencoder(config.run).config.latent_channels
    return TextEncoderObjective(
        TwoTowers(load_text(config.run), latent_channels=latent_channels, length=TEXT_ENCODER_WINDOW),
        training=training,
        held_out=held_out,
        length=TEXT_ENCODER_WINDOW,
        batch_size=loop.batch_size,
        seed=loop.seed,
        device=choose_device(config.device),
    )


def _encode(
    config: TrainConfig, generation: GenerationConfig, clips: Split, report: Report, *, captions: bool = True
) -> EncodeSummary:
    return encode(
        clips.training + [clip for clip in clips.held_out if clip not in clips.training],
        weights=config.run,
        config=generation,
        cache_folder=config.cache or config.data / CACHE_NAME,
        captions=captions,
        device=config.device,
        precision=config.precision,
        report=report,
    )


def _prepare_run(config: TrainConfig) -> None:
    """Fill the run's folder with the weights to start from, less what is trained anew or no longer fits."""
    needed = {"transformer": ("vae", "text_encoder", "tokenizer"), "vae": (), "text_encoder": ("vae",)}
    base, generation = _base(config)
    dropped = {"transformer"} if config.component != "transformer" or _is_fresh(config, generation) else set()
    if config.fresh:
        dropped |= {"vae": {"vae"}, "text_encoder": {"text_encoder", "tokenizer"}}.get(config.component, set())
    try:
        config.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(
            f"can't make the run's folder {config.run} ({error.strerror}): choose another with -o"
        ) from error
    if base is not None:
        for component in {"transformer", "vae", "text_encoder", "tokenizer"} - dropped:
            copy_component(base, config.run, component)
    if config.text_encoder is not None:
        from soradit.model.text import load_text_encoder

        save_text(config.run, load_text_encoder(config.text_encoder, config.text_encoder))
    for component in needed[config.component]:
        if not has_component(config.run, component):
            raise SoraditError(f"the weights {base} have no {component}: name others with --weights")
    save_generation_config(config.run, _changed(generation, config))
    write_index(config.run)


def _base(config: TrainConfig) -> tuple[Path | None, GenerationConfig]:
    """The folder of weights to start from, if any is needed, and how they generate."""
    if config.component == "vae" and config.fresh and config.weights is None:
        return None, GenerationConfig()
    base = find_weights(config.weights)
    return base, load_generation_config(base)


def _is_fresh(config: TrainConfig, generation: GenerationConfig) -> bool:
    """Whether the transformer starts anew."""
    other_process = config.process not in (None, generation.process)
    return config.fresh or config.preset is not None or config.text_encoder is not None or other_process


def _changed(generation: GenerationConfig, config: TrainConfig) -> GenerationConfig:
    """The weights' settings, with what the command asked for."""
    asked = {name: getattr(config, name) for name in ("height", "width", "num_frames", "fps")}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if config.process not in (None, generation.process):
        changes |= {"process": config.process, "sampler": next(iter(SAMPLERS[config.process]))}
    return replace(generation, **changes)


def _described(config: TrainConfig) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def _checkpoint_to_resume(config: TrainConfig, described: dict[str, dict]) -> Path | None:
    """The checkpoint that ``config.resume`` asks for. Raises SoraditError where going on would mix two trainings."""
    if config.resume not in ("auto", "never"):
        checkpoint = Path(config.resume)
    elif found := list_checkpoints(config.run):
        checkpoint = found[-1]
    else:
        return None
    if config.resume == "never":
        raise SoraditError(f"{config.run} holds a run already: choose another folder with -o, or --resume auto")
    state = read_state(checkpoint)
    for section, may_change in (
        ("loop", MAY_CHANGE),
        ("train", {"data", "run", "cache", "resume", "device", "precision"}),
    ):
        for name, value in described[section].items():
            before = state.get(section, {}).get(name)
            if name not in may_change and before != value:
                raise SoraditError(
                    f"{config.run} was started with {name} {before}, not {value}: "
                    "repeat its settings, or choose another folder with -o"
                )
    return checkpoint
