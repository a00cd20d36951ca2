"""Generating: same seed same bytes, nothing overwritten or half-written, one line a failure."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from soradit.media.tags import read_about
from soradit.media.video import read_folder, read_video
from soradit.media.writing import write_video
from soradit.pipeline import Pipeline
from soradit.report import Progress, Report
from soradit.tasks.generate import GenerateConfig, hash_output
from soradit.tasks.generate import generate as generate_videos
from soradit.tasks.jobs import Job
from soradit.video import Video, start_hash


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


def test_what_no_memory_could_hold_is_refused(generate: Callable) -> None:
    ended = generate("sky", "-o", "a.mp4", "--frames", 10**12)
    assert ended.exit_code == 1
    said = r"soradit: 1000000000000 frames of \d+x\d+ take \d+ GB of memory, \d+ are free: use fewer --frames"
    assert re.fullmatch(said, ended.error)


def test_what_no_memory_could_hold_is_not_read(generate: Callable, clips: Path) -> None:
    ended = generate("sky", "-o", "a.png", "--continue", clips / "0.mp4", "--fps", 10**9)
    assert ended.exit_code == 1
    said = r"soradit: \S+/0\.mp4: \d+ frames of \d+x\d+ take \d+ GB of memory, \d+ are free: go on from its last .*"
    assert re.fullmatch(said, ended.error)


def test_a_value_that_cannot_be_is_told_before_a_file_that_exists(generate: Callable) -> None:
    Path("a.mp4").write_text("mine")
    ended = generate("sky", "-o", "a.mp4", "--guidance", "nan")
    assert (ended.exit_code, ended.error) == (2, "soradit: guidance must be 0 or more, not nan")


def test_a_list_that_is_no_text_makes_nothing(generate: Callable, tmp_path: Path) -> None:
    Path("list").write_bytes(b"sky\n\0\0\0 ftypisom\n")
    ended = generate("--prompts", "list")
    assert (ended.exit_code, ended.error) == (1, "soradit: list, line 2: holds a zero byte: give a file of text")
    assert not list(tmp_path.rglob("*.mp4"))


def test_what_is_no_request_says_what_it_should_be() -> None:
    """Apart, where no signatures are checked."""
    program = """
import numpy as np
from soradit.errors import SoraditError
from soradit.video import Request
for given in (
    {"prompt": ["a", "b"]}, {"seed": 1.5}, {"settings": {}}, {"start": "a.mp4"}, {"start": np.zeros((1, 8, 8, 3))},
    {"start": np.zeros((0, 8, 8, 3), np.uint8)},
):
    try:
        Request(**{"prompt": "sky"} | given)
    except SoraditError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=HERE, check=True).stdout
    assert said.splitlines() == [
        "prompt must be of type str, not ['a', 'b']",
        "seed must be of type int, not 1.5",
        "settings must be made by with_overrides, not {}",
        *3 * ["start must be frames, uint8 of shape (T, H, W, 3)"],
    ]


@pytest.mark.parametrize("prompt", ["", " ", "x" * 10_000, "sky " * 2500, "🌅空[red]<b>\\n%s$(ls)\x1b[31m\n--x", "\0"])
def test_any_prompt(generate: Callable, prompt: str) -> None:
    ended = generate(prompt, "-o", "a.mp4")
    assert (ended.exit_code, ended.out) == (0, "a.mp4\n")
    assert "Traceback" not in ended.err
    loading, *notes = ended.err.splitlines()
    assert loading.startswith("loading ")
    said = ("all after the first 24 are not used", "is empty", "is far from what these weights learnt")
    cut, empty, far = (any(each in note for note in notes) for each in said)
    assert cut >= (len(prompt) >= 10_000)
    assert empty == (not prompt.strip())
    assert len(notes) == cut + empty + far
    assert all(len(note) < 150 for note in notes)
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


def test_a_sheet_never_takes_a_videos_place(generate: Callable) -> None:
    for more in ((), ("--overwrite",), ("--skip-existing",)):
        ended = generate("sky", "-o", "a.png", "--sheet", "./a.png", *more)
        assert ended.exit_code == 2
        assert ended.error == "soradit: a.png: is the video's name, too; give the sheet another with --sheet"
    assert not Path("a.png").exists()


