"""What a command to train asks for, ready to be trained: models and data -> an objective, a builder a component."""

from dataclasses import dataclass
from pathlib import Path

from soradit.device import choose_device, choose_precision
from soradit.errors import SoraditError
from soradit.media.clips import Clip
from soradit.model.autoencoder import Autoencoder, renew_refiner
from soradit.model.config import (
    PRESETS,
    AutoencoderConfig,
    GenerationConfig,
    latent_grid,
    load_autoencoder_config,
)
from soradit.model.dit import DiT, DiTConfig, widen
from soradit.model.folder import find_weights, has_component
from soradit.model.weights import load_autoencoder, load_encoder_only, load_text, load_transformer, save_text
from soradit.report import Report
from soradit.tasks.encode import CACHE_NAME, EncodeSummary, encode
from soradit.training.autoencoder import AutoencoderObjective, RefinerObjective
from soradit.training.base import training_settings
from soradit.training.checkpoint import list_checkpoints
from soradit.training.config import LoopConfig, TrainConfig
from soradit.training.distributed import World
from soradit.training.intact import MAX_BAD_SHARE, intact_clips
from soradit.training.memory import as_trained
from soradit.training.objective import Objective
from soradit.training.run import TEACHER
from soradit.training.transformer import TransformerObjective, cached_windows

TEXT_ENCODER_WINDOW = 4
"""Latent frames of a clip that the text encoder's video tower sees: a second at 16 fps."""
TAUGHT = "teacher.safetensors"
"""In a run's folder: what the text encoder's teacher makes of sentences and captions."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """The clips of a training."""

    training: list[Clip]
    held_out: list[Clip]


def _transformer(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    generation = training_settings(config)
    encoded = _encode(config, generation, clips, report)
    latents = load_autoencoder_config(config.run)
    length = generation.window(latents.token_size[0])
    usable = set(encoded.clips)
    training = cached_windows([c for c in clips.training if c in usable], encoded.cache, length=length, what="training")
    try:
        measured = [clip for clip in clips.held_out if clip in usable]
        held_out = cached_windows(measured, encoded.cache, length=length, what="held-out")
    except SoraditError as error:
        if config.held_out is not None:
            raise
        report.note(f"{error}; until then held-out figures are of clips that are trained on")
        held_out = training
    device = choose_device(config.device)
    model = as_trained(saved_or_fresh_transformer(config, latents.latent_channels), config)
    if config.compile:
        model.compile_blocks()
    return TransformerObjective(
        model,
        training=training,
        held_out=held_out,
        generation=generation,
        batch_size=loop.batch_size,
        seed=loop.seed,
        device=device,
        precision=choose_precision(config.precision, device),
        shift=config.timestep_shift,
        spread=config.timestep_spread,
        min_snr=config.min_snr,
        lora_rank=config.lora,
    )


def saved_or_fresh_transformer(config: TrainConfig, latent_channels: int) -> DiT:
    """The run's own transformer, widened if it knows fewer channels of latents than there are, or a new one."""
    if has_component(config.run, "transformer"):
        dit = load_transformer(config.run)
        known, asked = dit.config.latent_channels, latent_channels
        if known > asked:
            raise SoraditError(
                f"the transformer knows latents of {known} numbers, these have {asked}: train one with --fresh"
            )
        if known < asked and config.lora is not None:
            raise SoraditError(
                f"the transformer knows {known} of latents' {asked} numbers: train it without --lora first"
            )
        return (widen(dit, asked) if known < asked else dit).requires_grad_(True)
    text = load_text(config.run)
    given = {"latent_channels": latent_channels, "text_dim": text.text_dim, "pooled_dim": text.pooled_dim}
    return DiT(DiTConfig(**PRESETS[config.preset or "skies"], **given))


