"""Decoders in processes of their own: results in order, and a crash or a hang costs the one file."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from soradit.errors import SoraditError
from soradit.media.decoding import Unreadable
from soradit.media.workers import read_ahead


def job(path: Path, what: str) -> Iterator[object]:
    """One of the things that decoders do to a file."""
    yield path.name
    yield None
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "fail":
        raise OverflowError("value too large")
    if what == "refuse":
        raise SoraditError(f"{path}: refused")
    yield os.getpid()


def blocked(path: Path) -> Iterator[set[int]]:
    """Signals that the process holds back."""
    yield set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def run(*what: str, **options: float) -> list[object]:
    calls = [(Path(f"{index}.mp4"), each) for index, each in enumerate(what)]
    outcomes: list[object] = []
    for results in read_ahead(job, calls, **options):
        try:
            outcomes.append(list(results))
        except SoraditError as error:
            outcomes.append(error)
    return outcomes


def test_results_come_in_order_from_other_processes() -> None:
    outcomes = run(*["good"] * 5)
    assert [name for name, _ in outcomes] == [f"{index}.mp4" for index in range(5)]
    pids = {pid for _, pid in outcomes}
    assert os.getpid() not in pids
    assert {pid for _, pid in run("good", "good")} <= pids  # kept for the next files


def test_a_crash_and_a_hang_cost_one_file_each() -> None:
    outcomes = run("good", "crash", "good", "hang", "fail", "refuse", "good", stall_seconds=3)
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False, True, True, True, False]
    assert str(outcomes[1]) == "1.mp4: its decoder crashed (SIGSEGV)"
    assert str(outcomes[3]) == "3.mp4: its decoder hangs: nothing came of it for 3 s"
    assert str(outcomes[4]) == "4.mp4: can't be read: OverflowError: value too large"
    assert str(outcomes[5]) == "5.mp4: refused"
    assert [type(outcomes[index]) for index in (1, 3, 4, 5)] == [Unreadable] * 3 + [SoraditError]


def test_a_terminals_signals_are_held_back_from_the_start() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    ((theirs,),) = map(list, read_ahead(blocked, [(Path("a"),)]))
    assert theirs >= {signal.SIGINT, signal.SIGHUP}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_whoever_waits_may_end_it() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    ahead = read_ahead(job, [(Path("a"), "hang")], while_waiting=stop)
    results = next(ahead)
    with pytest.raises(KeyboardInterrupt):
        list(results)