def test_skip_existing_leaves_and_goes_on(generate: Callable) -> None:
    Path("a-000.mp4").write_text("precious")
    ended = generate("sky", "-o", "a.mp4", "--count", 2, "--skip-existing", "--json")
    assert ended.exit_code == 0
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["skipped"] for line in lines] == [True, False]
    assert [line["sha256"] for line in lines] == [hash_output(Path(line["path"])) for line in lines]
    assert Path("a-000.mp4").read_text() == "precious"
    assert names() == ["a-000.mp4", "a-001.mp4"]


def test_a_folder_is_not_a_video_that_exists(generate: Callable) -> None:
    Path("videos").mkdir()
    Path("frames.png").mkdir()
    Path("frames.png", "0000.png").touch()
    Path("prompts.txt").write_text(f"a sky -o videos\na sky -o {'n' * 300}.mp4\na sky -o frames.png\n")
    ended = generate("--prompts", "prompts.txt", "--skip-existing")
    assert (ended.exit_code, ended.out) == (1, "frames.png\n")
    assert "videos: give a name that ends in .mp4" in ended.err
    assert "File name too long" in ended.err


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


def test_a_new_folder_is_made_with_its_first_video(generate: Callable) -> None:
    for options in (["--size", "100x64"], ["--image", "nowhere.png"]):
        assert generate("sky", "-o", "videos/", *options).exit_code
        assert names() == [], "nothing was done"
    Path("prompts.txt").write_text("a day\na night -o videos/night.gif\n")
    ended = generate("--prompts", "prompts.txt", "-o", "videos/", "--sheet", "videos/sheet.png")
    assert (ended.exit_code, ended.out.splitlines()) == (0, ["videos/a-day-0.mp4", "videos/night.gif"])
    assert sorted(os.listdir("videos")) == ["a-day-0.mp4", "night.gif", "sheet.png"]
    ended = generate("sky", "-o", "no/where/")
    assert (ended.exit_code, ended.error) == (
        1,
        "soradit: no/where/sky-0.mp4: the folder no does not exist; make it first",
    )


