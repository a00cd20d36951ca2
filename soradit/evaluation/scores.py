"""What an evaluation finds: each figure of generated clips beside the same of real ones."""

from dataclasses import dataclass
from statistics import mean

import numpy as np
from jaxtyping import Float

from soradit.evaluation.facts import Facts
from soradit.evaluation.frechet import frechet_distance
from soradit.evaluation.look import Look
from soradit.evaluation.memory import measure_memory

FACTS = ("hour", "cover", "drift")


@dataclass(frozen=True, kw_only=True)
class Score:
    """A figure, and what real clips get, so that it can be read. None where there is nothing to measure."""

    key: str
    """Its name in JSON."""
    name: str
    generated: float | None
    real: float | None = None
    what: str
    """What is measured, in which unit, and of which real clips."""
    is_share: bool = False
    """A fraction of 1, shown in percent."""

    def to_row(self) -> tuple[str, str, str, str]:
        """Name, generated, real, what; as text."""
        return self.name, self._text(self.generated), self._text(self.real), self.what

    def _text(self, value: float | None) -> str:
        if value is None:
            return "-"
        return f"{100 * value:.1f} %" if self.is_share else f"{value:.3g}"


@dataclass(frozen=True, kw_only=True)
class TrainingFeatures:
    """What the feature network sees in training clips."""

    windows: list[Float[np.ndarray, "k d"]]
    """Features of as many clips as are held out."""
    frames: Float[np.ndarray, "m d"]
    """Features of every clip, a frame a second."""
    clips: list[str]
    """The path of the file that each of these frames is of."""


def wrong(stated: Facts, seen: Facts) -> list[str]:
    """Which of the stated facts the clip does not show."""
    return [fact for fact in FACTS if getattr(stated, fact) not in (None, getattr(seen, fact))]


def distance(a: Look, b: Look) -> float | None:
    """Between the mean features of two clips."""
    if a.features is None or b.features is None:
        return None
    return float(np.linalg.norm(a.features.mean(axis=0) - b.features.mean(axis=0)))


def frechet_scores(generated: list[Look], real: list[Look], training: TrainingFeatures | None) -> list[Score]:
    """Distances of frames, and of what changes between them; none without features."""
    ours, theirs = _features(generated), _features(real)
    if not ours or not theirs:
        return []
    learnt = training.windows if training else []
    scores = []
    for key, name, of in (("frames", "frame", np.concatenate), ("changes", "temporal", _changes)):
        generated_distance = frechet_distance(of(ours), of(theirs))
        training_distance = frechet_distance(of(learnt), of(theirs)) if learnt else None
        times = f"; {generated_distance / training_distance:.3g} times that" if training_distance else ""
        scores += [
            Score(
                key=f"frechet_{key}",
                name=f"{name} Fréchet distance",
                generated=generated_distance,
                real=training_distance,
                what=f"to held-out clips; real: of training clips to them{times}",
            ),
            Score(
                key=f"frechet_{key}_halves",
                name=f"{name} Fréchet, halves",
                generated=None,
                real=frechet_distance(of(theirs[::2]), of(theirs[1::2])) if len(theirs) > 1 else None,
                what="of one half of the held-out clips to the other",
            ),
        ]
    return scores


def agreement_scores(key: str, name: str, stated: list[Facts], generated: list[Look], real: list[Look]) -> list[Score]:
    """Shares of clips that show what their prompt states; ``real`` may be empty."""
    scores = []
    for fact in FACTS:
        asked = [i for i, facts in enumerate(stated) if getattr(facts, fact)]
        if not asked:
            continue

        def share(looks: list[Look], fact: str = fact, asked: list[int] = asked) -> float | None:
            return mean(getattr(looks[i].seen, fact) == getattr(stated[i], fact) for i in asked) if looks else None

        scores.append(
            Score(
                key=f"{key}_{fact}",
                name=f"{fact} as {name}",
                generated=share(generated),
                real=share(real),
                what=f"of {len(asked)} that state it" + ("; real: how often the detector is right" if real else ""),
                is_share=True,
            )
        )
    return scores


def memory_scores(generated: list[Look], real: list[Look], training: TrainingFeatures | None) -> list[Score]:
    """Whether generated clips lie closer to training clips than held-out ones do; none without features."""
    if training is None or not (views := [look.views for look in generated if look.views is not None]):
        return []
    held_out = [look.views for look in real if look.views is not None]
    memory = measure_memory(np.stack(views), np.stack(held_out), training.frames)
    return [
        Score(
            key="remembered",
            name="remembered",
            generated=memory.remembered,
            real=1 / (len(held_out) + 1),
            what="nearer to a training frame than every held-out clip is; real: by chance",
            is_share=True,
        ),
        Score(
            key="nearer_to_training",
            name="nearer to training",
            generated=memory.closer,
            real=0.5,
            what="than a held-out clip is; real: by chance",
            is_share=True,
        ),
    ]


def measure_scores(generated: list[Look], real: list[Look]) -> list[Score]:
    """Means over clips of what needs no network."""
    measured = {
        "motion": "change of a pixel in half a second, in grey levels of 255",
        "flicker": "second difference of 8x8-pixel blocks from frame to frame, in grey levels",
        "detail": "difference of neighbouring pixels, in grey levels: low when blurred",
    }
    return [
        Score(
            key=name,
            name=name,
            generated=mean(getattr(look, name) for look in generated),
            real=mean(getattr(look, name) for look in real),
            what=what,
        )
        for name, what in measured.items()
    ]


def _features(looks: list[Look]) -> list[Float[np.ndarray, "k d"]]:
    return [look.features for look in looks if look.features is not None]


def _changes(clips: list[Float[np.ndarray, "k d"]]) -> Float[np.ndarray, "n d"]:
    return np.concatenate([np.diff(clip, axis=0) for clip in clips])
