"""Evaluating: the whole protocol on tiny weights, and what it refuses."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from soradit.media.clips import find_clips, split_clips
from soradit.media.video import read_video
from soradit.tasks.evaluate import synonyms


@pytest.fixture
def evaluate(soradit: Callable, weights: Path, clips: Path, tmp_path: Path) -> Callable:
    """``soradit evaluate`` of the tests' weights on their clips, into ``out``."""

    def run(*arguments: object, data: Path = clips) -> object:
        return soradit("evaluate", weights, "--data", data, "-o", tmp_path / "out", *arguments)

    return run


def test_the_whole_protocol(evaluate: Callable, clips: Path, tmp_path: Path) -> None:
    ended = evaluate("--all", "--training", clips, "--count", 4, "--json")
    assert ended.exit_code == 0, ended.err
    found = json.loads(ended.out)
    assert found == json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    protocol, scores = found["protocol"], found["scores"]
    assert (protocol["held_out_clips"], protocol["training_clips"], protocol["synonyms"]) == (4, 8, 4)
    assert protocol["settings"]["num_frames"] == 16
    assert re.fullmatch("[0-9a-f]{64}", protocol["features_sha256"])
    # The held-out clips are the training clips here: no further from them than from themselves.
    assert scores["frechet_frames"]["real"] == pytest.approx(0, abs=1e-3)
    assert scores["frechet_changes"]["real"] == pytest.approx(0, abs=1e-3)
    assert scores["frechet_frames"]["generated"] > 1
    assert scores["frechet_frames_halves"]["real"] > 1
    assert scores["remembered"]["real"] == pytest.approx(1 / 5)
    assert scores["seconds"]["generated"] > 0
    assert scores["agreement_hour"].keys() == {"generated", "real", "what"}

    captions = {caption for clip in find_clips(clips) for caption in clip.captions}
    assert len({clip["generated"] for clip in found["clips"] + found["synonyms"]}) == 8
    for clip in found["clips"]:
        assert clip["prompt"] in captions
        assert read_video(Path(clip["generated"]))[0].shape == (16, 64, 64, 3)
        assert Path(clip["nearest_training"]["clip"]).is_relative_to(clips)
        assert clip["nearest_training"]["distance"] > 0

    page = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert page.count("data:video/mp4;base64,") == 8
    assert page.count("nearest training clip") == 4
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_goes_on_where_it_stopped_and_overwrites_only_when_told(evaluate: Callable, tmp_path: Path) -> None:
    given = ("--features", "none", "--all")
    first = evaluate(*given, "--count", 2)
    assert first.exit_code == 0, first.err
    assert "hour as in synonyms" in first.out
    assert "Fréchet" not in first.out
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "clips").iterdir()}
    assert len(made) == 4
    refused = evaluate(*given, "--count", 2)
    assert (refused.exit_code, refused.out) == (1, "")
    assert "evaluation.json: exists already" in refused.error
    again = evaluate(*given, "--count", 2, "--overwrite")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "clips").iterdir()} == made
    without_time = re.compile(r"seconds a clip.*")
    assert without_time.sub("", again.out) == without_time.sub("", first.out)
    evaluate(*given, "--count", 2, "--steps", 1, "--overwrite")
    assert len(list((tmp_path / "out" / "clips").iterdir())) == 8  # other settings, other clips
    for precision in ("float32", "bfloat16"):  # one of which it was until now
        evaluate(*given, "--count", 2, "--precision", precision, "--overwrite")
    assert len(list((tmp_path / "out" / "clips").iterdir())) == 12


def test_training_s_own_split_is_held_out(evaluate: Callable, clips: Path) -> None:
    ended = evaluate("--features", "none", "--json")
    training, held_out = split_clips(find_clips(clips))
    found = json.loads(ended.out)
    assert {clip["real"] for clip in found["clips"]} == {str(clip.path) for clip in held_out}
    assert found["protocol"]["training_clips"] == len(training)
    assert "held out: figures of less than" in ended.err


def test_a_run_that_held_out_other_clips_is_evaluated_on_them(
    soradit: Callable, weights: Path, clips: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(weights, tmp_path / "run")
    (run / "config.json").write_text(json.dumps({"train": {"held_out": "unseen"}}))
    ended = soradit("evaluate", run, "--data", clips, "-o", tmp_path / "out")
    remedy = "evaluate with --data unseen and --training or --all"
    assert (ended.exit_code, ended.error) == (1, f"soradit: {run} was trained with --held-out unseen: {remedy}")
    ended = soradit("evaluate", run / "best", "--data", clips, "-o", tmp_path / "out")
    assert ended.error == f"soradit: {run / 'best'} was trained with --held-out unseen: {remedy}"


def test_captions_of_other_things(evaluate: Callable, clips: Path, tmp_path: Path) -> None:
    """No agreement is made up, and no sky generated, for prompts that state none of it."""
    data = tmp_path / "cats"
    data.mkdir()
    for name in "01":
        shutil.copy(clips / f"{name}.mp4", data)
        (data / f"{name}.txt").write_text("<b>a cat</b> & a piano")
    ended = evaluate("--all", "--features", "none", "--json", data=data)
    found = json.loads(ended.out)
    assert found["synonyms"] == []
    assert not [key for key in found["scores"] if key.startswith(("agreement", "synonyms"))]
    assert "the prompts for skies are left out" in ended.err
    assert "&lt;b&gt;a cat&lt;/b&gt; &amp; a piano" in (tmp_path / "out" / "evaluation.html").read_text()


def test_clips_too_short_are_left_out(evaluate: Callable, clips: Path, tmp_path: Path) -> None:
    from soradit.media.writing import write_video

    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(clips / "0.mp4", data / "long.mp4")
    write_video(data / "short.mp4", read_video(clips / "0.mp4")[0][:6], fps=16)
    for name in ("long", "short"):
        (data / f"{name}.txt").write_text("a clear night")
    ended = evaluate("--all", "--features", "none", "--json", data=data)
    assert "short.mp4: has 6 of 16 frames at 16 fps" in ended.err
    assert json.loads(ended.out)["protocol"]["held_out_clips"] == 1
    (data / "long.mp4").unlink()
    (data / "long.txt").unlink()
    assert "none of 1 held-out clips can be used" in evaluate("--all", "--overwrite", data=data).error


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--features", "no/such-network"), "--features no/such-network can't be loaded"),
        (("--training", "/no/such/folder"), "/no/such/folder: no such folder"),
        (("--device", "cuda:99"), "device cuda:99 is not available"),
    ],
)
def test_what_is_refused_before_any_work(evaluate: Callable, tmp_path: Path, arguments: tuple, line: str) -> None:
    ended = evaluate(*arguments)
    assert (ended.exit_code, ended.out) == (1, "")
    assert line in ended.error
    assert not list((tmp_path / "out").glob("clips/*"))


def test_synonyms_are_spread_over_their_headings() -> None:
    assert len(synonyms(200)) == len(set(synonyms(200))) >= 60
    few = synonyms(8)
    assert len(few) <= 8
    assert few != synonyms(200)[:8]
