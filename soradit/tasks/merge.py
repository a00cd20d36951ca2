"""``soradit merge``: weights and LoRA -> a folder of weights that needs no LoRA beside it."""

from collections.abc import Sequence
from pathlib import Path

from soradit.model.folder import Lora, find_weights, identity, require_new, verify
from soradit.model.lora import load_lora
from soradit.model.weights import load_transformer, save_with_transformer
from soradit.report import Report


def merge(loras: Sequence[Lora], output: Path, *, weights: str | None = None, report: Report | None = None) -> Path:
    """Write ``weights`` (None: the bundled ones), with each LoRA in them, to ``output``.

    The folder appears whole. Raises SoraditError when it is there already, can't be written, or a LoRA doesn't fit. The
    report hears of a LoRA that was trained on other weights.
    """
    require_new(output)
    base = find_weights(weights)
    hashes = verify(base)
    merged = [f"weights {base.resolve().name} ({identity(hashes)})"]
    for lora in loras:
        merged.append(f"LoRA {lora.folder.resolve().name} ({lora.fingerprint}), strength {lora.strength:g}")
    own = identity(hashes, "transformer")
    transformer = load_lora(load_transformer(base), loras, base=own, note=(report or Report()).note)
    card = "\n".join(["# Merged weights", "", *(f"- {line}" for line in merged), ""])
    save_with_transformer(output, base, transformer.config, transformer.state_dict(), familiar=None, card=card)
    return output
