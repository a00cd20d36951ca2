"""LoRA: nothing at first, peft's own format, several at once at their strengths."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from soradit.errors import SoraditError
from soradit.model.dit import DiT, DiTConfig
from soradit.model.folder import LORA_CONFIG, LORA_TENSORS, Lora, parse_lora
from soradit.model.lora import add_lora, load_lora, save_lora
from soradit.tasks.info import info

CONFIG = DiTConfig(depth=2, width=48, heads=2, latent_channels=16, text_dim=32, pooled_dim=32)
RANK = 3
BASE = "0123456789abcdef"


def base() -> DiT:
    torch.manual_seed(0)
    model = DiT(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # at initialisation a block is the identity
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def predict(model: torch.nn.Module) -> Tensor:
    random = torch.Generator().manual_seed(1)
    latents, text = torch.randn(2, 2, 2, 2, 16, generator=random), torch.randn(2, 5, 32, generator=random)
    with torch.no_grad():
        return model(latents, torch.tensor([0.2, 0.7]), text, torch.randn(2, 32, generator=random))


def trained(seed: int) -> DiT:
    model = add_lora(base(), RANK)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=random))
    return model


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    save_lora(tmp_path / "lora", RANK, trained(0).state_dict(), base=BASE)
    return tmp_path / "lora"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    save_lora(tmp_path / "other", RANK, trained(1).state_dict(), base="fedcba9876543210")
    return tmp_path / "other"


def test_lora_changes_nothing_at_first() -> None:
    model = add_lora(base(), RANK)
    assert torch.equal(predict(model), predict(base()))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == CONFIG.depth * 5 * 2
    assert all(".lora_" in name for name in names)


def test_merged_predicts_as_trained(lora: Path) -> None:
    merged = load_lora(base(), [Lora(lora)], base=BASE)
    assert type(merged) is DiT
    assert merged.state_dict().keys() == base().state_dict().keys()
    assert torch.allclose(predict(merged), predict(trained(0)), atol=1e-5)
    assert not torch.allclose(predict(merged), predict(base()), atol=1e-2)


def test_peft_reads_it(lora: Path) -> None:
    from peft import PeftModel

    model = PeftModel.from_pretrained(base(), str(lora)).eval()
    assert torch.allclose(predict(model), predict(trained(0)), atol=1e-5)
    assert {tensor.dtype for tensor in load_file(lora / LORA_TENSORS).values()} == {torch.float32}


def test_several_at_their_strengths_add_up(lora: Path, other: Path) -> None:
    both = load_lora(base(), [Lora(lora, 0.5), Lora(other, -2)], base=BASE).state_dict()
    first, second = (load_lora(base(), [Lora(folder)], base=BASE) for folder in (lora, other))
    start = base()
    for name, weight in start.state_dict().items():
        expected = weight + 0.5 * (first.state_dict()[name] - weight) - 2 * (second.state_dict()[name] - weight)
        assert torch.allclose(both[name], expected, atol=1e-5)


def test_strength_zero_and_no_lora_are_the_base(lora: Path) -> None:
    assert torch.allclose(predict(load_lora(base(), [Lora(lora, 0)], base=BASE)), predict(base()), atol=1e-6)
    assert torch.equal(predict(load_lora(base(), [], base=BASE)), predict(base()))


def test_a_spec_is_a_folder_and_a_strength(lora: Path, tmp_path: Path) -> None:
    shutil.copytree(lora, tmp_path / "a:b")
    assert parse_lora(f"{lora}:.5") == (lora, 0.5)
    assert parse_lora(str(tmp_path / "a:b")) == (tmp_path / "a:b", 1.0)
    with pytest.raises(SoraditError, match=r"no LoRA at .*nowhere, it has no adapter_config.json"):
        parse_lora(str(tmp_path / "nowhere:2"))


def test_a_lora_of_other_weights_is_named(lora: Path, other: Path) -> None:
    noted: list[str] = []
    load_lora(base(), [Lora(lora), Lora(other, 0.5), Lora(other)], base=BASE, note=noted.append)
    (line,) = noted
    others = f"transformer fedcba9876543210, not {BASE}"
    assert line == f"LoRA {other} was trained on other weights ({others}): name its own with --weights"


def test_a_lora_that_does_not_say_what_it_was_trained_on_is_taken(lora: Path) -> None:
    save_file(load_file(lora / LORA_TENSORS), lora / LORA_TENSORS)  # as peft saves it, without our record
    noted: list[str] = []
    load_lora(base(), [Lora(lora)], base="fedcba9876543210", note=noted.append)
    assert noted == []


def test_a_lora_that_does_not_fit_is_named(lora: Path) -> None:
    wider = DiT(DiTConfig(**{**vars(CONFIG), "width": 96}))
    with pytest.raises(SoraditError, match=f"LoRA {lora} doesn't fit these weights: ") as error:
        load_lora(wider, [Lora(lora)], base=BASE)
    assert "\n" not in str(error.value)
    for depth in (1, 3):
        other = DiT(DiTConfig(**{**vars(CONFIG), "depth": depth}))
        with pytest.raises(SoraditError, match=rf"doesn't fit these weights: .*blocks\.{min(depth, 2)}\."):
            load_lora(other, [Lora(lora)], base=BASE)
    (lora / LORA_TENSORS).write_bytes(b"half of it")
    with pytest.raises(SoraditError, match=f"LoRA {lora} doesn't fit"):
        load_lora(base(), [Lora(lora)], base=BASE)


def test_info_of_it(lora: Path) -> None:
    facts = info(lora)
    added = sum(tensor.numel() for name, tensor in trained(0).state_dict().items() if ".lora_" in name)
    assert (facts["rank"], facts["parameters"], facts["trained_on"]) == (RANK, added, BASE)
    assert facts["lora"] == Lora(lora).fingerprint
    os.truncate(lora / LORA_TENSORS, (lora / LORA_TENSORS).stat().st_size - 4)
    with pytest.raises(SoraditError, match=r"LoRA .*lora is damaged .*: copy it again"):
        info(lora)
    (lora / LORA_CONFIG).write_text("{}")
    with pytest.raises(SoraditError, match=r"LoRA .*lora is damaged \('r'\): copy it again"):
        info(lora)
