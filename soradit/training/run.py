"""A run's folder: what it starts with, and whether it may go on.

RUN/model_index.json, transformer/, vae/, text_encoder/, tokenizer/, scheduler/    generate --weights RUN
RUN/lora/                                                                          generate --lora RUN/lora
RUN/config.json                                                                    what was asked for
RUN/metrics.csv  RUN/tensorboard/  RUN/report.html  RUN/log.txt                    how it went
RUN/samples/step-00000500/                                                         the same prompts, now and then
RUN/snapshots/                                                                     soradit average RUN
RUN/checkpoints/                                                                   what resume needs
RUN/last                                                                           names the newest of them
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from soradit.diffusion.process import PROCESSES
from soradit.diffusion.sampler import SAMPLERS
from soradit.errors import SoraditError, StateSaved
from soradit.model.autoencoder import AutoencoderConfig
from soradit.model.dit import PRESETS
from soradit.model.folder import INDEX, find_weights, has_component
from soradit.model.weights import (
    GenerationConfig,
    copy_component,
    latent_grid,
    load_autoencoder_config,
    load_generation_config,
    save_generation_config,
    save_text,
    write_index,
)
from soradit.report import Report
from soradit.training.checkpoint import list_checkpoints, read_state, set_aside_later
from soradit.training.config import LoopConfig
from soradit.training.samples import drop_later_samples
from soradit.training.snapshots import drop_later_snapshots

RUN_CONFIG = "config.json"
NEEDED: dict[str, tuple[str, ...]] = {
    "transformer": ("vae", "text_encoder", "tokenizer"),
    "vae": (),
    "decoder": ("vae",),
    "text_encoder": ("vae",),
}
"""What can be trained, and the parts that the weights to start from must have for it."""
MAY_CHANGE = {
    "train": {
        "data",
        "run",
        "cache",
        "resume",
        "device",
        "precision",
        "prompts",
        "compile",
        "checkpoint_activations",
        "shard",
    },
    "loop": {
        "steps",
        "accumulate",
        "evaluate_every",
        "sample_every",
        "checkpoint_every",
        "keep_checkpoints",
        "max_hours",
    },
}
"""What a resumed run may set otherwise than it was started with."""
OF_AUTOENCODER = ("vae", "decoder")
"""Components that read clips themselves, not from the cache."""
OF_TRANSFORMER = {
    "preset",
    "process",
    "text_encoder",
    "buckets",
    "timestep_shift",
    "min_snr",
    "prompts",
    "lora",
    "compile",
    "checkpoint_activations",
    "shard",
}
"""Settings that no other component has."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train, from what, on what."""

    data: Path
    run: Path
    held_out: Path | None = None
    """Folder of clips to measure on; None is a twentieth of ``data``, by a hash of names."""
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
    flip: bool = False
    """Train on each clip's mirror image, too."""
    buckets: bool = False
    """Train on each clip in a shape and length of its own, of about the videos' area."""
    keep_damaged: bool = False
    """Use damaged clips up to their damage."""
    drop_text: float = 0.1
    """Share of captions replaced by the empty prompt, so that guidance works (Ho & Salimans 2022, algorithm 1)."""
    timestep_shift: float = 1.0
    """Above 1, more of training's timesteps near the noise."""
    min_snr: float | None = None
    """Gamma of min-SNR loss weights, for process ``noise``; None is equal weights."""
    prompts: tuple[str, ...] = ()
    """To make samples of on the way; none: the first captions held out."""
    lora: int | None = None
    """Rank of matrices to train beside the transformer's own, which stay as they are; None trains the transformer."""
    compile: bool = False
    """Let torch.compile make the transformer faster."""
    checkpoint_activations: bool = False
    """Save memory: compute the transformer's blocks twice."""
    shard: bool = False
    """Of several processes, let each keep but a part of weights and optimizer."""
    perceptual: float = 0.0
    """Weight of the autoencoder's perceptual loss."""
    teacher: str | None = None
    """A sentence-embedding network, by folder or hub name, that tells the text encoder what words mean."""
    sentences: Path | None = None
    """Everyday sentences, one a line, that it does so with."""
    cache: Path | None = None
    """None is ``data``'s own, ``.soradit-cache`` in it."""
    resume: str = "auto"
    """``auto``, ``never``, or the path of a checkpoint."""
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.component not in NEEDED:
            raise SoraditError(f"component {self.component} is not known: use {', '.join(NEEDED)}")
        if self.preset is not None and self.preset not in PRESETS:
            raise SoraditError(f"preset {self.preset} is not known: use {', '.join(PRESETS)}")
        if self.process is not None and self.process not in PROCESSES:
            raise SoraditError(f"process {self.process} is not known: use {' or '.join(PROCESSES)}")
        if self.component != "transformer":
            for field in fields(self):
                if field.name in OF_TRANSFORMER and getattr(self, field.name) != field.default:
                    option = field.name.replace("_", "-")
                    raise SoraditError(f"--{option} is for --component transformer, not {self.component}")
        if (self.teacher is None) != (self.sentences is None):
            raise SoraditError("--teacher and --sentences go together: give both, or neither")
        if self.teacher is not None and self.component != "text_encoder":
            raise SoraditError(f"--teacher is for --component text_encoder, not {self.component}")
        if self.perceptual and self.component not in OF_AUTOENCODER:
            raise SoraditError(f"--perceptual is for --component vae or decoder, not {self.component}")
        if not 0 <= self.perceptual < math.inf:
            raise SoraditError(f"perceptual must be 0 or more, not {self.perceptual}")
        if self.keep_damaged and self.component in OF_AUTOENCODER:
            raise SoraditError(f"--keep-damaged is not for --component {self.component}: it takes sound clips alone")
        if self.precision == "float16":
            raise SoraditError("float16 gradients underflow: train with --precision bfloat16 or float32")
        if not 0 <= self.drop_text <= 1:
            raise SoraditError(f"drop-text must be from 0 to 1, not {self.drop_text}")
        for name in ("timestep_shift", "min_snr", "lora"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise SoraditError(f"{name.replace('_', '-')} must be above 0, not {getattr(self, name)}")


def prepare_run(config: TrainConfig) -> None:
    """Fill the run's folder with the weights to start from, less what is trained anew or no longer fits."""
    base, generation, asked = base_and_settings(config)
    is_fresh = _is_fresh(config, generation)
    outdated = {
        "transformer": {"transformer"} if is_fresh else set(),
        "vae": {"transformer", "vae"} if is_fresh else {"transformer"},
        "decoder": set(),
        "text_encoder": {"transformer", "text_encoder", "tokenizer"} if is_fresh else {"transformer"},
    }
    if config.lora is not None and is_fresh:
        raise SoraditError("LoRA needs a transformer to start from: leave out --lora, or what makes it start anew")
    if (config.run / INDEX).is_file() and not (config.run / RUN_CONFIG).is_file():
        raise SoraditError(f"{config.run} holds weights that are no run: choose another folder with -o")
    try:
        config.run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SoraditError(
            f"can't make the run's folder {config.run} ({error.strerror}): choose another with -o"
        ) from error
    for component in outdated[config.component]:  # left by a try that ended before its first checkpoint
        shutil.rmtree(config.run / component, ignore_errors=True)
    if base is not None:
        for component in {"transformer", "vae", "text_encoder", "tokenizer"} - outdated[config.component]:
            copy_component(base, config.run, component)
    if config.text_encoder is not None:
        from soradit.model.text import load_text_encoder

        save_text(config.run, load_text_encoder(config.text_encoder, config.text_encoder))
    for component in NEEDED[config.component]:
        if not has_component(config.run, component):
            raise SoraditError(f"the weights {base} have no {component}: name others with --weights")
    save_generation_config(config.run, asked)
    write_index(config.run)


def base_and_settings(config: TrainConfig) -> tuple[Path | None, GenerationConfig, GenerationConfig]:
    """The folder of weights to start from, if any is needed, how they generate, and what the command makes of that.

    Raises SoraditError for a size that they can't have; reads no weights, and so is quick.
    """
    from_nothing = config.component == "vae" and config.fresh
    base = None if from_nothing and config.weights is None else find_weights(config.weights)
    generation = GenerationConfig() if base is None else load_generation_config(base)
    asked = _changed(generation, config)
    if base is None or from_nothing or not has_component(base, "vae"):
        autoencoder = AutoencoderConfig()
    else:
        autoencoder = load_autoencoder_config(base)
    latent_grid(asked, autoencoder.token_size)
    return base, generation, asked


def _is_fresh(config: TrainConfig, generation: GenerationConfig) -> bool:
    """Whether the component starts anew."""
    other_process = config.process not in (None, generation.process)
    return config.fresh or config.preset is not None or config.text_encoder is not None or other_process


def _changed(generation: GenerationConfig, config: TrainConfig) -> GenerationConfig:
    """The weights' settings, with what the command asked for."""
    asked = {name: getattr(config, name) for name in ("height", "width", "num_frames", "fps")}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if config.process not in (None, generation.process):
        changes |= {"process": config.process, "sampler": next(iter(SAMPLERS[config.process]))}
    return replace(generation, **changes)


def describe_run(config: TrainConfig, loop: LoopConfig) -> dict[str, dict[str, Any]]:
    """What was asked for, as JSON has it: saved beside the run and in each checkpoint."""
    train = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}
    return _as_json({"train": train, "loop": asdict(loop)})


