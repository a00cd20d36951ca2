"""Training from a folder of clips: exact resume, honest refusals, and a run that is a folder of weights."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from soradit.diffusion.process import min_snr_weight, move_timesteps
from soradit.errors import SoraditError, StateSaved
from soradit.media.clips import find_clips, split_clips
from soradit.media.mirror import mirror_clip
from soradit.media.video import read_video
from soradit.media.writing import write_video
from soradit.model.autoencoder import Autoencoder, AutoencoderConfig
from soradit.model.config import load_generation_config
from soradit.model.folder import Lora, fingerprint, has_component, hash_files
from soradit.model.lora import load_lora
from soradit.model.text import TextEncoderConfig, new_text_encoder
from soradit.model.weights import (
    TENSORS,
    encoder_fingerprint,
    load_autoencoder,
    load_transformer,
    save_autoencoder,
    save_generation_config,
    write_index,
)
from soradit.pipeline import Pipeline
from soradit.report import Progress, Report
from soradit.tasks import objectives
from soradit.tasks import train as train_module
from soradit.tasks.dry_run import dry_run
from soradit.tasks.train import train
from soradit.training import autoencoder
from soradit.training.base import look_first
from soradit.training.checkpoint import list_checkpoints
from soradit.training.config import LoopConfig, TrainConfig
from soradit.training.loop import Training, run_loop
from soradit.training.metrics import read_metrics
from soradit.training.run import prepare_run
from soradit.training.samples import MAKING, Samples
from soradit.training.transformer import TransformerObjective

LOOP = LoopConfig(steps=4, batch_size=3, warmup_steps=1, evaluate_every=2, checkpoint_every=100)
COMPONENTS = ("transformer", "vae", "decoder", "refiner", "text_encoder")

ROOT = str(Path(__file__).parents[2])
Start = Callable[..., Path]


class Notes(Report):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def start(clips: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Train in ``tmp_path / run``; options of either configuration change it.

    A fresh autoencoder is a tiny one, and begins with what few windows tell.
    """
    tiny = partial(AutoencoderConfig, widths=(32, 48, 64), blocks_per_stage=1, latent_channels=16)
    monkeypatch.setattr(objectives, "AutoencoderConfig", tiny)
    monkeypatch.setattr(autoencoder, "NUM_FITTING_WINDOWS", 48)

    def run(**options: Any) -> Path:
        loop = {name: options.pop(name) for name in list(options) if hasattr(LOOP, name)}
        report = options.pop("report", None)
        defaults = {"data": clips, "run": tmp_path / "run", "weights": str(weights)}
        return train(TrainConfig(**defaults | options), replace(LOOP, **loop), report)

    return run


def rows(run: Path) -> list[dict[str, str]]:
    timing = dict.fromkeys(("seconds", "processor_seconds", "waited_seconds"), "")
    return [row | timing for row in read_metrics(run / "metrics.csv")]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = list_checkpoints(run)[-1:]
    return {
        f"{file.name} {name}": t for file in checkpoint.glob("*.safetensors") for name, t in load_file(file).items()
    }


def all_but_the_log(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "log.txt"}


