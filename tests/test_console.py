"""What a person sees: on stderr only, whole lines, nothing obeyed."""

import re

import numpy as np
import pytest

from soradit import console
from soradit.console import Terminal, half_blocks, write_line


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


def test_a_picture_in_half_blocks_is_two_pixels_a_character() -> None:
    frame = np.zeros((8, 16, 3), np.uint8)
    frame[:4] = (255, 0, 0)
    text = half_blocks(frame, columns=4, rows=10)
    assert text.plain == "▀▀▀▀\n"
    (style,) = {str(span.style) for span in text.spans}
    assert style == "#ff0000 on #000000"


def test_a_picture_without_colour_is_in_shades() -> None:
    frame = np.zeros((8, 16, 3), np.uint8)
    frame[:, 8:] = 255
    text = half_blocks(frame, columns=4, rows=10, is_coloured=False)
    assert text.plain == "  @@\n"
    assert not text.spans


@pytest.mark.parametrize("size", [(64, 64), (20, 400), (400, 20), (1, 1)])
def test_a_picture_fits_where_it_is_shown(size: tuple[int, int]) -> None:
    lines = half_blocks(np.zeros((*size, 3), np.uint8), columns=30, rows=10).plain.splitlines()
    assert 1 <= len(lines) <= 10
    assert 1 <= max(map(len, lines)) <= 30


def test_a_preview_is_drawn_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    frame = np.full((8, 8, 3), 200, np.uint8)
    with Terminal(preview=True).progress("generating", 2) as progress:
        assert not progress.shows
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Terminal().progress("generating", 2) as progress:
        assert not progress.shows
    with Terminal(preview=True).progress("generating", 2) as progress:
        assert progress.shows
        progress.show(frame)
        progress.update(1)
    out, err = capfd.readouterr()
    assert out == ""
    assert "▀" in err
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal(preview=True).progress("generating", 2) as progress:
        progress.show(frame)
    out, err = capfd.readouterr()
    assert "####" in err
    assert "▀" not in err
    monkeypatch.setenv("TERM", "dumb")
    with Terminal(preview=True).progress("generating", 2) as progress:
        assert not progress.shows
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [60, 80])
def test_a_long_name_leaves_room_for_how_far_it_is(
    columns: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with Terminal().progress(f"generating {'name-' * 20}.mp4", 20) as progress:
        progress.update(7)
    said = capfd.readouterr().err
    assert "generating name-" in said
    assert "…" in said
    assert "7/20" in said


def test_phases_are_told_when_asked(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        with Terminal(verbose=verbose).phase("denoising"):
            clock.now += 1.5
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"denoising: 1\.50 s, peak memory \d+\.\d\d GB so far.*\n", err)
