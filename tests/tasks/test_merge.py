"""Merged weights are a folder like any other, and generate what weights and LoRA generate together."""

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from soradit.model.familiar import load_familiar
from soradit.model.folder import fingerprint, verify
from soradit.model.lora import add_lora, save_lora
from soradit.model.weights import load_transformer


@pytest.fixture(scope="module")
def lora(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = add_lora(load_transformer(weights), 2)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=random))
    folder = tmp_path_factory.mktemp("lora")
    save_lora(folder, 2, model.state_dict(), base=fingerprint(weights, "transformer"))
    return folder


def deviation(folder: Path, other: Path) -> float:
    """Mean, of 255, between two folders of frames."""
    a, b = (np.stack([iio.imread(frame) for frame in sorted(each.iterdir())]).astype(float) for each in (folder, other))
    return float(np.abs(a - b).mean())


def test_merged_weights_generate_what_lora_does(soradit: Callable, weights: Path, lora: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    ended = soradit("merge", f"{lora}:0.7", "-o", merged, "--weights", weights)
    assert (ended.exit_code, ended.out, ended.err) == (0, f"{merged}\n", "")
    variants = {
        "lora": ("--weights", weights, "--lora", f"{lora}:0.7"),
        "merged": ("--weights", merged),
        "base": ("--weights", weights),
    }
    for name, options in variants.items():
        exact = (*options, "--precision", "float32")
        assert soradit("generate", "a red sunset", *exact, "-o", tmp_path / f"{name}.png").exit_code == 0
    assert deviation(tmp_path / "merged.png", tmp_path / "lora.png") < 0.2
    assert deviation(tmp_path / "merged.png", tmp_path / "base.png") > 2


def test_a_merged_folder_is_whole(soradit: Callable, weights: Path, lora: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    assert soradit("merge", lora, "-o", merged, "--weights", weights).exit_code == 0
    assert verify(merged)
    others = ("vae", "text_encoder", "tokenizer")
    assert fingerprint(merged, *others) == fingerprint(weights, *others)
    assert fingerprint(merged, "transformer") != fingerprint(weights, "transformer")
    assert load_familiar(weights) is not None
    assert load_familiar(merged) is None  # LoRA doesn't say what it learnt from
    assert f"LoRA {lora.name}" in (merged / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_merging_into_other_weights_is_named(soradit: Callable, weights: Path, lora: Path, tmp_path: Path) -> None:
    assert soradit("merge", lora, "-o", tmp_path / "once", "--weights", weights).exit_code == 0
    ended = soradit("merge", lora, "-o", tmp_path / "twice", "--weights", tmp_path / "once")
    assert (ended.exit_code, ended.out) == (0, f"{tmp_path / 'twice'}\n")
    assert ended.err.startswith(f"LoRA {lora} was trained on other weights ")
    assert ended.err.count("\n") == 1


def test_what_cannot_be_merged_leaves_nothing(soradit: Callable, weights: Path, lora: Path, tmp_path: Path) -> None:
    ended = soradit("merge", lora, "-o", lora, "--weights", weights)
    assert (ended.exit_code, ended.error) == (1, f"soradit: {lora}: exists already; choose another folder with -o")
    ended = soradit("merge", lora, "-o", tmp_path / "merged")
    assert (ended.exit_code, ended.out) == (1, "")
    assert f"LoRA {lora} doesn't fit these weights: " in ended.error
    assert not any(tmp_path.iterdir())
