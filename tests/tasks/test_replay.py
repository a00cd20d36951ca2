"""A video is made again from what it says of itself; and what info tells."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soradit.media.tags import read_about
from soradit.media.video import read_video
from soradit.media.writing import write_video
from soradit.model.folder import write_sums
from soradit.model.slices import DECODED_AT_ONCE
from soradit.tasks.generate import hash_output
from soradit.tasks.info import info


@pytest.fixture
def here(soradit: Callable, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a.mp4 in it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    given = ("--seed", 7, "--negative", "dark", "--frames", 8, "--fps", 12, "--guidance", 1.7)
    assert soradit("generate", 'a "red" sky', "-o", "a.mp4", *given, "--weights", weights).exit_code == 0
    return tmp_path / "here"


@pytest.fixture
def other_weights(weights: Path, tmp_path: Path) -> Path:
    copy = shutil.copytree(weights, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoints"))
    path = copy / "transformer/config.json"
    path.write_text(path.read_text() + "\n")
    write_sums(copy)
    return copy


def test_a_replay_is_equal_byte_for_byte(soradit: Callable, weights: Path, here: Path) -> None:
    ended = soradit("replay", "a.mp4", "--weights", weights)
    assert (ended.exit_code, ended.out) == (0, "a-replay.mp4\n"), ended.err
    assert Path("a-replay.mp4").read_bytes() == Path("a.mp4").read_bytes()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_replay_is_in_the_precision_of_the_video_or_says_so(
    soradit: Callable, weights: Path, here: Path, precision: str
) -> None:
    given = ("-o", "b.mp4", "--precision", precision, "--weights", weights)
    assert soradit("generate", "day", *given).exit_code == 0
    assert read_about(Path("b.mp4"))["precision"] == precision
    ended = soradit("replay", "b.mp4", "--weights", weights)
    is_equal = Path("b-replay.mp4").read_bytes() == Path("b.mp4").read_bytes()
    said = f"it was made in {precision}, this is "
    assert is_equal != (said in ended.err)
    assert is_equal or precision != "float32"
    other = {"float32": "bfloat16", "bfloat16": "float32"}[precision]
    ended = soradit("replay", "b.mp4", "-o", "c.mp4", "--precision", other, "--weights", weights)
    assert read_about(Path("c.mp4"))["precision"] == other


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_every_form_says_how_it_was_made(soradit: Callable, weights: Path, here: Path, suffix: str) -> None:
    given = ("--seed", 7, "--negative", "dunkel 🌒", "--frames", 8, "--weights", weights)
    assert soradit("generate", 'ein "roter" Himmel, 空', "-o", f"x{suffix}", *given).exit_code == 0
    assert json.loads(soradit("info", f"x{suffix}", "--json").out) == read_about(Path(f"x{suffix}"))
    assert read_about(Path(f"x{suffix}"))["prompt"] == 'ein "roter" Himmel, 空'
    ended = soradit("replay", f"x{suffix}", "--weights", weights)
    assert (ended.exit_code, ended.out) == (0, f"x-replay{suffix}\n"), ended.err
    assert hash_output(Path(f"x-replay{suffix}")) == hash_output(Path(f"x{suffix}"))


def test_a_replay_of_a_replay_of_a_batch(soradit: Callable, weights: Path, here: Path) -> None:
    Path("prompts.txt").write_text("day\nnight --steps 3\n")
    assert soradit("generate", "--prompts", "prompts.txt", "--weights", weights).exit_code == 0
    assert soradit("replay", "night-0.mp4", "-o", "b.mp4", "--weights", weights).exit_code == 0
    assert Path("b.mp4").read_bytes() == Path("night-0.mp4").read_bytes()


def test_changes_are_made_and_nothing_else(soradit: Callable, weights: Path, here: Path) -> None:
    before = read_about(Path("a.mp4"))
    changes = ("--steps", 3, "--prompt", "night", "--size", "32x64")
    assert soradit("replay", "a.mp4", "-o", "b.mp4", *changes, "--weights", weights).exit_code == 0
    assert read_about(Path("b.mp4")) == before | {"steps": 3, "prompt": "night", "width": 32, "height": 64}
    assert read_video(Path("b.mp4"))[0].shape == (8, 64, 32, 3)


def test_other_weights_are_refused_unless_forced(
    soradit: Callable, weights: Path, other_weights: Path, here: Path
) -> None:
    ended = soradit("replay", "a.mp4", "-o", "b.mp4", "--weights", other_weights)
    assert (ended.exit_code, ended.out) == (1, "")
    assert (
        f"it was made with weights {read_about(Path('a.mp4'))['weights']}, not with {other_weights}, which are"
        in ended.error
    )
    assert soradit("replay", "a.mp4", "-o", "b.mp4", "--weights", other_weights, "--force").exit_code == 0


def test_what_it_began_with_is_asked_for_and_compared(soradit: Callable, weights: Path, here: Path) -> None:
    for name, seed in (("x.png", 1), ("y.png", 2)):
        soradit("generate", "day", "-o", name, "--seed", seed, "--weights", weights)
    given = ("--weights", weights, "--image")
    assert soradit("generate", "day", "-o", "b.mp4", *given, "x.png/0000.png").exit_code == 0
    assert "began with an image or a video" in soradit("replay", "b.mp4", "--weights", weights).error
    assert "began with another image" in soradit("replay", "b.mp4", *given, "y.png/0000.png").error
    assert soradit("replay", "b.mp4", *given, "x.png/0000.png").exit_code == 0
    assert Path("b-replay.mp4").read_bytes() == Path("b.mp4").read_bytes()
    small = ("-o", "c.mp4", "--size", "32x32")  # the image, cropped to another shape, has another hash
    assert soradit("replay", "b.mp4", *small, *given, "x.png/0000.png").exit_code == 0


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (None, "doesn't say how it was made"),
        ({"bogus": 1}, "bogus is no setting: use process"),
        ({"steps": "many"}, ""),  # typechecked here, told by GenerationConfig elsewhere
        ({"sampler": ["euler"]}, "can't be used"),
        ({"process": "magic"}, "process magic is not known"),
    ],
)
def test_hostile_metadata_is_one_line(
    soradit: Callable, weights: Path, here: Path, about: dict | None, message: str
) -> None:
    frames, fps = read_video(Path("a.mp4"))
    metadata = None if about is None else {"comment": json.dumps(read_about(Path("a.mp4")) | about)}
    write_video(Path("b.mp4"), frames, fps=fps, metadata=metadata)
    ended = soradit("replay", "b.mp4", "--weights", weights)
    assert (ended.exit_code, ended.out) == (1, "")
    assert message in ended.error


def test_another_version_is_told(soradit: Callable, weights: Path, here: Path) -> None:
    frames, fps = read_video(Path("a.mp4"))
    comment = json.dumps(read_about(Path("a.mp4")) | {"soradit": "0.0.1"})
    write_video(Path("b.mp4"), frames, fps=fps, metadata={"comment": comment})
    ended = soradit("replay", "b.mp4", "--weights", weights)
    assert ended.exit_code == 0
    assert "b.mp4 was made by soradit 0.0.1" in ended.err


def test_info_of_a_video(soradit: Callable, here: Path) -> None:
    assert json.loads(soradit("info", "a.mp4", "--json").out) == read_about(Path("a.mp4"))
    lines = soradit("info", "a.mp4").out.splitlines()
    assert 'prompt                   a "red" sky' in lines
    assert "frames                   8" in lines
    about = {**read_about(Path("a.mp4")), "negative": "", "guidance_from": 0.05, "guidance_until": 0.7, "shift": 2.0}
    write_video(Path("b.png"), np.zeros((1, 32, 32, 3), np.uint8), fps=1, metadata={"comment": json.dumps(about)})
    shown = soradit("info", "b.png").out
    assert "negative" not in shown
    assert "guidance begins at       5% of the way from noise to video" in shown
    assert "guidance ends at         70% of the way from noise to video" in shown
    assert "spacing of steps         shifted by 2 towards the noise" in shown
    assert "seed                     7" in lines


def test_info_shows_a_strangers_words_as_words(soradit: Callable, here: Path) -> None:
    strange = {"prompt": "sky \ud800", "megabytes": "x", "\x1b]0;owned\x07": "y"}
    comment = json.dumps(read_about(Path("a.mp4")) | strange)
    write_video(Path("b.png"), np.zeros((1, 32, 32, 3), np.uint8), fps=1, metadata={"comment": comment})
    shown = soradit("info", "b.png")
    assert (shown.exit_code, "\x1b" in shown.out) == (0, False)
    assert json.loads(soradit("info", "b.png", "--json").out)["prompt"] == "sky \ud800"


def test_info_of_a_video_that_is_missing(soradit: Callable, here: Path) -> None:
    ended = soradit("info", "missing.mp4")
    assert (ended.exit_code, ended.error) == (1, "soradit: missing.mp4: no such file")


def test_info_of_weights(soradit: Callable, weights: Path) -> None:
    from soradit.model.weights import load_autoencoder, load_transformer

    facts = json.loads(soradit("info", weights, "--json").out)
    assert facts["transformer_parameters"] == sum(p.numel() for p in load_transformer(weights).parameters())
    assert facts["vae_parameters"] == sum(t.numel() for t in load_autoencoder(weights).state_dict().values())
    assert (facts["tokens"], facts["tokens_at_once"]) == (16, 16)
    longer = json.loads(soradit("info", weights, "--frames", 64, "--size", "96x64", "--json").out)
    assert (longer["tokens"], longer["tokens_at_once"]) == (16 * 6, 24)
    assert longer["tflop_denoising"] >= facts["tflop_denoising"]
    shown = soradit("info", weights).out
    assert f"{facts['transformer_parameters']:,}" in shown


def test_info_of_a_long_video_looks_once_at_windows_of_one_length(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def cost(compute: Callable, length: int, *shown: int) -> tuple[float, int]:
        looked_at.append((length, shown))
        return 1e12, 0

    monkeypatch.setattr("soradit.model.cost.cost", cost)
    facts = info(weights, num_frames=40_000)
    assert len(looked_at) < 8
    assert facts["tflop_decoding"] == 10_000 / DECODED_AT_ONCE


def test_a_size_is_not_for_a_video(soradit: Callable, here: Path) -> None:
    ended = soradit("info", "a.mp4", "--size", "64x64")
    assert (ended.exit_code, ended.error) == (2, "soradit: a.mp4 is a video: --size and --frames are for weights")


def test_info_of_a_folder_of_videos(soradit: Callable, here: Path) -> None:
    ended = soradit("info", here)
    assert (ended.exit_code, ended.out) == (1, "")
    assert ended.error.endswith(
        "nor of LoRA (no adapter_config.json) nor of one video's frames (no 0000.png): name a video in it"
    )


def test_info_of_nothing(soradit: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "a.txt"):
        ended = soradit("info", path)
        assert (ended.exit_code, ended.out) == (1, "")
        assert str(path) in ended.error
