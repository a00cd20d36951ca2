"""Generating: same seed same bytes, nothing overwritten or half-written, one line a failure."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from soradit.media.video import read_video


@pytest.fixture
def generate(soradit: Callable, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """``soradit generate`` with the tests' weights, in an empty folder."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")

    def run(*arguments: object, weights: Path = weights) -> object:
        return soradit("generate", *arguments, "--weights", weights)

    return run


def names() -> list[str]:
    return sorted(os.listdir())


def comment(path: str) -> dict:
    with av.open(path) as container:
        return json.loads(container.metadata["comment"])


def test_same_seed_same_bytes_and_other_seeds_differ(generate: Callable) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        ended = generate("a red sunset", "-o", f"{name}.mp4", "--seed", seed)
        assert (ended.exit_code, ended.out) == (0, f"{name}.mp4\n")
    first, again, other = (Path(f"{name}.mp4").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_video_is_as_ordered_and_says_how_it_was_made(generate: Callable) -> None:
    prompt = 'sora: 空 <b>"sky"</b> 🌅'
    options = {"size": "96x32", "frames": 8, "fps": 12, "steps": 3, "guidance": 1.5, "seed": 7, "negative": "night"}
    ended = generate(prompt, "-o", "a.mp4", *[part for name, value in options.items() for part in (f"--{name}", value)])
    assert ended.exit_code == 0
    frames, fps = read_video(Path("a.mp4"))
    assert (frames.shape, fps) == ((8, 32, 96, 3), 12)
    about = comment("a.mp4")
    expected = {
        "prompt": prompt,
        "negative": "night",
        "seed": 7,
        "steps": 3,
        "guidance": 1.5,
        "height": 32,
        "width": 96,
    }
    assert about | expected | {"num_frames": 8, "fps": 12} == about
    assert about["soradit"]
    assert about["weights"]


def test_guidance_of_one_ignores_the_negative_prompt(generate: Callable) -> None:
    for negative in ("night", "day"):
        generate("sky", "-o", f"{negative}.mp4", "--guidance", 1, "--negative", negative)
    night, day = (read_video(Path(f"{name}.mp4"))[0] for name in ("night", "day"))
    assert (night == day).all()


@pytest.mark.parametrize("prompt", ["", " ", "x" * 10_000, "sky " * 2500, "🌅空[red]<b>\\n%s$(ls)\x1b[31m\n--x", "\0"])
def test_any_prompt(generate: Callable, prompt: str) -> None:
    ended = generate(prompt, "-o", "a.mp4")
    assert (ended.exit_code, ended.out) == (0, "a.mp4\n")
    assert "Traceback" not in ended.err
    loading, *notes = ended.err.splitlines()
    assert loading.startswith("loading ")
    cut, empty = (any(said in note for note in notes) for said in ("all after the first 24 are not used", "is empty"))
    assert cut >= (len(prompt) >= 10_000)
    assert empty == (not prompt.strip())
    assert len(notes) == cut + empty
    assert comment("a.mp4")["prompt"] == prompt


def test_existing_output_is_refused_untouched(generate: Callable) -> None:
    Path("a.mp4").write_text("precious")
    ended = generate("sky", "-o", "a.mp4")
    assert (ended.exit_code, ended.out) == (1, "")
    assert "a.mp4: exists already; give --overwrite" in ended.error
    assert Path("a.mp4").read_text() == "precious"


def test_overwrite_replaces(generate: Callable) -> None:
    Path("a.mp4").write_text("old")
    assert generate("sky", "-o", "a.mp4", "--overwrite").exit_code == 0
    assert len(read_video(Path("a.mp4"))[0]) == 16


def test_skip_existing_leaves_and_goes_on(generate: Callable) -> None:
    Path("a-000.mp4").write_text("precious")
    ended = generate("sky", "-o", "a.mp4", "--count", 2, "--skip-existing", "--json")
    assert ended.exit_code == 0
    assert [json.loads(line)["skipped"] for line in ended.out.splitlines()] == [True, False]
    assert Path("a-000.mp4").read_text() == "precious"
    assert names() == ["a-000.mp4", "a-001.mp4"]


def test_count_counts_seeds_up(generate: Callable) -> None:
    ended = generate("Red sky!", "--count", 2, "--seed", 5)
    assert ended.out.splitlines() == names() == ["red-sky-5.mp4", "red-sky-6.mp4"]
    assert [comment(name)["seed"] for name in names()] == [5, 6]


def test_prompts_from_a_file_into_a_folder(generate: Callable) -> None:
    Path("prompts.txt").write_text("\ufeffa day\n\n# not this\n  a night  \r\n", encoding="utf-8")
    Path("videos").mkdir()
    ended = generate("--prompts", "prompts.txt", "-o", "videos")
    assert ended.out.splitlines() == ["videos/a-day-0.mp4", "videos/a-night-0.mp4"]
    assert [comment(line)["prompt"] for line in ended.out.splitlines()] == ["a day", "a night"]


def test_prompts_from_stdin_as_json_lines(generate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("夕焼け\n"))
    ended = generate("--prompts", "-", "--json")
    (line,) = map(json.loads, ended.out.splitlines())
    assert (line["path"], line["prompt"], line["seed"], line["skipped"]) == ("video-0.mp4", "夕焼け", 0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "nowhere/a.mp4"], "the folder nowhere does not exist; make it first"),
        (["-o", "a.avi"], "a.avi: give a name that ends in .mp4, .gif, .webp or .png"),
        (["-o", f"{'n' * 300}.mp4"], "File name too long"),
        (["-o", "a.mp4", "--size", "100x64"], "width 100 is not a multiple of 32: use 96"),
        (["-o", "a.mp4", "--frames", 15], "frames 15 is not a multiple of 4: use 16"),
        (["-o", "a.mp4", "--size", "4096x4096"], "are 65536 tokens, 16384 are the most"),
        (["-o", "a.mp4", "--size", "0x64"], "width must be above 0, not 0"),
        (["-o", "a.mp4", "--guidance", "nan"], "guidance must be a number, not nan"),
        (["-o", "a.mp4", "--device", "toaster"], "device toaster is not available here"),
        (["-o", "a.mp4", "--precision", "float8"], "precision float8 is not known"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_no_file(generate: Callable, options: list, message: str) -> None:
    ended = generate("sky", *options)
    assert (ended.exit_code, ended.out) == (1, "")
    assert message in ended.error
    known_at_once = "frames" not in str(options) and not {"--size", "--guidance", "--device", "--precision"} & {
        *options
    }
    assert len(ended.err.splitlines()) == (1 if known_at_once else 2), "all but paths need the weights loaded"
    assert names() == []


def test_a_folder_that_may_not_be_written_is_named(generate: Callable) -> None:
    """Root may write anywhere but in /proc."""
    ended = generate("sky", "-o", "/proc/a.mp4")
    assert ended.exit_code == 1
    assert "/proc" in ended.error


def test_prompt_that_is_not_utf8_is_named(generate: Callable) -> None:
    ended = generate(os.fsdecode(b"sk\xff"), "-o", "a.mp4")
    assert ended.exit_code == 1
    assert "is not UTF-8" in ended.error


def test_output_that_is_not_utf8_is_printed_as_it_is(generate: Callable) -> None:
    ended = generate("sky", "-o", os.fsdecode(b"sk\xff.mp4"))
    assert ended.exit_code == 0
    assert os.listdir(b".") == [b"sk\xff.mp4"]


def test_missing_prompts_file_is_named(generate: Callable) -> None:
    ended = generate("--prompts", "nowhere.txt")
    assert ended.exit_code == 1
    assert "can't read prompts from nowhere.txt" in ended.error


def test_empty_prompts_file_is_named(generate: Callable) -> None:
    Path("prompts.txt").write_text("# nothing\n")
    ended = generate("--prompts", "prompts.txt")
    assert ended.exit_code == 1
    assert "no prompts" in ended.error


def test_missing_weights_are_named(generate: Callable) -> None:
    ended = generate("sky", weights=Path("nowhere"))
    assert (ended.exit_code, ended.out) == (1, "")
    assert ended.err == "soradit: no folder of weights at nowhere\n"


def test_truncated_weights_are_named(generate: Callable, weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    path = copy / "transformer/diffusion_pytorch_model.safetensors"
    os.truncate(path, 5000)
    ended = generate("sky", weights=copy)
    assert (ended.exit_code, ended.out) == (1, "")
    assert f"{path} is damaged" in ended.error
    assert ended.err.count("\n") == 2
    assert names() == []
