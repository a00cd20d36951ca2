"""A run's snapshots become a folder of weights."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from soradit.model.config import read_config
from soradit.model.dit import DiT, DiTConfig
from soradit.model.folder import fingerprint, identity, verify
from soradit.model.lora import add_lora, save_lora
from soradit.model.weights import load_transformer, save_with_transformer
from soradit.training.snapshots import list_snapshots

TENSORS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def trained(clips: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from soradit.tasks.train import train
    from soradit.training.config import LoopConfig, TrainConfig

    run = tmp_path_factory.mktemp("run")
    loop = LoopConfig(steps=12, batch_size=2, learning_rate=1e-2, snapshots=2)
    return train(TrainConfig(data=clips, run=run, weights=str(weights)), loop)


def test_an_average_is_a_folder_of_weights(soradit: Callable, trained: Path, tmp_path: Path) -> None:
    averaged = tmp_path / "averaged"
    ended = soradit("average", trained, "-o", averaged, "--length", 0.05)
    assert (ended.exit_code, ended.out) == (0, f"{averaged}\n"), ended.err
    assert verify(averaged)
    assert fingerprint(averaged, "vae", "text_encoder") == fingerprint(trained, "vae", "text_encoder")
    (last,) = (s for s in list_snapshots(trained) if (s.step, s.length) == (12, 0.05))
    made, saved = load_file(averaged / TENSORS), load_file(last.path)
    assert all((made[name].float() - saved[name].float()).abs().max() < 2e-3 for name in saved)
    assert soradit("generate", "sky", "--weights", averaged, "-o", tmp_path / "sky.mp4").exit_code == 0


def test_an_average_that_is_met_badly_says_so(soradit: Callable, trained: Path, tmp_path: Path) -> None:
    ended = soradit("average", trained, "-o", tmp_path / "averaged", "--length", 0.25, "--step", 6)
    assert ended.exit_code == 0
    assert "length 0.25 at step 6, of 1 snapshot: " in ended.err
    assert "more --snapshots" in ended.err


def test_what_cannot_be_averaged_leaves_nothing(
    soradit: Callable, trained: Path, weights: Path, tmp_path: Path
) -> None:
    for arguments, said in {
        (trained, "-o", trained): f"{trained}: exists already; choose another folder with -o",
        (weights, "-o", tmp_path / "a"): f"{weights} has no snapshots: train with --snapshots 8",
        (trained, "-o", tmp_path / "a", "--step", 3): f"{trained} has no snapshot of step 3: use 6, 12",
    }.items():
        ended = soradit("average", *arguments)
        assert (ended.exit_code, ended.error) == (1, f"soradit: {said}")
    assert not any(tmp_path.iterdir())


def test_a_damaged_run_is_not_averaged(soradit: Callable, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "vae" / "config.json").write_text("{}")
    ended = soradit("average", run, "-o", tmp_path / "averaged")
    assert ended.exit_code == 1
    assert "vae/config.json is damaged or was changed" in ended.error
    assert not (tmp_path / "averaged").exists()


def test_several_runs_become_their_mean(soradit: Callable, trained: Path, weights: Path, tmp_path: Path) -> None:
    mean = tmp_path / "mean"
    ended = soradit("average", trained, weights, "-o", mean)
    assert (ended.exit_code, ended.out) == (0, f"{mean}\n"), ended.err
    assert verify(mean)
    assert fingerprint(mean, "vae", "text_encoder") == fingerprint(trained, "vae", "text_encoder")
    one, other, made = (load_file(folder / TENSORS) for folder in (trained, weights, mean))
    for name in made:
        torch.testing.assert_close(
            made[name].float(), (one[name].float() + other[name].float()) / 2, rtol=1e-3, atol=1e-6
        )
    assert all(identity(verify(folder)) in (mean / "README.md").read_text() for folder in (trained, weights))


def test_what_has_hardly_anything_in_common_is_told(
    soradit: Callable, trained: Path, weights: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    config = read_config(DiTConfig, weights / "transformer" / "config.json")
    strangers = {name: torch.randn_like(tensor) for name, tensor in DiT(config).state_dict().items()}
    save_with_transformer(tmp_path / "strange", weights, config, strangers, familiar=None, card="")
    ended = soradit("average", trained, tmp_path / "strange", "-o", tmp_path / "mean")
    assert ended.exit_code == 0
    assert f"{tmp_path / 'strange'} and {trained} have hardly anything in common" in ended.err
    assert "hardly" not in soradit("average", trained, weights, "-o", tmp_path / "other").err


def test_other_latents_have_no_mean_and_other_parts_are_told(
    soradit: Callable, trained: Path, weights: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(weights, tmp_path / "other", ignore=shutil.ignore_patterns("SHA256SUMS")))
    path = other / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["decoder.to_pixels.bias"] += 1
    save_file(tensors, path)
    ended = soradit("average", trained, other, "-o", tmp_path / "mean")
    assert ended.exit_code == 0
    assert f"{other} has another vae than {trained}, whose own is taken" in ended.err
    tensors["encoder.to_latents.bias"] += 1
    save_file(tensors, path)
    ended = soradit("average", trained, other, "-o", tmp_path / "again")
    assert (
        ended.error
        == f"soradit: {other} has other latents than {trained}: average weights that were trained from the same ones"
    )


def test_a_run_with_lora_is_named(soradit: Callable, clips: Path, trained: Path, weights: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(weights, tmp_path / "run"))
    add_a_lora(run)
    said = f"{run} has learnt {run / 'lora'}, which its weights don't hold: "
    for runs in ((trained, run), (run, trained)):
        ended = soradit("average", *runs, "-o", tmp_path / "mean")
        assert ended.error == f"soradit: {said}soradit merge {run / 'lora'} first"
    assert soradit("evaluate", run, "--data", clips, "-o", tmp_path / "out", "--all").error.startswith(
        f"soradit: {said}"
    )
    made = ("generate", "sky", "--weights", run, "--steps", 1)
    ended = soradit(*made, "-o", tmp_path / "a.mp4")
    assert ended.exit_code == 0
    assert f"{said}add --lora {run / 'lora'}" in ended.err
    assert said not in soradit(*made, "-o", tmp_path / "b.mp4", "--lora", run / "lora").err
    assert soradit(*made, "-o", tmp_path / "c.mp4", "--lora", run).error.endswith(f"did you mean {run / 'lora'}?")


def add_a_lora(run: Path) -> None:
    model = add_lora(load_transformer(run), 2)
    save_lora(run / "lora", 2, model.state_dict(), base=fingerprint(run, "transformer"))


def test_transformers_of_different_shapes_have_no_mean(
    soradit: Callable, trained: Path, weights: Path, tmp_path: Path
) -> None:
    config = read_config(DiTConfig, weights / "transformer" / "config.json")
    other, deeper = tmp_path / "other", replace(config, depth=config.depth + 1)
    save_with_transformer(other, weights, deeper, DiT(deeper).state_dict(), familiar=None, card="")
    ended = soradit("average", trained, other, "-o", tmp_path / "mean")
    assert ended.exit_code == 1
    assert ended.error.startswith(f"soradit: {other} has another transformer than {trained}: depth {deeper.depth}, not")
    assert not (tmp_path / "mean").exists()


def test_a_length_is_of_one_run(soradit: Callable, trained: Path, weights: Path, tmp_path: Path) -> None:
    ended = soradit("average", trained, weights, "-o", tmp_path / "mean", "--length", 0.1)
    assert ended.exit_code == 2
    assert ended.error == "soradit: --length and --step are for the average of one run, not of several"


@pytest.mark.parametrize("options", [("--lora", 2), ("--component", "vae")])
def test_snapshots_are_of_a_whole_transformer(soradit: Callable, clips: Path, tmp_path: Path, options: tuple) -> None:
    ended = soradit("train", "--data", clips, "-o", tmp_path / "run", "--snapshots", 2, *options)
    assert ended.error == "soradit: --snapshots is for --component transformer without --lora"