def test_prompts_from_stdin_as_json_lines(generate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\ufeff夕焼け\n".encode())))
    ended = generate("--prompts", "-", "--json")
    (line,) = map(json.loads, ended.out.splitlines())
    assert (line["path"], line["prompt"], line["seed"], line["skipped"]) == ("夕焼け-0.mp4", "夕焼け", 0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "nowhere/a.mp4"], "the folder nowhere does not exist; make it first"),
        (["-o", "a.avi"], "a.avi: give a name that ends in .mp4, .gif, .webp or .png"),
        (["-o", f"{'n' * 300}.mp4"], "File name too long"),
        (["-o", "a.mp4", "--size", "100x64"], "width 100 is not a multiple of 32: use 96"),
        (["-o", "a.mp4", "--frames", 15], "frames 15 is not a multiple of 4: use 16"),
        (["-o", "a.mp4", "--size", "4096x4096"], "are 65536 tokens, 16384 are the most"),
        (["-o", "a.gif", "--fps", 60], "a.gif: 60 fps are more than players show of .gif: 50 are the most"),
        (["-o", "a.mp4", "--size", "0x64"], "width must be above 0, not 0"),
        (["-o", "a.mp4", "--guidance", "nan"], "guidance must be 0 or more, not nan"),
        (["-o", "a.mp4", "--guidance", "-3"], "guidance must be 0 or more, not -3.0"),
        (["-o", "a.mp4", "--continue", "a.mp4", "--guidance", "inf"], "guidance must be 0 or more, not inf"),
        (["-o", "a.mp4", "--device", "toaster"], "device toaster is not known: use auto, cpu, cuda, cuda:1 or mps"),
        (["-o", "a.mp4", "--precision", "float8"], "precision float8 is not known"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_no_file(generate: Callable, options: list, message: str) -> None:
    ended = generate("sky", *options)
    depends_on_files = {"nowhere/a.mp4", f"{'n' * 300}.mp4"} & {*options}
    assert (ended.exit_code, ended.out) == (1 if depends_on_files else 2, "")
    assert message in ended.error
    assert len(ended.err.splitlines()) == 1, "before any wait"
    assert names() == []


def test_one_prompt_is_wrong_once_however_many_videos(generate: Callable) -> None:
    ended = generate("sky", "--count", 2, "--frames", 7)
    assert (ended.exit_code, ended.err) == (2, "soradit: frames 7 is not a multiple of 4: use 8\n")


def test_a_folder_that_may_not_be_written_is_named(generate: Callable) -> None:
    """Root may write anywhere but in /proc."""
    ended = generate("sky", "-o", "/proc/a.mp4")
    assert ended.exit_code == 1
    assert "/proc" in ended.error


def test_prompt_that_is_not_utf8_is_named(generate: Callable) -> None:
    ended = generate(os.fsdecode(b"sk\xff"), "-o", "a.mp4")
    assert ended.exit_code == 2
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


def test_a_line_s_own_flags_come_first(generate: Callable) -> None:
    Path("prompts.txt").write_text(
        "day --seed 7 --frames 8 --size 32x64 --negative dark sky -o day.mp4\nnight --g 1.5\n"
    )
    ended = generate("--prompts", "prompts.txt", "--seed", 3, "--guidance", 2)
    assert ended.out.splitlines() == ["day.mp4", "night-3.mp4"]
    day, night = comment("day.mp4"), comment("night-3.mp4")
    assert (day["seed"], day["num_frames"], day["width"], day["negative"], day["guidance"]) == (7, 8, 32, "dark sky", 2)
    assert (night["seed"], night["num_frames"], night["guidance"]) == (3, 16, 1.5)


def test_what_fails_is_counted_and_the_rest_is_made(generate: Callable) -> None:
    lines = ["day --size 32x33", "night", "dawn --sede 1", "dusk -o nowhere/a.mp4", "noon --guidance inf"]
    Path("prompts.txt").write_text("".join(f"{line}\n" for line in lines))
    ended = generate("--prompts", "prompts.txt")
    assert (ended.exit_code, ended.out.splitlines()) == (1, ["night-0.mp4"])
    assert ended.error == "soradit: 4 of 5 videos failed: see above"
    for said in (
        "height 33 is not a multiple of 32",
        "line 3: sede is not known",
        "folder nowhere",
        "guidance must be",
    ):
        assert said in ended.err
    assert names() == ["night-0.mp4", "prompts.txt"]


def test_batches_of_any_size_make_the_same_videos(generate: Callable) -> None:
    Path("prompts.txt").write_text("day\nnight\n\nday --seed 1\nday --frames 8\n")
    made = []
    for batch_size in (1, 3):
        Path(str(batch_size)).mkdir()
        ended = generate("--prompts", "prompts.txt", "-o", batch_size, "--batch-size", batch_size)
        made.append([(path, comment(path)) for path in ended.out.splitlines()])
    assert [(path.replace("1/", "3/"), about) for path, about in made[0]] == made[1]
    assert len(made[0]) == 4


def test_shards_make_the_whole(generate: Callable) -> None:
    Path("prompts.txt").write_text("day\nnight\nday\n")
    out = [generate("--prompts", "prompts.txt", "--shard", f"{i}/2").out.splitlines() for i in (1, 2)]
    assert out == [["day-0.mp4", "day-0-2.mp4"], ["night-0.mp4"]]


def test_a_json_line_says_all(generate: Callable) -> None:
    (line,) = map(json.loads, generate("sky", "-o", "a.mp4", "--json").out.splitlines())
    assert line["sha256"] == hashlib.sha256(Path("a.mp4").read_bytes()).hexdigest()
    assert {name: line[name] for name in ("steps", "width", "num_frames", "fps", "sampler")} == {
        name: comment("a.mp4")[name] for name in ("steps", "width", "num_frames", "fps", "sampler")
    }
    assert line["seconds"] > 0


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_other_forms_by_suffix(generate: Callable, name: str) -> None:
    ended = generate("sky", "-o", name, "--json")
    assert ended.exit_code == 0
    assert json.loads(ended.out)["path"] == name
    assert names() == [name]


def test_a_contact_sheet_of_all(generate: Callable) -> None:
    ended = generate("sky", "--count", 2, "--sheet", "sheet.png")
    assert (ended.exit_code, ended.err.splitlines()[-1]) == (0, "contact sheet in sheet.png")
    assert names() == ["sheet.png", "sky-0.mp4", "sky-1.mp4"]
    ended = generate("other", "--sheet", "sheet.png")
    assert (ended.exit_code, names()) == (1, ["sheet.png", "sky-0.mp4", "sky-1.mp4"])
    assert "sheet.png: exists already" in ended.error


def test_a_contact_sheet_of_some_says_so(generate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soradit.media.contact_sheet.MAX_ROWS", 1)
    ended = generate("sky", "--count", 2, "--sheet", "sheet.png")
    assert ended.err.splitlines()[-1] == "contact sheet in sheet.png: the first 1 of 2"


def test_no_metadata(generate: Callable) -> None:
    assert generate("sky", "-o", "a.mp4", "--no-metadata").exit_code == 0
    with av.open("a.mp4") as container:
        assert not {"title", "comment"} & set(container.metadata)


def test_a_video_begins_with_an_image(generate: Callable, clips: Path) -> None:
    image = read_video(clips / "0.mp4", num_frames=1)[0]
    write_video(Path("image.png"), image, fps=1)
    assert generate("day", "--image", "image.png/0000.png", "-o", "a.mp4").exit_code == 0
    assert comment("a.mp4")["start"] == start_hash(image)
    ended = generate("day", "--image", "image.png/0000.png", "-o", "b.mp4", "--size", "32x96")
    assert ended.exit_code == 0, ended.err
    assert read_video(Path("b.mp4"))[0].shape == (16, 96, 32, 3)


def test_a_video_goes_on(generate: Callable) -> None:
    generate("day", "-o", "a.mp4", "--fps", 12)
    ended = generate("day", "--continue", "a.mp4", "-o", "b.mp4", "--seed", 5)
    assert ended.exit_code == 0, ended.err
    (before, fps), (after, fps_after) = read_video(Path("a.mp4")), read_video(Path("b.mp4"))
    assert (len(before), len(after), fps_after) == (16, 24, fps)
    assert generate("day", "--continue", "a.mp4", "-o", "b.png").exit_code == 0
    frames = [np.asarray(Image.open(path)) for path in sorted(Path("b.png").iterdir())]
    assert (np.stack(frames[:8]) == before[:8]).all(), "what is not held is taken as it is"


def test_a_folder_of_frames_goes_on_at_its_own_rate(generate: Callable) -> None:
    generate("day", "-o", "a.png", "--fps", 12)
    assert generate("day", "--continue", "a.png", "-o", "b.png").exit_code == 0
    before, after = (read_folder(Path(name)) for name in ("a.png", "b.png"))
    assert (len(before), len(after), read_about(Path("b.png"))["fps"]) == (16, 24, 12)
    assert (after[:8] == before[:8]).all()


def test_longer_than_trained(generate: Callable) -> None:
    assert generate("day", "-o", "a.mp4", "--frames", 44).exit_code == 0
    assert len(read_video(Path("a.mp4"))[0]) == 44


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image", "nowhere.png"], "nowhere.png: no such file"),
        (["--continue", "nowhere.mp4"], "nowhere.mp4: no such file"),
        (["--image", "."], ".: is a folder; give a file"),
        (["--continue", "/dev/null"], "/dev/null: is no file"),
        (["--continue", "."], ".: is a folder without 0000.png; give a video, or a folder of frames"),
        (["--image", "text"], "text: not a readable image, or damaged: Invalid data found when processing input"),
        (
            ["--continue", "CLIP", "--frames", 12],
            "frames 12 are no more than the 20 that it goes on from: use 24 or more",
        ),
        (
            ["--continue", "CLIP", "--frames", 30],
            "frames 30 are 10 more than the 20 that it goes on from, not a multiple of 4 more: use 28",
        ),
        (
            ["--lora", "nowhere"],
            "no LoRA at nowhere, it has no adapter_config.json: give DIR or DIR:STRENGTH, a number",
        ),
    ],
)
def test_what_it_begins_with_is_looked_at_before_any_work(
    generate: Callable, clips: Path, options: list, message: str
) -> None:
    Path("text").write_text("hello")
    ended = generate("sky", "-o", "a.mp4", *(clips / "0.mp4" if option == "CLIP" else option for option in options))
    assert (ended.exit_code, ended.out) == (1, "")
    assert ended.err == f"soradit: {message}\n", "no weights are loaded"