ADVERSARIAL = {"component": "decoder", "perceptual": 0.1, "adversarial": 0.01}
FRESH = [{"component": name, "fresh": True} for name in ("vae", "decoder")]
PARAPHRASES = {"component": "text_encoder", "paraphrases": Path("paraphrases.tsv")}


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ``PARAPHRASES`` are found."""
    monkeypatch.chdir(tmp_path)
    Path("paraphrases.tsv").write_text("gloaming\tdusk\nthe small hours\tnight\n", encoding="utf-8")


@pytest.mark.parametrize(
    "options",
    [
        *({"component": name} for name in COMPONENTS),
        {"optimizer": "muon"},
        ADVERSARIAL,
        *(pytest.param(options, marks=pytest.mark.slow) for options in FRESH),
        PARAPHRASES,
    ],
)
@pytest.mark.usefixtures("in_folder")
def test_resumed_run_equals_an_unbroken_one(start: Start, tmp_path: Path, options: dict) -> None:
    unbroken = start(run=tmp_path / "unbroken", **options)
    for _ in range(LOOP.steps - 1):
        with pytest.raises(StateSaved):
            start(**options, max_hours=1e-9)
    resumed = start(**options)
    before, after = tensors(unbroken), tensors(resumed)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert rows(unbroken) == rows(resumed)
    assert len(rows(resumed)) == LOOP.steps


@pytest.mark.parametrize("options", [*({"component": name} for name in COMPONENTS), {"lora": 2}, PARAPHRASES])
@pytest.mark.usefixtures("in_folder")
def test_a_disk_that_fills_up_while_weights_are_published_costs_nothing(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict
) -> None:
    unbroken = start(run=tmp_path / "unbroken", **options)
    with pytest.raises(StateSaved):
        start(**options, max_hours=1e-9)

    def fill_up(source: Path, target: Path) -> None:
        if target.suffix == ".safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.rename(source, target)

    before = hash_files(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("soradit.files.os.replace", fill_up)
        with pytest.raises(SoraditError, match=r"No space left on device.*run again to go on from its last checkpoint"):
            start(**options, checkpoint_every=2)
    assert hash_files(tmp_path / "run") == before
    before, after = tensors(unbroken), tensors(start(**options))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_goes_on_in_another_run(start: Start, tmp_path: Path) -> None:
    (checkpoint,) = list_checkpoints(start(steps=2))
    other = start(run=tmp_path / "other", resume=str(checkpoint), steps=4)
    assert [(row["step"], bool(row["held_out_loss"])) for row in rows(other)] == [
        ("2", True),
        ("3", False),
        ("4", True),
    ]


def test_a_run_goes_on_whose_metrics_are_gone(start: Start) -> None:
    run = start(steps=2)
    (run / "metrics.csv").unlink()
    assert [row["step"] for row in rows(start(steps=4))] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("component", "trained", "outdated"),
    [
        ("transformer", {"transformer"}, set()),
        ("vae", {"vae"}, {"transformer"}),
        ("decoder", {"vae"}, set()),
        ("refiner", {"vae"}, set()),
        ("text_encoder", {"text_encoder"}, {"transformer"}),
    ],
)
def test_training_changes_its_component_alone(
    start: Start, weights: Path, component: str, trained: set[str], outdated: set[str]
) -> None:
    run = start(component=component)
    for part in ("transformer", "vae", "text_encoder"):
        assert (run / part).exists() == (part not in outdated)
        for before in (weights / part).glob("*model.safetensors"):
            if part not in outdated:
                assert ((run / part / before.name).read_bytes() != before.read_bytes()) == (part in trained)


@pytest.mark.usefixtures("in_folder")
def test_paraphrases_change_the_text_encoder_alone_and_the_transformer_goes_on_with_it(
    start: Start, weights: Path
) -> None:
    run = start(**PARAPHRASES)
    assert "captions and as many lines of " in (run / "report.html").read_text()
    for part, changed in (("transformer", False), ("vae", False), ("text_encoder", True)):
        (before,) = (weights / part).glob("*model.safetensors")
        assert ((run / part / before.name).read_bytes() != before.read_bytes()) == changed
    assert Pipeline.load(run)("gloaming").frames.shape == (16, 64, 64, 3)
    assert {"held_out_loss", "held_out_moved", "held_out_apart"} <= read_metrics(run / "metrics.csv")[-1].keys()


def test_training_the_decoder_keeps_encoder_and_latents(start: Start, weights: Path) -> None:
    before, after = load_autoencoder(weights), load_autoencoder(start(component="decoder"))
    assert before.config == after.config
    pairs = zip(before.encoder.parameters(), after.encoder.parameters(), strict=True)
    assert all(torch.equal(old, new) for old, new in pairs)
    assert encoder_fingerprint(weights) == encoder_fingerprint(start(component="decoder"))


def test_training_a_refiner_keeps_the_rest_of_the_autoencoder(start: Start, weights: Path, tmp_path: Path) -> None:
    run = start(component="refiner")
    before, after = load_file(weights / "vae" / TENSORS), load_file(run / "vae" / TENSORS)
    added = after.keys() - before.keys()
    assert added
    assert all(name.startswith("decoder.refiner.") for name in added)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert encoder_fingerprint(run) == encoder_fingerprint(weights)
    assert after["decoder.refiner.to_pixels.weight"].abs().max() > 0
    again = start(run=tmp_path / "again", component="refiner", weights=str(run))
    anew = start(run=tmp_path / "anew", component="refiner", weights=str(run), fresh=True)
    assert (anew / "vae" / TENSORS).read_bytes() == (run / "vae" / TENSORS).read_bytes()
    assert (again / "vae" / TENSORS).read_bytes() != (run / "vae" / TENSORS).read_bytes()


def test_a_transformer_that_stays_generates_as_before(start: Start, weights: Path) -> None:
    run = start(component="refiner", num_frames=8, height=32, width=32)
    assert load_generation_config(run) == load_generation_config(weights)
    assert "8 frames of 32x32" in (run / "report.html").read_text(encoding="utf-8")


def test_a_transformer_goes_on_with_latents_of_more_numbers(start: Start, weights: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    shutil.copytree(weights, wide)
    config = replace(load_autoencoder(weights).config, latent_channels=24, latent_mean=None, latent_std=None)
    save_autoencoder(wide, config, Autoencoder(config).state_dict())
    write_index(wide)
    with pytest.raises(SoraditError, match=f"latents of 16 numbers.* train it with soradit train --weights {wide}$"):
        Pipeline.load(wide)
    with pytest.raises(SoraditError, match="knows 16 of latents' 24 numbers: train it without --lora first"):
        start(run=tmp_path / "lora", weights=str(wide), lora=2)
    trained = start(run=tmp_path / "trained", weights=str(wide))
    assert load_transformer(trained).config.latent_channels == 24
    assert Pipeline.load(trained)("a starry night").frames.shape == (16, 64, 64, 3)
    shutil.copytree(weights / "vae", trained / "vae", dirs_exist_ok=True)
    with pytest.raises(SoraditError, match="knows latents of 24 numbers, these have 16: train one with --fresh"):
        start(run=tmp_path / "narrow", weights=str(trained))


def test_a_discriminator_changes_what_the_decoder_learns_and_stays_behind(start: Start, tmp_path: Path) -> None:
    alone = start(run=tmp_path / "alone", **{**ADVERSARIAL, "adversarial": 0.0})
    run = start(**ADVERSARIAL)
    (weights,) = (run / "vae").glob("*.safetensors")
    assert not [name for name in load_file(weights) if "discriminator" in name]
    pairs = zip(load_autoencoder(alone).decoder.parameters(), load_autoencoder(run).decoder.parameters(), strict=True)
    assert not all(torch.equal(without, with_discriminator) for without, with_discriminator in pairs)


def test_out_of_memory_names_what_would_take_less(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(self: TransformerObjective, batch: object, step: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    monkeypatch.setattr(TransformerObjective, "loss", too_much)
    with pytest.raises(SoraditError) as error:
        start()
    said = re.fullmatch(
        r"out of memory \(2.00 GiB were asked for\): tensors take about (\S+) GB; use --accumulate 3 \((\S+) GB\) "
        r"or --checkpoint-activations \((\S+) GB\) or a smaller --size or --frames",
        str(error.value),
    )
    assert said
    whole, *less = map(float, said.groups())
    assert all(each < whole for each in less)


def test_a_run_generates(start: Start) -> None:
    run = start()
    video = Pipeline.load(run)("a red sunset")
    assert video.frames.shape == (16, 64, 64, 3)


def test_fresh_transformer_fits_its_surroundings(start: Start) -> None:
    run = start(preset="tiny", process="noise", steps=1)
    assert load_transformer(run).config.depth == 6
    assert (load_generation_config(run).process, load_generation_config(run).sampler) == ("noise", "ddim")
    assert Pipeline.load(run)("sky").frames.shape == (16, 64, 64, 3)


def test_another_clip_text_encoder_is_taken(start: Start, tmp_path: Path) -> None:
    other = new_text_encoder(["sky"], TextEncoderConfig(max_tokens=8, width=16, depth=1, heads=1, pooled_dim=8), 1)
    clip = tmp_path / "clip"
    other.clip.save_pretrained(clip)
    other.tokenizer.save_pretrained(clip)
    run = start(text_encoder=str(clip), preset="tiny", steps=1)
    assert (load_transformer(run).config.text_dim, load_transformer(run).config.pooled_dim) == (16, 8)
    assert Pipeline.load(run)("sky").frames.shape == (16, 64, 64, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.5}, "--lr 0.001, not 0.5"),
        ({"batch_size": 2}, "--batch-size 3, not 2"),
        ({"seed": 1}, "--seed 0, not 1"),
        ({"component": "vae"}, "--component transformer, not vae"),
        ({"num_frames": 8}, "--frames 16, not 8"),
        ({"width": 128}, "a width of 64, not 128"),
        ({"process": "noise"}, "--process flow, not noise"),
        ({"fresh": True}, "without --fresh, not with"),
        ({"lora": 3}, "without --lora, not with 3"),
        ({"timestep_shift": 3.0}, "--timestep-shift 1.0, not 3.0"),
        ({"flip": True}, "without --flip, not with"),
    ],
)
def test_resume_with_other_settings_is_refused(start: Start, change: dict, message: str) -> None:
    run = start(steps=1)
    before = all_but_the_log(run)
    with pytest.raises(SoraditError, match=f"run began .*{message}: repeat its settings, or choose another"):
        start(**{"steps": 2} | change)
    assert all_but_the_log(run) == before


def test_what_a_run_began_with_is_told_and_may_be_named(start: Start, weights: Path, tmp_path: Path) -> None:
    """Whether the command or the weights that it started from said so."""
    base = tmp_path / "base"
    shutil.copytree(weights, base)
    save_generation_config(base, replace(load_generation_config(base), process="noise", sampler="ddim"))
    for name, options in (
        ("asked", {"process": "noise", "preset": "tiny"}),
        ("of the weights", {"weights": str(base)}),
        ("fresh", {"weights": str(base), "fresh": True, "preset": "tiny"}),
    ):
        started = {"steps": 1, "run": tmp_path / name, **options}
        run = start(**started)
        began = json.loads((run / "config.json").read_text())["began"]
        size = {"height": 64, "width": 64, "num_frames": 16, "fps": 16}
        assert began == {"fresh": name != "of the weights", "process": "noise", **size}
        with pytest.raises(SoraditError, match=f"{name} began with --process noise, not flow: repeat its settings"):
            start(**started | {"steps": 2, "process": "flow" if name != "asked" else None})
        start(**started | {"steps": 2, "process": "noise", "num_frames": 16})
        assert json.loads((run / "config.json").read_text())["began"] == began
    told = (tmp_path / "of the weights" / "report.html").read_text()
    assert "a new transformer" not in told
    assert f"a new transformer, beside other parts of {base}" in (tmp_path / "fresh" / "report.html").read_text()


def test_a_run_killed_before_its_first_step_can_be_started_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "write_whole", killed)  # of config.json
        with pytest.raises(KeyboardInterrupt):
            start(steps=1)
    assert (tmp_path / "run" / "model_index.json").is_file()
    assert len(rows(start(steps=1))) == 1


def test_samples_are_of_clips_that_are_held_out_in_fact(
    start: Start, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of one that is too short."""
    other = tmp_path / "other"
    other.mkdir()
    for name, prompt in (("1", "a long one"), ("0", "a short one")):
        shutil.copy(clips / f"{name}.mp4", other)
        (other / f"{name}.txt").write_text(prompt)
    write_video(other / "0.mp4", np.zeros((4, 64, 64, 3), np.uint8), fps=16, overwrite=True)
    given: list[Any] = []

    def loop(*arguments: Any, samples: Samples, **options: Any) -> None:
        given.append(samples.prompts)
        run_loop(*arguments, samples=samples, **options)

    monkeypatch.setattr(train_module, "run_loop", loop)
    run = start(held_out=other, steps=1)
    assert given == [["a long one"]]
    assert "a short one" not in (run / "report.html").read_text()


