"""What to train and how. Needs no torch, so that mistakes are told at once."""

import math
from dataclasses import dataclass, fields
from pathlib import Path

from soradit.errors import UsageError
from soradit.model.config import PRESETS, SAMPLER_NAMES, check_prompt
from soradit.model.folder import TEXT_PARTS

NEEDED: dict[str, tuple[str, ...]] = {
    "transformer": ("vae", *TEXT_PARTS),
    "vae": (),
    "decoder": ("vae",),
    "refiner": ("vae",),
    "text_encoder": ("vae",),
}
"""What can be trained, and the parts that the weights to start from must have for it."""
OF_AUTOENCODER = ("vae", "decoder", "refiner")
"""Components that read clips themselves, not from the cache."""
COMPONENTS = tuple(NEEDED)
_TRANSFORMER, _TEXT_ENCODER = ("transformer",), ("text_encoder",)
SETTINGS_OF: dict[str, tuple[str, ...]] = {
    "preset": _TRANSFORMER,
    "process": _TRANSFORMER,
    "text_encoder": _TRANSFORMER,
    "buckets": _TRANSFORMER,
    "timestep_shift": _TRANSFORMER,
    "timestep_spread": _TRANSFORMER,
    "min_snr": _TRANSFORMER,
    "prompts": _TRANSFORMER,
    "precision": ("transformer", *OF_AUTOENCODER),
    "lora": _TRANSFORMER,
    "compile": _TRANSFORMER,
    "checkpoint_activations": _TRANSFORMER,
    "shard": _TRANSFORMER,
    "perceptual": OF_AUTOENCODER,
    "adversarial": OF_AUTOENCODER,
    "teacher": _TEXT_ENCODER,
    "sentences": _TEXT_ENCODER,
    "paraphrases": _TEXT_ENCODER,
}
"""Settings that not all components have, and which have them."""
OPTIONS = {
    "learning_rate": "--lr",
    "warmup_steps": "--warmup",
    "ema_decay": "--ema",
    "keep_checkpoints": "--keep",
    "prompts": "--prompt",
    "num_frames": "--frames",
    "height": "a height of",
    "width": "a width of",
}
"""What settings are called on the command line, where it isn't their own name."""
OPTIMIZERS = ("adamw", "muon")
LEARNING_RATES = {"transformer": 1e-3, "vae": 4e-5, "decoder": 2e-4, "refiner": 1e-3, "text_encoder": 1e-3}
"""Where the command gives none."""
FINE_TUNING_RATE = 5e-4
"""Of a transformer that goes on as it is: it loses less at first than at 1e-3, and ends lower (docs/fine-tuning.md)."""
MAX_SAMPLES = 4


