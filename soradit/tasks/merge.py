"""``soradit merge``: weights and LoRA -> a folder of weights that needs no LoRA beside it."""

from pathlib import Path

from soradit.model.folder import find_weights, identity, lora_fingerprint, parse_lora, verify
from soradit.model.lora import load_lora, trained_elsewhere
from soradit.model.weights import load_transformer, require_new, save_with_transformer
from soradit.report import Report


def merge(lora: list[str], output: Path, *, weights: str | None = None, report: Report | None = None) -> Path:
    """Write ``weights`` (None: the bundled ones), with each ``DIR`` or ``DIR:STRENGTH`` of LoRA in them, to ``output``.

    The folder appears whole. Raises SoraditError when it is there already, can't be written, or a LoRA doesn't fit. The
    report hears of a LoRA that was trained on other weights.
    """
    require_new(output)
    base = find_weights(weights)
    hashes = verify(base)
    merged = [f"weights {base.resolve().name} ({identity(hashes)})"]
    for folder, strength in map(parse_lora, lora):
        merged.append(f"LoRA {folder.resolve().name} ({lora_fingerprint(folder)}), strength {strength:g}")
    transformer = load_lora(load_transformer(base), lora)
    for text in trained_elsewhere(lora, identity(hashes, "transformer")):
        (report or Report()).note(text)
    card = "\n".join(["# Merged weights", "", *(f"- {line}" for line in merged), ""])
    save_with_transformer(output, base, transformer.config, transformer.state_dict(), familiar=None, card=card)
    return output
