"""What a training starts from, told by the weights' JSON. Needs no torch, so that mistakes are told at once."""

from pathlib import Path
from typing import Any, NamedTuple

from soradit.errors import SoraditError
from soradit.files import require_file
from soradit.media.clips import require_clips
from soradit.model.config import (
    SAMPLER_NAMES,
    AutoencoderConfig,
    GenerationConfig,
    latent_grid,
    load_autoencoder_config,
    load_generation_config,
)
from soradit.model.folder import find_weights, has_component
from soradit.training.config import (
    FINE_TUNING_RATE,
    LEARNING_RATES,
    OF_AUTOENCODER,
    LoopConfig,
    TrainConfig,
    require_together,
)


class Base(NamedTuple):
    """What a run starts from."""

    folder: Path | None
    """Of weights, if any are needed."""
    own: GenerationConfig
    """How they generate."""
    asked: GenerationConfig
    """What the command makes of that."""
    is_fresh: bool
    """Whether the component starts anew: the command says so, or the weights have none of its kind."""


def find_base(config: TrainConfig) -> Base:
    """Raises SoraditError for weights that aren't there, or a size that they can't have; reads no tensor."""
    from_nothing = config.component == "vae" and config.fresh
    base = None if from_nothing and config.weights is None else find_weights(config.weights)
    generation = GenerationConfig() if base is None else load_generation_config(base)
    asked = _changed(generation, config)
    if config.min_snr is not None and asked.process != "noise":
        raise SoraditError(f"--min-snr is for process noise, not {asked.process}: leave it out")
    if base is None or from_nothing or not has_component(base, "vae"):
        autoencoder = AutoencoderConfig()
    else:
        autoencoder = load_autoencoder_config(base)
    latent_grid(asked, autoencoder.token_size)
    trained = "vae" if config.component in OF_AUTOENCODER else config.component
    has_none = base is None or not has_component(base, trained)
    is_fresh = config.starts_anew or asked.process != generation.process or has_none
    return Base(folder=base, own=generation, asked=asked, is_fresh=is_fresh)


def training_settings(config: TrainConfig) -> GenerationConfig:
    """Size, frames and process to train with: the run's own, with what the command asked for."""
    return _changed(load_generation_config(config.run), config)


def _changed(generation: GenerationConfig, config: TrainConfig) -> GenerationConfig:
    """The weights' settings, with what the command asked for."""
    asked: dict[str, Any] = {name: getattr(config, name) for name in ("height", "width", "num_frames", "fps")}
    if config.process not in (None, generation.process):
        asked |= {"process": config.process, "sampler": SAMPLER_NAMES[config.process][0]}
    return generation.with_overrides(**asked)


def usual_learning_rate(config: TrainConfig) -> float:
    """What ``--lr`` is by default."""
    try:
        is_fresh = find_base(config).is_fresh
    except SoraditError:  # told to whoever needs that; a run that goes on may have outlived the weights it began with
        is_fresh = config.starts_anew
    if config.component == "transformer" and config.lora is None and not is_fresh:
        return FINE_TUNING_RATE
    return LEARNING_RATES[config.component]


def look_first(config: TrainConfig, loop: LoopConfig) -> None:
    """Raises SoraditError for what can be told of command, clips and a new run's weights before torch is imported."""
    require_together(config, loop)
    for folder in filter(None, (config.data, config.held_out)):
        require_clips(folder)
    if config.run.exists() and not config.run.is_dir():
        raise SoraditError(f"{config.run}: is not a folder; give the run another name with -o")
    if config.run.resolve() in (folder.resolve() for folder in (config.data, config.held_out) if folder is not None):
        raise SoraditError(f"{config.run}: is the folder of the clips; give the run another name with -o")
    for file in filter(None, (config.sentences, config.paraphrases)):
        require_file(file)
    if not config.run.exists():
        if config.cache is not None and config.run.resolve() in config.cache.resolve().parents:
            raise SoraditError(f"{config.cache}: is in the run's own folder; give another to --cache")
        find_base(config)
