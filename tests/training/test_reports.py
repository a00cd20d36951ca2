"""Reports around a report pass on all that they are told."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from soradit.report import Progress, Report
from soradit.training.log import LOG, Logged
from soradit.training.stop import STOP_FILE, Stop, Stoppable, StopRequested

ROOT = Path(__file__).parents[2]


class Recorder(Report, Progress):
    shows = True

    def __init__(self) -> None:
        self.told: list[object] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        self.told.append((what, total))
        yield self

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.told.append(f"begin {name}")
        yield
        self.told.append(f"end {name}")

    def update(self, done: int, text: str = "") -> None:
        self.told.append((done, text))

    def show(self, frame: np.ndarray) -> None:
        self.told.append(frame.shape)


def test_everything_is_passed_on(tmp_path: Path) -> None:
    recorder = Recorder()
    report = Stoppable(Logged(recorder, tmp_path), Stop(tmp_path))
    with report.phase("work"), report.progress("frames", 2) as progress:
        report.note("hello")
        progress.update(1, "half")
        assert progress.shows
        progress.show(np.zeros((2, 3, 3), dtype=np.uint8))
    assert recorder.told == ["begin work", ("frames", 2), "hello", (1, "half"), (2, 3, 3), "end work"]
    assert (tmp_path / LOG).read_text().endswith(" hello\n")


def test_progress_is_a_chance_to_stop(tmp_path: Path) -> None:
    recorder = Recorder()
    with Stoppable(recorder, Stop(tmp_path)).progress("frames", 2) as progress:
        progress.update(1)
        (tmp_path / STOP_FILE).touch()
        with pytest.raises(StopRequested):
            progress.update(2)
    assert recorder.told == [("frames", 2), (1, ""), (2, "")]


def test_a_signal_raises_where_it_may_and_once(tmp_path: Path) -> None:
    with Stop(tmp_path) as stop:
        with stop.at_once():
            pass
        signal.raise_signal(signal.SIGTERM)  # between two pieces of such work
        with pytest.raises(StopRequested, match="SIGTERM"), stop.at_once():
            raise AssertionError("it must not begin")
    with Stop(tmp_path) as stop, stop.at_once():
        with pytest.raises(StopRequested, match="SIGUSR1"):
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)


def test_what_nohup_has_said_is_heeded(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop(tmp_path) as stop:
            signal.raise_signal(signal.SIGHUP)
            stop.poll()
    finally:
        signal.signal(signal.SIGHUP, before)


IN_THE_MIDDLE = """
import hashlib, sys
from pathlib import Path
from soradit.training.stop import Stop
with Stop(Path(".")):
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one operation of Python's, and minutes long
"""


def test_a_second_interrupt_ends_a_long_operation(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-c", IN_THE_MIDDLE], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_signals_are_acknowledged(tmp_path: Path) -> None:
    recorder, threads = Recorder(), threading.active_count()
    with Stop(tmp_path, report=recorder):
        signal.raise_signal(signal.SIGINT)
        assert recorder.told == ["SIGINT: stopping as soon as the state can be saved; again: at once"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert recorder.told[1:] == ["SIGINT again: stopping at once"]
    with Stop(tmp_path) as stop:  # that something else has asked for, too, makes no second interrupt of the first
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(StopRequested):
            stop.poll()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.set_wakeup_fd(-1) == -1  # as it was before
    assert threading.active_count() == threads
