"""What a run shows of itself beside its figures: its settings in words, and samples."""

from pathlib import Path

import torch
from torch import nn

from soradit.device import choose_device, name_of
from soradit.media.clips import Clip
from soradit.model.cost import num_parameters
from soradit.model.weights import load_autoencoder, load_text
from soradit.pipeline import Pipeline
from soradit.training.base import training_settings
from soradit.training.config import MAX_SAMPLES, LoopConfig, TrainConfig
from soradit.training.distributed import World
from soradit.training.estimate import flops_per_clip, peak_flops
from soradit.training.objective import Objective
from soradit.training.page import Story
from soradit.training.samples import Samples
from soradit.training.state import trained_parameters
from soradit.training.transformer import TransformerObjective, trivial_losses


def tell_story(
    config: TrainConfig,
    loop: LoopConfig,
    objective: Objective,
    training: list[Clip],
    held_out: list[Clip],
    *,
    fresh: bool,
    world: World,
) -> Story:
    """What report.html tells beside the figures.

    ``training`` and ``held_out`` are the folder's clips; ``fresh`` is whether the component started anew.
    """
    if isinstance(objective, TransformerObjective):
        training, held_out = objective.training.clips, objective.held_out.clips
    device = choose_device(config.device)
    precision = getattr(objective, "precision", torch.float32)
    originals = sum(not clip.mirrored for clip in training)
    apart = len(set(held_out).difference(training)) or "none"
    folders = " and ".join(str(folder) for folder in (config.data, config.held_out) if folder is not None)
    facts = {
        "component": config.component,
        "parameters": _parameters(objective.model),
        "began with": _beginning(config, fresh),
        "clips": f"{originals}{and_mirrored(config.flip)} to train on, {apart} held out, in {folders}",
        **(_texts(config.paraphrases, loop) if config.paraphrases else _videos(config, loop, len(training))),
        "optimizer": f"{loop.optimizer}, learning rate {loop.learning_rate:g} at its highest",
        "average": f"of the weights, decay {loop.ema_decay:g}",
        "device": f"{device}, {name_of(precision)}",
        "seed": str(loop.seed),
    }
    title = f"{config.run.resolve().name}: training the {config.component.replace('_', ' ')}"
    if not isinstance(objective, TransformerObjective):
        asks_for_texture = bool(config.perceptual or config.adversarial)
        return Story(title=title, steps=loop.steps, facts=facts, asks_for_texture=asks_for_texture)
    flops = flops_per_clip(objective.model.config, objective.shape, lora=config.lora)
    return Story(
        title=title,
        steps=loop.steps,
        facts=facts,
        flops_per_step=loop.batch_size // world.size * flops,
        peak=peak_flops(device, precision),
        trivial_loss=trivial_losses(objective.process, objective.held_out_power()),
        prompts=_prompts(config, held_out),
    )


def _parameters(model: nn.Module) -> str:
    of_all, trained = num_parameters(model.parameters()), num_parameters(trained_parameters(model).values())
    return f"{_millions(trained)} parameters" + (f" trained of {_millions(of_all)}" if trained < of_all else "")


def _millions(count: int) -> str:
    return f"{count / 1e6:.{1 if count >= 1e6 else 2}f} M"


def _videos(config: TrainConfig, loop: LoopConfig, clips: int) -> dict[str, str]:
    """What a step sees of ``clips``."""
    shown = training_settings(config)
    times = loop.steps * loop.batch_size / clips
    return {
        "video": f"{shown.num_frames} frames of {shown.width}x{shown.height} at {shown.fps} fps",
        "steps": f"{loop.steps} of {loop.batch_size} clips: {times:.3g} times through the clips"
        f"{and_mirrored(config.flip)}",
    }


def _texts(paraphrases: Path, loop: LoopConfig) -> dict[str, str]:
    """What a step reads, where videos are not looked at."""
    return {"steps": f"{loop.steps} of {loop.batch_size} captions and as many lines of {paraphrases}"}


def and_mirrored(flip: bool) -> str:
    """What follows the number of training clips."""
    return " and their mirror images" if flip else ""


def _beginning(config: TrainConfig, fresh: bool) -> str:
    if config.component == "vae" and fresh and config.weights is None:
        return "nothing"
    weights = config.weights or "the bundled weights"
    return f"a new {config.component.replace('_', ' ')}, beside other parts of {weights}" if fresh else weights


def samples_of(objective: Objective, config: TrainConfig, world: World) -> Samples | None:
    """Samples of a transformer, with the run's other parts, which are loaded when the first sample is due."""
    if not isinstance(objective, TransformerObjective):
        return None

    def load_pipeline() -> Pipeline:
        return Pipeline(
            transformer=objective.model,
            autoencoder=load_autoencoder(config.run),
            text_encoder=load_text(config.run),
            defaults=objective.generation,
            device=objective.device,
            precision=objective.precision,
        )

    prompts = _prompts(config, objective.held_out.clips)
    return Samples(config.run, prompts, load_pipeline, writes=world.is_first)


def _prompts(config: TrainConfig, held_out: list[Clip]) -> list[str]:
    return list(config.prompts or dict.fromkeys(clip.captions[0] for clip in held_out))[:MAX_SAMPLES]
