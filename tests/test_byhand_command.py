"""What `soradit byhand` prints, writes and asks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from rich.text import Text

from soradit.byhand.document import FullSize, document
from soradit.byhand.drawing import ASCII, BOXES, WIDTH, draw, legend
from soradit.byhand.exercise import work
from soradit.byhand.lesson import tell
from soradit.byhand.quiz import quiz
from soradit.byhand.steps import Role, Step, number, parse_selection
from soradit.byhand.worksheet import to_html, write_worksheet
from soradit.errors import SoraditError

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return tell(work())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``soradit byhand ARGUMENTS`` with some input: exit code, stdout, stderr."""
    from soradit.__main__ import main

    def byhand(*arguments: str, given: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["soradit", "byhand", *arguments])
        monkeypatch.setattr(sys, "stdin", StringIO(given))
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return byhand


def test_all_steps_are_drawn_within_80_columns(steps: list[Step]) -> None:
    for look in (BOXES, ASCII):
        drawn = [*legend(look, in_colour=True), *(line for step in steps for line in draw(step, look))]
        lines = [line.plain for line in drawn]
        assert max(map(len, lines)) <= WIDTH
        assert [line for line in lines if line.startswith("Step")] == [
            f"Step {i}  {step.words.title}" for i, step in enumerate(steps, 1)
        ]


def test_plain_is_ascii_without_escapes(run: Run) -> None:
    code, out, _ = run("--plain")
    assert code == 0
    assert out.isascii()
    assert "\x1b" not in out
    assert "2/8 x" in out
    assert "Colours" not in out


def test_off_a_terminal_there_is_no_colour(run: Run) -> None:
    assert "\x1b" not in run("--step", "3")[1]


def test_no_color_is_honoured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[33m" in run("--step", "2")[1]  # yellow pixels
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", run("--step", "2")[1])


def test_a_narrow_terminal_wraps_no_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = run("--step", "11")[1]
    monkeypatch.setenv("COLUMNS", "40")
    assert run("--step", "11")[1] == wide


def test_steps_are_chosen(run: Run) -> None:
    assert re.findall(r"^Step (\d+)", run("--step", "7")[1], re.M) == ["7"]
    assert re.findall(r"^Step (\d+)", run("--step", "5-7")[1], re.M) == ["5", "6", "7"]
    assert parse_selection(None) == range(1, 15)


@pytest.mark.parametrize("step", ["0", "15", "x", "", "7-5", "3-", "-3", "3-15", "1.5", "²"])
def test_no_such_step(run: Run, step: str) -> None:
    code, out, err = run(f"--step={step}")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"--step {step}" in err


def test_json_is_a_line_per_step(run: Run) -> None:
    lines = [json.loads(line) for line in run("--json")[1].splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 15))
    assert lines[6]["values"]["scale"] == [[2], [-1]]
    assert re.fullmatch(r"soradit/model/dit\.py:\d+ modulate", lines[6]["code"][0])


def test_ways_to_show_exclude_one_another(run: Run) -> None:
    code, _, err = run("--json", "--quiz")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_a_reference_leads_to_the_line_of_product_code(steps: list[Step]) -> None:
    for code in (code for step in steps for code in step.code):
        line = (ROOT / code.path).read_text(encoding="utf-8").splitlines()[code.line - 1]
        assert re.match(rf"\s*(def|class) {code.name.rpartition('.')[2]}\b", line), str(code)
    assert all(step.code for step in steps)


def test_numbers_are_short() -> None:
    assert [number(x) for x in (2.0, -0.0, 0.25, -0.0625, 1e-14, 0.29769, 100.0, None)] == [
        *("2", "0", "0.25", "-0.0625", "0", "0.2977", "100", "__")
    ]


def test_the_sheet_has_blanks_for_every_result_and_shows_none(steps: list[Step]) -> None:
    for step in steps:
        for name, matrix in step.without_results().with_names_for(step.matrices).matrices.items():
            blank = all(x is None for row in matrix.rows for x in row)
            assert blank == (matrix.role is Role.RESULT), name
            assert matrix.role is not Role.CARRIED, name


