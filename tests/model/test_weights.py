"""The folder of weights: what is saved is loaded, and whatever is wrong with it is said in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from soradit.errors import SoraditError, UsageError
from soradit.model.autoencoder import Autoencoder, AutoencoderConfig
from soradit.model.config import GenerationConfig, load_generation_config
from soradit.model.dit import DiT, DiTConfig
from soradit.model.folder import find_weights, fingerprint
from soradit.model.weights import (
    encoder_fingerprint,
    load_autoencoder,
    load_text,
    load_transformer,
    save_autoencoder,
    save_generation_config,
    save_transformer,
)
from soradit.pipeline import Pipeline

TENSORS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(weights: Path, tmp_path: Path) -> Path:
    """A folder of weights to damage."""
    ignored = shutil.ignore_patterns("checkpoints", "cache")
    return Path(shutil.copytree(weights, tmp_path / "weights", ignore=ignored))


def test_saved_transformer_is_loaded_to_float16_rounding(tmp_path: Path) -> None:
    config = DiTConfig(depth=1, width=24, heads=2, latent_channels=4, text_dim=6, pooled_dim=5)
    model = DiT(config)
    save_transformer(tmp_path, config, model.state_dict())
    loaded = load_transformer(tmp_path)
    assert loaded.config == config
    assert not loaded.training
    for before, after in zip(model.parameters(), loaded.parameters(), strict=True):
        assert after.dtype == torch.float32
        assert not after.requires_grad
        assert torch.equal(before.half().float(), after)


def test_saved_autoencoder_keeps_its_statistics(tmp_path: Path) -> None:
    config = AutoencoderConfig(
        widths=(8, 8), blocks_per_stage=1, latent_channels=2, latent_mean=(0.1, -3.0), latent_std=(0.2, 7.0)
    )
    model = Autoencoder(config)
    save_autoencoder(tmp_path, config, model.state_dict())
    loaded = load_autoencoder(tmp_path)
    assert loaded.config == config
    assert torch.equal(loaded.latent_std, torch.tensor([0.2, 7.0]))
    assert torch.equal(model.encoder.project.weight.half().float(), loaded.encoder.project.weight)


def test_saved_generation_config_is_loaded(tmp_path: Path) -> None:
    config = GenerationConfig(process="noise", sampler="ddim", steps=7, guidance=1.5, height=64, width=96)
    save_generation_config(tmp_path, config)
    assert load_generation_config(tmp_path) == config


def test_guidance_acts_somewhere() -> None:
    assert GenerationConfig(guidance_from=0.2, guidance_until=0.3)
    with pytest.raises(UsageError, match=r"guidance from 0\.7 to 0\.7 is none: use guidance 1"):
        GenerationConfig(guidance_from=0.7, guidance_until=0.7)


def test_index_names_the_parts_as_diffusers_does(weights: Path) -> None:
    index = json.loads((weights / "model_index.json").read_text())
    assert index["_class_name"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModelWithProjection"]
    parts = {name for name in index if not name.startswith("_")}
    assert parts == {"transformer", "vae", "text_encoder", "tokenizer", "scheduler"}
    assert all((weights / part).is_dir() for part in parts)


def test_fingerprints_tell_weights_apart_and_draw_nothing(copy: Path) -> None:
    state = torch.get_rng_state()
    latents, all_of_it = encoder_fingerprint(copy), fingerprint(copy)
    assert torch.equal(state, torch.get_rng_state()), "of draws that a fresh model is made from"
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for name, same in (("decoder.to_pixels.bias", True), ("encoder.to_latents.bias", False)):
        tensors[name] += 1
        save_file(tensors, path)
        assert (encoder_fingerprint(copy) == latents) == same
        assert fingerprint(copy) != all_of_it


def test_fingerprint_changes_with_any_byte(copy: Path) -> None:
    before = fingerprint(copy, "transformer", "vae")
    assert fingerprint(copy, "transformer", "vae") == before
    path = copy / TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert fingerprint(copy, "transformer", "vae") != before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path: Path) -> None:
    path.write_bytes(b"not what the name says" * 10)


def change(**fields: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def drop_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop("out.bias")
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("file", "damage", "load"),
    [
        ("model_index.json", Path.unlink, find_weights),
        (TENSORS, Path.unlink, load_transformer),
        (TENSORS, truncate, load_transformer),
        (TENSORS, scribble, load_transformer),
        (TENSORS, drop_a_tensor, load_transformer),
        ("transformer", shutil.rmtree, load_transformer),
        ("transformer/config.json", Path.unlink, load_transformer),
        ("transformer/config.json", truncate, load_transformer),
        ("transformer/config.json", scribble, load_transformer),
        ("transformer/config.json", change(width=24), load_transformer),
        ("transformer/config.json", change(heads=7), load_transformer),
        ("transformer/config.json", change(depth="two"), load_transformer),
        ("transformer/config.json", change(colour="red"), load_transformer),
        ("vae/config.json", change(latent_mean=[1.0]), load_autoencoder),
        ("vae/config.json", change(widths=3), load_autoencoder),
        ("vae/diffusion_pytorch_model.safetensors", truncate, load_autoencoder),
        ("text_encoder", shutil.rmtree, load_text),
        ("text_encoder/model.safetensors", truncate, load_text),
        ("tokenizer", shutil.rmtree, load_text),
        ("scheduler/scheduler_config.json", Path.unlink, load_generation_config),
        ("scheduler/scheduler_config.json", change(process="magic"), load_generation_config),
        ("scheduler/scheduler_config.json", change(sampler="ddim"), load_generation_config),
        ("scheduler/scheduler_config.json", change(steps=0), load_generation_config),
        ("scheduler/scheduler_config.json", change(guidance=float("nan")), load_generation_config),
    ],
)
def test_damage_is_named_in_one_line(
    copy: Path, file: str, damage: Callable[[Path], None], load: Callable[[Path], object]
) -> None:
    damage(copy / file)
    for read in (load, Pipeline.load):
        with pytest.raises(SoraditError) as error:
            read(copy)
        assert str(copy) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "a file"])
def test_what_is_no_folder_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(
        SoraditError, match=f"no folder of weights at .*{name}|{name} is a file, not a folder of weights"
    ):
        find_weights(tmp_path / name)
