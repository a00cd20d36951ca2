"""A step as a question: one cell of it, answered in the terminal or by a pipe."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random

from rich.text import Text

from soradit.byhand.drawing import Look, draw_task, paragraph
from soradit.byhand.steps import Matrix, Step, number

TOLERANCE = 0.005
"""An answer may be rounded to two decimals."""


def quiz(
    steps: list[Step], look: Look, *, random: Random, read_line: Callable[[], str], show: Callable[[Text], None]
) -> tuple[int, int]:
    """Ask about each step that has a question, until ``read_line`` gives "" for the end of its input.

    Returns how many answers were right, and how many questions were answered.
    """
    right = answered = 0
    for step in (step for step in steps if step.words.asked):
        matrix = step.matrices[step.words.asked]
        row, column = random.randrange(len(matrix.rows)), random.randrange(len(matrix.rows[0]))
        for line in draw_task(step.without_results(), look):
            show(line)
        show(look.text(f"{matrix.label}: row {row + 1}, column {column + 1}?"))
        if (answer := _read_number(read_line, show)) is None:
            break
        answered += 1
        right += (is_right := abs(answer - (matrix.rows[row][column] or 0)) <= TOLERANCE)
        for line in _verdict(is_right, step, matrix, number(matrix.rows[row][column]), look):
            show(line)
    show(Text(f"{right} of {answered} right", "bold"))
    return right, answered


def _read_number(read_line: Callable[[], str], show: Callable[[Text], None]) -> Fraction | None:
    """The next line that is a number, such as -2, 0.25 or 1/4."""
    while line := read_line():
        try:
            return Fraction(line.strip().replace("−", "-").replace(",", "."))
        except (ValueError, ZeroDivisionError):
            show(Text("a number, please, such as -2, 0.25 or 1/4"))
    return None


def _verdict(is_right: bool, step: Step, matrix: Matrix, solution: str, look: Look) -> Iterator[Text]:
    if is_right:
        yield look.text("right", "bold green")
    else:
        yield look.text(f"wrong: it is {solution}", "bold red")
        yield from paragraph(step.words.by_hand, look)
    yield Text()