def test_the_html_sheet(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sheet.html"
    assert run("--worksheet", str(path)) == (0, f"{path}\n", "")
    sheet, answers = path.read_text(encoding="utf-8").split("<section>")[1:]
    assert sheet.count("<h2>") == answers.count("<h2>") == 14
    assert sheet.count("class=blank") > 100
    assert "class=blank" not in answers
    assert "size: A4" in path.read_text(encoding="utf-8")


def test_the_markdown_sheet(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sheet.md"
    assert run("--worksheet", str(path))[0] == 0
    sheet, answers = path.read_text(encoding="utf-8").split("# Answers")
    assert "__" in sheet
    assert "__" not in answers
    assert "0.375" in answers
    assert "0.375" not in sheet
    assert len(re.findall(r"^Code: soradit/model/dit\.py:\d+ modulate$", sheet, re.M)) == 1


def test_a_sheet_that_exists_is_kept(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sheet.md"
    path.write_text("mine")
    code, out, err = run("--worksheet", str(path))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert path.read_text() == "mine"
    assert run("--worksheet", str(path), "--overwrite")[0] == 0
    assert path.read_text() != "mine"


def test_a_sheet_of_one_step_gives_what_earlier_ones_did(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sheet.md"
    assert run("--worksheet", str(path), "--step", "2")[0] == 0
    blanks, answers = path.read_text().split("# Answers")
    (step,) = (each for each in tell(work()) if each.number == 2)
    for role, where in ((Role.CARRIED, blanks), (Role.RESULT, answers)):
        rows = [row for matrix in step.matrices.values() if matrix.role is role for row in matrix.rows]
        assert rows
        assert all(" ".join(map(number, row)) in where for row in rows)


def test_a_sheet_of_another_kind_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--worksheet", str(tmp_path / "sheet.pdf"))
    assert code == 2
    assert ".html" in err
    assert not list(tmp_path.iterdir())


def test_a_sheet_that_cannot_be_written(steps: list[Step], tmp_path: Path) -> None:
    with pytest.raises(SoraditError, match="does not exist; make it first"):
        write_worksheet(tmp_path / "nowhere" / "sheet.md", steps, overwrite=False)


def test_html_is_escaped(steps: list[Step]) -> None:
    assert "&quot;sora is sky&quot;" in to_html(steps, steps)


def answer_all(steps: list[Step], wrong_by: float) -> tuple[tuple[int, int], str]:
    """Answer each question by looking the cell up."""
    shown: list[str] = []
    asked = iter([step for step in steps if step.words.asked])

    def read_line() -> str:
        step = next(asked)
        row, column = map(int, re.findall(r"\d+", shown[-1].rpartition(":")[2]))
        return f"{(step.matrices[step.words.asked].rows[row - 1][column - 1] or 0) + wrong_by}\n"

    def show(line: Text) -> None:
        shown.append(line.plain)

    return quiz(steps, BOXES, random=Random(0), read_line=read_line, show=show), "\n".join(shown)


def test_right_answers_are_right(steps: list[Step]) -> None:
    score, shown = answer_all(steps, 0)
    assert score == (13, 13)
    assert "13 of 13 right" in shown
    assert "wrong" not in shown


def test_wrong_answers_are_wrong_and_explained(steps: list[Step]) -> None:
    score, shown = answer_all(steps, 1)
    assert score == (0, 13)
    assert "wrong: it is" in shown
    assert "Subtract cell from cell." in shown


def test_the_quiz_reads_a_pipe(run: Run) -> None:
    code, out, _ = run("--quiz", "--step", "5", given="what\n1/1\n")
    assert code == 0
    assert "a number, please" in out
    assert out.splitlines()[-1] == "1 of 1 right"  # t = 3 is 1, 1: whichever cell was asked


def test_a_quiz_of_what_is_given_is_refused(run: Run) -> None:
    code, out, err = run("--quiz", "--step", "1")
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_the_quiz_ends_with_its_input(run: Run) -> None:
    code, out, _ = run("--quiz", given="1000\n")
    assert code == 0
    assert out.splitlines()[-1] == "0 of 1 right"


def test_the_page_is_what_the_code_says(steps: list[Step]) -> None:
    page = (ROOT / "docs/byhand.md").read_text(encoding="utf-8")
    assert page == document(steps, FullSize.bundled()), "run: python -m soradit.byhand > docs/byhand.md"


def test_an_output_that_is_not_unicode_gets_ascii() -> None:
    command = [sys.executable, "-m", "soradit", "byhand", "--step", "7"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=True)
    assert done.stdout.isascii()
    assert b"| -1 |" in done.stdout
