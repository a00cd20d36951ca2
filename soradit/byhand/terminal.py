"""The exercise on standard output: drawn, as JSON, or as a quiz."""

import json
import sys
from random import Random

from rich.console import Console
from rich.text import Text

from soradit.byhand.drawing import ASCII, BOXES, Look, draw, legend
from soradit.byhand.quiz import quiz
from soradit.byhand.steps import Step
from soradit.errors import UsageError


def show_steps(steps: list[Step], *, plain: bool) -> None:
    """Draw them; in colour where the terminal has it."""
    look, console = _look(plain), _console(plain)
    for line in legend(look, in_colour=console.color_system is not None and not console.no_color):
        _show(console, line)
    for step in steps:
        for line in draw(step, look):
            _show(console, line)


def show_json(steps: list[Step]) -> None:
    """A JSON line a step."""
    for step in steps:
        print(json.dumps(step.to_dict(), ensure_ascii=False))


def ask_steps(steps: list[Step], *, plain: bool) -> None:
    """Read answers from standard input, a line each. Raises UsageError when the steps ask nothing."""
    if not any(step.words.asked for step in steps):
        raise UsageError(
            f"step {steps[0].number} is all given, there is nothing to ask: use another --step with --quiz"
        )
    console = _console(plain)
    quiz(steps, _look(plain), random=Random(), read_line=sys.stdin.readline, show=lambda line: _show(console, line))


def _console(plain: bool) -> Console:
    return Console(highlight=False, color_system=None if plain else "auto")


def _look(plain: bool) -> Look:
    """Boxes where the output can hold them."""
    return ASCII if plain or not (sys.stdout.encoding or "").lower().startswith("utf") else BOXES


def _show(console: Console, line: Text) -> None:
    """Whole, however narrow the terminal."""
    console.print(line, soft_wrap=True)
