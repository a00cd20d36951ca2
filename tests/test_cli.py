"""The contract with scripts: exit codes, what goes to stdout, signals, and a help that is there at once."""

import contextlib
import fcntl
import json
import os
import platform
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import soradit as package
from soradit.__main__ import main

SORADIT = [sys.executable, "-m", "soradit"]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['soradit', '--help']\n"
        "from soradit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'transformers', 'rich', 'numpy', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_is_kept_for_what_comes_next(keep: bool) -> None:
    code = (
        "import resource; from soradit.__main__ import keep_freed_memory\n"
        f"if {keep}: keep_freed_memory()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(3): before = faults(); b'x' * 2**28\n"
        "print(faults() - before)"
    )
    untuned = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=untuned)
    assert (int(done.stdout) < 10) == keep


def test_every_command_has_its_help(soradit: Callable) -> None:
    listing = soradit("--help").out
    for command in ("generate", "train", "encode", "skies"):
        assert command in listing
        ended = soradit(command, "--help")
        assert ended.exit_code == 0
        assert f" {command} [OPTIONS]" in ended.out


def test_help_is_grouped_and_gives_examples(soradit: Callable) -> None:
    shown = soradit("generate", "--help").out
    panels = ("The video:", "What it begins with:", "Many at once:", "What is written:", "How it runs:")
    assert all(f"\n{panel}\n" in shown for panel in panels)
    assert '\n  soradit generate "a red sunset over the sea" -o sunset.mp4\n' in shown