def option_of(setting: str) -> str:
    """As it is given on the command line."""
    return OPTIONS.get(setting, f"--{setting.replace('_', '-')}")


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How to train; saved in each checkpoint, so that a run is resumed as it began."""

    steps: int
    batch_size: int
    """Clips a step, of all processes together."""
    accumulate: int = 1
    """Parts that each process takes its share of a batch in, one after another, to save memory."""
    optimizer: str = "adamw"
    """One of OPTIMIZERS; ``muon`` trains the matrices of the transformer's blocks, and AdamW all else."""
    learning_rate: float = 1e-3
    """At its highest, after the warm-up."""
    warmup_steps: int = 100
    """At most a tenth of the steps."""
    weight_decay: float = 0.01
    """Decays matrices; biases and gains are left alone."""
    betas: tuple[float, float] = (0.9, 0.99)
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.999
    """At its longest: early on the average is as short as (1 + step) / (10 + step)."""
    snapshots: int = 0
    """Times to save averages from which one of any length is made afterwards."""
    seed: int = 0
    evaluate_every: int = 100
    sample_every: int = 500
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    max_hours: float | None = None

    def __post_init__(self) -> None:
        above_zero = ("steps", "batch_size", "accumulate", "learning_rate", "evaluate_every", "sample_every")
        for name in (*above_zero, "checkpoint_every", "max_hours"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{option_of(name)} must be above 0, not {value}")
        if self.keep_checkpoints < 2:
            raise UsageError(f"{option_of('keep_checkpoints')} must be 2 or more, not {self.keep_checkpoints}")
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(f"optimizer {self.optimizer} is not known: use {' or '.join(OPTIMIZERS)}")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"{option_of('ema_decay')} must be from 0 to less than 1, not {self.ema_decay}")
        for name in ("warmup_steps", "snapshots"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{option_of(name)} must be 0 or more, not {getattr(self, name)}")


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
    """``flow`` or ``noise``; None keeps the weights' own. Another than theirs makes the component start anew."""
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    fps: int | None = None
    """What clips are read at; None keeps the weights' own."""
    flip: bool = False
    """Train on each clip's mirror image, too."""
    buckets: bool = False
    """Train on each clip in a shape and length of its own, of about the videos' area."""
    keep_damaged: bool = False
    """Use damaged clips up to their damage."""
    timestep_shift: float = 1.0
    """Above 1, more of training's timesteps near the noise."""
    timestep_spread: float = 1.0
    """Above 1, more of training's timesteps near both ends."""
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
    """Let each of several processes keep but a part of weights and optimizer."""
    perceptual: float = 0.0
    """Weight of the autoencoder's perceptual loss."""
    adversarial: float = 0.0
    """Weight of being told from real frames, by a discriminator that learns to."""
    teacher: str | None = None
    """A sentence-embedding network, by folder or hub name, that tells the text encoder what words mean."""
    sentences: Path | None = None
    """Everyday sentences, one a line, that it does so with."""
    paraphrases: Path | None = None
    """Texts and what they mean, which the text encoder is to learn; what it makes of captions stays."""
    cache: Path | None = None
    """None is ``data``'s own, ``.soradit-cache`` in it."""
    resume: str = "auto"
    """``auto``, ``never``, or the path of a checkpoint."""
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.component not in NEEDED:
            raise UsageError(f"component {self.component} is not known: use {', '.join(NEEDED)}")
        if self.preset is not None and self.preset not in PRESETS:
            raise UsageError(f"preset {self.preset} is not known: use {', '.join(PRESETS)}")
        if self.process is not None and self.process not in SAMPLER_NAMES:
            raise UsageError(f"process {self.process} is not known: use {' or '.join(SAMPLER_NAMES)}")
        for prompt in self.prompts:
            check_prompt(prompt)
        for field in fields(self):
            of = SETTINGS_OF.get(field.name, COMPONENTS)
            if self.component not in of and getattr(self, field.name) != field.default:
                raise UsageError(f"{option_of(field.name)} is for --component {' or '.join(of)}, not {self.component}")
        if (self.teacher is None) != (self.sentences is None):
            raise UsageError("--teacher and --sentences go together: give both, or neither")
        if self.paraphrases is not None and (self.teacher is not None or self.fresh):
            other = "--fresh" if self.fresh else "--teacher"
            raise UsageError(f"--paraphrases is for a text encoder that has been trained: leave out {other}")
        if self.lora is not None and self.starts_anew:
            other = "--fresh" if self.fresh else "--preset" if self.preset else "--text-encoder"
            raise UsageError(f"--lora needs a transformer that has been trained: leave out {other}")
        if len(self.prompts) > MAX_SAMPLES:
            raise UsageError(f"--prompt is given {len(self.prompts)} times: {MAX_SAMPLES} samples are the most")
        for name in ("perceptual", "adversarial"):
            if not 0 <= (weight := getattr(self, name)) < math.inf:
                raise UsageError(f"--{name} must be 0 or more, not {weight}")
        if self.keep_damaged and self.component in OF_AUTOENCODER:
            raise UsageError(f"--keep-damaged is not for --component {self.component}: it takes intact clips alone")
        if self.precision == "float16":
            raise UsageError("float16 gradients underflow: train with --precision bfloat16 or float32")
        for name in ("timestep_shift", "timestep_spread", "min_snr", "lora"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{option_of(name)} must be above 0, not {getattr(self, name)}")

    @property
    def starts_anew(self) -> bool:
        """Whether the component does, whatever the weights are; see ``soradit.training.base``."""
        return self.fresh or self.preset is not None or self.text_encoder is not None


def require_together(config: TrainConfig, loop: LoopConfig) -> None:
    """Raises UsageError for what can't be asked for together."""
    if loop.batch_size % loop.accumulate:
        raise UsageError(
            f"--batch-size {loop.batch_size} can't be shared out equally in --accumulate {loop.accumulate}"
        )
    is_whole_transformer = config.component == "transformer" and config.lora is None
    if loop.accumulate > 1 and config.component == "text_encoder":
        raise UsageError("text_encoder tells a batch's clips from one another: it can't be taken in parts")
    if loop.optimizer == "muon" and (not is_whole_transformer or config.shard):
        raise UsageError("--optimizer muon is for --component transformer without --lora or --shard")
    if loop.snapshots and not is_whole_transformer:
        raise UsageError("--snapshots is for --component transformer without --lora")