def test_advice(generate: Callable, weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    scheduler = copy / "scheduler/scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"steps": 16}))
    Path("prompts.txt").write_text("sky\nsky --steps 12\nsky --seed 1\n")
    given = ("--steps", 2, "--negative", "x " * 100, "--guidance", 1)
    ended = generate("--prompts", "prompts.txt", *given, "--count", 2, weights=copy)
    assert ended.exit_code == 0
    _, *notes = [line for line in ended.err.splitlines() if not re.search(r" \d+/\d+", line)]  # progress, if it is slow
    assert len(notes) == len(set(notes)) == 3
    for said in ("the negative prompt has", "2 steps are few: these weights use 16", "the negative prompt is not used"):
        assert said in ended.err


def test_seconds_are_a_video_s_own(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three denoised together in 30 s, each written in 1 s, to a reader who takes 100 s over each."""
    clock = 0.0

    def taking(seconds: float, function: Callable) -> Callable:
        def slow(*arguments: Any, **options: Any) -> Any:
            nonlocal clock
            clock += seconds
            return function(*arguments, **options)

        return slow

    monkeypatch.setattr("time.monotonic", lambda: clock)
    monkeypatch.setattr(Pipeline, "together", taking(30, Pipeline.together))
    monkeypatch.setattr(Video, "save", taking(1, Video.save))
    jobs = [Job(prompt="sky", seed=seed, output=tmp_path / f"{seed}.mp4") for seed in range(3)]
    seconds = []
    for made in generate_videos(jobs, GenerateConfig(weights=str(weights), batch_size=3)):
        seconds.append(made.seconds)
        clock += 100
    assert seconds == [11, 11, 11]


def test_phases_are_told(generate: Callable) -> None:
    ended = generate("sky", "-o", "a.mp4", "--verbose")
    for phase in ("importing", "reading weights", "embedding prompts", "denoising", "decoding", "writing"):
        assert re.search(rf"^{phase}: \d+\.\d\d s, peak memory \d+\.\d\d GB", ended.err, re.MULTILINE), phase


def test_nothing_to_do_loads_nothing(generate: Callable) -> None:
    Path("a.mp4").touch()
    ended = generate("sky", "-o", "a.mp4", "--skip-existing")
    assert (ended.exit_code, ended.out, ended.err) == (0, "a.mp4\n", "")


def test_several_words_want_quotes(generate: Callable) -> None:
    ended = generate("a", "red", "sunset")
    assert ended.exit_code == 2
    assert 'quote the prompt: soradit generate "a red sunset"' in ended.err


HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
"""This checkout's soradit, also from another folder."""


def run_apart(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess:
    """A process of its own: ``code``, then the command line."""
    script = f"{code}\nimport sys; from soradit.__main__ import main; sys.argv[0] = 'soradit'; main()"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=HERE, **options)


def test_the_first_line_comes_before_torch(weights: Path, tmp_path: Path) -> None:
    code = (
        "import builtins, sys; from soradit import console; say = console.write_line\n"
        "slow = {'torch', 'numpy', 'av', 'rich', 'pydantic'}\n"
        "def first(text): say(f'{text} {sorted(slow & set(sys.modules))}'); sys.exit(0)\n"
        "console.write_line = first"
    )
    done = run_apart(code, "generate", "sky", "--weights", weights, "-o", tmp_path / "a.mp4")
    assert done.stderr == f"loading {weights} []\n"


def test_a_prompt_seen_before_needs_no_transformers(generate: Callable, weights: Path, tmp_path: Path) -> None:
    generate("a prompt of this test alone", "-o", "a.mp4")
    code = "import atexit, sys; atexit.register(lambda: print('transformers' in sys.modules))"
    for prompt, needs in (("a prompt of this test alone", "False"), ("another of this test alone", "True")):
        output = tmp_path / f"{needs}.mp4"
        done = run_apart(code, "generate", prompt, "--weights", weights, "-o", output)
        assert done.stdout.splitlines() == [str(output), needs], done.stderr


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_another_process_embeds_a_prompt_never_seen(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(HERE, "OMP_NUM_THREADS")
    code = "import atexit, sys; atexit.register(lambda: print('transformers' in sys.modules))"
    given = ("--weights", weights, "-o", tmp_path / "a.mp4")
    done = run_apart(code, "generate", "yet another of this test alone", *given)
    assert done.stdout.splitlines() == [str(tmp_path / "a.mp4"), "False"], done.stderr


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_keeps_what_is_done(weights: Path, tmp_path: Path, number: int, exit_code: int) -> None:
    code = (
        "import os\nfrom soradit.pipeline import Video\nsave = Video.save\n"
        "def stop(self, path, **rest):\n"
        f"    if path.name == 'sky-1.mp4': os.kill(os.getpid(), {int(number)})\n"
        "    save(self, path, **rest)\n"
        "Video.save = stop"
    )
    done = run_apart(code, "generate", "sky", "--count", 3, "--weights", weights, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (exit_code, "sky-0.mp4\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["sky-0.mp4"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_stdout_that_takes_nothing(weights: Path, tmp_path: Path) -> None:
    for redirect, exit_code, said in ((">/dev/full", 1, "can't write to stdout: No space left"), (">&-", 0, "loading")):
        output = tmp_path / f"{exit_code}.mp4"
        command = f"{sys.executable} -m soradit generate sky --weights {weights} -o {output} {redirect}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env=HERE)
        assert done.returncode == exit_code, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert str(output) not in done.stderr, "data has no other place to go"
        assert output.exists(), "what was made is kept"


def test_what_takes_time_is_told(weights: Path, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []

    class Listener(Report):
        @contextmanager
        def progress(self, what: str, total: int) -> Iterator[Progress]:
            progress = Progress()
            progress.update = lambda done, text="": told.append((what, text))
            yield progress

    config = GenerateConfig(weights=str(weights))
    (made,) = generate_videos([Job(prompt="sky", output=tmp_path / "a.mp4")], config, Listener())
    assert made.job.output.exists()
    first = [("loading", "importing torch"), ("loading", "reading weights"), ("embedding the prompt", "")]
    assert told[:3] == first
    assert {what for what, _ in told[3:]} == {"generating a.mp4"}


def test_a_list_of_what_cannot_be_made_imports_nothing(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("day --size 100x64\nnight --frames 3\n")
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    done = run_apart(code, "generate", "--prompts", "prompts.txt", "--weights", weights, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "False\n"), done.stderr
    assert "prompts.txt, line 1: width 100 is not a multiple of 32: use 96" in done.stderr
    assert "loading" not in done.stderr


def test_lora_changes_the_video_and_what_it_says_of_its_weights(
    soradit: Callable, weights: Path, tmp_path: Path
) -> None:
    from soradit.model.folder import Lora, fingerprint
    from soradit.model.lora import add_lora, save_lora
    from soradit.model.weights import load_transformer

    model = add_lora(load_transformer(weights), 2)
    state = {name: torch.full_like(t, 0.1) if ".lora_B" in name else t for name, t in model.state_dict().items()}
    save_lora(tmp_path / "lora", 2, state, base=fingerprint(weights, "transformer"))
    save_lora(tmp_path / "other", 2, state, base="0123456789abcdef")
    common = ("generate", "sky", "--weights", weights, "--size", "64x64", "--frames", 8, "--precision", "float32")
    made = {}
    for name, options in (
        ("plain", ()),
        ("zero", ("--lora", f"{tmp_path / 'lora'}:0")),
        ("one", ("--lora", tmp_path / "lora")),
    ):
        ended = soradit(*common, *options, "-o", tmp_path / f"{name}.mp4")
        assert ended.exit_code == 0, ended.err
        assert "was trained on other weights" not in ended.err
        made[name] = read_video(tmp_path / f"{name}.mp4")[0]
    assert (made["plain"] == made["zero"]).all()
    assert (made["plain"] != made["one"]).any()
    both = ("--lora", tmp_path / "lora", "--lora", f"{tmp_path / 'lora'}:-1")
    assert soradit(*common, *both, "-o", tmp_path / "both.mp4").exit_code == 0
    both_frames = read_video(tmp_path / "both.mp4")[0]
    assert np.abs(both_frames.astype(int) - made["plain"]).max() <= 1
    assert np.abs(both_frames.astype(int) - made["one"]).max() > 1
    replay = ("replay", tmp_path / "one.mp4", "--weights", weights, "-o", tmp_path / "again.mp4")
    assert "name the right ones with --weights and --lora" in soradit(*replay).error
    assert soradit(*replay, "--lora", tmp_path / "lora").exit_code == 0
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()
    said = [read_about(tmp_path / f"{name}.mp4")["weights"] for name in made]
    assert said[1:] == [f"{said[0]}+{Lora(tmp_path / 'lora').fingerprint}:{strength}" for strength in (0, 1)]
    ended = soradit(*common, "--count", 2, "--lora", tmp_path / "other", "-o", tmp_path / "other.mp4")
    assert ended.exit_code == 0
    said = f"LoRA {tmp_path / 'other'} was trained on other weights (transformer 0123456789abcdef, "
    assert ended.err.count(said) == 1
    ended = soradit(*common, "--lora", tmp_path / "nowhere", "-o", tmp_path / "no.mp4")
    assert ended.exit_code == 1
    assert "no LoRA at" in ended.err
