"""``soradit merge``: weights and LoRA -> a folder of weights that needs no LoRA beside it."""

import shutil
from pathlib import Path

from soradit.errors import SoraditError
from soradit.model.folder import find_weights, identity, verify
from soradit.model.lora import load_lora, lora_fingerprint, parse_lora
from soradit.model.weights import copy_component, load_transformer, save_transformer, write_index


def merge(lora: list[str], output: Path, *, weights: str | None = None) -> Path:
    """Write ``weights`` (None: the bundled ones), with each ``DIR`` or ``DIR:STRENGTH`` of LoRA in them, to ``output``.

    The folder appears whole. Raises SoraditError when it is there already, can't be written, or a LoRA doesn't fit.
    """
    base = find_weights(weights)
    hashes = verify(base)
    if output.exists():
        raise SoraditError(f"{output}: exists already; choose another folder with -o")
    transformer = load_lora(load_transformer(base), lora)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for component in ("vae", "text_encoder", "tokenizer", "scheduler"):
            copy_component(base, temporary, component)
        save_transformer(temporary, transformer.config, transformer.state_dict())
        (temporary / "README.md").write_text(_card(base, identity(hashes), lora), encoding="utf-8")
        write_index(temporary)
        temporary.rename(output)
    except OSError as error:
        raise SoraditError(f"can't write {output} ({error.strerror}): choose another folder with -o") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return output


def _card(base: Path, base_identity: str, lora: list[str]) -> str:
    """The model card: what was merged, by names and hashes."""
    lines = (
        f"- LoRA {folder.name} ({lora_fingerprint(folder)}), strength {strength:g}"
        for folder, strength in map(parse_lora, lora)
    )
    return "\n".join(["# Merged weights", "", f"- weights {base.name} ({base_identity})", *lines, ""])
