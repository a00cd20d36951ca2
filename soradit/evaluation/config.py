"""What to evaluate. Needs no torch, so that mistakes are told at once."""

from dataclasses import dataclass
from pathlib import Path

from soradit.errors import SoraditError

RESULTS, PAGE, GENERATED = "evaluation.json", "evaluation.html", "clips"
DEFAULT = "efficientnet-lite0"
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What to evaluate, on which clips."""

    weights: str | None = None
    """The bundled ones when None."""
    data: Path
    output: Path
    """Folder of the figures, the page and the generated clips."""
    training: Path | None = None
    """Folder of the clips that were trained on, if none of ``data`` was."""
    all_held_out: bool = False
    """Whether none of ``data`` was trained on; else training's own split tells which were."""
    count: int = 200
    """Held-out clips to use at most."""
    features: str = DEFAULT
    """The network that compares frames."""
    steps: int | None = None
    guidance: float | None = None
    overwrite: bool = False
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for path in (self.output / RESULTS, self.output / PAGE):
            if path.exists() and not self.overwrite:
                raise SoraditError(f"{path}: exists already; give --overwrite to replace it, or another folder with -o")