def _as_json(value: Any) -> Any:
    return None if value is MISSING else json.loads(json.dumps(value))


def checkpoint_to_resume(config: TrainConfig, described: dict[str, dict[str, Any]], report: Report) -> Path | None:
    """The checkpoint that ``config.resume`` asks for. Raises SoraditError where going on would mix two trainings.

    Settings that differ from the run's so far, and may, are named in the report.
    """
    if config.resume not in ("auto", "never"):
        checkpoint = Path(config.resume)
    elif found := list_checkpoints(config.run):
        checkpoint = found[-1]
    else:
        return None
    if config.resume == "never":
        raise SoraditError(f"{config.run} holds a run already: choose another folder with -o, or --resume auto")
    state = read_state(checkpoint)
    for section, name, before, now in _differences(state, described):
        if name not in MAY_CHANGE[section]:
            change = f"{_setting(name, before)}, not {_value(now, before)}"
            raise SoraditError(
                f"{config.run} was started {change}: repeat its settings, or choose another folder with -o"
            )
        if name not in ("resume", "run"):
            report.note(f"going on {_setting(name, now)}; until now {_setting(name, before)}")
    return checkpoint


def _differences(state: dict, described: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, Any, Any]]:
    """Section, name, value before and now of each setting; those that a checkpoint doesn't name had their default."""
    for section, config_class in (("train", TrainConfig), ("loop", LoopConfig)):
        defaults = {field.name: field.default for field in fields(config_class)}
        for name, now in described[section].items():
            before = state.get(section, {}).get(name, _as_json(defaults[name]))
            if before != now:
                yield section, name, before, now


def _setting(name: str, value: Any) -> str:
    return f"without {name}" if value is None else f"with {name} {value}"


def _value(value: Any, other: Any) -> str:
    return "without" if value is None else f"with {value}" if other is None else f"{value}"


def turn_back_to(run: Path, checkpoint: Path, report: Report) -> None:
    """What the run did after ``checkpoint`` is over: later checkpoints are set aside, the rest removed."""
    if moved := set_aside_later(run, checkpoint):
        report.note(f"turning back: {', '.join(c.name for c in moved)} set aside in {moved[0].parent}")
    step = read_state(checkpoint)["step"]
    drop_later_samples(run, step)
    drop_later_snapshots(run, step)


@contextmanager
def undone_if_refused(run: Path) -> Iterator[None]:
    """Leave no new run behind when a SoraditError says that it can't even begin."""
    is_new = not run.exists() or not any(run.iterdir())
    try:
        yield
    except SoraditError as error:
        if is_new and not isinstance(error, StateSaved):
            shutil.rmtree(run, ignore_errors=True)
        raise
