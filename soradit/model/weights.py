"""The weights folder: a pipeline's parts on disk, in the form that diffusers uses.

model_index.json              which class each part is of
transformer/  vae/            config.json, diffusion_pytorch_model.safetensors (float16)
text_encoder/  tokenizer/     as transformers saves them
scheduler/                    how to sample: see GenerationConfig
SHA256SUMS                    hashes of all of these that decide pixels (see ``soradit.model.folder``)
README.md                     the model card
"""

import hashlib
import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

import soradit
from soradit.errors import SoraditError, first_line
from soradit.files import appearing, write_whole
from soradit.imports import quick_imports
from soradit.model.autoencoder import Autoencoder
from soradit.model.config import AutoencoderConfig, GenerationConfig, load_autoencoder_config, read_config
from soradit.model.dit import DiT, DiTConfig
from soradit.model.familiar import EVERYDAY_FILE, Familiar, save_familiar
from soradit.model.folder import INDEX, SUMS, TEXT_PARTS, has_component, require_new, write_sums

if TYPE_CHECKING:
    from soradit.model.text import TextEncoder

TENSORS = "diffusion_pytorch_model.safetensors"
CLASSES = {
    "transformer": ("soradit", "DiT"),
    "vae": ("soradit", "Autoencoder"),
    "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
    "tokenizer": ("transformers", "CLIPTokenizerFast"),
    "scheduler": ("soradit", "GenerationConfig"),
}


def load_transformer(folder: Path) -> DiT:
    """In float32, on the CPU, ready to predict. Raises SoraditError for files missing, damaged or not fitting."""
    return _load(DiT, DiTConfig, folder / "transformer")


def load_autoencoder(folder: Path) -> Autoencoder:
    """In float32, on the CPU, frozen. Raises SoraditError for files missing, damaged or not fitting."""
    return _load(Autoencoder, AutoencoderConfig, folder / "vae")


def load_encoder_only(folder: Path) -> Autoencoder:
    """An autoencoder with the folder's encoder, frozen, and a decoder yet to be fitted and trained."""
    return _load(Autoencoder, AutoencoderConfig, folder / "vae", only="encoder.")


def load_text(folder: Path) -> "TextEncoder":
    """In float32, on the CPU, frozen. Raises SoraditError for files missing, damaged or not fitting."""
    with quick_imports():
        from soradit.model.text import load_text_encoder  # transformers takes seconds to import

    for part in TEXT_PARTS:
        if not has_component(folder, part):
            raise SoraditError(f"{folder} has no {part}: train one with soradit train --component text_encoder")
    return load_text_encoder(folder / "text_encoder", folder / "tokenizer")


def save_transformer(folder: Path, config: DiTConfig, tensors: dict[str, torch.Tensor]) -> None:
    _save(folder / "transformer", config, tensors)


def save_autoencoder(folder: Path, config: AutoencoderConfig, tensors: dict[str, torch.Tensor]) -> None:
    _save(folder / "vae", config, tensors)


def save_text(folder: Path, text_encoder: "TextEncoder") -> None:
    (folder / SUMS).unlink(missing_ok=True)
    text_encoder.save(folder)
    (folder / EVERYDAY_FILE).unlink(missing_ok=True)  # another text encoder's


def save_generation_config(folder: Path, config: GenerationConfig) -> None:
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    _write_json(folder / "scheduler" / "scheduler_config.json", _described(config))


def write_index(folder: Path) -> None:
    """Name the components that are there, and list their hashes: last of all, so that the list tells a whole folder."""
    parts = {name: list(classes) for name, classes in CLASSES.items() if has_component(folder, name)}
    index = {"_class_name": "SoraditPipeline", "_soradit_version": soradit.__version__, **parts}
    _write_json(folder / INDEX, index)
    write_sums(folder)


def save_with_transformer(
    folder: Path,
    base: Path,
    config: DiTConfig,
    tensors: dict[str, torch.Tensor],
    *,
    familiar: Familiar | None,
    card: str,
) -> None:
    """A new folder of weights: the ``base``'s with another transformer, and ``card`` for its README.md.

    ``familiar`` is what that transformer has learnt from. The folder appears whole. Raises SoraditError when it can't
    be written.
    """
    try:
        with appearing(folder) as temporary:
            for component in ("vae", *TEXT_PARTS, "scheduler"):
                copy_component(base, temporary, component)
            save_transformer(temporary, config, tensors)
            save_familiar(temporary, familiar)
            (temporary / "README.md").write_text(card, encoding="utf-8")
            write_index(temporary)
            require_new(folder)
    except (SafetensorError, OSError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise SoraditError(f"can't write {folder} ({why}): choose another with -o") from error


def copy_component(source: Path, target: Path, component: str) -> None:
    """Copy a component's folder, if the source has it and it is another folder."""
    if has_component(source, component) and source.resolve() != target.resolve():
        shutil.copytree(source / component, target / component, dirs_exist_ok=True)


def encoder_fingerprint(folder: Path) -> str:
    """A hash of what latents depend on: the encoder and the statistics, but not the decoder.

    Raises SoraditError for files missing or damaged.
    """
    config = load_autoencoder_config(folder)
    digest = hashlib.sha256(json.dumps([config.latent_mean, config.latent_std]).encode())
    for name, tensor in sorted(_read_tensors(folder / "vae" / TENSORS).items()):
        if name.startswith("encoder."):
            digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise SoraditError(f"{path} is missing: the weights are incomplete, copy them again")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise SoraditError(f"{path} is damaged ({error}): copy the weights again") from error


def _load(model_class: Any, config_class: Any, folder: Path, only: str = "") -> Any:
    """A model with the folder's tensors: all of them, or those whose names begin with ``only``."""
    config = read_config(config_class, folder / "config.json")
    path = folder / TENSORS
    tensors = _read_tensors(path)
    try:
        with nullcontext() if only else torch.device("meta"):  # no random values where all are read
            model: nn.Module = model_class(config)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise SoraditError(f"{folder / 'config.json'} can't be used: {first_line(error)}") from error
    wanted, found = (
        {name: tensor.shape for name, tensor in part.items() if name.startswith(only)}
        for part in (model.state_dict(), tensors)
    )
    if wanted != found:
        name = next(n for n in [*wanted, *found] if wanted.get(n) != found.get(n))
        raise SoraditError(f"{path} doesn't fit its config.json: {name} is {found.get(name)}, not {wanted.get(name)}")
    read = {name: tensors[name].to(torch.float32, copy=True) for name in wanted}
    model.load_state_dict(read, strict=not only, assign=not only)
    return model.eval().requires_grad_(False)


def _save(folder: Path, config: AutoencoderConfig | DiTConfig, tensors: dict[str, torch.Tensor]) -> None:
    """The config last: a folder without one is never taken for whole."""
    (folder.parent / SUMS).unlink(missing_ok=True)  # of what is replaced now
    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.detach().cpu().half().contiguous() for name, tensor in tensors.items()}
    write_whole(folder / TENSORS, save(halves))
    _write_json(folder / "config.json", _described(config))


def _described(config: Any) -> dict:
    return {"_class_name": type(config).__name__, "_soradit_version": soradit.__version__, **asdict(config)}


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=2) + "\n")
