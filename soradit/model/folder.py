"""The weights folder as files: where it lies, what it holds, and whether it is whole. Needs no torch.

``SHA256SUMS`` lists the files that decide what is generated, as ``sha256sum -c SHA256SUMS`` reads it.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import soradit
from soradit.errors import SoraditError
from soradit.files import sha256_of, write_whole

BUNDLED = "skies"
INDEX = "model_index.json"
LORA_FOLDER = "lora"
"""In a run's folder."""
LORA_CONFIG, LORA_TENSORS = "adapter_config.json", "adapter_model.safetensors"
SUMS = "SHA256SUMS"
TEXT_PARTS = ("text_encoder", "tokenizer")
"""The components that decide a prompt's embedding."""
IDENTITY = ("transformer", "vae", *TEXT_PARTS)
"""The components that, with prompt, seed and settings, decide every pixel."""

Hashes = dict[str, str]
"""SHA-256 in hexadecimal by a file's path inside the folder."""


def find_weights(name: str | Path | None = None) -> Path:
    """The folder of weights of that path, or the bundled one. Raises SoraditError when it isn't one."""
    folder = Path(name) if name is not None else bundled_weights()
    if folder.is_file():
        raise SoraditError(f"{folder} is a file, not a folder of weights")
    if not folder.is_dir():
        raise SoraditError(f"no folder of weights at {folder}")
    if not (folder / INDEX).is_file():
        raise SoraditError(f"{folder} is not a folder of weights: it has no {INDEX}")
    return folder


def bundled_weights() -> Path:
    """Where the weights that ship with soradit lie: in the package, or beside it in a checkout."""
    package = Path(soradit.__file__).parent
    installed = package / "weights" / BUNDLED
    return installed if installed.is_dir() else package.parent / "weights" / BUNDLED


def has_component(folder: Path, component: str) -> bool:
    return (folder / component).is_dir()


def hash_files(folder: Path, components: Iterable[str] = IDENTITY) -> Hashes:
    """Hashes of every file of these components that isn't hidden. Raises SoraditError for one that can't be read."""
    paths = (p for component in components for p in sorted((folder / component).rglob("[!.]*")) if p.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in paths}


def verify(folder: Path) -> Hashes:
    """The folder's hashes. Raises SoraditError where they aren't those of its ``SHA256SUMS``, if it has one."""
    found = hash_files(folder)
    for name, digest in promised_hashes(folder).items():
        if name not in found:
            raise SoraditError(f"{folder / name} is missing: the weights are incomplete, copy them again")
        if digest != found[name]:
            raise SoraditError(
                f"{folder / name} is damaged or was changed, going by {SUMS}: "
                f"copy the weights again, or delete {folder / SUMS} to use them as they are"
            )
    return found


def promised_hashes(folder: Path) -> Hashes:
    """What the folder's ``SHA256SUMS`` says, unchecked; nothing without one. SoraditError for one that is damaged."""
    lines = _lines(folder / SUMS) if (folder / SUMS).is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def write_sums(folder: Path) -> None:
    """List the hashes of the folder's files, so that a damaged or half-made copy is known for what it is."""
    write_whole(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in hash_files(folder).items()))


def identity(hashes: Hashes, *components: str) -> str:
    """One hash (16 digits) of the components' files, all of them by default: equal exactly when the files are."""
    wanted = components or IDENTITY
    listing = [f"{digest}  {name}\n" for name, digest in sorted(hashes.items()) if name.split("/")[0] in wanted]
    return hashlib.sha256("".join(listing).encode()).hexdigest()[:16]


def fingerprint(folder: Path, *components: str) -> str:
    """``identity`` of files as they are now."""
    return identity(hash_files(folder, components or IDENTITY), *components)


class Lora(NamedTuple):
    """A folder of LoRA, and how much of it to add: 1 is as it was trained."""

    folder: Path
    strength: float = 1.0

    @property
    def fingerprint(self) -> str:
        """16 digits of a hash of what it holds, whatever its folder is called."""
        files = (self.folder / name for name in (LORA_CONFIG, LORA_TENSORS))
        return sha256_of(*files)[:16]


def lora_beside(weights: Path) -> Path | None:
    """What a run with --lora has learnt: not in its weights, which are as they were."""
    folder = weights / LORA_FOLDER
    return folder if (folder / LORA_CONFIG).is_file() else None


def require_new(folder: Path) -> None:
    """Raises SoraditError when it is there already; cheap: ask before any work."""
    if folder.exists():
        raise SoraditError(f"{folder}: exists already; choose another folder with -o")


def require_no_lora(weights: Path) -> None:
    """Raises SoraditError for a run with --lora, whose weights say nothing of what it learnt."""
    if (lora := lora_beside(weights)) is not None:
        raise SoraditError(f"{weights} has learnt {lora}, which its weights don't hold: soradit merge {lora} first")


def parse_lora(spec: str) -> Lora:
    """``DIR`` or ``DIR:STRENGTH``; raises SoraditError when there is no LoRA."""
    match = re.fullmatch(r"(.+):([+-]?(?:\d+\.?\d*|\.\d+))", spec)
    lora = Lora(Path(match[1]), float(match[2])) if match else Lora(Path(spec))
    for name in (LORA_CONFIG, LORA_TENSORS):
        if not (lora.folder / name).is_file():
            beside = lora_beside(lora.folder)
            meant = f"did you mean {beside}?" if beside else "give DIR or DIR:STRENGTH, a number"
            raise SoraditError(f"no LoRA at {lora.folder}, it has no {name}: {meant}")
    return lora


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise SoraditError(f"{path} can't be read ({error.strerror}): copy the weights again") from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SoraditError(f"{path} is damaged ({error}): copy the weights again") from error
