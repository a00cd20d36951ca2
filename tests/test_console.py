"""What a person sees: on stderr only, whole lines, nothing obeyed."""

import pytest

from soradit import console
from soradit.console import Terminal, write_line


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_lines_go_to_stderr_whole_and_shown_not_obeyed(capfd: pytest.CaptureFixture[str]) -> None:
    path = "/a" * 200
    write_line(f"{path} [red]\x1b[31m\nsecond 空")
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"{path} [red]\\x1b[31m\\nsecond 空\n"


def test_off_a_terminal_a_plain_line_every_few_seconds(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with Terminal().progress("training", 100) as progress:
        for step in range(1, 101):
            clock.now += 1
            progress.update(step, f"loss {step}")
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert "\x1b" not in err
    assert "\r" not in err
    assert 10 <= len(lines) <= 12
    assert lines[1] == "training 20/100, loss 20, 1.0 s each, 1:20 left"
    assert lines[-1] == "training 100/100, loss 100, 1.0 s each"


def test_quick_work_is_silent(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with Terminal().progress("generating", 20) as progress:
        for step in range(1, 21):
            clock.now += 0.01
            progress.update(step)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61, "1:01"), (36_610, "10:10:10")])
def test_durations(seconds: float, text: str) -> None:
    assert console._duration(seconds) == text