def test_a_run_goes_on_without_what_it_started_from(start: Start, weights: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(weights, base)
    start(weights=str(base), steps=1)
    shutil.rmtree(base)
    assert len(rows(start(weights=str(base), steps=2))) == 2


def test_resume_never_does_not_touch_a_run(start: Start) -> None:
    run = start(steps=1)
    before = all_but_the_log(run)
    with pytest.raises(SoraditError, match=f"{run} holds a run already"):
        start(steps=1, resume="never")
    assert all_but_the_log(run) == before


def test_resume_from_a_checkpoint_by_path(start: Start, tmp_path: Path) -> None:
    with pytest.raises(StateSaved):
        start(max_hours=1e-9)
    (checkpoint,) = list_checkpoints(tmp_path / "run")
    shutil.copytree(checkpoint, tmp_path / "kept" / checkpoint.name)
    unbroken = tensors(start())
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    resumed = tensors(start(resume=str(tmp_path / "kept" / checkpoint.name)))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": Path("nowhere")}, "nowhere: no such folder"),
        ({"weights": "nowhere"}, "no folder of weights at nowhere"),
        ({"resume": "nowhere"}, "nowhere is not a checkpoint"),
        ({"component": "magic"}, "component magic is not known: use transformer, vae, decoder, refiner, text_encoder"),
        ({"preset": "huge"}, "preset huge is not known: use tiny"),
        ({"process": "magic"}, "process magic is not known: use flow or noise"),
        ({"optimizer": "magic"}, "optimizer magic is not known: use adamw or muon"),
        ({"optimizer": "muon", "component": "vae"}, "--optimizer muon is for --component transformer"),
        ({"adversarial": 0.1}, "--adversarial is for --component vae or decoder or refiner, not transformer"),
        ({"adversarial": -1.0, "component": "decoder"}, "--adversarial must be 0 or more, not -1.0"),
        ({"min_snr": 5.0}, "--min-snr is for process noise, not flow"),
        ({"prompts": ("a", "\udcff")}, "the prompt '.udcff' is not UTF-8"),
        ({"prompts": ("a",), "component": "vae"}, "--prompt is for --component transformer, not vae"),
        ({"paraphrases": Path("nowhere")}, "--paraphrases is for --component text_encoder, not transformer"),
        (
            {"component": "text_encoder", "paraphrases": Path("nowhere"), "fresh": True},
            "--paraphrases is for a text encoder that has been trained: leave out --fresh",
        ),
        ({"component": "text_encoder", "paraphrases": Path("nowhere")}, "nowhere: can't be read: No such file"),
        ({"num_frames": 18}, "frames 18 is not a multiple of 4: use"),
        ({"component": "vae", "num_frames": 18}, "frames 18 is not a multiple of 4: use"),
        ({"width": 40}, "width 40 is not a multiple of 32: use 32"),
        ({"num_frames": 64}, "no training clip has 64 frames .the longest has 20.: use fewer --frames"),
        ({"component": "text_encoder", "fps": 8}, "clips of 16 frames are needed"),
        ({"text_encoder": "nobody/no-such-clip"}, "cannot load a CLIP text encoder from nobody/no-such-clip"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(start: Start, options: dict, message: str) -> None:
    with pytest.raises(SoraditError, match=message) as error:
        start(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [{"num_frames": 64}, {"num_frames": 18}, {"text_encoder": "nobody/no-such-clip"}, {"weights": "nowhere"}],
)
def test_a_refused_training_leaves_no_folder(start: Start, tmp_path: Path, options: dict) -> None:
    with pytest.raises(SoraditError):
        start(**options)
    assert not (tmp_path / "run").exists()


def test_the_run_folder_tells_the_story(start: Start) -> None:
    run = start(prompts=("a red sunset",), sample_every=2, checkpoint_every=2)
    assert (run / "last").resolve() == list_checkpoints(run)[-1].resolve()
    assert sorted(folder.name for folder in (run / "samples").iterdir()) == ["step-00000002", "step-00000004"]
    for folder in (run / "samples").iterdir():
        assert read_video(folder / "0.mp4")[0].shape == (16, 64, 64, 3)
        assert (folder / "0.jpg").stat().st_size > 0
    page = (run / "report.html").read_text()
    for text in ("a red sunset", "Step 4 of 4", "Held-out loss by t", "Samples as they grew", "4 steps of 3 clips"):
        assert text in page
    assert "first step after" in (run / "log.txt").read_text()
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_clips_of_another_folder_may_be_held_out(start: Start, clips: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(clips / "0.mp4", other)
    (other / "0.txt").write_text("a sky")
    run = start(held_out=other)
    told = f"{len(find_clips(clips))} to train on, 1 held out, in {clips} and {other}"
    assert told in (run / "report.html").read_text()


@pytest.mark.parametrize("component", COMPONENTS)
def test_mirror_images_are_trained_on_and_none_is_held_out(
    start: Start, clips: Path, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []

    def loop(objective: Any, *arguments: Any, **options: Any) -> None:
        built.append(objective)
        run_loop(objective, *arguments, **options)

    monkeypatch.setattr(train_module, "run_loop", loop)
    notes = Notes()
    run = start(component=component, flip=True, steps=1, batch_size=14, report=notes)
    (objective,) = built
    training, held_out = split_clips(find_clips(clips))
    drawn = sorted(objective.examples(0))
    assert drawn == sorted(map(str, [*training, *map(mirror_clip, training)]))
    assert f"{training[0].path} (mirrored)" in drawn
    seen = getattr(objective.held_out, "segments", objective.held_out)
    none = component == "text_encoder"  # one alone can't be told from others
    assert [getattr(each, "clip", each) for each in seen] == (training if none else held_out)
    told = "7 and their mirror images to train on"
    apart = "too few to hold out: held-out figures are of these themselves" if none else "1 held out"
    assert f"8 clips in {clips}: {told}, {apart}" in notes.lines
    assert f"{told}, {'none' if none else 1} held out, in {clips}" in (run / "report.html").read_text()


def test_turning_back_to_an_older_checkpoint_sets_later_ones_aside(start: Start, tmp_path: Path) -> None:
    run = start(checkpoint_every=1, keep_checkpoints=4, sample_every=1)
    unbroken = tensors(run)
    assert [c.name[-1] for c in list_checkpoints(run)] == ["1", "2", "3", "4"]
    with pytest.raises(StateSaved):
        start(resume=str(run / "checkpoints" / "step-00000002"), keep_checkpoints=4, sample_every=1, max_hours=1e-9)
    assert [c.name[-1] for c in list_checkpoints(run)] == ["1", "2", "3"]
    assert sorted(c.name[-1] for c in (run / "checkpoints" / "set-aside").iterdir()) == ["3", "4"]
    assert sorted(s.name[-1] for s in (run / "samples").iterdir()) == ["1", "2"]  # the third was cut short
    assert (run / "last").resolve().name == "step-00000003"
    aside = run / "checkpoints" / "set-aside" / "step-00000003"
    state = (aside / "state.json").read_bytes()
    with pytest.raises(StateSaved):
        start(resume=str(aside), keep_checkpoints=4, sample_every=1, max_hours=1e-9)
    assert sorted(c.name[12:] for c in aside.parent.iterdir()) == ["1", "2", "3", "3+", "4"], "of another branch"
    assert [c.name[-1] for c in list_checkpoints(run)] == ["4"]
    assert (aside / "state.json").read_bytes() == state, "what is gone on from isn't replaced"
    resumed = tensors(start(keep_checkpoints=4, sample_every=1))
    assert sorted(s.name[-1] for s in (run / "samples").iterdir()) == ["1", "2", "3", "4"]
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


class StopAtFirst(Progress):
    def __init__(self, file: Path) -> None:
        self.file = file

    def update(self, done: int, text: str = "") -> None:
        if done == 1:
            self.file.touch()


class StopWhileEncoding(Report):
    """Asks to stop as soon as a clip is encoded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        yield StopAtFirst(self.file) if what == "encoding clips" else Progress()


def test_a_stop_while_encoding_keeps_what_was_encoded(start: Start, tmp_path: Path, clips: Path) -> None:
    report = StopWhileEncoding(tmp_path / "run" / "stop")
    with pytest.raises(StateSaved, match="run/stop: state saved before the first step, what was encoded"):
        start(cache=tmp_path / "cache", report=report)
    assert len(list((tmp_path / "cache" / "latents").rglob("*.safetensors"))) == 1
    assert not (tmp_path / "run" / "stop").exists()
    assert "run/stop: state saved" in (tmp_path / "run" / "log.txt").read_text()
    start(cache=tmp_path / "cache")


@pytest.mark.parametrize(("component", "rounding"), [("transformer", 1e-5), ("vae", 5e-3)])
def test_a_batch_in_parts_gives_the_same_training(
    start: Start, tmp_path: Path, component: str, rounding: float
) -> None:
    """Seen in the averaged gradients, since AdamW makes the same step of any multiple of a gradient.

    The autoencoder's loss has absolute errors, so that a rounding error can turn the sign of a pixel's gradient.
    """
    options = {"batch_size": 4, "component": component, "steps": 2, "precision": "float32"}
    whole, parts = tensors(start(**options)), tensors(start(**options, accumulate=2, run=tmp_path / "parts"))
    gradients = [name for name in whole if name.endswith(".exp_avg")]
    assert gradients
    for name in gradients:
        assert (whole[name] - parts[name]).abs().max() <= rounding * whole[name].abs().max()


@pytest.mark.parametrize("component", ["vae", "decoder"])
def test_a_damaged_clip_is_left_out_and_named(start: Start, clips: Path, tmp_path: Path, component: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(11):
        shutil.copy(clips / f"{number % 2}.mp4", data / f"{number}.mp4")
        (data / f"{number}.txt").write_text("a sky")
    damaged = data / "3.mp4"
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    notes = Notes()
    start(data=data, component=component, steps=1, batch_size=10, report=notes)
    (line,) = [line for line in notes.lines if line.startswith("left out: ")]
    assert str(damaged) in line
    (data / "4.mp4").write_text("not a video")
    with pytest.raises(SoraditError, match="2 of 11 clips can't be used; the first: "):
        start(data=data, component=component, flip=True, run=tmp_path / "other")
    with pytest.raises(SoraditError, match=f"--keep-damaged is not for --component {component}"):
        start(component=component, keep_damaged=True)


def test_lora_leaves_the_weights_alone_and_is_resumed(start: Start, weights: Path, tmp_path: Path) -> None:
    unbroken = start(lora=2, run=tmp_path / "unbroken")
    for _ in range(LOOP.steps - 1):
        with pytest.raises(StateSaved):
            start(lora=2, max_hours=1e-9)
    run = start(lora=2)
    before, after = tensors(unbroken), tensors(run)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all("lora_" in name for name in after)
    for file in (weights / "transformer").glob("*.safetensors"):
        assert (run / "transformer" / file.name).read_bytes() == file.read_bytes()
    noted: list[str] = []
    lora, own = [Lora(run / "lora")], fingerprint(weights, "transformer")
    merged, base = load_lora(load_transformer(run), lora, base=own, note=noted.append), load_transformer(run)
    assert noted == []
    load_lora(load_transformer(run), lora, base="0123456789abcdef", note=noted.append)
    assert len(noted) == 1
    assert any(not torch.equal(merged.state_dict()[name], t) for name, t in base.state_dict().items())
    with pytest.raises(SoraditError, match="began with --lora 2, not 3"):
        start(lora=3)


def test_lora_needs_something_to_start_from(start: Start, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(SoraditError, match="--lora needs a transformer that has been trained: leave out --preset"):
        start(lora=2, preset="tiny")
    without = shutil.copytree(weights, tmp_path / "without", ignore=shutil.ignore_patterns("transformer"))
    for options in ({"process": "noise"}, {"weights": str(without)}):
        with pytest.raises(SoraditError, match="LoRA needs a transformer to start from"):
            start(lora=2, **options)
        assert not (tmp_path / "run").exists()


def test_nothing_is_left_of_the_weights_of_a_try_before(weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    prepare_run(TrainConfig(data=tmp_path, run=run, weights=str(weights)))
    assert has_component(run, "transformer")
    without = shutil.copytree(weights, tmp_path / "without", ignore=shutil.ignore_patterns("transformer"))
    prepare_run(TrainConfig(data=tmp_path, run=run, weights=str(without)))
    assert not has_component(run, "transformer")


def test_a_cache_in_the_run_s_own_folder_is_refused(clips: Path, tmp_path: Path) -> None:
    config = TrainConfig(data=clips, run=tmp_path / "run", cache=tmp_path / "run" / "cache")
    with pytest.raises(SoraditError, match="run/cache: is in the run's own folder; give another to --cache"):
        look_first(config, LOOP)


def test_a_clip_held_out_that_is_too_short_holds_nothing_up(start: Start, clips: Path, tmp_path: Path) -> None:
    short, notes = tmp_path / "short", Notes()
    shutil.copytree(clips, short, ignore=shutil.ignore_patterns(".*"))
    (held_out,) = split_clips(find_clips(short))[1]
    write_video(held_out.path, np.zeros((4, 64, 64, 3), np.uint8), fps=8, overwrite=True)
    start(data=short, report=notes, steps=1)
    assert any("until then held-out figures are of clips that are trained on" in line for line in notes.lines)


@pytest.fixture
def objective(start: Start, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TransformerObjective]:
    """What a command would train, untrained."""

    def build(**options: Any) -> TransformerObjective:
        built: list[TransformerObjective] = []
        with monkeypatch.context() as patch:
            patch.setattr(train_module, "run_loop", lambda objective, *_, **others: built.append(objective))
            start(**options)
        return built[0]

    return build


@pytest.mark.parametrize("process", ["flow", "noise"])
def test_timesteps_and_weights_can_be_moved(
    objective: Callable[..., TransformerObjective], process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"process": process, "preset": "tiny"}
    plain = objective(**options)
    moved = objective(**options, timestep_shift=3.0, timestep_spread=1.5, run=tmp_path / "moved")
    before, after = (it.batch(7, slice(None)) for it in (plain, moved))
    torch.testing.assert_close(after.t, move_timesteps(before.t, 3.0, 1.5))
    assert torch.equal(after.noise, before.noise)
    drawn = torch.tensor([0.3])
    with monkeypatch.context() as patch:
        patch.setattr(moved.process, "draw_timesteps", lambda count, generator: drawn)
        assert (moved.batch(7, slice(None)).t == move_timesteps(drawn, 3.0, 1.5)).all()
    if process == "noise":
        weighted = objective(**options, min_snr=1e-6, run=tmp_path / "weighted")
        one = plain.batch(7, slice(1))
        weight = min_snr_weight(plain.process, one.t, 1e-6)
        assert weight < 1
        torch.testing.assert_close(weighted.loss(one, 7), weight[0] * plain.loss(one, 7))


def test_held_out_loss_is_of_the_same_noise_every_time(objective: Callable[..., TransformerObjective]) -> None:
    evaluated = objective()
    first = evaluated.evaluate(lambda: None)
    torch.randn(3)
    evaluated.batch(0, slice(None))
    assert evaluated.evaluate(lambda: None) == first
    assert first["held_out_loss"] == pytest.approx(sum(first[f"held_out_loss_{i}"] for i in range(5)) / 5)


def test_held_out_loss_is_told_by_fifths_of_t_and_at_0(
    objective: Callable[..., TransformerObjective], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransformerObjective, "_losses", lambda self, network, noised: noised.t)
    figures = objective().evaluate(lambda: None)
    assert [figures[f"held_out_loss_{i}"] for i in range(5)] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert figures["held_out_loss_at_0"] == 0


@pytest.mark.parametrize(
    "options",
    [{"accumulate": 3}, {"optimizer": "muon"}, {"lora": 2}, {"process": "noise", "preset": "tiny", "min_snr": 5.0}],
)
def test_a_step_waits_for_no_device(start: Start, monkeypatch: pytest.MonkeyPatch, options: dict) -> None:
    """Nothing in it asks a tensor for a Python number, on which a GPU would have to be waited for."""
    asked: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "equal", "masked_select"):
                asked.append(str(func))
            return func(*args, **(kwargs or {}))

    step = Training.step

    def watched(self: Training, parts: list[Any]) -> Any:
        with Watch():
            return step(self, parts)

    monkeypatch.setattr(Training, "step", watched)
    start(steps=3, **options)
    assert asked == []
    with Watch():
        torch.ones(()).item()
    assert asked == ["aten._local_scalar_dense.default"]


def test_a_dry_run_estimates_and_leaves_nothing(clips: Path, weights: Path, tmp_path: Path) -> None:
    config = TrainConfig(data=clips, run=tmp_path / "run", weights=str(weights))
    estimate = dry_run(config, LOOP)
    model = load_transformer(weights)
    assert (estimate.clips, estimate.held_out) == tuple(map(len, split_clips(find_clips(clips))))
    assert estimate.tokens == 4 * 2 * 2
    assert estimate.parameters == estimate.trained_parameters == sum(p.numel() for p in model.parameters())
    assert estimate.seconds_per_step > 0
    (first, *_), lines = estimate.lines(), "\n".join(replace(estimate, steps=1000, seconds_per_step=7.3).lines())
    assert first == "clips       7 to train on, 1 held out, 16 tokens each"
    assert "in all      1000 steps, 2.0 h, and evaluations and samples" in lines
    assert not (tmp_path / "run").exists()
    (flipped, *_) = dry_run(replace(config, flip=True), LOOP).lines()
    assert flipped == "clips       7 and their mirror images to train on, 1 held out, 16 tokens each"
    lora = dry_run(replace(config, lora=1), LOOP)
    assert lora.trained_parameters < estimate.trained_parameters / 5
    assert lora.disk_bytes < estimate.disk_bytes
    (tmp_path / "run").mkdir()
    train(config, replace(LOOP, steps=1))
    assert dry_run(config, LOOP).steps == LOOP.steps
    with pytest.raises(SoraditError, match=r"began with --lr 0\.001, not 0\.5"):
        dry_run(config, replace(LOOP, learning_rate=0.5))
    with pytest.raises(SoraditError, match="frames 18 is not a multiple of 4"):
        dry_run(replace(config, num_frames=18), LOOP)
    with pytest.raises(SoraditError, match="--batch-size 3 can't be shared out equally in --accumulate 2"):
        dry_run(config, replace(LOOP, accumulate=2))


def test_a_dry_run_takes_what_a_training_takes(start: Start, clips: Path, weights: Path, tmp_path: Path) -> None:
    """Held-out clips of another folder, of which too few are long enough to hold some out of."""
    other = tmp_path / "other"
    other.mkdir()
    for index in range(2):
        shutil.copy(clips / f"{index}.mp4", other)
        (other / f"{index}.txt").write_text("a sky")
    write_video(other / "1.mp4", np.zeros((4, 64, 64, 3), np.uint8), fps=16, overwrite=True)
    config = TrainConfig(data=clips, held_out=other, run=tmp_path / "run", weights=str(weights))
    assert dry_run(config, LOOP).held_out == 1
    start(held_out=other, steps=1)
    notes = Notes()
    dry_run(replace(config, held_out=clips, run=tmp_path / "another"), LOOP, notes)
    assert any("of those held out are trained on, too" in line for line in notes.lines)


def test_a_disk_that_is_too_small_is_known_beforehand(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SoraditError, match=r"the disk of .*run is too small: .* GB are needed"):
        dry_run(TrainConfig(data=clips, run=tmp_path / "run", weights=str(weights)), LOOP)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "replaced").write_bytes(bytes(10**8))
    dry_run(TrainConfig(data=clips, run=tmp_path / "run", weights=str(weights)), LOOP)


def peak_memory_bytes(*arguments: object) -> int:
    """Of ``soradit train`` in a process of its own."""
    command = [sys.executable, "-m", "soradit", "train", *map(str, arguments)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_memory_is_estimated_to_a_quarter(clips: Path, weights: Path, tmp_path: Path) -> None:
    arguments = ["--data", clips, "--weights", weights, "--preset", "S", "--batch-size", 8, "-o", tmp_path / "run"]
    arguments += ["--frames", 16]
    dry = [sys.executable, "-m", "soradit", "train", *map(str, arguments), "--steps", "2", "--dry-run"]
    lines = subprocess.run(dry, capture_output=True, text=True, check=True).stdout.splitlines()
    (estimated,) = [float(line.split()[1]) * 1e9 for line in lines if line.startswith("memory")]
    assert estimated == pytest.approx(peak_memory_bytes(*arguments, "--steps", 2), rel=0.25)


@pytest.mark.slow
def test_a_shell_repeats_the_command_until_it_is_trained(clips: Path, weights: Path, tmp_path: Path) -> None:
    """The loop of docs/clusters.md, with a limit that each command meets after a step."""
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text()
    (script,) = re.findall(r"```sh\n(until soradit .*?)```", page, re.DOTALL)
    soradit = f"{shlex.quote(sys.executable)} -m soradit train --weights {shlex.quote(str(weights))} --batch-size 2"
    script = script.replace("soradit train", soradit).replace("--data clips", f"--data {shlex.quote(str(clips))}")
    script = script.replace("--steps 100000", "--steps 3").replace("--max-hours 4", "--max-hours 1e-9")
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": ROOT})
    assert len(rows(tmp_path / "run")) == 3
    assert re.findall(r"state saved at (step \d)", (tmp_path / "run" / "log.txt").read_text()) == [
        "step 1",
        "step 2",
        "step 3",  # in the evaluation at the end, which the fourth command makes
    ]


@pytest.mark.slow
def test_a_slurm_job_asks_for_its_own_requeueing_until_it_is_trained(
    clips: Path, weights: Path, tmp_path: Path
) -> None:
    """The job of docs/clusters.md, with stand-ins for SLURM's commands."""
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text()
    (script,) = re.findall(r"```sh\n(#!/bin/bash\n#SBATCH.*?)```", page, re.DOTALL)
    soradit = f"{shlex.quote(sys.executable)} -m soradit train --weights {shlex.quote(str(weights))} --batch-size 2"
    script = script.replace("soradit train", soradit).replace("--data clips", f"--data {shlex.quote(str(clips))}")
    script = script.replace("--steps 100000", "--steps 2 --max-hours 1e-9")
    for name, does in (("srun", 'exec "$@"'), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": ROOT, "PATH": path, "SLURM_JOB_ID": "7"}
    said = [
        subprocess.run(
            ["bash", "-uc", script], cwd=tmp_path, check=True, env=environment, stdout=subprocess.PIPE
        ).stdout
        for _ in range(3)
    ]
    assert said == [b"requeue 7\n", b"requeue 7\n", b"run\n"]
    assert len(rows(tmp_path / "run")) == 2


@pytest.mark.slow
def test_a_command_that_is_terminated_says_75_and_goes_on(clips: Path, weights: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "soradit", "train", "--data", str(clips), "--weights", str(weights)]
    command += ["--steps", "400", "--batch-size", "2", "-o", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    while not len(read_metrics(tmp_path / "run" / "metrics.csv")):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    assert process.wait(60) == 75
    saved = len(rows(tmp_path / "run"))
    assert subprocess.run([*command, "--max-hours", "1e-9"], env=environment).returncode == 75
    assert len(rows(tmp_path / "run")) == saved + 1


def is_encoding(run: Path, cache: Path) -> bool:
    return any(cache.rglob("*.safetensors"))


def is_evaluating(run: Path, cache: Path) -> bool:
    return any(not row["held_out_loss"] for row in read_metrics(run / "metrics.csv"))


def is_sampling(run: Path, cache: Path) -> bool:
    return (log := run / "log.txt").is_file() and MAKING in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("is_there", [is_encoding, is_evaluating, is_sampling])
def test_state_is_saved_within_ten_seconds_from_every_phase(
    clips: Path, tmp_path: Path, is_there: Callable[[Path, Path], bool]
) -> None:
    """With the bundled weights, at their own size, on one core."""
    run, cache = tmp_path / "run", tmp_path / "cache"
    command = [sys.executable, "-m", "soradit", "train", "--data", clips, "--cache", cache, "-o", run, "--frames", "16"]
    command += ["--steps", "3", "--batch-size", "2", "--evaluate-every", "1", "--sample-every", "1"]
    with subprocess.Popen(list(map(str, command)), env={**os.environ, "PYTHONPATH": ROOT}) as process:
        while not is_there(run, cache):
            assert process.poll() is None
            time.sleep(0.02)
        began = time.monotonic()
        process.terminate()
        assert process.wait(60) == 75
        assert time.monotonic() - began < 10
    assert is_encoding(run, cache)
    assert [checkpoint.name for checkpoint in list_checkpoints(run)] == ["step-00000001"] * (is_there != is_encoding)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_transformer_trains_alike(clips: Path, weights: Path, tmp_path: Path) -> None:
    """In processes of their own, where no shapes are checked: torch.compile can't see through that."""
    losses = []
    for run, option in ((tmp_path / "plain", []), (tmp_path / "compiled", ["--compile"])):
        command = [sys.executable, "-m", "soradit", "train", "--data", clips, "--weights", weights, "-o", run, *option]
        subprocess.run([*map(str, command), "--steps", "3", "--batch-size", "2"], check=True)
        losses.append([float(row["loss"]) for row in rows(run)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_best_weights_are_kept(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the lowest held-out loss: a folder of weights, which a run's end doesn't change."""
    losses, notes = iter([0.5, 0.3, 0.4, 0.6]), Notes()
    evaluate = TransformerObjective.evaluate

    def evaluated(self: TransformerObjective, poll: Callable[[], None]) -> dict[str, float]:
        return evaluate(self, poll) | {"held_out_loss": next(losses)}

    monkeypatch.setattr(TransformerObjective, "evaluate", evaluated)
    run = start(evaluate_every=1, report=notes)
    lowest = "held-out loss was lowest at step 2 (0.3000)"
    assert notes.lines[-1] == f"trained to step 4; {lowest}: those weights are in {run}/best"
    assert notes.lines[-1] in (run / "log.txt").read_text()
    assert "The weights of step 2 are in best/." in (run / "report.html").read_text()
    best, other = (load_transformer(folder).state_dict() for folder in (run / "best", run))
    assert any(not torch.equal(best[name], other[name]) for name in best)
    Pipeline.load(run / "best")("sky", seed=0)


def test_best_weights_that_are_turned_back_from_are_gone(start: Start) -> None:
    run = start(evaluate_every=4, checkpoint_every=1, keep_checkpoints=4)
    assert (run / "best").is_dir()
    with pytest.raises(StateSaved):
        start(resume=str(run / "checkpoints" / "step-00000002"), keep_checkpoints=4, max_hours=1e-9, evaluate_every=9)
    assert not (run / "best").exists()


def test_a_new_start_keeps_nothing_of_a_try_without_a_checkpoint(start: Start) -> None:
    run = start(evaluate_every=2, sample_every=1, snapshots=2, flip=True)
    shutil.rmtree(run / "checkpoints")
    (run / "last").unlink()
    with pytest.raises(StateSaved):
        start(max_hours=1e-9, evaluate_every=9, sample_every=9)
    assert not (run / "best").exists()
    assert not [*run.glob("samples/*"), *run.glob("snapshots/*")]


def test_trained_weights_whose_checkpoints_are_gone_are_not_overwritten(start: Start) -> None:
    run = start()
    trained = fingerprint(run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(SoraditError, match=r"run was trained, and its checkpoints are gone: choose another folder"):
        start()
    assert fingerprint(run) == trained


def test_what_a_killed_process_left_of_the_best_before_ends_no_training(start: Start) -> None:
    run = start(evaluate_every=2, steps=2)
    shutil.copytree(run / "best", run / ".best.before.tmp")
    start(evaluate_every=1, resume="auto", steps=4)
    assert not list(run.glob(".*.tmp"))


def test_a_copy_of_a_checkpoint_beside_it_is_none(start: Start) -> None:
    run = start(steps=2, checkpoint_every=1)
    (newest,) = list_checkpoints(run)[-1:]
    shutil.copytree(newest, newest.with_name(f"{newest.name}.bak"))
    start(steps=4)
    assert (run / "last").resolve().name == "step-00000004"


def test_a_run_is_one_process_s_at_a_time(start: Start, tmp_path: Path) -> None:
    run = start(steps=1)
    other = "import sys, time; from pathlib import Path; from soradit.training.run import locked_run\n"
    other += "with locked_run(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": ROOT}
    with subprocess.Popen([sys.executable, "-c", other, run], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(SoraditError, match=r"another process trains into .*run: wait for its end, or choose"):
            start()
        process.kill()
    assert len(rows(start())) == LOOP.steps


def test_a_refusal_is_logged_and_names_all_that_differs(start: Start) -> None:
    run, notes = start(steps=2), Notes()
    with pytest.raises(SoraditError, match=r"began without --flip, not with and with --lr 0\.001, not 0\.5: repeat"):
        start(learning_rate=0.5, flip=True, report=notes)
    assert "without --flip, not with" in (run / "log.txt").read_text()
    assert not any("going on" in line for line in notes.lines)
    start(steps=3)
    assert "going on with --steps 3; until now with --steps 2" in (run / "log.txt").read_text()
    before = all_but_the_log(run)
    with pytest.raises(SoraditError, match=r"step-00000003 is of a training that has gone beyond step 1: give more"):
        start(steps=1)
    assert all_but_the_log(run) == before


def test_clips_that_are_held_out_and_trained_on_are_told(start: Start, clips: Path) -> None:
    notes = Notes()
    start(held_out=clips, steps=1, report=notes)
    assert any(line.startswith("8 of those held out are trained on, too") for line in notes.lines)


def test_run_that_cannot_be_made_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SoraditError, match=r"can't make the run's folder .*file/run .*: choose another with -o"):
        start(run=tmp_path / "file" / "run")