def test_commands_are_told_whole(soradit: Callable) -> None:
    assert "..." not in soradit("--help").out.partition("Commands:")[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(shell: str) -> None:
    environment = {**os.environ, "_SORADIT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "soradit gener"}
    environment |= {"COMP_WORDS": "soradit gener", "COMP_CWORD": "1", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = "from soradit.cli import app; app(prog_name='soradit')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "generate" in done.stdout


def test_version(soradit: Callable) -> None:
    assert soradit("--version").out == f"soradit {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["generate", "a prompt", "--prompts", "and.txt"],
        ["generate", "sky", "--seed", "-1"],
        ["generate", "sky", "--guidance", "much"],
        ["generate", "sky", "--seed", "9" * 20],
        ["generate", "sky", "--steps", "0"],
        ["generate", "sky", "--count", "0"],
        ["generate", "sky", "--no-such-option"],
        ["train"],
        ["train", "--data", ".", "--keep", "1"],
        ["encode"],
        ["no-such-command"],
    ],
)
def test_usage_errors_exit_2(soradit: Callable, arguments: list[str]) -> None:
    ended = soradit(*arguments)
    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.err == f"{ended.error}\n", "one line"
    assert ended.error.endswith("--help")


def test_a_usage_error_names_the_value_and_where_help_is(soradit: Callable) -> None:
    for option, value, wanted in (("--steps", "many", "a whole number"), ("--guidance", "much", "a number")):
        said = f"soradit: {option} takes {wanted}, not {value!r}; see soradit generate --help"
        assert soradit("generate", "sky", option, value).error == said
    for command, option, value, wanted in (
        ("generate sky", "--steps", 0, "1 or more"),
        ("generate sky", "--seed", -1, f"from 0 to {2**63 - 1}"),
        ("check .", "--max-bad", 2.0, "from 0 to 1"),
        ("average . -o new", "--length", 0.5, "from 0.01 to 0.25"),
    ):
        said = f"soradit: {option} must be {wanted}, not {value}; see soradit {command.split()[0]} --help"
        assert soradit(*command.split(), option, value).error == said
    assert soradit("generate", "sky", "--nosuch").error.startswith("soradit: No such option: --nosuch")
    without_value = soradit("generate", "sky", "--seed").error
    assert without_value == "soradit: Option '--seed' requires an argument; see soradit generate --help"
    assert soradit("replay").error.endswith("; see soradit replay --help")


def test_what_may_not_be_read_is_no_usage_error(
    soradit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may read anything
    for arguments in (("check", tmp_path), ("train", "--data", tmp_path)):
        ended = soradit(*arguments)
        assert (ended.exit_code, ended.err) == (1, f"soradit: {tmp_path}: may not be read\n")


MISTAKES = {
    "train --data nowhere": (1, "nowhere: no such folder"),
    "train --data empty": (1, "empty: holds no clips; looked for .mp4 "),
    "train --data clips --held-out nowhere": (1, "nowhere: no such folder"),
    "train --data clips --held-out empty": (1, "empty: holds no clips"),
    "train --data clips --weights nowhere": (1, "no folder of weights at nowhere"),
    "train --data clips -o clips/a.mp4": (1, "clips/a.mp4: is not a folder; give the run another name with -o"),
    "train --data clips --size 100x96": (2, "width 100 is not a multiple of 32: use 96"),
    "train --data clips --frames 7": (2, "frames 7 is not a multiple of 4: use 8"),
    "train --data clips --component magic": (2, "component magic is not known: use transformer, "),
    "train --data clips --preset huge": (2, "preset huge is not known: use tiny, "),
    "train --data clips --process magic": (2, "process magic is not known: use flow or noise"),
    "train --data clips --device toaster": (2, "device toaster is not known: use auto, cpu, "),
    "train --data clips --precision float8": (2, "precision float8 is not known: use auto, float32, "),
    "train --data clips --steps 0": (2, "--steps must be above 0, not 0"),
    "train --data clips -o clips": (1, "clips: is the folder of the clips; give the run another name with -o"),
    "train --data clips --lora 4 --fresh": (2, "--lora needs a transformer that has been trained: leave out --fresh"),
    "train --data clips --batch-size 3 --accumulate 2": (2, "--batch-size 3 can't be shared out equally"),
    "train --data clips --component text_encoder --paraphrases nowhere": (1, "nowhere: no such file"),
    "train --data clips" + 5 * " --prompt sky": (2, "--prompt is given 5 times: 4 samples are the most"),
    "check nowhere": (1, "nowhere: no such folder"),
    "check empty": (1, "empty: holds no clips; looked for .mp4 "),
    "check clips --size 100x96": (2, "width 100 is not a multiple of 32: use 96"),
    "check clips --weights nowhere": (1, "no folder of weights at nowhere"),
    "check clips --sheet a.txt": (2, "a.txt: give a name that ends in .html"),
    "encode nowhere": (1, "nowhere: no such folder"),
    "encode empty": (1, "empty: holds no clips; looked for .mp4 "),
    "encode clips --size 96x100": (2, "height 100 is not a multiple of 32: use 96"),
    "evaluate --data nowhere": (1, "nowhere: no such folder"),
    "evaluate --data empty": (1, "empty: holds no clips; looked for .mp4 "),
    "evaluate --data clips -o empty/done": (1, "empty/done/evaluation.json: exists already; give --overwrite"),
    "evaluate --data clips --device toaster": (2, "device toaster is not known: use auto, cpu, "),
    "generate sky --device toaster": (2, "device toaster is not known: use auto, cpu, "),
    "generate sky --shard 3/2": (2, "shard '3/2' is not I/N"),
    "generate sky --size big": (2, "size 'big' is not WIDTHxHEIGHT, such as 256x256"),
    "generate sky -o a.avi": (2, "a.avi: give a name that ends in .mp4, "),
    "skies new --size 65x64": (2, "size 65x64 can't be rendered: give even numbers from 16 on"),
    "skies new --size big": (2, "size 'big' is not WIDTHxHEIGHT, such as 256x256"),
    "skies new --count 0": (2, "count must be 1 or more, not 0"),
    "skies new --frames 0": (2, "frames must be 1 or more, not 0"),
    "skies new --seed -1": (2, "seed must be 0 or more, not -1"),
    "skies clips/a.mp4": (1, "clips/a.mp4: can't be a folder of clips (File exists): give another"),
    "average nowhere -o new": (1, "no folder of weights at nowhere"),
    "merge nowhere -o new": (
        1,
        "no LoRA at nowhere, it has no adapter_config.json: give DIR or DIR:STRENGTH, a number",
    ),
    "info --size 100x100": (2, "height 100 is not a multiple of 32: use 96"),
    "info nowhere": (1, "no folder of weights at nowhere"),
    "byhand --step 15": (2, "--step 15 is not within 1-14"),
    "byhand --worksheet a.pdf": (2, "a.pdf: give a name that ends in .html or .md"),
}
"""Exit code 2 for what the command line alone shows, 1 for what depends on files; a line that says why."""


def test_simple_mistakes_are_told_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from soradit.__main__ import main\n"
        "for line in sys.stdin:\n"
        "    sys.argv = ['soradit', *line.split()]\n"
        "    try: main()\n"
        "    except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    for folder in ("clips", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "empty" / "done").mkdir()
    for file in ("clips/a.mp4", "empty/done/evaluation.json"):
        (tmp_path / file).touch()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="".join(f"{line}\n" for line in MISTAKES),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    *codes, imported = done.stdout.splitlines()
    said = done.stderr.splitlines()
    assert imported == "[]"
    for line, exit_code, error, (promised, message) in zip(MISTAKES, codes, said, MISTAKES.values(), strict=True):
        assert (exit_code, error[: len(message) + 9]) == (str(promised), f"soradit: {message}"), line
    assert sorted(os.listdir(tmp_path)) == ["clips", "empty"]


@pytest.mark.parametrize(
    ("command", "exit_code", "out", "err"),
    [
        ("--version >&-", 0, "", ""),
        ("check nowhere >&-", 1, "", "soradit: nowhere: no such folder\n"),
        ("check nowhere 2>&-", 1, "", ""),
        ("--version <&- 2>&-", 0, f"soradit {package.__version__}\n", ""),
    ],
)
def test_a_closed_stream_is_silent(command: str, exit_code: int, out: str, err: str) -> None:
    done = subprocess.run(f"{sys.executable} -m soradit {command}", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, out, err)


def test_nothing_asked_for_gives_the_help(soradit: Callable) -> None:
    ended = soradit()
    assert (ended.exit_code, ended.out) == (2, "")
    assert "Commands:" in ended.err


def test_encode_then_train_print_paths_alone(soradit: Callable, clips: Path, weights: Path, tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    assert soradit("encode", clips, "-o", cache, "--weights", weights).out == f"{cache}\n"
    given = ("--data", clips, "-o", run, "--weights", weights, "--cache", cache, "--batch-size", 2)
    ended = soradit("train", *given, "--steps", 2)
    assert (ended.exit_code, ended.out) == (0, f"{run}\n")
    assert "8 clips" in ended.err
    assert json.loads((run / "config.json").read_text())["loop"]["steps"] == 2
    again = soradit("train", *given, "--steps", 2, "--lr", 0.5)
    assert (again.exit_code, again.out) == (1, "")
    assert again.error.startswith(f"soradit: {run} began with --lr 0.0005, not 0.5")


def test_max_hours_exits_75(soradit: Callable, clips: Path, weights: Path, tmp_path: Path) -> None:
    ended = soradit(
        "train", "--data", clips, "-o", tmp_path / "run", "--weights", weights, "--steps", 5, "--max-hours", 1e-9
    )
    assert (ended.exit_code, ended.out) == (75, "")
    assert "state saved at step 1 of 5" in ended.error


def test_skies_prints_clips(soradit: Callable, tmp_path: Path) -> None:
    ended = soradit("skies", tmp_path / "clips", "--count", 1, "--size", "64x32", "--frames", 4)
    assert ended.out == f"{tmp_path / 'clips' / 'sky-0-000000.mp4'}\n"
    assert soradit("skies", tmp_path / "clips", "--count", 0).exit_code == 2


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    until = time.monotonic() + 100
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def test_terminated_training_exits_75_and_goes_on(
    soradit: Callable, clips: Path, weights: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = ["train", "--data", clips, "-o", run, "--weights", weights, "--batch-size", "2", "--steps", "100000"]
    process = subprocess.Popen(
        [*SORADIT, *map(str, given), "--evaluate-every", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = run / "metrics.csv"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") > 2, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (75, "")
    assert "SIGTERM: state saved at step" in err.splitlines()[-1]
    steps_before = metrics.read_text().count("\n") - 1
    ended = soradit(*given, "--evaluate-every", 100000, "--max-hours", 1e-9)
    assert ended.exit_code == 75
    assert "resuming from" in ended.err
    assert f"state saved at step {steps_before + 1} of 100000" in ended.error


def test_a_training_outlives_whoever_read_what_it_says(clips: Path, weights: Path, tmp_path: Path) -> None:
    """As when Ctrl-C ends ``soradit train ... 2>&1 | tee log``: both get it, and tee is quick."""
    run = tmp_path / "run"
    given = ["train", "--data", clips, "-o", run, "--weights", weights, "--batch-size", "2", "--steps", "100000"]
    process = subprocess.Popen([*SORADIT, *map(str, given)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    metrics = run / "metrics.csv"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") > 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(100) == 75
    assert "SIGINT: state saved at step" in (run / "log.txt").read_text()


def test_a_training_outlives_its_terminal(clips: Path, weights: Path, tmp_path: Path) -> None:
    """As when a connection breaks: SIGHUP, and nowhere to say what one does about it."""
    run, (terminal, ours) = tmp_path / "run", pty.openpty()
    given = ["train", "--data", clips, "-o", run, "--weights", weights, "--batch-size", "2", "--steps", "100000"]
    process = subprocess.Popen(
        [*SORADIT, *map(str, given)],
        stdin=ours,
        stdout=ours,
        stderr=ours,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(ours)
    os.set_blocking(terminal, False)
    metrics = run / "metrics.csv"

    def is_training() -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 2**16)
        return metrics.exists() and metrics.read_text().count("\n") > 2

    wait_for(is_training, process)
    os.close(terminal)
    assert process.wait(100) == 75
    assert "SIGHUP: state saved at step" in (run / "log.txt").read_text()


@pytest.mark.slow
def test_every_component_is_trained_from_nothing(soradit: Callable, clips: Path, tmp_path: Path) -> None:
    base: list[object] = []
    for component in ("vae", "text_encoder", "transformer"):
        given = ("--data", clips, "-o", tmp_path / component, "--cache", tmp_path / "cache", "--component", component)
        sizes = ("--size", "64x64", "--frames", 16, "--steps", 2, "--batch-size", 2)
        ended = soradit("train", *given, *base, "--fresh", *sizes)
        assert ended.exit_code == 0, ended.err
        base = ["--weights", tmp_path / component]
    ended = soradit("generate", "a red sunset", "-o", tmp_path / "a.mp4", "--steps", 2, *base)
    assert (ended.exit_code, ended.out) == (0, f"{tmp_path / 'a.mp4'}\n")


def test_interrupted_command_exits_130(weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.mp4"
    code = (
        "import os, signal, sys\n"
        "from soradit import pipeline\n"
        "from soradit.__main__ import main\n"
        "pipeline.timestep_grid = lambda *a: os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.argv = ['soradit', 'generate', 'sky', '-o', {str(output)!r}, '--weights', {str(weights)!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == "soradit: interrupted"
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(28, "No space left on device", "run/metrics.csv"),
            "[Errno 28] No space left on device: 'run/metrics.csv'",
        ),
        (MemoryError(), "out of memory: use fewer frames, or a smaller size"),
        (MemoryError("9 GiB"), "out of memory (9 GiB): use fewer frames, or a smaller size"),
    ],
)
def test_a_full_disk_or_memory_is_one_line_wherever_it_is_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: Exception, said: str
) -> None:
    def full(**_: object) -> None:
        raise error

    monkeypatch.setattr("soradit.cli.app", full)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr() == ("", f"soradit: {said}\n")


def test_files_in_the_folder_are_not_taken_for_modules(tmp_path: Path) -> None:
    """Processes of ours are started as ``python -c``, which looks there first."""
    (tmp_path / "re.py").write_text("raise SystemExit('imported')")
    arguments = ["skies", "clips", "--count", "1", "--frames", "1", "--size", "32x32"]
    command = [str(Path(sys.executable).with_name("soradit")), *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"rendering 1/1, \d+\.\d( s each|/s)\n", result.stderr)
