"""LoRA: a transformer is fine-tuned by a small matrix beside each large one, saved in peft's format.

Hu et al. 2021 (arXiv 2106.09685), equation 3.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from soradit.errors import SoraditError, first_line
from soradit.files import write_whole
from soradit.model.dit import DiT
from soradit.model.folder import LORA_CONFIG, LORA_TENSORS, Lora

if TYPE_CHECKING:
    from peft import LoraConfig

TARGETS = r"blocks\.\d+\.(attention\.(to_qkv|text_to_kv|out)|feed_forward\.[02])"
"""The matrices of attention and feed-forward."""
PREFIX = "base_model.model."
"""How peft names what it wraps."""
BASE = "soradit_base_transformer"
"""In the safetensors metadata, which peft leaves alone: ``fingerprint`` of the transformer that was trained on."""


def add_lora(model: DiT, rank: int) -> DiT:
    """Freeze the model, and put matrices of ``rank`` beside its own; in place. At first they change nothing."""
    from peft import inject_adapter_in_model

    model.requires_grad_(False)
    inject_adapter_in_model(_config(rank), model)
    return model


def save_lora(folder: Path, rank: int, tensors: dict[str, Tensor], *, base: str) -> None:
    """Save what ``add_lora`` added, by the names that the model's state has it under.

    ``base`` is the ``fingerprint`` of the transformer that it was added to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    added = {name: tensor for name, tensor in tensors.items() if ".lora_" in name}
    saved = {PREFIX + name.replace(".default.", "."): t.detach().cpu().contiguous() for name, t in added.items()}
    write_whole(folder / LORA_TENSORS, save(saved, metadata={"format": "pt", BASE: base}))
    config = {**_config(rank).to_dict(), "peft_type": "LORA", "inference_mode": True}
    write_whole(folder / LORA_CONFIG, json.dumps(config, indent=2, sort_keys=True, default=str) + "\n")


def load_lora(
    transformer: DiT, loras: Sequence[Lora], *, base: str, note: Callable[[str], None] = lambda text: None
) -> DiT:
    """The transformer, whose ``fingerprint`` is ``base``, with each LoRA merged into its weights.

    ``note`` is told of each that was trained on another transformer. Raises SoraditError for one that is damaged, or
    doesn't fit.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from peft.tuners.lora import LoraLayer

    named = {f"lora_{i}": lora for i, lora in enumerate(loras)}
    model = None
    for name, (folder, strength) in named.items():
        try:
            with catch_warnings():  # of what is missing
                simplefilter("ignore")
                if model is None:
                    model = PeftModel.from_pretrained(transformer, str(folder), adapter_name=name)
                else:
                    model.load_adapter(str(folder), adapter_name=name)
            _require_same(get_peft_model_state_dict(model, adapter_name=name).keys(), _names_in(folder))
        except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError, OSError) as error:
            raise SoraditError(f"LoRA {folder} doesn't fit these weights: {first_line(error)}") from error
        for module in model.modules():
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.set_scale(name, strength)
    if model is None:
        return transformer
    for folder in dict.fromkeys(lora.folder for lora in loras):
        if (own := trained_on(folder)) not in (None, base):
            others = f"transformer {own}, not {base}"
            note(f"LoRA {folder} was trained on other weights ({others}): name its own with --weights")
    merged: DiT = model.merge_and_unload(adapter_names=list(named))
    return merged.eval().requires_grad_(False)


def _require_same(expected: Iterable[str], found: Iterable[str]) -> None:
    if differing := set(expected) ^ set(found):
        raise ValueError(f"they and it differ in {min(differing)}")


def _names_in(folder: Path) -> list[str]:
    with safe_open(folder / LORA_TENSORS, framework="pt") as file:
        return list(file.keys())


def trained_on(folder: Path) -> str | None:
    """The fingerprint of its transformer; peft's own LoRA don't say."""
    with safe_open(folder / LORA_TENSORS, framework="pt") as file:
        return (file.metadata() or {}).get(BASE)


def _config(rank: int) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
