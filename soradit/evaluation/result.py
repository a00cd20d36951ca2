"""An evaluation's result: the protocol, its figures, and the clips behind them."""

from dataclasses import asdict, dataclass
from pathlib import Path

from soradit.evaluation.facts import Facts
from soradit.evaluation.look import Look
from soradit.evaluation.scores import Score, distance, wrong
from soradit.media.clips import Clip
from soradit.model.config import GenerationConfig


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The training clip that a generated one is most like."""

    clip: str
    """Its path."""
    distance: float
    """Between middle frame and training frame."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A generated clip, and the held-out clip with its prompt, if there is one."""

    prompt: str
    seed: int
    path: Path
    stated: Facts
    look: Look
    clip: Clip | None = None
    real: Look | None = None
    nearest: Nearest | None = None

    @property
    def wrong(self) -> list[str]:
        """What the prompt states and the generated clip does not show."""
        return wrong(self.stated, self.look.seen)

    @property
    def distance(self) -> float | None:
        """From the held-out clip, between mean features."""
        return distance(self.look, self.real) if self.real else None

    def to_dict(self) -> dict[str, object]:
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "generated": str(self.path),
            "real": str(self.clip.path) if self.clip else None,
            "stated": asdict(self.stated),
            "seen": asdict(self.look.seen),
            "seen_in_real": asdict(self.real.seen) if self.real else None,
            "distance": self.distance,
            "nearest_training": asdict(self.nearest) if self.nearest else None,
        }


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All that decides the figures: two evaluations with equal protocols can be compared."""

    version: int
    soradit: str
    weights: str
    weights_fingerprint: str
    precision: str
    settings: GenerationConfig
    data: str
    held_out_clips: int
    """As many clips are generated, a prompt each, with seeds that count up from 0."""
    training_clips: int
    synonyms: int
    """Prompts of soradit's own, in words that captions rarely use."""
    features: str
    features_sha256: str | None

    def to_line(self) -> str:
        s = self.settings
        network = f"{self.features} sha256 {self.features_sha256[:12]}" if self.features_sha256 else "no features"
        return (
            f"protocol {self.version}: {self.weights} ({self.weights_fingerprint}), {self.held_out_clips} clips "
            f"generated against {self.held_out_clips} held out of {self.data}, {self.training_clips} to train on; "
            f"{s.width}x{s.height}, {s.num_frames} frames at {s.fps} fps; {s.process} {s.sampler}, {s.steps} steps, "
            f"guidance {s.guidance:g} from {s.guidance_from:g} to {s.guidance_until:g}, shift {s.shift:g}, "
            f"spread {s.spread:g}, {self.precision}; {network}; soradit {self.soradit}"
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What ``soradit evaluate`` finds."""

    protocol: Protocol
    scores: list[Score]
    samples: list[Sample]
    """With a held-out clip each."""
    synonyms: list[Sample]

    def to_dict(self) -> dict[str, object]:
        return {
            "protocol": asdict(self.protocol),
            "scores": {
                score.key: {"generated": score.generated, "real": score.real, "what": score.what}
                for score in self.scores
            },
            "clips": [sample.to_dict() for sample in self.samples],
            "synonyms": [sample.to_dict() for sample in self.synonyms],
        }

    def to_lines(self) -> list[str]:
        """The protocol and a table, in plain text."""
        rows = [("", "generated", "real", ""), *(score.to_row() for score in self.scores)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        table = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
        return [self.protocol.to_line(), *table]