def _autoencoder(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    saved = has_component(config.run, "vae")
    model = load_autoencoder(config.run) if saved else Autoencoder(AutoencoderConfig())
    objective = _reconstruction(model.requires_grad_(True), config, loop, clips, report)
    if not saved and not list_checkpoints(config.run):
        report.note("fitting a linear autoencoder to begin with")
        objective.fit(report, encoder=True, like=_autoencoder_before(config, model.config))
    return objective


def _autoencoder_before(config: TrainConfig, fresh: AutoencoderConfig) -> Autoencoder | None:
    """That of the weights that the command names, where the fresh one's latents can be turned towards its own."""
    if config.weights is None or not has_component(base := find_weights(config.weights), "vae"):
        return None
    before = load_autoencoder(base)
    fits = before.config.token_size == fresh.token_size and before.config.latent_channels <= fresh.latent_channels
    return before if fits else None


def _decoder(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    """The autoencoder's decoder alone: latents stay what they are, and so the transformer stays of use."""
    model = load_encoder_only(config.run) if config.fresh else load_autoencoder(config.run)
    model.decoder.requires_grad_(True)
    objective = _reconstruction(model, config, loop, clips, report)
    if config.fresh and not list_checkpoints(config.run):
        report.note("fitting a linear decoder to begin with")
        objective.fit(report, encoder=False)
    return objective


def _refiner(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    """What the decoder ends with alone: latents stay what they are, and what is refined, too."""
    model = load_autoencoder(config.run)
    if config.fresh or not model.config.refiner_width:
        if not list_checkpoints(config.run):
            report.note("a new refiner, which changes nothing at first")
        renew_refiner(model)
    model.decoder.refiner.requires_grad_(True)
    return _reconstruction(model, config, loop, clips, report, objective=RefinerObjective)


def _reconstruction(
    model: Autoencoder,
    config: TrainConfig,
    loop: LoopConfig,
    clips: Split,
    report: Report,
    *,
    objective: type[AutoencoderObjective] = AutoencoderObjective,
) -> AutoencoderObjective:
    intact = intact_clips([*clips.training, *clips.held_out], report)
    training = [clip for clip in clips.training if clip.path in intact]
    generation, device = training_settings(config), choose_device(config.device)
    latent_grid(generation, model.config.token_size)
    return objective(
        model,
        training=training,
        held_out=[clip for clip in clips.held_out if clip.path in intact] or training,
        seconds=intact,
        generation=generation,
        batch_size=loop.batch_size,
        seed=loop.seed,
        device=device,
        precision=choose_precision("float32" if config.precision == "auto" else config.precision, device),
        perceptual=config.perceptual,
        adversarial=config.adversarial,
    )


def _text_encoder(config: TrainConfig, loop: LoopConfig, clips: Split, report: Report) -> Objective:
    if config.paraphrases is not None:
        return _paraphrases(config.paraphrases, config, loop, clips)
    from soradit.model.text import TextEncoderConfig, new_text_encoder
    from soradit.training.teacher import prepare_lessons
    from soradit.training.text_encoder import TextEncoderObjective, TwoTowers

    captions = [caption for clip in clips.training for caption in clip.captions]
    lessons = None
    if config.teacher is not None and config.sentences is not None:
        kept = config.run / TAUGHT
        lessons = prepare_lessons(config.teacher, config.sentences, captions, report, kept=kept)
    if not has_component(config.run, "text_encoder"):
        texts = [*captions, *(lessons.sentences if lessons else ())]
        save_text(config.run, new_text_encoder(texts, TextEncoderConfig(), loop.seed))
    encoded = _encode(config, training_settings(config), clips, report, captions=False)
    usable = set(encoded.clips)
    training, held_out = (
        encoded.cache.segments([clip for clip in part if clip in usable]) for part in (clips.training, clips.held_out)
    )
    latent_channels = load_autoencoder_config(config.run).latent_channels
    return TextEncoderObjective(
        TwoTowers(load_text(config.run), latent_channels=latent_channels, length=TEXT_ENCODER_WINDOW),
        training=training,
        held_out=held_out,
        length=TEXT_ENCODER_WINDOW,
        token_frames=encoded.cache.reading.token_size[0],
        batch_size=loop.batch_size,
        seed=loop.seed,
        device=choose_device(config.device),
        lessons=lessons,
    )


def _paraphrases(path: Path, config: TrainConfig, loop: LoopConfig, clips: Split) -> Objective:
    from soradit.training.paraphrases import ParaphraseObjective, read_paraphrases

    captions, held_out = (
        list(dict.fromkeys(caption for clip in part for caption in clip.captions))
        for part in (clips.training, clips.held_out)
    )
    return ParaphraseObjective(
        load_text(config.run),
        teacher=load_text(config.run / TEACHER),
        captions=captions,
        held_out=held_out,
        paraphrases=read_paraphrases(path),
        batch_size=loop.batch_size,
        seed=loop.seed,
        device=choose_device(config.device),
    )


BUILDERS = {
    "transformer": _transformer,
    "vae": _autoencoder,
    "decoder": _decoder,
    "refiner": _refiner,
    "text_encoder": _text_encoder,
}


def encode_share(config: TrainConfig, clips: Split, world: World, report: Report) -> None:
    """Each process encodes its share of the clips; all then find all of them in the cache."""
    mine = Split(training=clips.training[world.rank :: world.size], held_out=clips.held_out[world.rank :: world.size])
    _encode(config, training_settings(config), mine, report, max_bad=1.0)  # all are judged together
    world.wait()


def _encode(
    config: TrainConfig,
    generation: GenerationConfig,
    clips: Split,
    report: Report,
    *,
    captions: bool = True,
    max_bad: float = MAX_BAD_SHARE,
) -> EncodeSummary:
    return encode(
        list(dict.fromkeys([*clips.training, *clips.held_out])),
        weights=config.run,
        config=generation,
        cache_folder=config.cache or config.data / CACHE_NAME,
        captions=captions,
        buckets=config.buckets,
        keep_damaged=config.keep_damaged,
        max_bad=max_bad,
        device=config.device,
        report=report,
    )
